package storagetest

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func ids(list []storage.Notification) []int64 {
	out := slices.Grow([]int64(nil), len(list)) // nil when there are none
	for _, n := range list {
		out = append(out, n.ID)
	}
	return out
}

// die makes a dead letter.
func (s *suite) die(t *testing.T, c storage.Creation, when time.Time) storage.Notification {
	t.Helper()
	n := s.create(t, c)
	claims, err := s.Claim(t.Context(), storage.ClaimRequest{Channel: n.Channel, Limit: 1, Now: at(0), Lease: time.Minute})
	require.NoError(t, err)
	require.Len(t, claims, 1)
	require.NoError(t, s.Complete(t.Context(), claims[0], storage.Outcome{
		Status: storage.StatusTechnicalFailure, Reason: "given up", At: when, Callback: true,
	}))
	return s.get(t, n)
}

func testDeadLetters(t *testing.T, s *suite) {
	ctx := t.Context()
	list := func(q storage.DeadLetterQuery) []int64 {
		t.Helper()
		got, err := s.DeadLetters(ctx, q)
		require.NoError(t, err)
		return ids(got)
	}
	assert.Empty(t, list(storage.DeadLetterQuery{}))
	s.finish(t, s.create(t, sample(serviceA, at(0))), storage.StatusPermanentFailure, at(0))
	a := s.die(t, sample(serviceA, at(0)), at(3*time.Minute))
	b := s.die(t, email(sample(serviceB, at(0))), at(2*time.Minute))
	c := s.die(t, sample(serviceA, at(0)), at(time.Minute))
	queued := s.create(t, sample(serviceA, at(0)))
	all, err := s.DeadLetters(ctx, storage.DeadLetterQuery{})
	require.NoError(t, err)
	assert.Equal(t, []storage.Notification{c, b, a}, all, "highest ids first, with their reasons")

	for _, tc := range []struct {
		name string
		q    storage.DeadLetterQuery
		want []int64
	}{
		{"limit", storage.DeadLetterQuery{Limit: 2}, []int64{c.ID, b.ID}},
		{"next page", storage.DeadLetterQuery{Limit: 2, Before: b.ID}, []int64{a.ID}},
		{"service", storage.DeadLetterQuery{ServiceID: serviceA}, []int64{c.ID, a.ID}},
		{"unknown service", storage.DeadLetterQuery{ServiceID: "unknown"}, nil},
		{"ids", storage.DeadLetterQuery{IDs: []int64{a.ID, b.ID, a.ID, queued.ID, 1 << 40}}, []int64{b.ID, a.ID}},
		{"ids of a service", storage.DeadLetterQuery{ServiceID: serviceB, IDs: []int64{a.ID, b.ID}}, []int64{b.ID}},
		{"since", storage.DeadLetterQuery{Since: at(2 * time.Minute)}, []int64{b.ID, a.ID}},
		{"until", storage.DeadLetterQuery{Until: at(2 * time.Minute)}, []int64{c.ID}},
		{"range", storage.DeadLetterQuery{Since: at(time.Minute), Until: at(2*time.Minute + time.Microsecond)}, []int64{c.ID, b.ID}},
		{"empty range", storage.DeadLetterQuery{Since: at(4 * time.Minute)}, nil},
	} {
		assert.Equal(t, tc.want, list(tc.q), tc.name)
	}
	_, err = s.DeadLetters(ctx, storage.DeadLetterQuery{IDs: make([]int64, storage.MaxPage+1)})
	require.ErrorIs(t, err, storage.ErrInvalid)
	_, err = s.Requeue(ctx, storage.DeadLetterQuery{IDs: make([]int64, storage.MaxPage+1)}, at(0))
	require.ErrorIs(t, err, storage.ErrInvalid)
}

