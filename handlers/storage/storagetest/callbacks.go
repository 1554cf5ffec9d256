package storagetest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// wants is a Callback function for the named service.
func wants(serviceID string) func(string) bool {
	return func(id string) bool { return id == serviceID }
}

func (s *suite) claimCallbacks(t require.TestingT, serviceID string, limit int, now time.Time) []storage.CallbackClaim {
	got, err := s.ClaimCallbacks(context.Background(), storage.CallbackRequest{ServiceID: serviceID, Limit: limit, Now: now, Lease: time.Minute})
	require.NoError(t, err)
	return got
}

func (s *suite) nextCallbacks(t *testing.T, services ...string) map[string]time.Time {
	t.Helper()
	next, err := s.NextCallbacks(t.Context(), services)
	require.NoError(t, err)
	return next
}

// end brings a notification to a final state by a receipt, and owes a callback.
func (s *suite) end(t *testing.T, serviceID string, when time.Time) storage.Notification {
	t.Helper()
	n := s.create(t, sample(serviceID, at(0)))
	n, changed, err := s.Receipt(t.Context(), storage.Receipt{
		Sender: sender, Reference: n.UUID.String(), Status: storage.StatusDelivered, At: when, Callback: wants(serviceID),
	})
	require.NoError(t, err)
	require.True(t, changed)
	return n
}

func testCallbacks(t *testing.T, s *suite) {
	ctx := t.Context()
	assert.Empty(t, s.claimCallbacks(t, serviceA, 10, at(time.Hour)))
	assert.Empty(t, s.nextCallbacks(t, serviceA, serviceB))
	second := s.end(t, serviceA, at(2*time.Second))
	first := s.end(t, serviceA, at(time.Second))
	other := s.end(t, serviceB, at(3*time.Second))
	assert.Equal(t, map[string]time.Time{serviceA: at(time.Second), serviceB: at(3 * time.Second)}, s.nextCallbacks(t, serviceA, serviceB, "unknown"))
	assert.Equal(t, map[string]time.Time{serviceB: at(3 * time.Second)}, s.nextCallbacks(t, serviceB))
	assert.Empty(t, s.nextCallbacks(t))

	assert.Empty(t, s.claimCallbacks(t, serviceA, 10, at(0)), "not due yet")
	assert.Empty(t, s.claimCallbacks(t, serviceA, 0, at(time.Hour)))
	assert.Empty(t, s.claimCallbacks(t, "unknown", 1, at(time.Hour)))
	got := s.claimCallbacks(t, serviceA, 10, at(2*time.Second))
	require.Len(t, got, 2)
	for i, want := range []storage.Notification{first, second} {
		assert.Equal(t, want, got[i].Notification, "oldest first")
		assert.Equal(t, 1, got[i].Attempts)
		assert.Equal(t, want.CompletedAt, got[i].CreatedAt)
		assert.Equal(t, at(2*time.Second+time.Minute), got[i].LeaseUntil)
		assert.Positive(t, got[i].ID)
		assert.Positive(t, got[i].Token)
	}
	assert.NotEqual(t, got[0].ID, got[1].ID)
	assert.Empty(t, s.claimCallbacks(t, serviceA, 10, at(2*time.Second)), "all leased")
	assert.Equal(t, map[string]time.Time{serviceA: at(2*time.Second + time.Minute)}, s.nextCallbacks(t, serviceA), "the end of the leases")
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 3, st.Callbacks)

	require.NoError(t, s.CompleteCallback(ctx, got[0], time.Time{}))
	require.NoError(t, s.CompleteCallback(ctx, got[1], at(time.Hour)))
	for _, c := range got {
		require.ErrorIs(t, s.CompleteCallback(ctx, c, time.Time{}), storage.ErrLeaseLost, "once only")
		require.ErrorIs(t, s.CompleteCallback(ctx, c, at(0)), storage.ErrLeaseLost, "once only")
	}
	assert.Equal(t, map[string]time.Time{serviceA: at(time.Hour)}, s.nextCallbacks(t, serviceA))
	assert.Empty(t, s.claimCallbacks(t, serviceA, 10, at(time.Hour-time.Microsecond)))
	again := s.claimCallbacks(t, serviceA, 10, at(time.Hour))
	require.Len(t, again, 1)
	assert.Equal(t, got[1].ID, again[0].ID)
	assert.Equal(t, second, again[0].Notification)
	assert.Equal(t, 2, again[0].Attempts)
	require.NoError(t, s.CompleteCallback(ctx, again[0], time.Time{}))
	assert.Empty(t, s.nextCallbacks(t, serviceA))
	rest := s.claimCallbacks(t, serviceB, 10, at(time.Hour))
	require.Len(t, rest, 1)
	assert.Equal(t, other, rest[0].Notification)
	require.NoError(t, s.CompleteCallback(ctx, rest[0], time.Time{}))

	// Ids are not given again, or a late write would hit another callback.
	s.end(t, serviceB, at(4*time.Second))
	later := s.claimCallbacks(t, serviceB, 1, at(time.Hour))
	require.Len(t, later, 1)
	assert.Greater(t, later[0].ID, rest[0].ID)
	st, err = s.Stats(ctx)
	require.NoError(t, err)
	assert.EqualValues(t, 1, st.Callbacks)
}

