package notifyauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// Defaults of [Config].
const (
	DefaultLeeway         = 30 * time.Second
	DefaultMaxBody        = 1 << 20
	DefaultMaxBuffered    = 64 << 20
	DefaultIdentityHeader = "X-Notify-Service"
)

// Guard remembers tokens for [Config.Replay]. Remember stores the key until
// expires and reports whether it was new; it must be atomic. An error is a
// technical one: the caller answers 503.
type Guard interface {
	Remember(ctx context.Context, serviceID string, key []byte, expires time.Time) (first bool, err error)
}

// Config says what a [Verifier] accepts.
type Config struct {
	// Services finds keys. Required.
	Services Services
	// Allow lists the ids of the services that may pass; empty means all that
	// Services knows. To the others a service outside the list doesn't exist.
	Allow []string
	// Dialect is the only kind of token that is accepted. Default: Signed.
	Dialect Dialect
	// Leeway is how far iat may lie from now, in either direction and
	// inclusive, in whole seconds. Default, when 0: 30 s.
	Leeway time.Duration
	// MaxBody is the longest body in bytes; beyond it the answer is 413.
	// Default, when 0: 1 MiB.
	MaxBody int64
	// Buffers bounds the bodies of all requests being verified; verifiers may
	// share one. Beyond it the answer is 503. Default, when nil: 64 MiB, or
	// what one body may need when that is more.
	Buffers *Budget
	// BufferFactor says how many times the memory of a body Buffers is charged
	// with: more than once when the next handler makes copies of it. Default,
	// when 0: 1.
	BufferFactor int64
	// BufferBody reads bodies in the V2 dialect too before the request goes on,
	// charged to Buffers, and refuses those with a Content-Encoding. Without it
	// they stay unread, limited to MaxBody; the signed dialect reads them in any
	// case.
	BufferBody bool
	// BasePath is a prefix of the path that clients don't sign, such as
	// "/api/endpoint": whole segments, in the form that clients send.
	BasePath string
	// ServeRoot accepts requests outside BasePath too.
	ServeRoot bool
	// Query says what becomes of a query string. Default: QueryRefuse.
	Query QueryPolicy
	// Replay, when set, refuses the second use of a token by a method other
	// than GET, HEAD, OPTIONS and TRACE. Only for the signed dialect: the
	// clients of V2 use one token for many requests.
	Replay Guard
	// IdentityHeader carries the service's id to the next handler; whatever
	// the client sent under that name, in any spelling, is removed. Default:
	// X-Notify-Service.
	IdentityHeader string
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Logger gets successes at debug, refusals at info with their reason code,
	// attacks at warn and technical faults at error; never a token, a MAC, a
	// secret or a body. Default: no log.
	Logger *slog.Logger
	// Observe, when set, is called once for every request, for metrics.
	Observe func(Result)
}

// Result is what became of one request.
type Result struct {
	Code      Code // empty when the request was authenticated
	Status    int  // 0 when it was authenticated
	ServiceID string
	KeyName   string
	// ClockOffset is iat minus now, when the token got as far as that check.
	ClockOffset time.Duration
}

// Verifier authenticates requests. It is safe for concurrent use.
type Verifier struct {
	services  Services
	allow     map[string]struct{}
	dialect   Dialect
	leeway    int64 // seconds
	maxBody   int64
	budget    *Budget
	factor    int64
	buffer    bool
	basePath  string
	serveRoot bool
	query     QueryPolicy
	replay    Guard
	identity  string
	now       func() time.Time
	log       *slog.Logger
	observe   func(Result)

	// mostKeys is the largest number of active keys of any service seen so
	// far, up to maxDecoys.
	mostKeys atomic.Int32
}

// New checks the configuration and makes a Verifier.
func New(c Config) (*Verifier, error) {
	v := &Verifier{
		services:  c.Services,
		dialect:   c.Dialect,
		maxBody:   c.MaxBody,
		budget:    c.Buffers,
		factor:    c.BufferFactor,
		buffer:    c.BufferBody,
		basePath:  strings.TrimSuffix(c.BasePath, "/"),
		serveRoot: c.ServeRoot,
		query:     c.Query,
		replay:    c.Replay,
		identity:  c.IdentityHeader,
		now:       c.Now,
		log:       c.Logger,
		observe:   c.Observe,
	}
	if c.Services == nil {
		return nil, errors.New("notifyauth: Services is required")
	}
	if len(c.Allow) > 0 {
		v.allow = make(map[string]struct{}, len(c.Allow))
		for _, id := range c.Allow {
			if id == "" {
				return nil, errors.New("notifyauth: Allow holds an empty service id")
			}
			v.allow[id] = struct{}{}
		}
	}
	if err := v.setLimits(c); err != nil {
		return nil, err
	}
	if err := v.setRequestRules(); err != nil {
		return nil, err
	}
	if v.now == nil {
		v.now = time.Now
	}
	if v.log == nil {
		v.log = slog.New(slog.DiscardHandler)
	}
	return v, nil
}

