package caddymodule

import (
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/signpost-gateway/signpost/handlers/notifications"
	"github.com/signpost-gateway/signpost/handlers/notifications/recipient"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// NotifyAPI serves the notification API in two dialects: today's, of GOV.UK
// Notify's client libraries, below `/v2`, and that of early 2016 with its signed
// requests: `POST /notifications/sms` and `/notifications/email`, `GET
// /notifications/{id}` and `/notifications`. It authenticates every request by
// itself, as `notify_auth` does with `query unsigned`, but those for `/_status`
// and `/openapi.json`, and answers every path, so put it into a site or a
// `handle` block of its own. Reports of delivery providers go to `POST
// /receipts/{provider}`, text messages that they have received to `POST
// /inbound/{provider}`; both carry that provider's secret instead of a token.
type NotifyAPI struct {
	// The kind of token that `/notifications` takes: `signed` (the default; the
	// claims `iss`, `iat`, `req` and, with a body, `pay`) or `v2` (`iss` and
	// `iat` only, for clients of the years between the two dialects). Below
	// `/v2` tokens are those of v2 in any case.
	Dialect string `json:"dialect,omitempty"`

	// Scheme and host, such as `https://notify.example.org`, that addresses in
	// answers begin with. The default is what the client used: the request's
	// host, and https when it came by TLS, or what the headers
	// `X-Forwarded-Proto` and `X-Forwarded-Host` say when they come from one of
	// the server's `trusted_proxies`. It may be a placeholder.
	Origin string `json:"origin,omitempty"`

	// A prefix of the path that clients do not sign, such as `/api/endpoint`.
	// The API is served at the root as well.
	BasePath string `json:"base_path,omitempty"`

	// How far a token's `iat` may lie from now, in either direction, in whole
	// seconds and at most 24h, both ends included. The default, also for 0, is
	// 30s.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// The longest body in bytes; beyond it the answer is 413. The default is
	// 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// How many bytes of memory the bodies of all requests may take at once, for
	// this handler alone; beyond it the answer is 503. A body counts four times,
	// for the copies that are made of it, so this must be at least four times
	// `max_body`. The default is 64 MiB, or that when it is more.
	MaxBuffered int64 `json:"max_buffered,omitempty"`

	// Whether the same signed token, sent again while it is valid, or with v2
	// the same `Idempotency-Key` within 24h, answers the first 201 instead of
	// sending another notification. The default is true.
	Idempotent *bool `json:"idempotent,omitempty"`

	// The country (ISO 3166-1) whose phone numbers may be written without a
	// country code. The default is `GB`.
	Region string `json:"region,omitempty"`

	// Whether numbers of other countries are accepted.
	International bool `json:"international,omitempty"`

	// How many requests to send each service may make in a minute with each
	// type of key; 0 means no limit. A third of it, at most 1000, may come at
	// once. The default is 3000.
	RateLimit *int64 `json:"rate_limit,omitempty"`

	// How many notifications each service may send by each channel in a day
	// (UTC), whatever the type of key; 0 means no limit. The default is 250000.
	DailyLimit *int64 `json:"daily_limit,omitempty"`

	// How long notifications are kept after their creation; those that are not
	// final by then stay until they are. The default is 168h.
	Retention caddy.Duration `json:"retention,omitempty"`

	app     *App
	handler http.Handler
}

// CaddyModule returns the Caddy module information.
func (NotifyAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.notify_api", New: func() caddy.Module { return new(NotifyAPI) }}
}

// Provision prepares the API.
func (n *NotifyAPI) Provision(ctx caddy.Context) error {
	var err error
	if n.app, err = appOf(ctx); err != nil {
		return err
	}
	n.app.needStorage("notify_api")
	auth, err := n.config()
	if err != nil {
		return err
	}
	dialect, err := notifyauth.ParseDialect(n.Dialect)
	if err != nil {
		return err
	}
	origin, err := newOrigin(n.Origin)
	if err != nil {
		return err
	}
	auth.Services = n.app.directory
	auth.Logger = moduleLogger(ctx)
	signed, err := notifyauth.New(auth)
	if err != nil {
		return err
	}
	auth.Dialect, auth.BufferBody = notifyauth.V2, true
	v2, err := notifyauth.New(auth)
	if err != nil {
		return err
	}
	api, err := notifications.New(notifications.Config{
		Store:         n.app.handle.Backend(),
		Directory:     n.app.directory,
		Senders:       n.app.outlets.senders,
		EmailFrom:     n.app.outlets.emailFrom,
		Dialect:       dialect,
		Origin:        origin,
		BasePath:      n.BasePath,
		Leeway:        time.Duration(n.Leeway),
		NoIdempotency: n.Idempotent != nil && !*n.Idempotent,
		Region:        n.Region,
		International: n.International,
		RateLimit:     int(limitOf(n.RateLimit)),
		DailyLimit:    limitOf(n.DailyLimit),
		Retention:     time.Duration(n.Retention),
		Now:           clock,
		Logger:        moduleLogger(ctx),
		Observe:       observeAPI,
	})
	if err != nil {
		return err
	}
	n.handler = api.Handler(apiVerifier{signed}, apiVerifier{v2}, original)
	return nil
}

// config reads the settings of the authentication.
func (n *NotifyAPI) config() (cfg notifyauth.Config, err error) {
	cfg = notifyauth.Config{
		Leeway:       time.Duration(n.Leeway),
		MaxBody:      n.MaxBody,
		BufferFactor: apiBufferFactor,
		BasePath:     n.BasePath,
		ServeRoot:    true,
		Query:        notifyauth.QueryUnsigned,
		Now:          clock,
		Observe:      observeAuth,
	}
	cfg.Buffers, err = bufferBudget(n.MaxBuffered, n.MaxBody, apiBufferFactor)
	return cfg, err
}

// apiBufferFactor counts what a body becomes in the API: the body itself, its
// JSON, the text in it and the rendered message.
const apiBufferFactor = 4

// apiVerifier tells Caddy who was authenticated, as notify_auth does.
type apiVerifier struct{ *notifyauth.Verifier }

// Authenticate implements notifications.Authenticator.
func (v apiVerifier) Authenticate(w http.ResponseWriter, r *http.Request, o notifyauth.Original) (notifyauth.Identity, func(), error) {
	span := startSpan(r, "notify_api")
	id, release, err := v.Verifier.Authenticate(w, r, o)
	endSpan(span, err, attribute.String("signpost.service", id.ServiceID), attribute.String("signpost.key", id.KeyName))
	if err == nil {
		setUser(r, id)
	}
	return id, release, err
}

// limitOf turns the configuration's "absent means default, 0 means none" into
// the API's "0 means default, negative means none".
func limitOf(configured *int64) int64 {
	switch {
	case configured == nil:
		return 0
	case *configured <= 0:
		return -1
	}
	return *configured
}

func (n *NotifyAPI) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	defer n.app.hold(r.Context())()
	if h := n.ofProvider(r); h != nil {
		h.ServeHTTP(w, r)
		return nil
	}
	n.handler.ServeHTTP(w, r)
	return nil
}

