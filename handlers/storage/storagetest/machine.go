package storagetest

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// model is what the contract says about one notification, written without
// regard to how back ends do it.
type model struct {
	n       storage.Notification
	due     time.Time // of the next claim
	holder  int       // index of the claim whose outcome counts, -1 for none
	claims  []storage.Claim
	deleted bool

	owed      bool      // a callback
	owedDue   time.Time // when it can be claimed
	told      []storage.CallbackClaim
	teller    int // index in told of the claim that counts, -1 for none
	toldCalls int // claims of the present callback
}

// owe notes that the notification has become final.
func (r *model) owe(now time.Time) {
	r.owed, r.owedDue, r.teller, r.toldCalls = true, now, -1, 0
}

// machine drives a back end and the model through the same steps.
type machine struct {
	s    *suite
	now  time.Time
	rows []*model
}

// testMachine is the property that no order of claims, outcomes, receipts,
// sweeps and time leads a notification where the contract doesn't.
func testMachine(t *testing.T, s *suite) {
	rapid.Check(t, func(rt *rapid.T) {
		m := &machine{s: &suite{Backend: s.open(t)}, now: at(0)}
		rt.Repeat(map[string]func(*rapid.T){
			"create":   m.create,
			"wait":     m.wait,
			"claim":    m.claim,
			"complete": m.complete,
			"receipt":  m.receipt,
			"reassign": m.reassign,
			"sweep":    m.sweep,
			"requeue":  m.requeue,
			"call":     m.call,
			"called":   m.called,
			"":         m.check,
		})
		require.NoError(rt, m.s.Close())
	})
}

func (m *machine) create(rt *rapid.T) {
	c := sample(serviceA, m.now)
	c.Notification.ExpiresAt = m.now.Add(time.Hour)
	c.Notification.KeyType = rapid.SampledFrom(someKeyTypes).Draw(rt, "key type")
	due := m.now
	if rapid.Bool().Draw(rt, "scheduled") {
		due = m.now.Add(time.Minute)
		c.Notification.Details.ScheduledFor = due
	}
	n := m.s.create(rt, c)
	m.rows = append(m.rows, &model{n: n, due: due, holder: -1, teller: -1})
}

func (m *machine) wait(rt *rapid.T) {
	m.now = m.now.Add(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, time.Minute, time.Hour}).Draw(rt, "time"))
}

func (m *machine) claim(rt *rapid.T) {
	limit := rapid.IntRange(1, 3).Draw(rt, "limit")
	got, err := m.s.Claim(context.Background(), storage.ClaimRequest{Channel: storage.SMS, Limit: limit, Now: m.now, Lease: time.Minute})
	require.NoError(rt, err)
	due := 0
	for _, r := range m.rows {
		if r.n.Status == storage.StatusCreated && !r.due.After(m.now) {
			due++
		}
	}
	require.Len(rt, got, min(due, limit))
	for _, c := range got {
		r := m.row(c.Notification.ID)
		require.Equal(rt, storage.StatusCreated, r.n.Status)
		require.False(rt, r.due.After(m.now), "leased or not due")
		r.n.Attempts++
		r.n.UpdatedAt = m.now
		require.Equal(rt, r.n, c.Notification)
		for _, old := range r.claims {
			require.Greater(rt, c.Token, old.Token)
		}
		r.claims = append(r.claims, c)
		r.holder = len(r.claims) - 1
		r.due = m.now.Add(time.Minute)
	}
}

func (m *machine) row(id int64) *model {
	for _, r := range m.rows {
		if r.n.ID == id {
			return r
		}
	}
	return nil
}

