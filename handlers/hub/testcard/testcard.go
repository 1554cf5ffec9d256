package testcard

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	ck "github.com/miekg/pkcs11"

	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

// callLimit is how long the module may be silent. Large keys take long to make.
const callLimit = 5 * time.Minute

// Card is a test card.
type Card struct {
	Module string // SoftHSM's module
	Config string // what SOFTHSM2_CONF must be
	Label  string
	Serial string
	// Certificate is the card's.
	Certificate *x509.Certificate
	// CA issued it, and is in CAFile, in PEM.
	CA     *x509.Certificate
	CAFile string
}

// Make makes a test card. When it fails halfway, a token without a certificate
// may remain: its label is then taken.
func Make(ctx context.Context, options Options) (*Card, error) {
	o, err := options.withDefaults()
	if err != nil {
		return nil, err
	}
	config, err := WriteConfig(o.TokenDir)
	if err != nil {
		return nil, err
	}
	ca, err := openAuthority(o.CADir, o.Now())
	if err != nil {
		return nil, err
	}
	var made *Card
	err = withConfig(o.Module, config, func() error {
		module, err := cryptoki.Open(o.Module, o.Logger)
		if err != nil {
			return err
		}
		err = module.Do(ctx, callLimit, func(api cryptoki.API, alive func()) error {
			card, err := o.make(ctx, api, ca)
			if err == nil {
				made = card
			}
			return err
		})
		return errors.Join(err, module.Close())
	})
	if err != nil {
		return nil, fmt.Errorf("testcard: %w", err)
	}
	made.Module, made.Config, made.CA, made.CAFile = o.Module, config, ca.certificate, ca.file
	return made, nil
}

func (o Options) make(ctx context.Context, api cryptoki.API, ca *authority) (*Card, error) {
	slot, err := o.blank(api)
	if err != nil {
		return nil, err
	}
	if err := api.InitToken(slot, o.SOPIN, o.Label); err != nil {
		return nil, err
	}
	handle, err := api.OpenSession(slot, ck.CKF_SERIAL_SESSION|ck.CKF_RW_SESSION)
	if err != nil {
		return nil, err
	}
	// It closes with the module at the latest.
	defer func() { _ = api.CloseSession(handle) }()
	if err := o.setPIN(api, handle); err != nil {
		return nil, err
	}
	if err := api.Login(handle, ck.CKU_USER, o.PIN); err != nil {
		return nil, err
	}
	defer func() { _ = api.Logout(handle) }()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	id := make([]byte, 8)
	_, _ = rand.Read(id) // never fails (Go 1.24)
	public, err := o.keyPair(api, handle, id)
	if err != nil {
		return nil, err
	}
	certificate, err := ca.card(o.commonName(), public, o.Now())
	if err != nil {
		return nil, err
	}
	if _, err := api.CreateObject(handle, []cryptoki.Attribute{
		cryptoki.Number(ck.CKA_CLASS, ck.CKO_CERTIFICATE),
		cryptoki.Number(ck.CKA_CERTIFICATE_TYPE, ck.CKC_X_509),
		cryptoki.Bool(ck.CKA_TOKEN, true),
		cryptoki.Bool(ck.CKA_PRIVATE, false),
		cryptoki.Bytes(ck.CKA_ID, id),
		cryptoki.Bytes(ck.CKA_LABEL, "signature"),
		cryptoki.Bytes(ck.CKA_SUBJECT, certificate.RawSubject),
		cryptoki.Bytes(ck.CKA_ISSUER, certificate.RawIssuer),
		cryptoki.Bytes(ck.CKA_VALUE, certificate.Raw),
	}); err != nil {
		return nil, err
	}
	token, err := api.GetTokenInfo(slot)
	return &Card{Label: o.Label, Serial: token.Serial, Certificate: certificate}, err
}

// blank returns the slot of a token that isn't initialised. SoftHSM always has
// one.
func (o Options) blank(api cryptoki.API) (cryptoki.Slot, error) {
	library, err := api.GetInfo()
	if err != nil {
		return 0, err
	}
	if !strings.Contains(library.Manufacturer+library.Description, "SoftHSM") {
		return 0, fmt.Errorf("%s is not SoftHSM but %q: test cards are made of software only, since making one wipes the token",
			o.Module, library.Description)
	}
	slots, err := api.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	var found []cryptoki.Slot
	for _, slot := range slots {
		token, err := api.GetTokenInfo(slot)
		switch {
		case err != nil:
			return 0, err
		case token.Flags&ck.CKF_TOKEN_INITIALIZED == 0:
			found = append(found, slot)
		case token.Label == o.Label:
			return 0, fmt.Errorf("there is a card with the label %q already (serial number %s): choose another label, or remove it with "+
				"softhsm2-util --delete-token --serial %s", o.Label, token.Serial, token.Serial)
		}
	}
	if len(found) == 0 {
		return 0, errors.New("SoftHSM has no blank token: are its directories writable?")
	}
	return found[0], nil
}

func (o Options) setPIN(api cryptoki.API, handle cryptoki.Session) error {
	if err := api.Login(handle, ck.CKU_SO, o.SOPIN); err != nil {
		return err
	}
	if err := api.InitPIN(handle, o.PIN); err != nil {
		return err
	}
	return api.Logout(handle)
}

func (o Options) keyPair(api cryptoki.API, handle cryptoki.Session, id []byte) (*rsa.PublicKey, error) {
	exponent := big.NewInt(65537)
	public, _, err := api.GenerateKeyPair(handle, ck.CKM_RSA_PKCS_KEY_PAIR_GEN,
		[]cryptoki.Attribute{
			cryptoki.Bool(ck.CKA_TOKEN, true),
			cryptoki.Bool(ck.CKA_PRIVATE, false),
			cryptoki.Bool(ck.CKA_VERIFY, true),
			cryptoki.Number(ck.CKA_MODULUS_BITS, uint(o.Bits)), //nolint:gosec // checked
			cryptoki.Bytes(ck.CKA_PUBLIC_EXPONENT, exponent.Bytes()),
			cryptoki.Bytes(ck.CKA_ID, id),
			cryptoki.Bytes(ck.CKA_LABEL, "signature"),
		},
		[]cryptoki.Attribute{
			cryptoki.Bool(ck.CKA_TOKEN, true),
			cryptoki.Bool(ck.CKA_PRIVATE, true),
			cryptoki.Bool(ck.CKA_SENSITIVE, true),
			cryptoki.Bool(ck.CKA_EXTRACTABLE, false),
			cryptoki.Bool(ck.CKA_SIGN, true),
			cryptoki.Bool(ck.CKA_ALWAYS_AUTHENTICATE, o.AlwaysAuthenticate),
			cryptoki.Bytes(ck.CKA_ID, id),
			cryptoki.Bytes(ck.CKA_LABEL, "signature"),
		})
	if err != nil {
		return nil, err
	}
	modulus, err := api.GetAttribute(handle, public, ck.CKA_MODULUS)
	if err != nil {
		return nil, err
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(exponent.Int64())}, nil
}
