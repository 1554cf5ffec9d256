package storage

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
)

// MaxIdempotencyKey is the size of the largest idempotency key in bytes.
const MaxIdempotencyKey = 64

// MaxInboundReference is the size of the longest InboundMessage.Reference in
// bytes.
const MaxInboundReference = 256

// MaxPage is the largest Query.Limit; a larger one means this.
const MaxPage = 1000

// Micro returns t as back ends store it: in UTC, cut to microseconds, without
// a monotonic reading.
func Micro(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }

func normalTime(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return Micro(t)
}

// Normalised returns the creation as a back end stores it: times as Micro has
// them, Status created, the delivery fields empty. The error wraps ErrInvalid
// when a field that must be set isn't.
func (c Creation) Normalised() (Creation, error) {
	n := &c.Notification
	switch {
	case n.UUID == uuid.Nil:
		return c, fmt.Errorf("%w: a notification needs a UUID", ErrInvalid)
	case n.ServiceID == "":
		return c, fmt.Errorf("%w: a notification needs a service", ErrInvalid)
	case !n.Channel.Known():
		return c, fmt.Errorf("%w: unknown channel %q", ErrInvalid, n.Channel)
	case n.CreatedAt.IsZero() || n.ExpiresAt.IsZero():
		return c, fmt.Errorf("%w: a notification needs its times of creation and expiry", ErrInvalid)
	case n.Status != "" && n.Status != StatusCreated:
		return c, fmt.Errorf("%w: a notification begins as %q, not as %q", ErrInvalid, StatusCreated, n.Status)
	}
	n.CreatedAt, n.ExpiresAt = Micro(n.CreatedAt), Micro(n.ExpiresAt)
	n.Details.ScheduledFor = normalTime(n.Details.ScheduledFor)
	n.Status, n.Reason, n.ProviderReference, n.Attempts = StatusCreated, "", "", 0
	n.SentAt, n.CompletedAt = time.Time{}, time.Time{}
	n.UpdatedAt = n.CreatedAt
	if i := c.Idempotency; i != nil && (len(i.Key) == 0 || len(i.Key) > MaxIdempotencyKey) {
		return c, fmt.Errorf("%w: an idempotency key has 1 to %d bytes, not %d", ErrInvalid, MaxIdempotencyKey, len(i.Key))
	}
	for _, l := range c.Limits {
		if l.Key == "" {
			return c, fmt.Errorf("%w: a limit needs a key", ErrInvalid)
		}
	}
	return c, nil
}

// DueAt is when a new notification is first to be sent.
func (n *Notification) DueAt() time.Time {
	if n.Details.ScheduledFor.After(n.CreatedAt) {
		return n.Details.ScheduledFor
	}
	return n.CreatedAt
}

// Normalised returns the message as a back end stores it: its times as Micro has
// them. The error wraps ErrInvalid when a field that must be set isn't.
func (m InboundMessage) Normalised() (InboundMessage, error) {
	switch {
	case m.ID == uuid.Nil:
		return m, fmt.Errorf("%w: a received message needs an id", ErrInvalid)
	case m.ServiceID == "":
		return m, fmt.Errorf("%w: a received message needs a service", ErrInvalid)
	case len(m.Reference) > MaxInboundReference:
		return m, fmt.Errorf("%w: the reference of a received message has at most %d bytes, not %d", ErrInvalid, MaxInboundReference, len(m.Reference))
	case m.CreatedAt.IsZero() || m.ExpiresAt.IsZero():
		return m, fmt.Errorf("%w: a received message needs its times of creation and expiry", ErrInvalid)
	}
	m.CreatedAt, m.ExpiresAt = Micro(m.CreatedAt), Micro(m.ExpiresAt)
	return m, nil
}

// Normalised returns the query with its numbers in their ranges.
func (q InboundQuery) Normalised() InboundQuery {
	if q.Limit <= 0 || q.Limit > MaxPage {
		q.Limit = MaxPage
	}
	return q
}

// Normalised returns the client as a back end stores it: its time as Micro has
// it. The error wraps ErrInvalid when a field that must be set isn't.
func (c SigningClient) Normalised() (SigningClient, error) {
	switch {
	case c.ID == "":
		return c, fmt.Errorf("%w: a signing client needs an id", ErrInvalid)
	case len(c.Keys) == 0:
		return c, fmt.Errorf("%w: signing client %q needs a key set", ErrInvalid, c.ID)
	case c.Callback == "":
		return c, fmt.Errorf("%w: signing client %q needs a callback URL", ErrInvalid, c.ID)
	case c.CreatedAt.IsZero():
		return c, fmt.Errorf("%w: signing client %q needs its time of creation", ErrInvalid, c.ID)
	}
	c.CreatedAt = Micro(c.CreatedAt)
	return c, nil
}

