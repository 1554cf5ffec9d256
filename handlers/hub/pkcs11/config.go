package pkcs11

import (
	"log/slog"
	"time"
)

// DefaultCallTimeout is how long one call of the module may take. Cards need
// some seconds for a signature at worst.
const DefaultCallTimeout = 30 * time.Second

// pinPadTimeout is how long a call may take in which the user types the PIN on
// the reader.
const pinPadTimeout = 3 * time.Minute

// Config says where the keys are.
type Config struct {
	// Module is the absolute path of the PKCS #11 module, such as
	// /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so. Required.
	Module string
	// Token is the label or the serial number of the token. It may be empty when
	// there is never more than one.
	Token string
	// PIN is the user's PIN. When empty, or once the token has refused it, each
	// batch asks the user ([hub.SignRequest.PIN]). It is not tried when the token
	// says that it has one try left, either.
	PIN string
	// CallTimeout is how long one call of the module may take before the module
	// counts as hung (default, when 0: [DefaultCallTimeout]). A PIN that is typed
	// on the reader may take three minutes.
	CallTimeout time.Duration
	// Logger hears of hung modules and refused PINs, never of PINs themselves
	// (default: [slog.Default]).
	Logger *slog.Logger
	// Now is the clock by which valid certificates come first (default:
	// [time.Now]).
	Now func() time.Time
}