func (m *machine) complete(rt *rapid.T) {
	var held []*model
	for _, r := range m.rows {
		if len(r.claims) > 0 {
			held = append(held, r)
		}
	}
	if len(held) == 0 {
		rt.Skip("nothing was claimed")
	}
	r := rapid.SampledFrom(held).Draw(rt, "row")
	i := rapid.IntRange(0, len(r.claims)-1).Draw(rt, "claim")
	o := storage.Outcome{
		Status: rapid.SampledFrom(someStatuses).Draw(rt, "status"), Reason: "outcome", At: m.now, NextAttempt: m.now.Add(30 * time.Second),
		Callback: true,
	}
	err := m.s.Complete(context.Background(), r.claims[i], o)
	if i != r.holder || r.deleted {
		require.ErrorIs(rt, err, storage.ErrLeaseLost)
		return
	}
	require.NoError(rt, err)
	r.holder = -1
	r.n.UpdatedAt = m.now
	switch {
	case r.n.Status == storage.StatusCreated && o.Status == storage.StatusCreated:
		r.n.Reason, r.due = o.Reason, o.NextAttempt
	case r.n.Status == storage.StatusCreated,
		onItsWay(r.n.Status) && o.Status.Final() && o.Status != storage.StatusTechnicalFailure,
		r.n.Status == storage.StatusSending && o.Status == storage.StatusPending:
		if (onItsWay(o.Status) || o.Status == storage.StatusDelivered || o.Status == storage.StatusSent) && r.n.SentAt.IsZero() {
			r.n.SentAt = m.now
		}
		r.n.Status, r.n.Reason = o.Status, o.Reason
		if o.Status.Final() {
			r.n.CompletedAt = m.now
			r.owe(m.now)
		}
	}
}

func (m *machine) receipt(rt *rapid.T) {
	if len(m.rows) == 0 {
		rt.Skip("nothing was created")
	}
	r := rapid.SampledFrom(m.rows).Draw(rt, "row")
	status := rapid.SampledFrom(someStatuses[1:]).Draw(rt, "status")
	got, changed, err := m.s.Receipt(context.Background(), storage.Receipt{
		Sender: r.n.Sender, Reference: r.n.UUID.String(), Status: status, Reason: "receipt", At: m.now, Callback: wants(serviceA),
	})
	if r.deleted {
		require.ErrorIs(rt, err, storage.ErrNotFound)
		return
	}
	require.NoError(rt, err)
	forward := r.n.Status == storage.StatusCreated || onItsWay(r.n.Status) && status.Final() ||
		r.n.Status == storage.StatusSending && status == storage.StatusPending
	require.Equal(rt, forward, changed)
	if forward {
		r.n.Status, r.n.Reason, r.n.UpdatedAt = status, "receipt", m.now
		if r.n.SentAt.IsZero() {
			r.n.SentAt = m.now
		}
		if status.Final() {
			r.n.CompletedAt = m.now
			r.owe(m.now)
		}
	}
	require.Equal(rt, r.n, got)
}

func (m *machine) sweep(rt *rapid.T) {
	since := m.now.Add(-time.Hour)
	got, err := m.s.Sweep(context.Background(), storage.SweepRequest{Now: m.now, ReceiptsSince: since, Callback: wants(serviceA)})
	require.NoError(rt, err)
	var want storage.Swept
	for _, r := range m.rows {
		switch {
		case r.deleted:
		case r.n.Status.Final() && r.n.ExpiresAt.Before(m.now):
			r.deleted, r.owed = true, false
			want.Notifications++
		case onItsWay(r.n.Status) && r.n.SentAt.Before(since):
			r.n.Status, r.n.CompletedAt, r.n.UpdatedAt = storage.StatusTemporaryFailure, m.now, m.now
			r.n.Reason = m.s.get(rt, r.n).Reason
			r.owe(m.now)
			want.TimedOut++
		}
	}
	require.Equal(rt, want, got)
}

// onItsWay reports whether a receipt is outstanding.
func onItsWay(s storage.Status) bool { return s == storage.StatusSending || s == storage.StatusPending }

