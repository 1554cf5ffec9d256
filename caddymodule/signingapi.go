package caddymodule

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/signing/page"
)

// SigningAPI serves the signing API in the dialect of the NHS Signing Service:
// applications post signature requests (JWTs), their users sign the documents
// in the browser with a smartcard, and the applications read the signatures.
// The clients are those of the global option `signpost` and those in storage.
type SigningAPI struct {
	// The URL under which applications and browsers reach the API, such as
	// `https://sign.example.org/signing-service`, without a slash at its end. It
	// is the `aud` of requests, compared byte for byte. Placeholders such as
	// `{env.NAME}` are expanded. Required.
	BaseURL string `json:"base_url"`

	// How much of a signature request is checked: `strict` (the default),
	// `documented` (a JWT may be posted again) or `int2022` (its form only, as
	// the real service's integration environment did in 2022; it loads only with
	// `mock on`).
	Profile string `json:"profile,omitempty"`

	// The algorithms of signatures that clients may ask for: `RS256` and `RS1`.
	// The default is both.
	SignatureAlgorithms []string `json:"signature_algorithms,omitempty"`

	// The smallest key of a client, in bits of its modulus, from 2048 to 16384.
	// The default is 4096.
	MinKeyBits int64 `json:"min_key_bits,omitempty"`

	// The smallest key of a user's certificate, in bits, from 1024 to 16384. The
	// default is 2048.
	MinCardKeyBits int64 `json:"min_card_key_bits,omitempty"`

	// How far a client's clock may be ahead. The default, also for 0, is 30s.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// The longest body in bytes, at most and by default 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// How many bytes of memory the bodies that are being checked may take
	// together; beyond it the answer is 503. It must be at least twelve times
	// `max_body`. The default is 24 MiB.
	MaxBuffered int64 `json:"max_buffered,omitempty"`

	// Whether the browser page can be asked for fake signatures with
	// `mock=true`. Never switch it on in production.
	Mock bool `json:"mock,omitempty"`

	// The program between the browser and the smartcard.
	Hub SigningHubAddress `json:"hub,omitzero"`

	// The authorities whose certificates users may sign with. Required unless
	// `mock` is on.
	TrustPoolRaw json.RawMessage `json:"trust_pool,omitempty" caddy:"namespace=tls.ca_pool.source inline_key=provider"`

	// Where a certificate has its user's id, which must equal the `sub` of the
	// request: `cn_prefix` (the default; the text before the first `_` of the
	// common name), `serial_number` or `off`.
	SubjectFrom string `json:"subject_from,omitempty"`

	// Whether a certificate must be for signatures that can't be denied (key
	// usage contentCommitment). The default is true.
	RequireNonRepudiation *bool `json:"require_non_repudiation,omitempty"`

	// What is asked of certificate revocation lists: `off` (the default), `soft`
	// (a certificate whose state can't be told passes, and the log says so) or
	// `hard` (it is refused).
	Revocation string `json:"revocation,omitempty"`

	// Host names, addresses or CIDR ranges from which revocation lists may be
	// fetched although they are not public.
	AllowPrivate []string `json:"allow_private,omitempty"`

	// The bearer token that applications must send. Without it whoever holds the
	// token of a request can read its signatures, and a warning says so.
	AccessToken *AccessToken `json:"access_token,omitempty"`

	// Whether the clients' public keys are served at `/.well-known/jwks.json`
	// below the base URL, for hubs that verify requests themselves. Each key says
	// in `signpost_iss` which client's it is. Hubs read 1,000 keys. The default is
	// false.
	PublishKeys bool `json:"publish_keys,omitempty"`

	// How long signatures can be read. The default is 1h.
	Retention caddy.Duration `json:"retention,omitempty"`

	// Whether signatures can be read once only.
	RetrieveOnce bool `json:"retrieve_once,omitempty"`

	// How many signature requests a client may post in a minute. The default is
	// 0: any number.
	RateLimit int64 `json:"rate_limit,omitempty"`

	app     *App
	handler *signing.API
}

// SigningHubAddress says how the browser page reaches the hub.
type SigningHubAddress struct {
	// `url` (the default) for a hub of the protocol hub/1, such as
	// `signing_hub`; `nhs` for the NHS Credential Management software.
	Kind string `json:"kind,omitempty"`

	// The address of a hub/1 on the user's own machine. The default is
	// `http://127.0.0.1:43480`.
	URL string `json:"url,omitempty"`
}

const (
	defaultHubURL = "http://127.0.0.1:43480"
	hubKindURL    = "url"
	hubKindNHS    = "nhs"
)

func (h SigningHubAddress) hub() (page.Hub, error) {
	switch h.Kind {
	case "", hubKindURL:
		if h.URL == "" {
			h.URL = defaultHubURL
		}
		return page.Hub{Kind: "hub1", URL: h.URL}, nil
	case hubKindNHS:
		if h.URL != "" {
			return page.Hub{}, errors.New("hub nhs finds its hub by itself: it takes no URL")
		}
		return page.Hub{Kind: "nhs"}, nil
	}
	return page.Hub{}, fmt.Errorf("hub %q: it must be url or nhs", h.Kind)
}

// CaddyModule returns the Caddy module information.
func (SigningAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.signing_api", New: func() caddy.Module { return new(SigningAPI) }}
}

