package memory

import (
	"bytes"
	"cmp"
	"context"
	"slices"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// inbound is the messages that were received, of each service in the order of
// lists.
type inbound struct {
	byID        map[uuid.UUID]bool
	byReference map[reference]bool // by provider
	lists       map[string][]storage.InboundMessage
}

func newInbound() inbound {
	return inbound{byID: map[uuid.UUID]bool{}, byReference: map[reference]bool{}, lists: map[string][]storage.InboundMessage{}}
}

// newestFirst is the order of lists.
func newestFirst(a, b storage.InboundMessage) int {
	return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), bytes.Compare(b.ID[:], a.ID[:]))
}

// PutInbound stores a message that was received.
func (s *Store) PutInbound(ctx context.Context, m storage.InboundMessage) error {
	m, err := m.Normalised()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(ctx, "storing a received message"); err != nil {
		return err
	}
	in := &s.inbound
	k := reference{m.Provider, m.Reference}
	if in.byID[m.ID] || m.Reference != "" && in.byReference[k] {
		return storage.ErrExists
	}
	in.byID[m.ID] = true
	if m.Reference != "" {
		in.byReference[k] = true
	}
	list := in.lists[m.ServiceID]
	i, _ := slices.BinarySearchFunc(list, m, newestFirst)
	in.lists[m.ServiceID] = slices.Insert(list, i, m)
	return nil
}

// Inbound returns a page of messages that were received.
func (s *Store) Inbound(ctx context.Context, q storage.InboundQuery) ([]storage.InboundMessage, error) {
	q = q.Normalised()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.usable(ctx, "listing received messages"); err != nil {
		return nil, err
	}
	list := s.inbound.lists[q.ServiceID]
	if q.Before != uuid.Nil {
		i := slices.IndexFunc(list, func(m storage.InboundMessage) bool { return m.ID == q.Before })
		if i < 0 {
			return nil, nil
		}
		list = list[i+1:]
	}
	return append([]storage.InboundMessage(nil), list[:min(len(list), q.Limit)]...), nil
}

func (in *inbound) sweep(r storage.SweepRequest) (n int64) {
	for serviceID, list := range in.lists {
		in.lists[serviceID] = slices.DeleteFunc(list, func(m storage.InboundMessage) bool {
			if n >= int64(r.Limit) || !m.ExpiresAt.Before(r.Now) {
				return false
			}
			n++
			delete(in.byID, m.ID)
			delete(in.byReference, reference{m.Provider, m.Reference})
			return true
		})
	}
	return n
}