// pick draws one of the rows that fit.
func (m *machine) pick(rt *rapid.T, fits func(r *model) bool) *model {
	var rows []*model
	for _, r := range m.rows {
		if fits(r) {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		rt.Skip("there is none")
	}
	return rapid.SampledFrom(rows).Draw(rt, "row")
}

func (m *machine) reassign(rt *rapid.T) {
	r := m.pick(rt, func(r *model) bool { return len(r.claims) > 0 })
	i := rapid.IntRange(0, len(r.claims)-1).Draw(rt, "claim")
	name := rapid.SampledFrom([]string{sender, "other"}).Draw(rt, "sender")
	queued, err := m.s.Reassign(context.Background(), r.claims[i], name)
	if i != r.holder || r.deleted {
		require.ErrorIs(rt, err, storage.ErrLeaseLost)
		return
	}
	require.NoError(rt, err)
	require.Equal(rt, r.n.Status == storage.StatusCreated, queued)
	if queued {
		r.n.Sender = name
	}
}

func (m *machine) requeue(rt *rapid.T) {
	limit := rapid.IntRange(1, 2).Draw(rt, "limit")
	got, err := m.s.Requeue(context.Background(), storage.DeadLetterQuery{ServiceID: serviceA, Limit: limit}, m.now)
	require.NoError(rt, err)
	var want []int64
	for _, r := range slices.Backward(m.rows) { // highest ids first
		if r.deleted || r.n.Status != storage.StatusTechnicalFailure || len(want) == limit {
			continue
		}
		want = append(want, r.n.ID)
		r.n.Status, r.n.Attempts, r.n.ProviderReference = storage.StatusCreated, 0, ""
		r.n.SentAt, r.n.CompletedAt, r.n.UpdatedAt = time.Time{}, time.Time{}, m.now
		r.due, r.holder, r.owed = m.now, -1, false
	}
	require.Len(rt, got, len(want))
	for i := range want {
		require.Equal(rt, want[i], got[i])
	}
}

func (m *machine) call(rt *rapid.T) {
	limit := rapid.IntRange(1, 3).Draw(rt, "limit")
	due := 0
	for _, r := range m.rows {
		if r.owed && !r.owedDue.After(m.now) {
			due++
		}
	}
	got := m.s.claimCallbacks(rt, serviceA, limit, m.now)
	require.Len(rt, got, min(due, limit))
	for _, c := range got {
		r := m.row(c.Notification.ID)
		require.True(rt, r.owed)
		require.False(rt, r.owedDue.After(m.now), "leased or not due")
		require.Equal(rt, r.n, c.Notification)
		r.toldCalls++
		require.Equal(rt, r.toldCalls, c.Attempts)
		r.told = append(r.told, c)
		r.teller, r.owedDue = len(r.told)-1, m.now.Add(time.Minute)
	}
}

func (m *machine) called(rt *rapid.T) {
	r := m.pick(rt, func(r *model) bool { return len(r.told) > 0 })
	i := rapid.IntRange(0, len(r.told)-1).Draw(rt, "call")
	var next time.Time
	if rapid.Bool().Draw(rt, "again") {
		next = m.now.Add(30 * time.Second)
	}
	err := m.s.CompleteCallback(context.Background(), r.told[i], next)
	if i != r.teller || !r.owed {
		require.ErrorIs(rt, err, storage.ErrLeaseLost)
		return
	}
	require.NoError(rt, err)
	r.owed, r.owedDue, r.teller = !next.IsZero(), next, -1
}

func (m *machine) check(rt *rapid.T) {
	totals := map[storage.Status]int64{}
	owed := int64(0)
	for _, r := range m.rows {
		got, err := m.s.NotificationByID(context.Background(), serviceA, r.n.ID)
		if r.deleted {
			require.ErrorIs(rt, err, storage.ErrNotFound)
			continue
		}
		require.NoError(rt, err)
		require.Equal(rt, r.n, got)
		totals[r.n.Status]++
		if r.owed {
			owed++
		}
	}
	st, err := m.s.Stats(context.Background())
	require.NoError(rt, err)
	assert.Equal(rt, owed, st.Callbacks)
	assert.Equal(rt, totals[storage.StatusSending]+totals[storage.StatusPending], st.Outstanding)
	assert.Equal(rt, totals[storage.StatusCreated], st.Queued)
	for _, status := range someStatuses {
		assert.Equal(rt, totals[status], m.s.total(rt, serviceA, status), status)
	}
}
