package storagetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// testDetails: what is known besides comes back from every way to read a
// notification.
func testDetails(t *testing.T, s *suite) {
	ctx := t.Context()
	details := storage.Details{
		Supplied: "07700 900123\x00 “é”", From: "Booking", ReplyTo: "a@example.org", UnsubscribeURL: "https://example.org/?a=b&c=<d>",
		ScheduledFor: time.Date(2026, 11, 22, 14, 0, 0, 123456789, time.FixedZone("", 3600)), International: true,
	}
	c := withKey(sample(serviceA, at(0)), "key", "", at(time.Hour))
	c.Notification.Details = details
	n := s.create(t, c)
	details.ScheduledFor = time.Date(2026, 11, 22, 13, 0, 0, 123456000, time.UTC)
	assert.Equal(t, details, n.Details)
	none := s.create(t, sample(serviceA, at(0)))
	assert.Zero(t, none.Details)

	assert.Equal(t, n, s.get(t, n))
	assert.Equal(t, none, s.get(t, none))
	got, err := s.NotificationByUUID(ctx, serviceA, n.UUID)
	require.NoError(t, err)
	assert.Equal(t, n, got)
	got, err = s.Idempotent(ctx, serviceA, []byte("key"))
	require.NoError(t, err)
	assert.Equal(t, n, got)
	again, err := s.Create(ctx, c)
	require.NoError(t, err)
	assert.Equal(t, storage.Created{Notification: n, Replayed: true}, again)
	p, err := s.Notifications(ctx, storage.Query{ServiceID: serviceA, Limit: 10})
	require.NoError(t, err)
	assert.Equal(t, []storage.Notification{none, n}, p.Notifications)
	claims := s.claims(t, storage.SMS, 2, at(2*time.Hour))
	require.Len(t, claims, 2)
	assert.Equal(t, []storage.Details{{}, details}, []storage.Details{claims[0].Notification.Details, claims[1].Notification.Details})
	ended, changed, err := s.Receipt(ctx, storage.Receipt{
		Sender: sender, Reference: n.UUID.String(), Status: storage.StatusTechnicalFailure, At: at(0), Callback: wants(serviceA),
	})
	require.NoError(t, err)
	require.True(t, changed)
	assert.Equal(t, details, ended.Details)
	owed := s.claimCallbacks(t, serviceA, 1, at(time.Hour))
	require.Len(t, owed, 1)
	assert.Equal(t, ended, owed[0].Notification)
	dead, err := s.DeadLetters(ctx, storage.DeadLetterQuery{})
	require.NoError(t, err)
	assert.Equal(t, []storage.Notification{ended}, dead)
}

// testScheduled: a notification waits for the time that was asked for.
func testScheduled(t *testing.T, s *suite) {
	later := func(when time.Duration) storage.Notification {
		c := sample(serviceA, at(0))
		c.Notification.Details.ScheduledFor = at(when)
		return s.create(t, c)
	}
	second, first := later(2*time.Hour), later(time.Hour)
	past := later(-time.Hour)
	now := s.create(t, sample(serviceB, at(time.Minute)))
	assert.Equal(t, at(0), s.nextDue(t, storage.SMS), "never before it was created")
	got := s.claims(t, storage.SMS, 10, at(time.Hour-time.Microsecond))
	require.Len(t, got, 2)
	assert.Equal(t, []int64{past.ID, now.ID}, []int64{got[0].Notification.ID, got[1].Notification.ID})
	for _, c := range got {
		require.NoError(t, s.Complete(t.Context(), c, storage.Outcome{Status: storage.StatusDelivered, At: at(time.Hour)}))
	}
	assert.Equal(t, at(time.Hour), s.nextDue(t, storage.SMS))
	assert.Equal(t, storage.StatusCreated, s.get(t, first).Status)
	c := s.claimOne(t, at(time.Hour))
	assert.Equal(t, first.ID, c.Notification.ID)
	assert.Equal(t, at(time.Hour), c.Notification.Details.ScheduledFor)
	require.NoError(t, s.Complete(t.Context(), c, storage.Outcome{Status: storage.StatusTechnicalFailure, At: at(time.Hour)}))
	assert.Equal(t, at(2*time.Hour), s.nextDue(t, storage.SMS))
	ids, err := s.Requeue(t.Context(), storage.DeadLetterQuery{}, at(90*time.Minute))
	require.NoError(t, err)
	assert.Equal(t, []int64{first.ID}, ids)
	assert.Equal(t, at(90*time.Minute), s.nextDue(t, storage.SMS), "not at its own time again")
	assert.Equal(t, at(2*time.Hour), s.get(t, second).Details.ScheduledFor)
	assert.EqualValues(t, 2, s.total(t, serviceA, storage.StatusCreated))
}