// testCallbacksOwed: one for each notification that becomes final while its
// service wants callbacks, whatever makes it final.
func testCallbacksOwed(t *testing.T, s *suite) {
	ctx := t.Context()
	owed := func() (ids []int64) {
		for _, c := range s.claimCallbacks(t, serviceA, 100, at(100*week)) {
			ids = append(ids, c.Notification.ID)
			require.NoError(t, s.CompleteCallback(ctx, c, time.Time{}))
		}
		return ids
	}
	for _, status := range someStatuses {
		for _, callback := range []bool{true, false} {
			n := s.create(t, sample(serviceA, at(0)))
			require.NoError(t, s.Complete(ctx, s.claimOne(t, at(0)), storage.Outcome{
				Status: status, At: at(time.Second), NextAttempt: at(100 * week), Callback: callback,
			}))
			if callback && status.Final() {
				assert.Equal(t, []int64{n.ID}, owed(), status)
			} else {
				assert.Empty(t, owed(), "%s, wanted: %t", status, callback)
			}
			if onItsWay(status) {
				s.finish(t, n, storage.StatusDelivered, at(time.Second))
			}
		}
	}
	n := s.create(t, sample(serviceA, at(0)))
	claim := s.claimOne(t, at(0))
	receipt := func(status storage.Status, callback func(string) bool) {
		_, _, err := s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: status, At: at(time.Second), Callback: callback})
		require.NoError(t, err)
	}
	receipt(storage.StatusSending, wants(serviceA))
	assert.Empty(t, owed())
	receipt(storage.StatusDelivered, wants(serviceA))
	receipt(storage.StatusDelivered, wants(serviceA))
	assert.Equal(t, []int64{n.ID}, owed(), "once")
	receipt(storage.StatusTemporaryFailure, wants(serviceA))
	require.NoError(t, s.Complete(ctx, claim, storage.Outcome{Status: storage.StatusDelivered, At: at(time.Second), Callback: true}))
	assert.Empty(t, owed(), "it was final before")

	for _, callback := range []func(string) bool{nil, wants(serviceB)} {
		n = s.create(t, sample(serviceA, at(0)))
		receipt(storage.StatusDelivered, callback)
		assert.Empty(t, owed())
	}

	// The receipt that never came.
	n = s.create(t, sample(serviceA, at(0)))
	receipt(storage.StatusSending, wants(serviceA))
	unasked := s.create(t, sample(serviceB, at(0)))
	s.finish(t, unasked, storage.StatusSending, at(0))
	assert.EqualValues(t, 2, s.sweep(t, storage.SweepRequest{
		Now: at(time.Hour), ReceiptsSince: at(time.Minute), Callback: wants(serviceA),
	}).TimedOut)
	assert.Equal(t, map[string]time.Time{serviceA: at(time.Hour)}, s.nextCallbacks(t, serviceA, serviceB))
	assert.Equal(t, []int64{n.ID}, owed())
}

