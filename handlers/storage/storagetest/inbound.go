package storagetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func inbound(serviceID, reference string, created time.Time) storage.InboundMessage {
	return storage.InboundMessage{
		ID: uuid.Must(uuid.NewV7()), ServiceID: serviceID, Provider: sender, Reference: reference, UserNumber: "+447700900123",
		NotifyNumber: "60010", Content: "YES “é”\x00", CreatedAt: created, ExpiresAt: created.Add(week),
	}
}

func (s *suite) received(t *testing.T, q storage.InboundQuery) []storage.InboundMessage {
	t.Helper()
	got, err := s.Inbound(t.Context(), q)
	require.NoError(t, err)
	return got
}

func testInbound(t *testing.T, s *suite) {
	ctx := t.Context()
	assert.Empty(t, s.received(t, storage.InboundQuery{ServiceID: serviceA}))
	var all []storage.InboundMessage // newest first
	for i := range 7 {
		m := inbound(serviceA, fmt.Sprintf("r-%d", i), at(time.Duration(i/2)*time.Second)) // two at a time
		require.NoError(t, s.PutInbound(ctx, m))
		all = append([]storage.InboundMessage{m}, all...)
	}
	early := inbound(serviceA, "", at(-time.Hour))
	early.CreatedAt = early.CreatedAt.Add(7 * time.Nanosecond)
	require.NoError(t, s.PutInbound(ctx, early))
	early.CreatedAt = at(-time.Hour)
	all = append(all, early)
	other := inbound(serviceB, "", at(0))
	require.NoError(t, s.PutInbound(ctx, other), "empty references are never the same")

	assert.Equal(t, all, s.received(t, storage.InboundQuery{ServiceID: serviceA}))
	assert.Equal(t, []storage.InboundMessage{other}, s.received(t, storage.InboundQuery{ServiceID: serviceB, Limit: 1}))
	var paged []storage.InboundMessage
	for q := (storage.InboundQuery{ServiceID: serviceA, Limit: 3}); ; {
		page := s.received(t, q)
		if len(page) == 0 {
			break
		}
		require.LessOrEqual(t, len(page), 3)
		paged = append(paged, page...)
		q.Before = page[len(page)-1].ID
	}
	assert.Equal(t, all, paged)
	for _, before := range []uuid.UUID{other.ID, uuid.Max} {
		assert.Empty(t, s.received(t, storage.InboundQuery{ServiceID: serviceA, Before: before}), "not one of the service's")
	}

	require.ErrorIs(t, s.PutInbound(ctx, inbound(serviceB, "r-1", at(0))), storage.ErrExists, "the provider's reference")
	again := inbound(serviceA, "r-1", at(0))
	again.Provider = "another"
	require.NoError(t, s.PutInbound(ctx, again))
	again.Reference = "r-100"
	require.ErrorIs(t, s.PutInbound(ctx, again), storage.ErrExists, "the id")
	for _, change := range []func(m *storage.InboundMessage){
		func(m *storage.InboundMessage) { m.ID = uuid.Nil },
		func(m *storage.InboundMessage) { m.ServiceID = "" },
		func(m *storage.InboundMessage) { m.CreatedAt = time.Time{} },
		func(m *storage.InboundMessage) { m.ExpiresAt = time.Time{} },
		func(m *storage.InboundMessage) { m.Reference = strings.Repeat("r", storage.MaxInboundReference+1) },
	} {
		m := inbound(serviceA, "bad", at(0))
		change(&m)
		require.ErrorIs(t, s.PutInbound(ctx, m), storage.ErrInvalid)
	}
	longest := inbound(serviceA, strings.Repeat("\x00", storage.MaxInboundReference), at(-2*time.Hour))
	require.NoError(t, s.PutInbound(ctx, longest))
	assert.Len(t, s.received(t, storage.InboundQuery{ServiceID: serviceA, Limit: -1}), 10)
}

// testInboundConcurrently: a message that a provider hands over several times at
// once is one.
func testInboundConcurrently(t *testing.T, s *suite) {
	var stored atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			err := s.PutInbound(t.Context(), inbound(serviceA, "same", at(0)))
			if err == nil {
				stored.Add(1)
				return
			}
			assert.True(t, errors.Is(err, storage.ErrExists), err)
		})
	}
	wg.Wait()
	assert.EqualValues(t, 1, stored.Load())
	assert.Len(t, s.received(t, storage.InboundQuery{ServiceID: serviceA}), 1)
}

func testSweepInbound(t *testing.T, s *suite) {
	ctx := t.Context()
	first, second, last := inbound(serviceA, "1", at(0)), inbound(serviceB, "2", at(time.Second)), inbound(serviceA, "3", at(time.Hour))
	for _, m := range []storage.InboundMessage{first, second, last} {
		require.NoError(t, s.PutInbound(ctx, m))
	}
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: at(week)}), "the last instant is kept")
	assert.Equal(t, storage.Swept{Inbound: 1, More: true}, s.sweep(t, storage.SweepRequest{Now: at(week + time.Minute), Limit: 1}))
	assert.Equal(t, storage.Swept{Inbound: 1}, s.sweep(t, storage.SweepRequest{Now: at(week + time.Minute), Limit: 2}))
	assert.Equal(t, []storage.InboundMessage{last}, s.received(t, storage.InboundQuery{ServiceID: serviceA}))
	assert.Empty(t, s.received(t, storage.InboundQuery{ServiceID: serviceB}))
	assert.Empty(t, s.received(t, storage.InboundQuery{ServiceID: serviceA, Before: first.ID}), "gone")
	require.NoError(t, s.PutInbound(ctx, inbound(serviceA, "1", at(0))), "its reference may come again")
}
