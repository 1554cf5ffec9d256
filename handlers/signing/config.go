package signing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/handlers/signing/page"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/jwks"
)

// Defaults and limits of [Config].
const (
	DefaultMinKeyBits  = 4096
	DefaultLeeway      = 30 * time.Second
	DefaultMaxBody     = 1 << 20
	DefaultMaxBuffered = 24 << 20
	DefaultRetention   = time.Hour
	maxLeeway          = 24 * time.Hour
)

// Profile says how much of a signature request is checked.
type Profile string

// The profiles.
const (
	// ProfileStrict checks everything.
	ProfileStrict Profile = "strict"
	// ProfileDocumented accepts a JWT that is posted again, as a new request.
	ProfileDocumented Profile = "documented"
	// ProfileINT2022 checks the form of the JWT only: neither its signature and
	// key, nor times, audience and client, and payloads may be empty. So did
	// the real service's integration environment in 2022, against which public
	// test suites were written. Never use it in production; it needs Mock.
	ProfileINT2022 Profile = "int2022"
)

// Store is what the API needs of a storage back end. The methods do what
// [storage.Backend] says.
type Store interface {
	CreateSigningRequest(ctx context.Context, r storage.SigningRequest) error
	SigningRequest(ctx context.Context, token storage.Digest) (storage.SigningRequest, error)
	DownloadSigningRequest(ctx context.Context, token storage.Digest, binding *storage.Digest) (r storage.SigningRequest, changed bool, err error)
	SignSigningRequest(ctx context.Context, token storage.Digest, response []byte, expires time.Time) (r storage.SigningRequest, changed bool, err error)
	RetrieveSigningRequest(ctx context.Context, token storage.Digest) (r storage.SigningRequest, changed bool, err error)
	Take(ctx context.Context, b storage.Bucket, now time.Time) (wait time.Duration, err error)
}

// Config describes an API. BaseURL, Store, Clients, Evidence and Page are
// required; the zero value of every other field is its default.
type Config struct {
	// BaseURL is under which clients and browsers reach the API: https, or
	// http on a loopback address. It is the aud of requests, compared byte for
	// byte, and what redirectUri begins with. Routes are found with its path
	// and without it.
	BaseURL string
	// Profile defaults to ProfileStrict.
	Profile Profile
	// SignatureAlgorithms are the values of the claim algorithm that are
	// accepted: RS256 and RS1 (PKCS #1 v1.5 with SHA-256 and SHA-1). Default,
	// when empty: both.
	SignatureAlgorithms []string

	Store   Store
	Clients Clients
	// MinKeyBits is the smallest RSA key of a client, in bits, 2048 to 16384.
	// Default, when 0: 4096.
	MinKeyBits int
	// Leeway is how far a client's clock may be ahead. Default, when 0: 30 s.
	// Negative means none. At most 24 h.
	Leeway time.Duration
	// MaxBody is the longest body in bytes, at most 1 MiB; beyond it the
	// answer is 413. Default, when 0: 1 MiB.
	MaxBody int64
	// MaxBuffered bounds the memory of all bodies that are being read and
	// checked, in bytes, at least twelve times MaxBody. A request waits a short
	// while for its share, and is answered 503 then. Default, when 0: 24 MiB.
	MaxBuffered int64

	// Evidence verifies uploaded signatures.
	Evidence *evidence.Verifier
	// Mock, unless nil, lets the browser page be asked for fake signatures by
	// mock=true. Never in production.
	Mock *evidence.Mock
	Page *page.Page

	// AccessToken, unless nil, authenticates the calls of applications, and
	// returns for which client the token was issued. It is called before
	// anything else is looked at, and must not read the body. An error should
	// be an [*AccessError]; any other is answered 503. When nil, whoever holds
	// a request's token can read its signatures.
	AccessToken func(r *http.Request) (client string, err error)
	// PublishKeys, unless nil, serves GET /.well-known/jwks.json: the public
	// keys of the clients, for hubs.
	PublishKeys http.Handler

	// Retention is how long signatures can be read. Default, when 0: 1 h.
	Retention time.Duration
	// RetrieveOnce removes the signatures when they have been read once.
	RetrieveOnce bool
	// RateLimit is the number of signature requests a minute of each client;
	// 0 means no limit.
	RateLimit int

	// Version is what /_ping answers.
	Version Version
	// Health, unless nil, tells /_status by name what works: nil for what
	// does. Its errors are logged, not shown.
	Health func(ctx context.Context) map[string]error

	// Logger gets successes at debug, uploads and refusals at info and faults
	// at error; never a token, a JWT, a payload or a state. Default: no log.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Observe, when set, is called once for every request, for metrics. It
	// must not block.
	Observe func(Event)
}

// Version is what /_ping tells of the running program.
type Version struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	ReleaseID string `json:"releaseId"`
	CommitID  string `json:"commitId"`
}