func testCallbackLease(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.end(t, serviceA, at(0))
	late := s.claimCallbacks(t, serviceA, 1, at(0))
	require.Len(t, late, 1)
	assert.Empty(t, s.claimCallbacks(t, serviceA, 1, at(time.Minute-time.Microsecond)))
	holder := s.claimCallbacks(t, serviceA, 1, at(time.Minute))
	require.Len(t, holder, 1)
	assert.Equal(t, late[0].ID, holder[0].ID)
	assert.Greater(t, holder[0].Token, late[0].Token)
	assert.Equal(t, 2, holder[0].Attempts)
	require.ErrorIs(t, s.CompleteCallback(ctx, late[0], time.Time{}), storage.ErrLeaseLost)
	require.ErrorIs(t, s.CompleteCallback(ctx, late[0], at(0)), storage.ErrLeaseLost)
	require.ErrorIs(t, s.CompleteCallback(ctx, storage.CallbackClaim{ID: 1 << 40, Token: 1}, time.Time{}), storage.ErrLeaseLost)
	// A lease that has run out still counts while nobody else has the row.
	require.NoError(t, s.CompleteCallback(ctx, holder[0], at(2*time.Hour)))

	// It goes with its notification.
	held := s.claimCallbacks(t, serviceA, 1, at(2*time.Hour))
	require.Len(t, held, 1)
	kept := s.end(t, serviceA, at(time.Hour))
	assert.EqualValues(t, 2, s.sweep(t, storage.SweepRequest{Now: at(week + time.Hour)}).Notifications)
	require.ErrorIs(t, s.CompleteCallback(ctx, held[0], at(0)), storage.ErrLeaseLost)
	assert.Empty(t, s.nextCallbacks(t, serviceA), "%v and %v were swept", n.ID, kept.ID)
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.Zero(t, st.Callbacks)
}

func testCallbacksConcurrently(t *testing.T, s *suite) {
	const rows = 100
	for range rows {
		s.end(t, serviceA, at(0))
	}
	var mu sync.Mutex
	seen := map[int64]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				got, err := s.ClaimCallbacks(t.Context(), storage.CallbackRequest{ServiceID: serviceA, Limit: 7, Now: at(time.Second), Lease: time.Minute})
				if !assert.NoError(t, err) || len(got) == 0 {
					return
				}
				for _, c := range got {
					assert.NoError(t, s.CompleteCallback(t.Context(), c, time.Time{}))
				}
				mu.Lock()
				for _, c := range got {
					seen[c.Notification.ID]++
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	assert.Len(t, seen, rows)
	for id, n := range seen {
		assert.Equal(t, 1, n, "notification %d", id)
	}
}

func testReassign(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.create(t, sample(serviceA, at(0)))
	claim := s.claimOne(t, at(0))
	want := s.get(t, n)
	queued, err := s.Reassign(ctx, claim, "other")
	require.NoError(t, err)
	assert.True(t, queued)
	want.Sender = "other"
	assert.Equal(t, want, s.get(t, n))
	_, err = s.Reassign(ctx, claim, "")
	require.ErrorIs(t, err, storage.ErrInvalid)

	receipt := storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: storage.StatusSending, At: at(time.Second)}
	_, _, err = s.Receipt(ctx, receipt)
	require.ErrorIs(t, err, storage.ErrNotFound, "the provider that didn't take it")
	receipt.Sender = "other"
	want, changed, err := s.Receipt(ctx, receipt)
	require.NoError(t, err)
	assert.True(t, changed)
	queued, err = s.Reassign(ctx, claim, "third")
	require.NoError(t, err)
	assert.False(t, queued, "a provider has taken it")
	assert.Equal(t, want, s.get(t, n))
	require.NoError(t, s.Complete(ctx, claim, storage.Outcome{Status: storage.StatusSending, ProviderReference: "p", At: at(time.Second)}))
	receipt.Reference, receipt.Status = "p", storage.StatusDelivered
	_, _, err = s.Receipt(ctx, receipt)
	require.NoError(t, err, "by the reference of the provider that took it")

	_, err = s.Reassign(ctx, claim, "third")
	require.ErrorIs(t, err, storage.ErrLeaseLost)
	s.create(t, sample(serviceA, at(0)))
	late := s.claimOne(t, at(0))
	s.claimOne(t, at(time.Minute))
	_, err = s.Reassign(ctx, late, "third")
	require.ErrorIs(t, err, storage.ErrLeaseLost)
}