// Provision builds the API. It opens nothing.
func (s *SigningAPI) Provision(ctx caddy.Context) (err error) {
	if s.app, err = appOf(ctx); err != nil {
		return err
	}
	cfg, err := s.config()
	if err != nil {
		return err
	}
	if cfg.BaseURL, err = caddy.NewReplacer().ReplaceOrErr(s.BaseURL, true, true); err != nil {
		return fmt.Errorf("base_url: %w", err)
	}
	if err := s.provisionEvidence(ctx, &cfg); err != nil {
		return err
	}
	hub, err := s.Hub.hub()
	if err != nil {
		return err
	}
	base, err := url.Parse(cfg.BaseURL)
	if err != nil {
		return fmt.Errorf("base_url: %w", err)
	}
	if cfg.Page, err = page.New(page.Config{BasePath: base.Path, Hub: hub, Mock: s.Mock}); err != nil {
		return err
	}
	if s.AccessToken != nil {
		if cfg.AccessToken, err = s.AccessToken.provision(ctx); err != nil {
			return fmt.Errorf("access_token: %w", err)
		}
	} else {
		ctx.Logger().Warn("no access_token is configured: whoever holds the token of a signature request can read its signatures")
	}
	cfg.Clients = s.app.clients
	cfg.Store = s.app.handle.Backend()
	if s.PublishKeys {
		cfg.PublishKeys = s.publish(ctx)
	}
	cfg.Version = signingVersion()
	cfg.Health = s.checks
	cfg.Logger = moduleLogger(ctx)
	cfg.Now, cfg.Observe = clock, observeSigning
	if s.handler, err = signing.New(cfg); err != nil {
		return err
	}
	s.app.needStorage("signing_api")
	return nil
}

// provisionEvidence makes what verifies uploaded signatures.
func (s *SigningAPI) provisionEvidence(ctx caddy.Context, cfg *signing.Config) error {
	e := s.evidence()
	if providerOf(s.TrustPoolRaw) == "system" {
		return errors.New("trust_pool system: its authorities vouch for web sites, not for people; name those of your users' cards")
	}
	pool, err := loadTrustPool(ctx, s, s.TrustPoolRaw, "TrustPoolRaw")
	switch {
	case err != nil:
		return err
	case pool != nil:
		e.Roots = pool
	case !s.Mock:
		return errors.New("trust_pool is required: whose certificates may users sign with? (Only `mock on` can do without.)")
	}
	if s.Mock {
		ctx.Logger().Warn("mock is on: whoever adds mock=true to the page's address gets a signature without a smartcard; never in production", zap.String("base_url", s.BaseURL))
		if cfg.Mock, err = theMock(); err != nil {
			return err
		}
		e.Mock = cfg.Mock
	}
	e.Logger, e.Now = moduleLogger(ctx), clock
	cfg.Evidence, err = evidence.New(e)
	return err
}

// providerOf is the name of a module of certificate authorities.
func providerOf(raw json.RawMessage) string {
	var module struct {
		Provider string `json:"provider"`
	}
	_ = json.Unmarshal(raw, &module) // nothing, when there is none
	return module.Provider
}

func (s *SigningAPI) evidence() evidence.Config {
	return evidence.Config{
		MinKeyBits:            int(s.MinCardKeyBits),
		RequireNonRepudiation: s.RequireNonRepudiation == nil || *s.RequireNonRepudiation,
		SubjectFrom:           evidence.SubjectFrom(s.SubjectFrom),
		Revocation:            evidence.Revocation(s.Revocation),
		AllowPrivate:          s.AllowPrivate,
	}
}

// theMock is the fake signer of this run of the program: reloads keep it, so
// that what it has signed stays valid.
var theMock = sync.OnceValues(func() (*evidence.Mock, error) {
	return evidence.NewMock(func() time.Time { return clock() })
})

// config reads the settings that stand for themselves.
func (s *SigningAPI) config() (signing.Config, error) {
	if s.BaseURL == "" {
		return signing.Config{}, errors.New("base_url is required: under which URL do applications and browsers reach the API?")
	}
	return signing.Config{
		BaseURL:             s.BaseURL,
		Profile:             signing.Profile(s.Profile),
		SignatureAlgorithms: slices.Clone(s.SignatureAlgorithms),
		MinKeyBits:          int(s.MinKeyBits),
		Leeway:              time.Duration(s.Leeway),
		MaxBody:             s.MaxBody,
		MaxBuffered:         s.MaxBuffered,
		Retention:           time.Duration(s.Retention),
		RetrieveOnce:        s.RetrieveOnce,
		RateLimit:           int(s.RateLimit),
	}, nil
}

func (s *SigningAPI) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	defer s.app.hold(r.Context())()
	s.handler.ServeHTTP(w, r)
	return nil
}

// checks is what /_status tells: whether this API works. A client without keys
// is a matter of that client alone.
func (s *SigningAPI) checks(ctx context.Context) map[string]error {
	checks := map[string]error{"storage": s.app.health.run(ctx, s.app)}
	if s.AccessToken != nil {
		checks["access_token"] = s.AccessToken.ready()
	}
	return checks
}

const modulePath = "github.com/signpost-gateway/signpost"

// signingVersion tells which build of this module runs.
func signingVersion() signing.Version {
	v := signing.Version{Version: "unknown", Revision: "unknown"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, m := range append(info.Deps, &info.Main) {
			if m.Path == modulePath {
				v.Version, v.Revision = m.Version, cmp.Or(m.Sum, v.Revision)
			}
		}
		for _, setting := range info.Settings {
			if setting.Key == "vcs.revision" && info.Main.Path == modulePath {
				v.Revision = setting.Value
			}
		}
	}
	v.ReleaseID, v.CommitID = v.Version, v.Revision
	return v
}

// Interface guards
var (
	_ caddy.Provisioner           = (*SigningAPI)(nil)
	_ caddyhttp.MiddlewareHandler = (*SigningAPI)(nil)
	_ caddyfile.Unmarshaler       = (*SigningAPI)(nil)
)