// Event is what Observe learns of a request. Its texts come from the constants
// of this package, so they may be labels of metrics.
type Event struct {
	Route    string // such as "request", "download", "upload", "response", "client" or "none"
	Result   string // "ok" or a reason code such as "not_downloaded"
	Status   int    // of the answer
	Duration time.Duration
}

// API is the signing API. It is safe for concurrent use.
type API struct {
	config   Config
	basePath string // without a slash at its end; "" for the root
	origin   string // of BaseURL, as browsers write it
	bodies   bodies
}

// New checks the configuration.
func New(c Config) (*API, error) {
	for name, missing := range map[string]bool{
		"Store": c.Store == nil, "Clients": c.Clients == nil, "Evidence": c.Evidence == nil, "Page": c.Page == nil,
	} {
		if missing {
			return nil, fmt.Errorf("signing: %s is required", name)
		}
	}
	a := &API{}
	if err := a.setBase(c.BaseURL); err != nil {
		return nil, err
	}
	if err := c.setLimits(); err != nil {
		return nil, err
	}
	if err := c.setProfile(); err != nil {
		return nil, err
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Observe == nil {
		c.Observe = func(Event) {}
	}
	a.config = c
	var err error
	a.bodies, err = newBodies(c.MaxBuffered, c.MaxBody)
	return a, err
}

// setBase takes the base URL apart.
func (a *API) setBase(base string) error {
	u, err := url.Parse(base)
	switch {
	case base == "":
		return errors.New("signing: BaseURL is required: under which URL do clients and browsers reach the API?")
	case err != nil:
		return fmt.Errorf("signing: BaseURL %q: %w", base, err)
	case !isSecure(u):
		return fmt.Errorf("signing: BaseURL %q must begin with https:// (http:// is for loopback addresses only)", base)
	case u.Host == "" || u.Hostname() == "" || u.User != nil || u.Opaque != "":
		return fmt.Errorf("signing: BaseURL %q must be a scheme, a host and a path, such as https://sign.example.org/signing-service", base)
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(base, "#"):
		return fmt.Errorf("signing: BaseURL %q has a query or a fragment", base)
	case strings.HasSuffix(base, "/"):
		return fmt.Errorf("signing: BaseURL %q must not end with a slash: it is compared with the aud of requests byte for byte", base)
	case u.EscapedPath() != u.Path || strings.Contains(u.Path+"/", "//") ||
		strings.Contains(u.Path+"/", "/./") || strings.Contains(u.Path+"/", "/../"):
		return fmt.Errorf("signing: BaseURL %q has a path that is not plain: no escapes, no empty and no dot segments", base)
	}
	a.basePath = u.Path
	a.origin = originOf(u)
	return nil
}

func (c *Config) setLimits() error {
	setDefault(&c.MinKeyBits, DefaultMinKeyBits)
	setDefault(&c.Leeway, DefaultLeeway)
	setDefault(&c.MaxBody, DefaultMaxBody)
	setDefault(&c.MaxBuffered, DefaultMaxBuffered)
	setDefault(&c.Retention, DefaultRetention)
	switch {
	case c.MinKeyBits < jwks.DefaultMinKeyBits || c.MinKeyBits > jwks.MaxKeyBits:
		return fmt.Errorf("signing: MinKeyBits is %d; it must be %d to %d", c.MinKeyBits, jwks.DefaultMinKeyBits, jwks.MaxKeyBits)
	case c.Leeway > maxLeeway:
		return fmt.Errorf("signing: Leeway is %s; it must be %s at most", c.Leeway, maxLeeway)
	case c.MaxBody < 0 || c.MaxBody > DefaultMaxBody:
		return fmt.Errorf("signing: MaxBody is %d; it must be 1 to %d bytes", c.MaxBody, DefaultMaxBody)
	case c.Retention < 0:
		return errors.New("signing: Retention is negative")
	case c.RateLimit < 0:
		return errors.New("signing: RateLimit is negative; 0 means no limit")
	}
	c.Leeway = max(c.Leeway, 0)
	return nil
}

func (c *Config) setProfile() error {
	setDefault(&c.Profile, ProfileStrict)
	switch c.Profile {
	case ProfileStrict, ProfileDocumented:
	case ProfileINT2022:
		if c.Mock == nil {
			return errors.New("signing: the profile int2022 verifies no request, so it is for tests only: it needs the mock to be on")
		}
	default:
		return fmt.Errorf("signing: unknown profile %q: it must be strict, documented or int2022", c.Profile)
	}
	known := []string{algorithmRS1, algorithmRS256}
	if len(c.SignatureAlgorithms) == 0 {
		c.SignatureAlgorithms = known
	}
	c.SignatureAlgorithms = slices.Sorted(slices.Values(c.SignatureAlgorithms))
	c.SignatureAlgorithms = slices.Compact(c.SignatureAlgorithms)
	for _, name := range c.SignatureAlgorithms {
		if !slices.Contains(known, name) {
			return fmt.Errorf("signing: unknown signature algorithm %q: it must be RS256 or RS1", name)
		}
	}
	return nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
