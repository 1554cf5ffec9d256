package memory

import (
	"context"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// Sweep removes what has expired and gives up on receipts that are overdue.
func (s *Store) Sweep(ctx context.Context, r storage.SweepRequest) (storage.Swept, error) {
	r = r.Normalised()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "sweeping"); err != nil {
		return storage.Swept{}, err
	}
	var done storage.Swept
	s.sweepNotifications(r, &done)
	s.sweepReceipts(r, &done)
	expired := func(t time.Time) bool { return t.Before(r.Now) }
	for _, n := range []int64{
		sweepMap(s.idempotency, r.Limit, func(v idempotent) bool { return expired(v.expiresAt) }),
		sweepMap(s.replays, r.Limit, expired),
		sweepMap(s.counters, r.Limit, func(v counter) bool { return expired(v.expiresAt) }),
	} {
		done.Keys += n
		done.More = done.More || n >= int64(r.Limit)
	}
	done.Requests = s.signing.sweep(r)
	done.Inbound = s.inbound.sweep(r)
	done.More = done.More || max(done.Requests, done.Inbound) >= int64(r.Limit)
	return done, nil
}

func (s *Store) sweepNotifications(r storage.SweepRequest, done *storage.Swept) {
	gone := map[string]map[*row]bool{}
	for {
		w, at, ok := s.retained.first()
		if !ok || !at.Before(r.Now) {
			break
		}
		if done.Notifications >= int64(r.Limit) {
			done.More = true
			break
		}
		drop(w)
		delete(s.rows, w.n.ID)
		delete(s.byUUID, w.n.UUID)
		s.unindex(w)
		delete(s.dead, w.n.ID)
		s.callbacks.drop(w)
		if gone[w.n.ServiceID] == nil {
			gone[w.n.ServiceID] = map[*row]bool{}
		}
		gone[w.n.ServiceID][w] = true
		done.Notifications++
	}
	for serviceID, rows := range gone {
		s.list(serviceID).remove(rows)
	}
}

func (s *Store) unindex(w *row) {
	k := reference{w.n.Sender, w.n.ProviderReference}
	rows := slices.DeleteFunc(s.byReference[k], func(r *row) bool { return r == w })
	if len(rows) == 0 {
		delete(s.byReference, k)
		return
	}
	s.byReference[k] = rows
}

func (s *Store) sweepReceipts(r storage.SweepRequest, done *storage.Swept) {
	for !r.ReceiptsSince.IsZero() {
		w, at, ok := s.awaiting.first()
		if !ok || !at.Before(r.ReceiptsSince) {
			return
		}
		if done.TimedOut >= int64(r.Limit) {
			done.More = true
			return
		}
		from := kindOf(&w.n)
		transition.TimeOut(&w.n, r.Now)
		s.moved(w, from)
		s.owe(w, from, asked(r.Callback, &w.n))
		done.TimedOut++
	}
}

func sweepMap[K comparable, V any](m map[K]V, limit int, expired func(V) bool) (n int64) {
	for k, v := range m {
		if n >= int64(limit) {
			break
		}
		if expired(v) {
			delete(m, k)
			n++
		}
	}
	return n
}
