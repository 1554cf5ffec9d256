package delivery

import (
	"context"
	"log/slog"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// DeadLetters lists and retries notifications that were given up: those in
// storage.StatusTechnicalFailure, each with its Reason, until they are swept.
type DeadLetters struct {
	// Outbox is required.
	Outbox interface {
		DeadLetters(ctx context.Context, q storage.DeadLetterQuery) ([]storage.Notification, error)
		Requeue(ctx context.Context, q storage.DeadLetterQuery, now time.Time) ([]int64, error)
	}
	// Now is the clock; default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// List returns a page of dead letters, highest ids first. The next page is that
// with Before set to the last id of this one.
func (d *DeadLetters) List(ctx context.Context, q storage.DeadLetterQuery) ([]storage.Notification, error) {
	return d.Outbox.DeadLetters(ctx, q)
}

// retryBatch is how many dead letters are requeued at once, so that other
// writers needn't wait long.
const retryBatch = 200

// Retry queues dead letters again, all that the query selects: its Limit has no
// meaning. They are sent by the dispatchers at once, as new ones would be, to
// the providers that their channel has by now, and with the reference that they
// had; a provider that has taken one after all may know it by that. It returns
// how many were queued, also beside an error; then the rest are dead letters
// still.
func (d *DeadLetters) Retry(ctx context.Context, q storage.DeadLetterQuery) (n int, err error) {
	now := time.Now
	if d.Now != nil {
		now = d.Now
	}
	// What fails again meanwhile is left to the next call.
	began := now()
	if q.Until.IsZero() || q.Until.After(began) {
		q.Until = began
	}
	q.Limit = retryBatch
	for {
		ids, err := d.Outbox.Requeue(ctx, q, now())
		n += len(ids)
		if err != nil || len(ids) < retryBatch {
			if n > 0 && d.Logger != nil {
				d.Logger.LogAttrs(ctx, slog.LevelInfo, "dead letters are tried again",
					slog.Int("number", n), slog.String("service", q.ServiceID))
			}
			return n, err
		}
		q.Before = ids[len(ids)-1]
	}
}
