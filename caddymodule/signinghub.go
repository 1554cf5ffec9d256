package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

// SigningHub is the program between the browser and the smartcard. It runs on
// the user's own computer, speaks hub/1 to the page of the signing API, and the
// protocol of NHS Credential Management to pages that were made for that. It
// answers loopback connections only, verifies each request itself, and asks the
// user before it signs.
type SigningHub struct {
	// The web sites that may ask for signatures, as browsers write them:
	// `https://sign.example.org`; http only for localhost and loopback addresses.
	// Required.
	Origins []string `json:"origins"`

	// The base URLs of signing APIs whose published keys
	// (`/.well-known/jwks.json`) verify requests; the `aud` of a request must be
	// the base URL whose keys verify it, and its `iss` the client whose key it is,
	// where the keys say that. At most 1,000 keys and 2 MiB are read of each.
	// https, or http on a loopback address.
	RequestsFrom []string `json:"requests_from,omitempty"`

	// The certificate authorities of `requests_from`, instead of the system's.
	TrustPoolRaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// The names of key sets of the global option `signpost` that verify requests,
	// each those of its own issuer. The `aud` of a request may be any URL of the
	// web site that asks.
	KeySets []string `json:"key_sets,omitempty"`

	// What holds the user's key. Required.
	SignerRaw json.RawMessage `json:"signer,omitempty" caddy:"namespace=signpost.signers inline_key=module"`

	// How the user is asked before each batch: `page` (the default; a page of the
	// hub's own that opens in the browser), `terminal` (the one that Caddy runs
	// in) or `never` (for tests only).
	Consent string `json:"consent,omitempty"`

	// The host and port under which browsers reach the hub; the host must be
	// `localhost`, `127.0.0.1` or `[::1]`. The default is `127.0.0.1` with the port
	// of the site.
	Address string `json:"address,omitempty"`

	// What the hub calls itself.
	Name string `json:"name,omitempty"`

	// Whether pages that were made for NHS Credential Management are served as
	// well. The default is true.
	Compatibility *bool `json:"compatibility,omitempty"`

	// Whether such pages may also ask with requests that no client has signed.
	// Then whatever runs on one of the origins chooses what is signed.
	UnsignedRequests bool `json:"unsigned_requests,omitempty"`

	// Whether certificates are offered too that are not for signatures which
	// can't be denied (key usage contentCommitment).
	AllCertificates bool `json:"all_certificates,omitempty"`

	// The smallest key that a request may be signed with, in bits. The default is
	// 2048.
	MinKeyBits int64 `json:"min_key_bits,omitempty"`

	// How far a client's clock may be ahead. The default, also for 0, is 30s.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// How long the hub waits for the user each time that it asks. The default is
	// 2m.
	UserTimeout caddy.Duration `json:"user_timeout,omitempty"`

	app *App
	hub *pooledHub
}

// CaddyModule returns the Caddy module information.
func (SigningHub) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.signing_hub", New: func() caddy.Module { return new(SigningHub) }}
}

// Provision finds or makes the hub. The card is first touched at the start.
func (s *SigningHub) Provision(ctx caddy.Context) (err error) {
	if s.app, err = appOf(ctx); err != nil {
		return err
	}
	settings := string(caddyconfig.JSON(s, nil)) // before the guests are loaded, which empties them
	server, _ := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	listens, secure, err := loopbackListener(server)
	if err != nil {
		return err
	}
	if s.Address == "" {
		s.Address = listens
	}
	if err := s.checkSettings(); err != nil {
		return err
	}
	cfg := s.config()
	keys, err := s.findKeys(ctx, &cfg)
	if err != nil {
		return err
	}
	if s.SignerRaw == nil {
		return errors.New("signer is required: what shall the hub sign with?")
	}
	v, err := ctx.LoadModule(s, "SignerRaw")
	if err != nil {
		return fmt.Errorf("loading the signer: %w", err)
	}
	signer, ok := v.(signerModule)
	if !ok {
		return fmt.Errorf("module %T is not a signer", v)
	}
	s.warn(ctx.Logger(), server)
	cfg.Logger, cfg.Now = lastingLogger("http.handlers.signing_hub"), clock
	identity := append(keys, settings, cfg.Address, fmt.Sprint(secure), signer.identity())
	s.hub, err = s.app.addHub(identity, cfg, asker{s.Consent, secure}, signer)
	return err
}