func (v *Verifier) setLimits(c Config) error {
	switch {
	case c.Leeway < 0:
		return errors.New("notifyauth: Leeway is negative")
	case c.Leeway%time.Second != 0:
		return fmt.Errorf("notifyauth: Leeway is %s, but iat is compared in whole seconds", c.Leeway)
	case c.Leeway > 24*time.Hour:
		return fmt.Errorf("notifyauth: Leeway is %s; a token that lives longer than a day protects nothing", c.Leeway)
	case c.Leeway == 0:
		c.Leeway = DefaultLeeway
	}
	v.leeway = int64(c.Leeway / time.Second)

	if v.maxBody < 0 {
		return errors.New("notifyauth: MaxBody is negative")
	}
	if v.maxBody == 0 {
		v.maxBody = DefaultMaxBody
	}
	if v.factor < 0 {
		return errors.New("notifyauth: BufferFactor is negative")
	}
	if v.factor == 0 {
		v.factor = 1
	}
	one := v.maxBody * v.factor
	if v.budget == nil {
		v.budget = NewBudget(max(DefaultMaxBuffered, one))
	}
	if v.budget.Max() < one {
		return fmt.Errorf("notifyauth: the budget of buffered bodies is %d bytes, less than one body may need (%d)", v.budget.Max(), one)
	}
	return nil
}

func (v *Verifier) setRequestRules() error {
	if v.dialect > V2 {
		return fmt.Errorf("notifyauth: unknown dialect %d", v.dialect)
	}
	if v.query > QueryUnsigned {
		return fmt.Errorf("notifyauth: unknown query policy %d", v.query)
	}
	if v.query == QuerySigned && v.dialect == V2 {
		return errors.New("notifyauth: tokens of v2 sign no query: use refuse or unsigned")
	}
	if v.replay != nil && v.dialect == V2 {
		return errors.New("notifyauth: refusing replays needs the signed dialect: clients of v2 use one token for many requests")
	}
	if v.basePath != "" {
		if !strings.HasPrefix(v.basePath, "/") || strings.HasSuffix(v.basePath, "/") || !canonicalPath(v.basePath) {
			return fmt.Errorf("notifyauth: base path %q must start with a slash and be in its canonical form: no empty or dot segments, no needless escapes, no query", v.basePath)
		}
	}
	if v.identity == "" {
		v.identity = DefaultIdentityHeader
	}
	name, err := CheckIdentityHeader(v.identity)
	if err != nil {
		return fmt.Errorf("notifyauth: %w", err)
	}
	v.identity = name
	return nil
}

// CheckIdentityHeader returns the canonical form of the name of a header that
// is to carry what was verified, or says why it can't.
func CheckIdentityHeader(name string) (canonical string, err error) {
	if !IsToken(name) {
		return "", fmt.Errorf("%q is not a header name", name)
	}
	canonical = http.CanonicalHeaderKey(name)
	if slices.Contains(reservedHeaders, canonical) {
		return "", fmt.Errorf("the header %s has a meaning of its own and can't carry an identity", canonical)
	}
	return canonical, nil
}

// IsToken reports whether the text is a token (RFC 9110, section 5.6.2), which
// is what the names of headers, cookies and authentication schemes are.
func IsToken(text string) bool {
	for i := range len(text) {
		c := text[i]
		if !isAlphanumeric(c) && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(c)) {
			return false
		}
	}
	return text != ""
}

// reservedHeaders can't carry an identity: other parts of HTTP read, change or
// drop them.
var reservedHeaders = []string{
	"Authorization", "Connection", "Content-Encoding", "Content-Length", "Content-Type", "Cookie", "Date", "Expect",
	"Host", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer",
	"Transfer-Encoding", "Upgrade",
}
