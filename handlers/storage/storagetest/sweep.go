package storagetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func (s *suite) sweep(t *testing.T, r storage.SweepRequest) storage.Swept {
	t.Helper()
	got, err := s.Sweep(t.Context(), r)
	require.NoError(t, err)
	return got
}

// finish brings a notification to a state by a receipt.
func (s *suite) finish(t *testing.T, n storage.Notification, status storage.Status, when time.Time) {
	t.Helper()
	_, changed, err := s.Receipt(t.Context(), storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: status, At: when})
	require.NoError(t, err)
	require.True(t, changed)
}

func testSweepRetention(t *testing.T, s *suite) {
	ctx := t.Context()
	queued := s.create(t, sample(serviceA, at(0)))
	sent := s.create(t, sample(serviceA, at(0)))
	final := s.create(t, sample(serviceA, at(0)))
	dead := s.create(t, sample(serviceB, at(0)))
	s.finish(t, sent, storage.StatusSending, at(0))
	s.finish(t, final, storage.StatusDelivered, at(0))
	s.finish(t, dead, storage.StatusTechnicalFailure, at(0))
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: at(week)}), "the last instant is kept")
	assert.Equal(t, storage.Swept{Notifications: 2}, s.sweep(t, storage.SweepRequest{Now: at(week + time.Microsecond)}))
	for _, n := range []storage.Notification{final, dead} {
		_, err := s.NotificationByID(ctx, n.ServiceID, n.ID)
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, err = s.NotificationByUUID(ctx, n.ServiceID, n.UUID)
		require.ErrorIs(t, err, storage.ErrNotFound)
		_, _, err = s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: storage.StatusDelivered, At: at(0)})
		require.ErrorIs(t, err, storage.ErrNotFound)
	}
	s.get(t, queued)
	s.get(t, sent)
	assert.EqualValues(t, 2, s.total(t, serviceA))
	assert.Zero(t, s.total(t, serviceB))
	p, err := s.Notifications(ctx, storage.Query{ServiceID: serviceA, Limit: 10})
	require.NoError(t, err)
	assert.Len(t, p.Notifications, 2)
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.Equal(t, storage.Stats{Queued: 1, Oldest: at(0), Outstanding: 1}, st)
}

func testSweepReceipts(t *testing.T, s *suite) {
	n := s.create(t, sample(serviceA, at(0)))
	s.finish(t, n, storage.StatusSending, at(time.Minute))
	now := at(80 * time.Hour)
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: now}), "never, when not asked to")
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: now, ReceiptsSince: at(time.Minute)}))
	assert.Equal(t, storage.Swept{TimedOut: 1}, s.sweep(t, storage.SweepRequest{Now: now, ReceiptsSince: at(time.Minute + time.Microsecond)}))
	got := s.get(t, n)
	assert.Equal(t, storage.StatusTemporaryFailure, got.Status)
	assert.NotEmpty(t, got.Reason)
	assert.Equal(t, now, got.CompletedAt)
	assert.Equal(t, at(time.Minute), got.SentAt)
	assert.EqualValues(t, 1, s.total(t, serviceA, storage.StatusTemporaryFailure))
	_, changed, err := s.Receipt(t.Context(), storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: storage.StatusDelivered, At: now})
	require.NoError(t, err)
	assert.False(t, changed, "too late")
	assert.Equal(t, storage.Swept{Notifications: 1}, s.sweep(t, storage.SweepRequest{Now: at(week + time.Hour)}))
}

func testSweepKeys(t *testing.T, s *suite) {
	ctx := t.Context()
	c := withKey(sample(serviceA, at(0)), "key", "", at(time.Minute))
	c.Limits = []storage.Limit{{Key: "day", ExpiresAt: at(time.Minute)}, {Key: "month", ExpiresAt: at(time.Hour)}}
	n := s.create(t, c)
	_, err := s.Remember(ctx, storage.ReplayKey{ServiceID: serviceA, Key: []byte("r"), ExpiresAt: at(time.Minute)}, at(0))
	require.NoError(t, err)
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: at(time.Minute)}))
	assert.Equal(t, storage.Swept{Keys: 3}, s.sweep(t, storage.SweepRequest{Now: at(time.Minute + time.Microsecond)}))
	assert.Zero(t, s.counter(t, "day"))
	assert.EqualValues(t, 1, s.counter(t, "month"))
	_, err = s.Idempotent(ctx, serviceA, []byte("key"))
	require.ErrorIs(t, err, storage.ErrNotFound)
	s.get(t, n)
	first, err := s.Remember(ctx, storage.ReplayKey{ServiceID: serviceA, Key: []byte("r"), ExpiresAt: at(time.Minute)}, at(0))
	require.NoError(t, err)
	assert.True(t, first)

	// A counter that was swept starts anew.
	c = sample(serviceA, at(0))
	c.Limits = []storage.Limit{{Key: "day", Max: 1, ExpiresAt: at(time.Hour)}}
	s.create(t, c)
	assert.EqualValues(t, 1, s.counter(t, "day"))

	// A key whose notification has been swept first is forgotten with it.
	gone := withKey(sample(serviceA, at(0)), "long", "", at(2*week))
	s.finish(t, s.create(t, gone), storage.StatusDelivered, at(0))
	s.sweep(t, storage.SweepRequest{Now: at(week + time.Hour)})
	_, err = s.Idempotent(ctx, serviceA, []byte("long"))
	require.ErrorIs(t, err, storage.ErrNotFound)
	s.create(t, withKey(sample(serviceA, at(week+time.Hour)), "long", "", at(2*week)))
}

func testSweepLimit(t *testing.T, s *suite) {
	for i := range 5 {
		c := withKey(sample(serviceA, at(0)), fmt.Sprint(i), "", at(0))
		s.finish(t, s.create(t, c), storage.StatusDelivered, at(0))
		s.finish(t, s.create(t, sample(serviceA, at(week))), storage.StatusSending, at(0))
	}
	r := storage.SweepRequest{Now: at(week + time.Hour), ReceiptsSince: at(time.Hour), Limit: 2}
	assert.Equal(t, storage.Swept{Notifications: 2, Keys: 2, TimedOut: 2, More: true}, s.sweep(t, r))
	assert.Equal(t, storage.Swept{Notifications: 2, Keys: 2, TimedOut: 2, More: true}, s.sweep(t, r))
	assert.Equal(t, storage.Swept{Notifications: 1, Keys: 1, TimedOut: 1}, s.sweep(t, r))
	assert.Equal(t, storage.Swept{}, s.sweep(t, r))
}

func testIDsAfterSweep(t *testing.T, s *suite) {
	last := int64(0)
	for i := range 5 {
		n := s.create(t, sample(serviceA, at(0)))
		assert.Greater(t, n.ID, last)
		last = n.ID
		if i%2 == 0 {
			s.finish(t, n, storage.StatusDelivered, at(0))
			assert.EqualValues(t, 1, s.sweep(t, storage.SweepRequest{Now: at(2 * week)}).Notifications)
		}
	}
}
