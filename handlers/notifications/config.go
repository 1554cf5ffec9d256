package notifications

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/notifications/recipient"
	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Defaults of Config.
const (
	DefaultLeeway     = 30 * time.Second
	DefaultRegion     = "GB"
	DefaultRateLimit  = 3000
	DefaultDailyLimit = 250_000
	DefaultRetention  = 168 * time.Hour
)

// Simulated is the Sender of notifications made with a test key. The
// dispatcher knows it as a provider that delivers without sending.
const Simulated = "simulated"

// Store is what the API needs of a storage back end.
type Store interface {
	Create(ctx context.Context, c storage.Creation) (storage.Created, error)
	Idempotent(ctx context.Context, serviceID string, key []byte) (storage.Notification, error)
	NotificationByID(ctx context.Context, serviceID string, id int64) (storage.Notification, error)
	NotificationByUUID(ctx context.Context, serviceID string, id uuid.UUID) (storage.Notification, error)
	Notifications(ctx context.Context, q storage.Query) (storage.Page, error)
	Take(ctx context.Context, b storage.Bucket, now time.Time) (wait time.Duration, err error)
	GiveBack(ctx context.Context, b storage.Bucket, now time.Time) error
	Counter(ctx context.Context, key string) (int64, error)
	Inbound(ctx context.Context, q storage.InboundQuery) ([]storage.InboundMessage, error)
}

// Directory finds templates and settings. handlers/directory implements it. An
// error that isn't storage.ErrNotFound is answered with 503.
//
// A template is found by its id and by the UUID that storage.TemplateUUID makes
// of that; what is returned has the id. Archived ones are found too.
type Directory interface {
	// Template returns the newest version of a service's template, or an error
	// that is storage.ErrNotFound.
	Template(ctx context.Context, serviceID, id string) (storage.Template, error)
	// TemplateVersion returns one version, or an error that is
	// storage.ErrNotFound.
	TemplateVersion(ctx context.Context, serviceID, id string, version int) (storage.Template, error)
	// Templates returns the newest versions of a service's templates.
	Templates(ctx context.Context, serviceID string) ([]storage.Template, error)
	// Settings returns what is set for a service, nothing for one that has no
	// settings.
	Settings(ctx context.Context, serviceID string) (storage.ServiceSettings, error)
}

// Config describes an API. Store and Directory are required; the zero value of
// every other field is its default.
type Config struct {
	Store     Store
	Directory Directory
	// Senders names the delivery provider of each channel. A POST for a channel
	// without one is refused with 400.
	Senders map[storage.Channel]string
	// EmailFrom is the address that emails are from when the service has none of
	// its own, so that answers can name it. Empty: they say null.
	EmailFrom string

	// Dialect is the kind of token that /notifications takes: Signed, the
	// default, or V2 for clients of the years between, whose requests and answers
	// are the signed dialect's but whose tokens aren't. The routes below /v2 take
	// tokens of V2 in any case.
	Dialect notifyauth.Dialect
	// Origin returns scheme and host, such as "https://notify.example.org", that
	// URIs in answers begin with. Default: the request's host, and https when it
	// came by TLS; headers of proxies are not believed.
	Origin func(*http.Request) string
	// BasePath is a prefix such as "/api/endpoint" under which the API is
	// served besides the root. It must be the verifier's base path too.
	BasePath string
	// Leeway is the verifier's: how far a token's iat may lie from now. An
	// idempotency key outlives it. Default DefaultLeeway.
	Leeway time.Duration
	// NoIdempotency makes a repeated POST with the same token, or in the v2
	// dialect with the same Idempotency-Key, another notification instead of
	// answering the first one's 201.
	NoIdempotency bool

	// Region is the ISO 3166-1 code of the country whose phone numbers may be
	// written without a country code. Default DefaultRegion.
	Region string
	// International allows numbers of other countries.
	International bool

	// RateLimit is the number of POSTs a minute per service and key type.
	// Default DefaultRateLimit; negative: no limit.
	RateLimit int
	// DailyLimit is the number of notifications per service, channel and day
	// (UTC). Default DefaultDailyLimit; negative: no limit.
	DailyLimit int64
	// Retention is how long a notification is kept. Default DefaultRetention.
	Retention time.Duration

	// Now is the clock. Default time.Now.
	Now func() time.Time
	// Logger takes successes at debug, refusals at info and faults at error;
	// never a recipient, a text or a token. Default: discards.
	Logger *slog.Logger
	// Observe, when set, is called once for every request that was
	// authenticated, for metrics. It must not block.
	Observe func(Event)
}

// Event is what Observe learns of a request. Its texts come from the constants
// of this package, so they may be labels of metrics.
type Event struct {
	Route    string // "sms", "email", "get", "list" or "none"; "v2_" and more in the v2 dialect
	Result   string // "ok", "replayed" or a reason code such as "rate_limited"
	Status   int    // of the answer
	Duration time.Duration
}

// API is the notification API. It is safe for concurrent use.
type API struct {
	config Config
	twins  twins
	phones *recipient.Phones
}

// New checks the configuration.
func New(c Config) (*API, error) {
	if c.Store == nil || c.Directory == nil {
		return nil, errors.New("notifications: a Store and a Directory are required")
	}
	if c.Leeway < 0 || c.Retention < 0 {
		return nil, errors.New("notifications: Leeway and Retention can't be negative")
	}
	for channel, sender := range c.Senders {
		if !channel.Known() || sender == "" {
			return nil, fmt.Errorf("notifications: Senders: channel %q has no provider or is unknown; the channels are sms and email", channel)
		}
	}
	base, err := cleanBase(c.BasePath)
	if err != nil {
		return nil, err
	}
	if isV2(base) {
		return nil, fmt.Errorf("notifications: BasePath %q: the v2 dialect has its routes there", base)
	}
	if c.Dialect > notifyauth.V2 {
		return nil, fmt.Errorf("notifications: unknown dialect %d", c.Dialect)
	}
	c.BasePath = base
	c.Senders = maps.Clone(c.Senders)
	setDefault(&c.Leeway, DefaultLeeway)
	setDefault(&c.Region, DefaultRegion)
	setDefault(&c.RateLimit, DefaultRateLimit)
	setDefault(&c.DailyLimit, DefaultDailyLimit)
	setDefault(&c.Retention, DefaultRetention)
	if c.Origin == nil {
		c.Origin = origin
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
	phones, err := recipient.NewPhones(c.Region, c.International)
	if err != nil {
		return nil, fmt.Errorf("notifications: %w", err)
	}
	return &API{config: c, phones: phones}, nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
