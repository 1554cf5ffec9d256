package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// NotifyRules says which Notify tokens are accepted.
type NotifyRules struct {
	// The ids of the services that may pass, of this configuration or in
	// storage; to the others a service outside the list does not exist. It may
	// be left out when the configuration has just one service, which may pass
	// then. Placeholders such as `{env.NAME}` are expanded.
	Services []string `json:"services,omitempty"`

	// The kind of token: `signed` (the default; the claims `iss`, `iat`, `req`
	// and, with a body, `pay`) or `v2` (`iss` and `iat` only: the request
	// itself is not signed).
	Dialect string `json:"dialect,omitempty"`

	// How far the token's `iat` may lie from now, in either direction, in
	// whole seconds and at most 24h, both ends included. The default, also for
	// 0, is 30s.
	Leeway caddy.Duration `json:"leeway,omitempty"`

	// The longest body in bytes; beyond it the answer is 413. The default is
	// 1 MiB.
	MaxBody int64 `json:"max_body,omitempty"`

	// How many bytes of bodies may be in memory for verification at once, for
	// this handler alone; beyond it the answer is 503. It must not be below
	// `max_body`. The default is 64 MiB, or `max_body` when that is more.
	MaxBuffered int64 `json:"max_buffered,omitempty"`

	// A prefix of the path that clients do not sign, such as `/api/endpoint`.
	// Requests must have it; what follows it is what is signed.
	BasePath string `json:"base_path,omitempty"`

	// What becomes of a query string: `refuse` (the default), `signed` (the
	// client signs `METHOD path?query`) or `unsigned` (it passes unprotected;
	// the default with dialect `v2`, which signs no part of the request).
	Query string `json:"query,omitempty"`

	// Whether a token may be used again while it is valid: `off` (the default)
	// allows it; `reject` refuses the second use, for methods other than GET,
	// HEAD, OPTIONS and TRACE. Two lawful identical requests in one second
	// carry the identical token, so the second would be refused. Used tokens
	// are kept in storage. It can't be combined with the dialect `v2`.
	Replay string `json:"replay,omitempty"`

	// The request header that tells the next handler the service's id. What
	// the client sent under this name is removed. The default is
	// `X-Notify-Service`.
	IdentityHeader string `json:"identity_header,omitempty"`

	app          *App
	dialect      notifyauth.Dialect
	verifier     *notifyauth.Verifier
	needsStorage bool
}

var notifyRuleNames = []string{
	"services", "dialect", "leeway", "max_body", "max_buffered",
	"base_path", "query", "replay", "identity_header",
}

func (n *NotifyRules) provision(ctx caddy.Context) error {
	var err error
	if n.app, err = appOf(ctx); err != nil {
		return err
	}
	cfg, err := n.config()
	if err != nil {
		return err
	}
	if cfg.Allow, err = n.resolveServices(); err != nil {
		return err
	}
	cfg.Services = n.app.directory
	cfg.Logger = moduleLogger(ctx)
	if n.Replay == "reject" {
		cfg.Replay = replayGuard{n.app.handle.Backend()}
		n.needsStorage = true
	}
	if n.verifier, err = notifyauth.New(cfg); err != nil {
		return err
	}
	if n.needsStorage {
		n.app.needStorage("notify_auth")
	}
	if cfg.Query == notifyauth.QueryUnsigned && n.dialect == notifyauth.Signed {
		ctx.Logger().Warn("query strings pass unsigned: whoever can change a request on its way can change its query")
	}
	return nil
}

// config reads the settings that stand for themselves.
func (n *NotifyRules) config() (cfg notifyauth.Config, err error) {
	if n.dialect, err = notifyauth.ParseDialect(n.Dialect); err != nil {
		return cfg, err
	}
	query, err := notifyauth.ParseQueryPolicy(n.Query)
	if err != nil {
		return cfg, err
	}
	if n.Query == "" && n.dialect == notifyauth.V2 {
		query = notifyauth.QueryUnsigned // v2 signs nothing of the request
	}
	if n.Replay != "" && n.Replay != "off" && n.Replay != "reject" {
		return cfg, fmt.Errorf("replay %q: it must be off or reject", n.Replay)
	}
	if n.Replay == "reject" && n.dialect == notifyauth.V2 {
		return cfg, errors.New("replay reject needs the signed dialect: clients of v2 use one token for many requests")
	}
	cfg = notifyauth.Config{
		Dialect:        n.dialect,
		Leeway:         time.Duration(n.Leeway),
		MaxBody:        n.MaxBody,
		BasePath:       n.BasePath,
		Query:          query,
		IdentityHeader: n.IdentityHeader,
		Now:            clock,
		Observe:        observeAuth,
	}
	cfg.Buffers, err = bufferBudget(n.MaxBuffered, n.MaxBody, 1)
	return cfg, err
}

