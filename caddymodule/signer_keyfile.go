package caddymodule

import (
	"fmt"
	"os"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/keyfile"
)

// SignerKeyfile signs with a private key in a file, for computers without a
// card.
type SignerKeyfile struct {
	// The file with the private key, in PEM (PKCS #8 or PKCS #1) or PKCS #12. Only
	// the user who runs the program may have any right to it (mode 0600).
	// Placeholders such as `{env.NAME}` are expanded.
	Key string `json:"key"`

	// A file with the certificate and, if wanted, those that issued it, in PEM. By
	// default they are in the file of the key.
	Certificate string `json:"certificate,omitempty"`

	// The password of a PKCS #12 file.
	Password Secret `json:"password,omitempty"`

	config keyfile.Config
}

// CaddyModule returns the Caddy module information.
func (SignerKeyfile) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "signpost.signers.keyfile", New: func() caddy.Module { return new(SignerKeyfile) }}
}

// Provision expands the placeholders.
func (s *SignerKeyfile) Provision(ctx caddy.Context) (err error) {
	s.config.Now = clock
	if s.config.Key, err = Secret(s.Key).expandQuietly("the path of signer keyfile"); err != nil {
		return err
	}
	if s.Certificate != "" {
		if s.config.Certificate, err = Secret(s.Certificate).expandQuietly("certificate of signer keyfile"); err != nil {
			return err
		}
	}
	if s.Password != "" {
		s.config.Password, err = s.Password.expand("password of signer keyfile", ctx.Logger())
	}
	return err
}

// identity changes with the files, so that a forced reload takes new ones.
func (s *SignerKeyfile) identity() string {
	return fmt.Sprintf("keyfile %q %s %q %s %q", s.config.Key, changed(s.config.Key),
		s.config.Certificate, changed(s.config.Certificate), s.config.Password)
}

// changed says when a file was last written; what can't be told is the same.
func changed(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	return fmt.Sprint(info.ModTime().UnixNano(), info.Size())
}

func (s *SignerKeyfile) open() (hub.Signer, error) { return keyfile.New(s.config) }

// UnmarshalCaddyfile sets up the signer. Syntax:
//
//	signer keyfile <path> {
//		certificate <path>
//		password    <secret>
//	}
func (s *SignerKeyfile) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // keyfile
	if err := textOption(d, &s.Key); err != nil {
		return err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "certificate":
			err = textOption(d, &s.Certificate)
		case "password":
			err = secretOption(d, &s.Password)
		default:
			err = unknownOption(d, "signer keyfile", "certificate", "password")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*SignerKeyfile)(nil)
	_ caddyfile.Unmarshaler = (*SignerKeyfile)(nil)
	_ signerModule          = (*SignerKeyfile)(nil)
)