func testRequeue(t *testing.T, s *suite) {
	ctx := t.Context()
	now := at(time.Hour)
	dead := s.die(t, sample(serviceA, at(0)), at(time.Minute))
	mail := s.die(t, email(sample(serviceA, at(0))), at(time.Minute))
	other := s.die(t, sample(serviceB, at(0)), at(time.Minute))
	owed := s.claimCallbacks(t, serviceA, 1, at(time.Minute))
	require.Len(t, owed, 1)
	for len(s.Wake()) > 0 {
		<-s.Wake()
	}
	got, err := s.Requeue(ctx, storage.DeadLetterQuery{ServiceID: "unknown"}, now)
	require.NoError(t, err)
	assert.Empty(t, got)

	got, err = s.Requeue(ctx, storage.DeadLetterQuery{ServiceID: serviceA}, now)
	require.NoError(t, err)
	assert.Equal(t, []int64{mail.ID, dead.ID}, got)
	assert.Len(t, s.Wake(), 1)
	want := dead
	want.Status, want.Attempts, want.CompletedAt, want.UpdatedAt = storage.StatusCreated, 0, time.Time{}, now
	assert.Equal(t, want, s.get(t, dead))
	assert.Equal(t, now, s.nextDue(t, storage.SMS))
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.Equal(t, storage.Stats{Queued: 2, Oldest: at(0), DeadLettered: 1, Callbacks: 1}, st)
	assert.EqualValues(t, 2, s.total(t, serviceA, storage.StatusCreated))
	assert.Zero(t, s.total(t, serviceA, storage.StatusTechnicalFailure))
	assert.Empty(t, s.nextCallbacks(t, serviceA), "the service hears of the new end")
	require.ErrorIs(t, s.CompleteCallback(ctx, owed[0], at(0)), storage.ErrLeaseLost)
	left, err := s.DeadLetters(ctx, storage.DeadLetterQuery{})
	require.NoError(t, err)
	assert.Equal(t, []int64{other.ID}, ids(left))
	assert.Equal(t, storage.Swept{}, s.sweep(t, storage.SweepRequest{Now: now, ReceiptsSince: now}), "queued ones stay")

	// It is sent like any other.
	claim := s.claimOne(t, now)
	want.Attempts = 1
	assert.Equal(t, want, claim.Notification)
	require.NoError(t, s.Complete(ctx, claim, storage.Outcome{
		Status: storage.StatusDelivered, ProviderReference: "p", At: now, Callback: true,
	}))
	want.Status, want.Reason, want.ProviderReference = storage.StatusDelivered, "", "p"
	want.SentAt, want.CompletedAt = now, now
	assert.Equal(t, want, s.get(t, dead))
	told := s.claimCallbacks(t, serviceA, 10, now)
	require.Len(t, told, 1)
	assert.Equal(t, want, told[0].Notification)
	assert.Greater(t, told[0].ID, owed[0].ID)
	assert.EqualValues(t, 1, s.sweep(t, storage.SweepRequest{Now: at(week + time.Hour), Limit: 1}).Notifications)

	got, err = s.Requeue(ctx, storage.DeadLetterQuery{IDs: []int64{dead.ID, mail.ID}}, now)
	require.NoError(t, err)
	assert.Empty(t, got, "neither is a dead letter")
}

// testRequeueReported: a dead letter that a provider has reported as such
// forgets that provider's reference, and a worker that still holds it.
func testRequeueReported(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.create(t, sample(serviceA, at(0)))
	require.NoError(t, s.Complete(ctx, s.claimOne(t, at(0)), storage.Outcome{Status: storage.StatusSending, ProviderReference: "p", At: at(0)}))
	s.finish(t, n, storage.StatusTechnicalFailure, at(time.Minute))
	held := s.create(t, sample(serviceA, at(0)))
	claim := s.claimOne(t, at(0))
	s.finish(t, held, storage.StatusTechnicalFailure, at(time.Minute))

	got, err := s.Requeue(ctx, storage.DeadLetterQuery{}, at(time.Hour))
	require.NoError(t, err)
	assert.Equal(t, []int64{held.ID, n.ID}, got)
	after := s.get(t, n)
	assert.Empty(t, after.ProviderReference)
	assert.Zero(t, after.SentAt)
	_, _, err = s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: "p", Status: storage.StatusDelivered, At: at(0)})
	require.ErrorIs(t, err, storage.ErrNotFound)
	require.ErrorIs(t, s.Complete(ctx, claim, storage.Outcome{Status: storage.StatusDelivered, At: at(time.Hour)}), storage.ErrLeaseLost)
	assert.Len(t, s.claims(t, storage.SMS, 10, at(time.Hour)), 2)
}

func testRequeueLimit(t *testing.T, s *suite) {
	for range 5 {
		s.die(t, sample(serviceA, at(0)), at(0))
	}
	for _, want := range []int{2, 2, 1, 0} {
		got, err := s.Requeue(t.Context(), storage.DeadLetterQuery{Limit: 2}, at(time.Hour))
		require.NoError(t, err)
		assert.Len(t, got, want)
	}
}