// testScheduledTwins: the twin of a scheduled notification makes nothing due.
func testScheduledTwins(t *testing.T, s *suite) {
	twin := func() (storage.Created, error) {
		c := withKey(sample(serviceA, at(0)), "twins", "hash", at(time.Hour))
		c.Notification.Details.ScheduledFor = at(time.Hour)
		return s.Create(t.Context(), c)
	}
	results := make(chan storage.Created, 8)
	for range cap(results) {
		go func() {
			got, err := twin()
			assert.NoError(t, err)
			results <- got
		}()
	}
	ids, fresh := map[int64]bool{}, 0
	for range cap(results) {
		got := <-results
		ids[got.Notification.ID] = true
		if !got.Replayed {
			fresh++
		}
		assert.Equal(t, at(time.Hour), got.Notification.Details.ScheduledFor)
	}
	assert.Len(t, ids, 1)
	assert.Equal(t, 1, fresh)
	assert.Equal(t, at(time.Hour), s.nextDue(t, storage.SMS))
	assert.Empty(t, s.claims(t, storage.SMS, 10, at(time.Hour-time.Microsecond)))
	assert.Len(t, s.claims(t, storage.SMS, 10, at(time.Hour)), 1)
}

// testPending: an interim receipt leaves the final one outstanding.
func testPending(t *testing.T, s *suite) {
	ctx := t.Context()
	report := func(n storage.Notification, status storage.Status, when time.Time) bool {
		t.Helper()
		got, changed, err := s.Receipt(ctx, storage.Receipt{
			Sender: sender, Reference: n.UUID.String(), Status: status, Reason: "why", At: when, Callback: wants(serviceA),
		})
		require.NoError(t, err)
		assert.Equal(t, s.get(t, n), got)
		return changed
	}
	n, direct, sending := s.create(t, sample(serviceA, at(0))), s.create(t, sample(serviceA, at(0))), s.create(t, sample(serviceA, at(0)))
	require.True(t, report(n, storage.StatusSending, at(time.Minute)))
	require.True(t, report(sending, storage.StatusSending, at(time.Minute)))
	require.True(t, report(n, storage.StatusPending, at(2*time.Minute)))
	require.True(t, report(direct, storage.StatusPending, at(3*time.Minute)))
	assert.False(t, report(n, storage.StatusPending, at(3*time.Minute)), "a duplicate")
	assert.False(t, report(n, storage.StatusSending, at(3*time.Minute)), "a late one")
	want := n
	want.Status, want.Reason, want.SentAt, want.UpdatedAt = storage.StatusPending, "why", at(time.Minute), at(2*time.Minute)
	assert.Equal(t, want, s.get(t, n))
	assert.Equal(t, at(3*time.Minute), s.get(t, direct).SentAt)
	assert.Empty(t, s.claims(t, storage.SMS, 10, at(time.Hour)), "a provider has it")

	st, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.Equal(t, storage.Stats{Outstanding: 3}, st)
	for _, c := range []struct {
		statuses []storage.Status
		want     []storage.Notification
	}{
		{[]storage.Status{storage.StatusPending}, []storage.Notification{direct, n}},
		{[]storage.Status{storage.StatusSending}, []storage.Notification{sending}},
		{[]storage.Status{storage.StatusSending, storage.StatusPending}, []storage.Notification{sending, direct, n}},
		{nil, []storage.Notification{sending, direct, n}},
	} {
		p, err := s.Notifications(ctx, storage.Query{ServiceID: serviceA, Statuses: c.statuses, Limit: 10})
		require.NoError(t, err)
		assert.EqualValues(t, len(c.want), p.Total, c.statuses)
		require.Len(t, p.Notifications, len(c.want), c.statuses)
		for i, n := range c.want {
			assert.Equal(t, s.get(t, n), p.Notifications[i], c.statuses)
		}
	}

	assert.Equal(t, storage.Swept{TimedOut: 2}, s.sweep(t, storage.SweepRequest{
		Now: at(time.Hour), ReceiptsSince: at(3 * time.Minute), Callback: wants(serviceA),
	}))
	late := s.get(t, n)
	assert.Equal(t, storage.StatusTemporaryFailure, late.Status)
	assert.Equal(t, at(time.Hour), late.CompletedAt)
	assert.Equal(t, at(time.Minute), late.SentAt)
	assert.Len(t, s.claimCallbacks(t, serviceA, 10, at(time.Hour)), 2)

	require.True(t, report(direct, storage.StatusDelivered, at(2*time.Hour)))
	assert.Len(t, s.claimCallbacks(t, serviceA, 10, at(2*time.Hour)), 3, "the leases of the others have ended")
	assert.Zero(t, s.total(t, serviceA, storage.StatusPending))
	assert.Zero(t, s.total(t, serviceA, storage.StatusSending))

	// A receipt that comes before the outcome.
	held := s.create(t, sample(serviceA, at(0)))
	claim := s.claimOne(t, at(0))
	require.True(t, report(held, storage.StatusPending, at(time.Second)))
	require.NoError(t, s.Complete(ctx, claim, storage.Outcome{Status: storage.StatusSending, ProviderReference: "p", At: at(2 * time.Second)}))
	got := s.get(t, held)
	assert.Equal(t, storage.StatusPending, got.Status)
	assert.Equal(t, "p", got.ProviderReference)
	require.True(t, report(held, storage.StatusPermanentFailure, at(3*time.Second)))
}