// config reads the settings that stand for themselves.
func (s *SigningHub) config() hub.Config {
	return hub.Config{
		Origins:          s.Origins,
		UnsignedRequests: s.UnsignedRequests,
		AllCertificates:  s.AllCertificates,
		Address:          s.Address,
		Name:             s.Name,
		HubOneOnly:       s.Compatibility != nil && !*s.Compatibility,
		MinKeyBits:       int(s.MinKeyBits),
		Leeway:           time.Duration(s.Leeway),
		UserTimeout:      time.Duration(s.UserTimeout),
	}
}

func (s *SigningHub) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	s.hub.ServeHTTP(w, r)
	return nil
}

// parseSigningHub reads the directive, see UnmarshalCaddyfile.
func parseSigningHub(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	m := new(SigningHub)
	return m, m.UnmarshalCaddyfile(h.Dispenser)
}

var signingHubOptions = []string{
	"origins", "requests_from", "trust_pool", "key_set", "signer", "consent", "address", "name",
	"compatibility", "unsigned_requests", "all_certificates", "min_key_bits", "leeway", "user_timeout",
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	signing_hub [<matcher>] {
//		origins           <origin>...
//		requests_from     <base url>...
//		trust_pool        <module> ...
//		key_set           <name>...
//		signer            <module> ...
//		consent           page|terminal|never
//		address           <host:port>
//		name              <text>
//		compatibility     on|off
//		unsigned_requests on|off
//		all_certificates  on|off
//		min_key_bits      <bits>
//		leeway            <duration>
//		user_timeout      <duration>
//	}
func (s *SigningHub) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := s.unmarshalOption(d); err != nil {
			return err
		}
		if err := s.checkSettings(); err != nil { // now, so that the error has this option's line
			return d.Err(err.Error())
		}
	}
	switch {
	case len(s.Origins) == 0:
		return d.Err("signing_hub needs origins: which web sites may ask for signatures?")
	case len(s.RequestsFrom)+len(s.KeySets) == 0 && !s.UnsignedRequests:
		return d.Err("signing_hub needs requests_from or key_set: with whose keys are signature requests verified?")
	case s.SignerRaw == nil:
		return d.Err("signing_hub needs a signer: `signer pkcs11 <module>` or `signer keyfile <path>`")
	}
	return nil
}

func (s *SigningHub) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "origins":
		return wordsOption(d, &s.Origins)
	case "requests_from":
		return wordsOption(d, &s.RequestsFrom)
	case "trust_pool":
		return trustPoolOption(d, &s.TrustPoolRaw)
	case "key_set":
		return wordsOption(d, &s.KeySets)
	case "signer":
		if s.SignerRaw != nil {
			return d.Err("signer is given twice")
		}
		name, v, err := unmarshalGuest(d, "signpost.signers")
		if err != nil {
			return err
		}
		s.SignerRaw = caddyconfig.JSONModuleObject(v, "module", name, nil)
		return nil
	case "consent":
		return wordOption(d, &s.Consent, "page", "terminal", "never")
	case "address":
		return textOption(d, &s.Address)
	case "name":
		return textOption(d, &s.Name)
	case "compatibility":
		return switchOption(d, &s.Compatibility)
	case "unsigned_requests":
		return boolOption(d, &s.UnsignedRequests)
	case "all_certificates":
		return boolOption(d, &s.AllCertificates)
	case "min_key_bits":
		if err := countOption(d, &s.MinKeyBits); err != nil {
			return err
		}
		if s.MinKeyBits == 0 {
			return d.Err("min_key_bits is 0; it must be 2048 to 16384")
		}
		return nil
	case "leeway":
		return durationOption(d, &s.Leeway)
	case "user_timeout":
		return durationOption(d, &s.UserTimeout)
	}
	return unknownOption(d, "signing_hub", slices.Clone(signingHubOptions)...)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*SigningHub)(nil)
	_ caddyhttp.MiddlewareHandler = (*SigningHub)(nil)
	_ caddyfile.Unmarshaler       = (*SigningHub)(nil)
)