const (
	receiptsPath = "/receipts/"
	inboundPath  = "/inbound/"
)

// ofProvider returns the handler of what a provider posts, nil for any other
// path.
func (n *NotifyAPI) ofProvider(r *http.Request) http.Handler {
	path := original(r).URL.Path
	if base := strings.TrimSuffix(n.BasePath, "/"); base != "" && strings.HasPrefix(path, base+"/") {
		path = path[len(base):]
	}
	if name, ok := strings.CutPrefix(path, receiptsPath); ok {
		return n.app.outlets.receipts[name]
	}
	if name, ok := strings.CutPrefix(path, inboundPath); ok {
		return n.app.outlets.inbound[name]
	}
	return nil
}

// parseNotifyAPI reads the directive, see UnmarshalCaddyfile.
func parseNotifyAPI(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	m := new(NotifyAPI)
	return m, m.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile sets up the handler. Syntax:
//
//	notify_api [<matcher>] {
//		dialect       signed|v2
//		origin        <scheme and host>
//		base_path     <path>
//		leeway        <duration>
//		max_body      <size>
//		max_buffered  <size>
//		idempotent    on|off
//		region        <country>
//		international on|off
//		rate_limit    <requests a minute>
//		daily_limit   <notifications a day>
//		retention     <duration>
//	}
func (n *NotifyAPI) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the directive
	if d.NextArg() {
		return d.ArgErr()
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		if err := n.unmarshalOption(d); err != nil {
			return err
		}
	}
	if n.Region != "" {
		if _, err := recipient.NewPhones(n.Region, n.International); err != nil {
			return d.Err(err.Error())
		}
	}
	cfg, err := n.config()
	return checkConfig(d, cfg, err)
}

var notifyAPIOptions = []string{
	"dialect", "origin", "base_path", "leeway", "max_body", "max_buffered",
	"idempotent", "region", "international", "rate_limit", "daily_limit", "retention",
}

func (n *NotifyAPI) unmarshalOption(d *caddyfile.Dispenser) error {
	switch d.Val() {
	case "dialect":
		return wordOption(d, &n.Dialect, "signed", "v2")
	case "origin":
		if err := textOption(d, &n.Origin); err != nil {
			return err
		}
		if !strings.Contains(n.Origin, "{") {
			if _, err := newOrigin(n.Origin); err != nil {
				return d.Err(err.Error())
			}
		}
		return nil
	case "base_path":
		return textOption(d, &n.BasePath)
	case "leeway":
		return durationOption(d, &n.Leeway)
	case "max_body":
		return sizeOption(d, &n.MaxBody)
	case "max_buffered":
		return sizeOption(d, &n.MaxBuffered)
	case "idempotent":
		return switchOption(d, &n.Idempotent)
	case "region":
		return textOption(d, &n.Region)
	case "international":
		return boolOption(d, &n.International)
	case "rate_limit":
		n.RateLimit = new(int64)
		return countOption(d, n.RateLimit)
	case "daily_limit":
		n.DailyLimit = new(int64)
		return countOption(d, n.DailyLimit)
	case "retention":
		return durationOption(d, &n.Retention)
	}
	return unknownOption(d, "notify_api", notifyAPIOptions...)
}

// Interface guards
var (
	_ caddy.Provisioner           = (*NotifyAPI)(nil)
	_ caddyhttp.MiddlewareHandler = (*NotifyAPI)(nil)
	_ caddyfile.Unmarshaler       = (*NotifyAPI)(nil)
)
