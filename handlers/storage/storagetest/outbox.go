package storagetest

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func (s *suite) claims(t *testing.T, channel storage.Channel, limit int, now time.Time) []storage.Claim {
	t.Helper()
	got, err := s.Claim(t.Context(), storage.ClaimRequest{Channel: channel, Limit: limit, Now: now, Lease: time.Minute})
	require.NoError(t, err)
	return got
}

func (s *suite) nextDue(t *testing.T, channel storage.Channel) time.Time {
	t.Helper()
	due, err := s.NextDue(t.Context(), channel)
	require.NoError(t, err)
	return due
}

func testClaim(t *testing.T, s *suite) {
	assert.Empty(t, s.claims(t, storage.SMS, 10, at(0)))
	assert.Zero(t, s.nextDue(t, storage.SMS))
	second := s.create(t, sample(serviceA, at(2*time.Second)))
	first := s.create(t, sample(serviceB, at(time.Second)))
	third := s.create(t, sample(serviceA, at(3*time.Second)))
	mail := s.create(t, email(sample(serviceA, at(0))))

	assert.Equal(t, at(time.Second), s.nextDue(t, storage.SMS))
	assert.Empty(t, s.claims(t, storage.SMS, 10, at(0)), "not due yet")
	assert.Empty(t, s.claims(t, storage.SMS, 0, at(time.Hour)))
	assert.Empty(t, s.claims(t, "letter", 10, at(time.Hour)))

	got := s.claims(t, storage.SMS, 2, at(3*time.Second))
	require.Len(t, got, 2)
	for i, want := range []storage.Notification{first, second} {
		want.Attempts, want.UpdatedAt = 1, at(3*time.Second)
		assert.Equal(t, want, got[i].Notification, "oldest first")
		assert.Equal(t, at(3*time.Second+time.Minute), got[i].LeaseUntil)
		assert.Positive(t, got[i].Token)
		assert.Equal(t, want, s.get(t, want), "the attempt is stored")
	}
	rest := s.claims(t, storage.SMS, 10, at(3*time.Second))
	require.Len(t, rest, 1)
	assert.Equal(t, third.ID, rest[0].Notification.ID)
	assert.Empty(t, s.claims(t, storage.SMS, 10, at(3*time.Second)), "all leased")
	assert.Equal(t, at(3*time.Second+time.Minute), s.nextDue(t, storage.SMS), "the end of the leases")
	mails := s.claims(t, storage.Email, 10, at(0))
	require.Len(t, mails, 1)
	assert.Equal(t, mail.ID, mails[0].Notification.ID)
}