// testSent: what is sent without a receipt to come is final, and told.
func testSent(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.create(t, sample(serviceA, at(0)))
	mail := s.create(t, email(sample(serviceA, at(0))))
	require.NoError(t, s.Complete(ctx, s.claimOne(t, at(time.Second)), storage.Outcome{
		Status: storage.StatusSent, ProviderReference: "p", At: at(time.Minute), Callback: true,
	}))
	want := n
	want.Status, want.Attempts, want.ProviderReference = storage.StatusSent, 1, "p"
	want.SentAt, want.CompletedAt, want.UpdatedAt = at(time.Minute), at(time.Minute), at(time.Minute)
	assert.Equal(t, want, s.get(t, n))
	_, changed, err := s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: "p", Status: storage.StatusDelivered, At: at(time.Hour)})
	require.NoError(t, err)
	assert.False(t, changed, "it was final")
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.Equal(t, storage.Stats{Queued: 1, Oldest: at(0), Callbacks: 1}, st)
	s.finish(t, mail, storage.StatusDelivered, at(0))

	next, err := s.NextCallbacks(ctx, []string{serviceA, serviceB})
	require.NoError(t, err)
	assert.Equal(t, map[string]time.Time{serviceA: at(time.Minute)}, next)
	told := s.claimCallbacks(t, serviceA, 1, at(time.Minute))
	require.Len(t, told, 1)
	assert.Equal(t, want, told[0].Notification)
	require.NoError(t, s.CompleteCallback(ctx, told[0], time.Time{}))

	assert.EqualValues(t, 1, s.total(t, serviceA, storage.StatusSent))
	assert.EqualValues(t, 2, s.total(t, serviceA))
	for _, statuses := range [][]storage.Status{{storage.StatusSent}, {storage.StatusSent, storage.StatusCreated}} {
		p, err := s.Notifications(ctx, storage.Query{ServiceID: serviceA, Statuses: statuses, Limit: 10})
		require.NoError(t, err)
		assert.Equal(t, []storage.Notification{want}, p.Notifications)
	}
	assert.Equal(t, storage.Swept{Notifications: 2}, s.sweep(t, storage.SweepRequest{Now: at(2 * week)}))
	assert.Zero(t, s.total(t, serviceA))
}
