package caddymodule

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/pkcs11"
)

// SignerPKCS11 signs with a smartcard or another token that has a PKCS #11
// module. It needs a binary that was built with cgo: `./xcaddy.sh hub`.
type SignerPKCS11 struct {
	// The path of the PKCS #11 module, such as
	// `/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so`. Placeholders such as
	// `{env.NAME}` are expanded.
	Module string `json:"path"`

	// The label or the serial number of the token. It may be left out when there
	// is never more than one.
	Token string `json:"token,omitempty"`

	// The user's PIN. Without it, and once the token has refused it, the user is
	// asked for it together with the consent.
	PIN Secret `json:"pin,omitempty"`

	config pkcs11.Config
}

// CaddyModule returns the Caddy module information.
func (SignerPKCS11) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.signers.pkcs11", New: func() caddy.Module { return new(SignerPKCS11) }}
}

// Provision expands the placeholders. It doesn't touch the card.
func (s *SignerPKCS11) Provision(ctx caddy.Context) (err error) {
	s.config.Logger, s.config.Now = lastingLogger("signpost.signers.pkcs11"), clock
	s.config.Token = s.Token
	if s.config.Module, err = Secret(s.Module).expandQuietly("the path of signer pkcs11"); err != nil {
		return err
	}
	if s.config.Module, err = filepath.Abs(s.config.Module); err != nil {
		return err
	}
	if s.PIN != "" {
		s.config.PIN, err = s.PIN.expand("pin of signer pkcs11", ctx.Logger())
	}
	return err
}

func (s *SignerPKCS11) identity() string {
	return fmt.Sprintf("pkcs11 %q %q %q", s.config.Module, s.config.Token, s.config.PIN)
}

func (s *SignerPKCS11) open() (hub.Signer, error) { return pkcs11.New(s.config) }

// UnmarshalCaddyfile sets up the signer. Syntax:
//
//	signer pkcs11 <module> {
//		token <label or serial number>
//		pin   <secret>
//	}
func (s *SignerPKCS11) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // pkcs11
	if err := textOption(d, &s.Module); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "token":
			err = textOption(d, &s.Token)
		case "pin":
			err = secretOption(d, &s.PIN)
		default:
			err = unknownOption(d, "signer pkcs11", "token", "pin")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SignerPKCS11)(nil)
	_ caddyfile.Unmarshaler = (*SignerPKCS11)(nil)
	_ signerModule          = (*SignerPKCS11)(nil)
)