func testClaimConcurrently(t *testing.T, s *suite) {
	const rows = 200
	for range rows {
		s.create(t, sample(serviceA, at(0)))
	}
	var mu sync.Mutex
	seen := map[int64]int{}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				got, err := s.Claim(t.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 7, Now: at(time.Second), Lease: time.Minute})
				if !assert.NoError(t, err) || len(got) == 0 {
					return
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

func testLeaseExpiry(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.create(t, sample(serviceA, at(0)))
	late := s.claimOne(t, at(0))
	assert.Empty(t, s.claims(t, storage.SMS, 1, at(time.Minute-time.Microsecond)))
	holder := s.claimOne(t, at(time.Minute))
	assert.Equal(t, n.ID, holder.Notification.ID)
	assert.Greater(t, holder.Token, late.Token)
	assert.Equal(t, 2, holder.Notification.Attempts)

	done := storage.Outcome{Status: storage.StatusDelivered, At: at(time.Minute)}
	require.ErrorIs(t, s.Complete(ctx, late, done), storage.ErrLeaseLost)
	require.ErrorIs(t, s.Renew(ctx, late, at(time.Hour)), storage.ErrLeaseLost)
	assert.Equal(t, storage.StatusCreated, s.get(t, n).Status, "the late write changed nothing")

	require.NoError(t, s.Complete(ctx, holder, done))
	require.ErrorIs(t, s.Complete(ctx, holder, done), storage.ErrLeaseLost, "once only")
	require.ErrorIs(t, s.Renew(ctx, holder, at(time.Hour)), storage.ErrLeaseLost)

	// A lease that has run out still counts while nobody else has the row.
	s.create(t, sample(serviceA, at(0)))
	slow := s.claimOne(t, at(0))
	require.NoError(t, s.Complete(ctx, slow, storage.Outcome{Status: storage.StatusDelivered, At: at(time.Hour)}))

	unknown := storage.Claim{Notification: storage.Notification{ID: 1 << 40}, Token: 1}
	require.ErrorIs(t, s.Complete(ctx, unknown, done), storage.ErrLeaseLost)
	require.ErrorIs(t, s.Renew(ctx, unknown, at(0)), storage.ErrLeaseLost)
}

func testRenew(t *testing.T, s *suite) {
	s.create(t, sample(serviceA, at(0)))
	c := s.claimOne(t, at(0))
	require.NoError(t, s.Renew(t.Context(), c, at(time.Hour)))
	assert.Empty(t, s.claims(t, storage.SMS, 1, at(time.Hour-time.Microsecond)))
	assert.Equal(t, at(time.Hour), s.nextDue(t, storage.SMS))
	again := s.claimOne(t, at(time.Hour))
	require.ErrorIs(t, s.Renew(t.Context(), c, at(2*time.Hour)), storage.ErrLeaseLost)
	require.NoError(t, s.Renew(t.Context(), again, at(2*time.Hour)))
}

func testOutcomes(t *testing.T, s *suite) {
	ctx := t.Context()
	when := at(time.Second)
	for _, c := range []struct {
		status          storage.Status
		sent, completed time.Time
	}{
		{storage.StatusSending, when, time.Time{}},
		{storage.StatusDelivered, when, when},
		{storage.StatusPending, when, time.Time{}},
		{storage.StatusSent, when, when},
		{storage.StatusTemporaryFailure, time.Time{}, when},
		{storage.StatusPermanentFailure, time.Time{}, when},
		{storage.StatusTechnicalFailure, time.Time{}, when},
	} {
		n := s.create(t, sample(serviceA, at(0)))
		claim := s.claimOne(t, at(0))
		require.NoError(t, s.Complete(ctx, claim, storage.Outcome{Status: c.status, Reason: "why", ProviderReference: "p-" + string(c.status), At: when}))
		want := n
		want.Status, want.Reason, want.ProviderReference = c.status, "why", "p-"+string(c.status)
		want.Attempts, want.SentAt, want.CompletedAt, want.UpdatedAt = 1, c.sent, c.completed, when
		assert.Equal(t, want, s.get(t, n))
		assert.EqualValues(t, 1, s.total(t, serviceA, c.status))
		assert.Empty(t, s.claims(t, storage.SMS, 1, at(100*time.Hour)), "out of the queue")
	}
	assert.EqualValues(t, 7, s.total(t, serviceA))
	assert.Zero(t, s.total(t, serviceA, storage.StatusCreated))

	s.create(t, sample(serviceA, at(0)))
	claim := s.claimOne(t, at(0))
	for _, o := range []storage.Outcome{
		{Status: "odd", At: when}, {Status: storage.StatusSending}, {Status: storage.StatusCreated, At: when},
	} {
		require.ErrorIs(t, s.Complete(ctx, claim, o), storage.ErrInvalid)
	}
	require.NoError(t, s.Renew(ctx, claim, at(time.Hour)), "still held")
}

func testRetry(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.create(t, sample(serviceA, at(0)))
	c := s.claimOne(t, at(0))
	require.NoError(t, s.Complete(ctx, c, storage.Outcome{Status: storage.StatusCreated, Reason: "503", At: at(time.Second), NextAttempt: at(time.Hour)}))
	want := n
	want.Attempts, want.Reason, want.UpdatedAt = 1, "503", at(time.Second)
	assert.Equal(t, want, s.get(t, n))
	assert.Equal(t, at(time.Hour), s.nextDue(t, storage.SMS))
	assert.Empty(t, s.claims(t, storage.SMS, 1, at(time.Hour-time.Microsecond)))

	c = s.claimOne(t, at(time.Hour))
	assert.Equal(t, 2, c.Notification.Attempts)
	require.NoError(t, s.Complete(ctx, c, storage.Outcome{
		Status: storage.StatusCreated, At: at(time.Hour), NextAttempt: at(time.Hour), Unattempted: true,
	}))
	assert.Equal(t, 1, s.get(t, n).Attempts)
	c = s.claimOne(t, at(time.Hour))
	assert.Equal(t, 2, c.Notification.Attempts)
}

func testStats(t *testing.T, s *suite) {
	ctx := t.Context()
	stats := func() storage.Stats {
		st, err := s.Stats(ctx)
		require.NoError(t, err)
		return st
	}
	assert.Equal(t, storage.Stats{}, stats())
	s.create(t, sample(serviceA, at(0)))
	s.create(t, sample(serviceB, at(time.Second)))
	s.create(t, email(sample(serviceB, at(2*time.Second))))
	assert.Equal(t, storage.Stats{Queued: 3, Oldest: at(0)}, stats())
	c := s.claimOne(t, at(0))
	assert.Equal(t, storage.Stats{Queued: 3, Oldest: at(0)}, stats(), "leased ones are queued")
	require.NoError(t, s.Complete(ctx, c, storage.Outcome{Status: storage.StatusSending, At: at(0)}))
	assert.Equal(t, storage.Stats{Queued: 2, Oldest: at(time.Second), Outstanding: 1}, stats())
	c = s.claimOne(t, at(time.Second))
	require.NoError(t, s.Complete(ctx, c, storage.Outcome{Status: storage.StatusTechnicalFailure, At: at(0)}))
	assert.Equal(t, storage.Stats{Queued: 1, Oldest: at(2 * time.Second), Outstanding: 1, DeadLettered: 1}, stats())
}

func testWake(t *testing.T, s *suite) {
	wake := s.Wake()
	assert.Equal(t, wake, s.Wake(), "the same channel at every call")
	select {
	case <-wake:
		t.Fatal("woken without a creation")
	default:
	}
	s.create(t, sample(serviceA, at(0)))
	s.create(t, sample(serviceA, at(0))) // coalesced, and nobody blocks
	select {
	case <-wake:
	default:
		t.Fatal("a creation didn't wake")
	}
	select {
	case <-wake:
		t.Fatal("woken twice")
	default:
	}
}