// Normalised returns the request as a back end stores it: times as Micro has
// them, Status requested, the fields empty that the later states set. The
// error wraps ErrInvalid when a field that must be set isn't, or can't be
// meant.
func (r SigningRequest) Normalised() (SigningRequest, error) {
	switch {
	case r.Token == Digest{}:
		return r, fmt.Errorf("%w: a signature request needs the digest of its token", ErrInvalid)
	case r.Client == "":
		return r, fmt.Errorf("%w: a signature request needs a client", ErrInvalid)
	case len(r.JWT) == 0:
		return r, fmt.Errorf("%w: a signature request needs its JWT", ErrInvalid)
	case r.Replay != nil && *r.Replay == Digest{}:
		return r, fmt.Errorf("%w: the digest of a signature request's JWT is empty", ErrInvalid)
	case len(r.State) > MaxSigningState:
		return r, fmt.Errorf("%w: a signature request's state has at most %d bytes, not %d", ErrInvalid, MaxSigningState, len(r.State))
	case r.State != "" && !r.HasState:
		return r, fmt.Errorf("%w: a signature request has a state and says that it has none", ErrInvalid)
	case r.CreatedAt.IsZero() || r.Deadline.IsZero() || r.ExpiresAt.IsZero():
		return r, fmt.Errorf("%w: a signature request needs its times of creation, deadline and expiry", ErrInvalid)
	case r.ExpiresAt.Before(r.Deadline):
		return r, fmt.Errorf("%w: a signature request may not expire before its deadline", ErrInvalid)
	case r.Status != "" && r.Status != SigningRequested:
		return r, fmt.Errorf("%w: a signature request begins as %q, not as %q", ErrInvalid, SigningRequested, r.Status)
	}
	r.CreatedAt, r.Deadline, r.ExpiresAt = Micro(r.CreatedAt), Micro(r.Deadline), Micro(r.ExpiresAt)
	r.Status, r.Binding, r.Response = SigningRequested, nil, nil
	return r, nil
}

// Mismatch reports whether a request with body hash got is another one than
// that stored with hash stored. Hashes are optional: without one there is
// nothing to compare.
func Mismatch(stored, got []byte) bool {
	return len(stored) > 0 && len(got) > 0 && string(stored) != string(got)
}

// Normalised returns the query with its numbers in their ranges.
func (q Query) Normalised() Query {
	q.Offset = max(q.Offset, 0)
	q.Limit = min(max(q.Limit, 0), MaxPage)
	q.Before = max(q.Before, 0)
	return q
}

// Selects reports whether the query asks for notifications of that channel,
// state and key type. Key types that aren't Known can't be asked for.
func (q *Query) Selects(c Channel, s Status, t KeyType) bool {
	return (len(q.Channels) == 0 || slices.Contains(q.Channels, c)) &&
		(len(q.Statuses) == 0 || slices.Contains(q.Statuses, s)) &&
		(len(q.KeyTypes) == 0 || t.Known() && slices.Contains(q.KeyTypes, t))
}

// Counted returns what Page.Total says for total rows.
func (q *Query) Counted(total int64) int64 {
	if len(q.KeyTypes) > 0 || q.Before != 0 || q.Reference != "" {
		return -1
	}
	return total
}

// DefaultSweep is the Limit of a SweepRequest that states none.
const DefaultSweep = 1000

// Normalised returns the request with a limit and with stored times.
func (r SweepRequest) Normalised() SweepRequest {
	if r.Limit <= 0 {
		r.Limit = DefaultSweep
	}
	r.Now = Micro(r.Now)
	if !r.ReceiptsSince.IsZero() {
		r.ReceiptsSince = Micro(r.ReceiptsSince)
	}
	return r
}

// Normalised returns the query with its numbers in their ranges and with stored
// times. The error wraps ErrInvalid when it names too many notifications.
func (q DeadLetterQuery) Normalised() (DeadLetterQuery, error) {
	if len(q.IDs) > MaxPage {
		return q, fmt.Errorf("%w: at most %d dead letters can be named at once, not %d", ErrInvalid, MaxPage, len(q.IDs))
	}
	if q.Limit <= 0 || q.Limit > MaxPage {
		q.Limit = MaxPage
	}
	q.Before = max(q.Before, 0)
	for _, t := range []*time.Time{&q.Since, &q.Until} {
		if !t.IsZero() {
			*t = Micro(*t)
		}
	}
	return q, nil
}
