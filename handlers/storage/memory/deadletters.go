package memory

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/internal/transition"
)

// DeadLetters returns notifications that were given up, highest ids first.
func (s *Store) DeadLetters(ctx context.Context, q storage.DeadLetterQuery) ([]storage.Notification, error) {
	q, err := q.Normalised()
	if err != nil {
		return nil, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing dead letters"); err != nil {
		return nil, err
	}
	var out []storage.Notification
	for _, r := range s.deadRows(&q) {
		out = append(out, r.n)
	}
	return out, nil
}

func (s *Store) deadRows(q *storage.DeadLetterQuery) []*row {
	var out []*row
	for id, r := range s.dead {
		switch {
		case q.ServiceID != "" && r.n.ServiceID != q.ServiceID,
			len(q.IDs) > 0 && !slices.Contains(q.IDs, id),
			q.Before != 0 && id >= q.Before,
			r.n.CompletedAt.Before(q.Since),
			!q.Until.IsZero() && !r.n.CompletedAt.Before(q.Until):
		default:
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *row) int { return cmp.Compare(b.n.ID, a.n.ID) })
	return out[:min(len(out), q.Limit)]
}

// Requeue takes dead letters back to the queue.
func (s *Store) Requeue(ctx context.Context, q storage.DeadLetterQuery, now time.Time) ([]int64, error) {
	q, err := q.Normalised()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "requeueing dead letters"); err != nil {
		return nil, err
	}
	var ids []int64
	for _, r := range s.deadRows(&q) {
		s.callbacks.drop(r)
		s.unindex(r)
		from := kindOf(&r.n)
		transition.Requeue(&r.n, now)
		r.leased = false
		s.list(r.n.ServiceID).moved(from, kindOf(&r.n))
		delete(s.dead, r.n.ID)
		s.queued++
		s.queues[r.n.Channel].put(r, storage.Micro(now))
		ids = append(ids, r.n.ID)
	}
	if len(ids) > 0 {
		s.rouse()
	}
	return ids, nil
}
