package testcard

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/signpost-gateway/signpost/jwks"
)

// DefaultBits is the size of a card's key, in bits of the modulus.
const DefaultBits = 2048

// modules are where distributions put SoftHSM.
var modules = []string{
	"/usr/lib/softhsm/libsofthsm2.so",
	"/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
	"/usr/lib64/pkcs11/libsofthsm2.so",
	"/usr/lib64/softhsm/libsofthsm.so",
	"/usr/local/lib/softhsm/libsofthsm2.so",
	"/opt/homebrew/lib/softhsm/libsofthsm2.so",
}

// ErrNoSoftHSM says that SoftHSM isn't installed where distributions put it.
var ErrNoSoftHSM = errors.New("testcard: SoftHSM 2 is not installed: apt-get install softhsm2")

// Module returns the path of SoftHSM's module.
func Module() (string, error) {
	for _, path := range modules {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", ErrNoSoftHSM
}

// Options describe a test card.
type Options struct {
	// Module is SoftHSM's module (default: what [Module] finds). Others are
	// refused: Make would wipe a real card.
	Module string
	// TokenDir is where the tokens are kept; it is made when it isn't there. Several
	// cards may share it. Required.
	TokenDir string
	// Label names the token: 1 to 32 bytes that no other token there has.
	// Required.
	Label string
	// PIN is the user's PIN, 4 to 255 bytes. Required.
	PIN string
	// SOPIN is the PIN that unblocks the user's (default: a random one that nobody
	// learns).
	SOPIN string
	// UserID and Name make the certificate's common name, UserID_Name: at most 64
	// characters, and UserID has no "_". Required.
	UserID, Name string
	// CADir is where the test authority keeps its certificate and key; both are
	// made when they aren't there. Required.
	CADir string
	// Bits is the size of the card's key (default, when 0: [DefaultBits]).
	Bits int
	// AlwaysAuthenticate makes a key that wants the PIN before each signature
	// (CKA_ALWAYS_AUTHENTICATE), as many cards have.
	AlwaysAuthenticate bool
	// Now is the clock of the certificates (default: [time.Now]).
	Now func() time.Time
	// Logger hears when the module hangs (default: [slog.Default]).
	Logger *slog.Logger
}

// maxCommonName is ub-common-name of RFC 5280, appendix A.1.
const maxCommonName = 64

func (o Options) commonName() string { return o.UserID + "_" + o.Name }

func (o Options) withDefaults() (Options, error) {
	if o.Bits == 0 {
		o.Bits = DefaultBits
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.SOPIN == "" {
		o.SOPIN = randomPIN()
	}
	if err := o.check(); err != nil {
		return o, fmt.Errorf("testcard: %w", err)
	}
	var err error
	if o.Module == "" {
		if o.Module, err = Module(); err != nil {
			return o, err
		}
	}
	if o.TokenDir, err = filepath.Abs(o.TokenDir); err != nil {
		return o, fmt.Errorf("testcard: %w", err)
	}
	return o, nil
}

func (o Options) check() error {
	switch {
	case o.TokenDir == "":
		return errors.New("the directory of the tokens is missing")
	case strings.ContainsAny(o.TokenDir, "\r\n"):
		return errors.New("the directory of the tokens has a line break in its name")
	case o.CADir == "":
		return errors.New("the directory of the test authority is missing")
	case o.Label == "" || len(o.Label) > 32 || !printable(o.Label):
		return fmt.Errorf("the label %q must have 1 to 32 bytes, all printable", o.Label)
	case len(o.PIN) < 4 || len(o.PIN) > 255:
		return errors.New("the PIN must have 4 to 255 bytes")
	case len(o.SOPIN) < 4 || len(o.SOPIN) > 255:
		return errors.New("the SO PIN must have 4 to 255 bytes")
	case o.UserID == "" || strings.Contains(o.UserID, "_") || !printable(o.UserID):
		return fmt.Errorf("the user id %q must be printable and have no %q, which ends it in the certificate", o.UserID, "_")
	case o.Name == "" || !printable(o.Name):
		return fmt.Errorf("the name %q must be printable and not empty", o.Name)
	case utf8.RuneCountInString(o.commonName()) > maxCommonName:
		return fmt.Errorf("the user id and the name have more than %d characters together", maxCommonName-1)
	case o.Bits < jwks.DefaultMinKeyBits || o.Bits > jwks.MaxKeyBits || o.Bits%8 != 0:
		return fmt.Errorf("a key of %d bits: it must have %d to %d, a multiple of 8", o.Bits, jwks.DefaultMinKeyBits, jwks.MaxKeyBits)
	default:
		return nil
	}
}

func printable(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f })
}

func randomPIN() string {
	b := make([]byte, 20)
	_, _ = rand.Read(b) // never fails (Go 1.24)
	return base32.StdEncoding.EncodeToString(b)
}
