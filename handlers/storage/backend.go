package storage

import (
	"context"
	"time"

	"github.com/google/uuid"
)

// Backend is the whole contract, which storagetest checks. The APIs declare
// the small parts of it that they need. All methods may be called
// concurrently; all but Open and Close return ErrUnavailable while the back
// end isn't open, and ErrInvalid for arguments that can't be meant. A write has
// happened, durably, when its method returns nil; when its context ends first,
// the error wraps ErrUnavailable and the context's, and the write may still
// happen if it was already on its way to the disk.
type Backend interface {
	// Open opens and migrates; it is called once. Close waits for running
	// calls and releases everything.
	Open(ctx context.Context) error
	Close() error
	// Ping reports whether reads and writes work.
	Ping(ctx context.Context) error
	// SecretsKey returns the key under which secrets in this back end are
	// sealed (32 bytes), made at Open when none was configured.
	SecretsKey(ctx context.Context) ([]byte, error)

	// PutService creates (ErrExists when the id is taken).
	PutService(ctx context.Context, s Service) error
	Service(ctx context.Context, id string) (Service, error)
	Services(ctx context.Context) ([]Service, error) // by creation
	// PutServiceSettings replaces the settings of a stored service; ErrNotFound
	// when there is none.
	PutServiceSettings(ctx context.Context, id string, settings []byte) error
	// AddKey fails with ErrExists when the service has a key of that name and
	// with ErrNotFound when there is no such service.
	AddKey(ctx context.Context, k APIKey) error
	Keys(ctx context.Context, serviceID string) ([]APIKey, error) // by creation, revoked ones too
	// RevokeKey is idempotent: the first revocation's time stays.
	RevokeKey(ctx context.Context, serviceID, name string, at time.Time) error
	// PutTemplate stores the next version and returns it. It does not ask
	// whether the service exists: it may be one of the configuration's.
	PutTemplate(ctx context.Context, t Template) (Template, error)
	// Template returns one version, the newest when version is 0.
	Template(ctx context.Context, serviceID, id string, version int) (Template, error)
	Templates(ctx context.Context, serviceID string) ([]Template, error) // newest versions, by id, archived ones too
	// ArchiveTemplate ends a template, all versions of it; ErrNotFound when there
	// is none. It is idempotent: the first time stays. PutTemplate of an archived
	// template brings it back with its next version.
	ArchiveTemplate(ctx context.Context, serviceID, id string, at time.Time) error

	// Create stores one notification. Concurrent creations share one sync. Of
	// two concurrent creations with one idempotency key, the second returns
	// the first's notification, after that one is durable.
	Create(ctx context.Context, c Creation) (Created, error)
	// Idempotent returns the notification stored under a key, or ErrNotFound.
	// A key that has expired is found until it is swept.
	Idempotent(ctx context.Context, serviceID string, key []byte) (Notification, error)
	NotificationByID(ctx context.Context, serviceID string, id int64) (Notification, error)
	NotificationByUUID(ctx context.Context, serviceID string, id uuid.UUID) (Notification, error)
	Notifications(ctx context.Context, q Query) (Page, error)

	// Take takes one token; a positive wait says that there was none and when
	// to ask again. GiveBack returns one.
	Take(ctx context.Context, b Bucket, now time.Time) (wait time.Duration, err error)
	GiveBack(ctx context.Context, b Bucket, now time.Time) error
	// Counter returns the present value of a Limit's counter, 0 when unknown.
	Counter(ctx context.Context, key string) (int64, error)
	// Remember stores a key and reports whether it is new. A key that has
	// expired before now counts as new.
	Remember(ctx context.Context, k ReplayKey, now time.Time) (first bool, err error)

	// Claim leases notifications that are due, oldest first.
	Claim(ctx context.Context, r ClaimRequest) ([]Claim, error)
	// Renew extends a lease that is still held.
	Renew(ctx context.Context, c Claim, until time.Time) error
	// Reassign names the provider that the holder of a claim is about to call,
	// as the notification's Sender, so that a receipt is matched even when it
	// comes before the outcome. queued is false, and nothing has changed, when a
	// receipt has moved the notification meanwhile: then a provider has taken it,
	// and nobody else need be called.
	Reassign(ctx context.Context, c Claim, sender string) (queued bool, err error)
	// Complete records what became of a claim and ends its lease. Once a
	// receipt has moved the notification, a provider has taken it: then neither
	// another attempt nor StatusTechnicalFailure is recorded.
	Complete(ctx context.Context, c Claim, o Outcome) error
	// Receipt applies a provider's report, forward only. changed is false for
	// a duplicate or a late one; an unknown reference is ErrNotFound.
	// When a provider has used a reference twice, the newest is meant.
	Receipt(ctx context.Context, r Receipt) (n Notification, changed bool, err error)
	// Wake receives after a creation or Requeue (coalesced), so that a dispatcher
	// needs no short poll. The channel is the same at every call.
	Wake() <-chan struct{}
	// NextDue returns when the next queued notification of the channel becomes
	// due (the end of its lease when leased); zero when none is queued.
	NextDue(ctx context.Context, channel Channel) (time.Time, error)
	Stats(ctx context.Context) (Stats, error)

	// DeadLetters returns notifications in StatusTechnicalFailure, highest ids
	// first.
	DeadLetters(ctx context.Context, q DeadLetterQuery) ([]Notification, error)
	// Requeue moves those that DeadLetters would return back to StatusCreated,
	// due at now, and returns their ids, highest first. It is the one step back
	// that there is. Attempts, ProviderReference, SentAt and CompletedAt are as
	// at creation, Reason stays, UpdatedAt is now, and a callback that is still
	// owed is dropped: the new end brings a new one.
	Requeue(ctx context.Context, q DeadLetterQuery, now time.Time) ([]int64, error)

	// ClaimCallbacks leases callbacks of one service that are due, oldest first
	// (by due time, then by ID).
	ClaimCallbacks(ctx context.Context, r CallbackRequest) ([]CallbackClaim, error)
	// CompleteCallback ends a lease that is still held: the callback is done
	// with and removed when next is zero, otherwise it is due again at next.
	CompleteCallback(ctx context.Context, c CallbackClaim, next time.Time) error
	// NextCallbacks returns for each of the services that are owed a callback
	// when the next one becomes due (the end of its lease when leased).
	NextCallbacks(ctx context.Context, services []string) (map[string]time.Time, error)

	// PutInbound stores a message that was received. It fails with ErrExists when
	// the provider has handed over one of that reference before (references that
	// are empty are never the same), or the ID is taken.
	PutInbound(ctx context.Context, m InboundMessage) error
	// Inbound returns a page of messages that were received.
	Inbound(ctx context.Context, q InboundQuery) ([]InboundMessage, error)

	// PutSigningClient creates (ErrExists when the id is taken).
	PutSigningClient(ctx context.Context, c SigningClient) error
	SigningClient(ctx context.Context, id string) (SigningClient, error)
	SigningClients(ctx context.Context) ([]SigningClient, error) // by creation
	// DeleteSigningClient ends a client; ErrNotFound when there is none. Its
	// requests stay as they are.
	DeleteSigningClient(ctx context.Context, id string) error

	// CreateSigningRequest stores a request in SigningRequested, durably like
	// Create; concurrent ones share one sync. It fails with ErrExists when Token
	// or Replay is taken, by an expired request too until that is swept.
	CreateSigningRequest(ctx context.Context, r SigningRequest) error
	// SigningRequest returns a request in any state, expired ones too until
	// they are swept.
	SigningRequest(ctx context.Context, token Digest) (SigningRequest, error)
	// DownloadSigningRequest moves SigningRequested to SigningDownloaded, sets
	// Binding, and returns the request as it then is. changed is false, and
	// nothing has changed, when it was in another state. Of concurrent callers
	// one changes it. It asks for no time: whether the request has expired is
	// the caller's to say.
	DownloadSigningRequest(ctx context.Context, token Digest, binding *Digest) (r SigningRequest, changed bool, err error)
	// SignSigningRequest moves SigningDownloaded to SigningSigned with the
	// response (not empty) and a new ExpiresAt, and removes the JWT's text, from
	// r too; changed as above.
	SignSigningRequest(ctx context.Context, token Digest, response []byte, expires time.Time) (r SigningRequest, changed bool, err error)
	// RetrieveSigningRequest moves SigningSigned to SigningRetrieved, and
	// returns the request with the response that is removed thereby; changed as
	// above, and without a response when it is false.
	RetrieveSigningRequest(ctx context.Context, token Digest) (r SigningRequest, changed bool, err error)

	// Sweep removes what has expired, a bounded number of rows at a time.
	Sweep(ctx context.Context, r SweepRequest) (Swept, error)
}