// checkConfig finds what a verifier would refuse, so that the error has file
// and line.
func checkConfig(d *caddyfile.Dispenser, cfg notifyauth.Config, err error) error {
	if err == nil {
		cfg.Services = notifyauth.StaticServices()
		_, err = notifyauth.New(cfg)
	}
	if err != nil {
		return d.Err(err.Error())
	}
	return nil
}

// resolveServices says who may pass, and notes whether any of them can only be
// in storage.
func (n *NotifyRules) resolveServices() ([]string, error) {
	configured := n.app.configured
	if len(n.Services) == 0 {
		switch len(configured) {
		case 0:
			return nil, errNoServices
		case 1:
			return configured, nil
		}
		return nil, fmt.Errorf("the configuration has %d services: say with `services` which of them may pass", len(configured))
	}
	repl := caddy.NewReplacer()
	out := make([]string, len(n.Services))
	for i, id := range n.Services {
		out[i] = repl.ReplaceKnown(id, "")
		if slices.Contains(configured, out[i]) {
			continue
		}
		if !directory.CanBeStored(out[i]) {
			return nil, fmt.Errorf("service %q is not in the configuration, and it can't be in storage either: ids there are UUIDs in lower case", out[i])
		}
		n.needsStorage = true
	}
	return out, nil
}

// bufferBudget makes the budget of `max_buffered`, of which one body takes
// factor times its length; nil stands for the default.
func bufferBudget(maxBuffered, maxBody, factor int64) (*notifyauth.Budget, error) {
	if maxBuffered == 0 {
		return nil, nil
	}
	if maxBody == 0 {
		maxBody = notifyauth.DefaultMaxBody
	}
	if least := maxBody * factor; maxBuffered < least {
		return nil, fmt.Errorf("max_buffered is %d bytes, but one body of max_body (%d bytes) takes %d of it", maxBuffered, maxBody, least)
	}
	return notifyauth.NewBudget(maxBuffered), nil
}

// authenticate verifies the request and returns what gives its body's memory
// back. It holds the storage open meanwhile, when it may be asked.
func (n *NotifyRules) authenticate(w http.ResponseWriter, r *http.Request) (notifyauth.Identity, func(), error) {
	span := startSpan(r, "notify_auth")
	if n.needsStorage {
		// Not until the request has been served, which may take for ever.
		defer n.app.hold(r.Context())()
	}
	id, release, err := n.verifier.Authenticate(w, r, original(r))
	endSpan(span, err, attribute.String("signpost.service", id.ServiceID), attribute.String("signpost.key", id.KeyName))
	return id, release, err
}

// userMetadata is what the placeholders `{http.auth.user.*}` tell beside the
// id.
func userMetadata(id notifyauth.Identity) map[string]string {
	return map[string]string{
		"name":      id.ServiceName,
		"key":       id.KeyName,
		"key_type":  id.KeyType,
		"issued_at": strconv.FormatInt(id.IssuedAt.Unix(), 10),
	}
}

// replayGuard remembers tokens in the storage.
type replayGuard struct {
	store interface {
		Remember(ctx context.Context, k storage.ReplayKey, now time.Time) (bool, error)
	}
}

// Remember implements notifyauth.Guard.
func (g replayGuard) Remember(ctx context.Context, serviceID string, key []byte, expires time.Time) (bool, error) {
	return g.store.Remember(ctx, storage.ReplayKey{ServiceID: serviceID, Key: key, ExpiresAt: expires}, clock())
}

// unmarshalOption reads one option of the block; known is false when it isn't
// one of these.
func (n *NotifyRules) unmarshalOption(d *caddyfile.Dispenser) (known bool, err error) {
	switch name := d.Val(); name {
	case "services":
		return true, wordsOption(d, &n.Services)
	case "dialect":
		return true, wordOption(d, &n.Dialect, "signed", "v2")
	case "leeway":
		return true, durationOption(d, &n.Leeway)
	case "max_body":
		return true, sizeOption(d, &n.MaxBody)
	case "max_buffered":
		return true, sizeOption(d, &n.MaxBuffered)
	case "base_path":
		return true, textOption(d, &n.BasePath)
	case "query":
		return true, wordOption(d, &n.Query, "refuse", "signed", "unsigned")
	case "replay":
		return true, wordOption(d, &n.Replay, "off", "reject")
	case "identity_header":
		return true, textOption(d, &n.IdentityHeader)
	}
	return false, nil
}
