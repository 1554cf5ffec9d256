//go:build unix

package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// What schema version 3 stores for text messages.
const (
	kindCreated3   int16 = 8
	kindSending3   int16 = 9
	kindDelivered3 int16 = 10
	phaseAwaiting3 int16 = 3
	phaseHeld3     int16 = 4
)

// older is a program of schema version 3 as its statements have it, without its
// code. It stops at the first error.
type older struct {
	c    *pgx.Conn
	text map[string]string
	err  error
}

func newOlder(t *testing.T, dsn string) *older {
	t.Helper()
	o := &older{c: asProgram(t, dsn), text: map[string]string{}}
	for _, s := range statementsOf(t, 3) {
		o.text[s.name] = s.text
	}
	return o
}

func (o *older) rows(name string, args ...any) [][]any {
	if o.err != nil {
		return nil
	}
	text, ok := o.text[name]
	if !ok {
		o.err = fmt.Errorf("version 3 has no statement %q", name)
		return nil
	}
	rows, err := o.c.Query(context.Background(), text, args...)
	if err != nil {
		o.err = fmt.Errorf("%s: %w", name, err)
		return nil
	}
	var out [][]any
	for rows.Next() {
		values, err := rows.Values()
		if err != nil {
			o.err = fmt.Errorf("%s: %w", name, err)
		}
		out = append(out, values)
	}
	if err := rows.Err(); err != nil {
		o.err = fmt.Errorf("%s: %w", name, err)
	}
	return out
}

// exec runs a statement that must change n rows.
func (o *older) exec(n int64, name string, args ...any) {
	if o.err != nil {
		return
	}
	tag, err := o.c.Exec(context.Background(), o.text[name], args...)
	if err == nil && tag.RowsAffected() != n {
		err = fmt.Errorf("%d rows changed, not %d", tag.RowsAffected(), n)
	}
	if err != nil {
		o.err = fmt.Errorf("%s: %w", name, err)
	}
}

func (o *older) plain(text string) {
	if o.err == nil {
		_, o.err = o.c.Exec(context.Background(), text)
	}
}

func micro(t time.Time) int64 { return t.UnixMicro() }

// create stores a notification as sample has it.
func (o *older) create(now time.Time) (id int64) {
	v := sample(now)
	n := v.Notification
	o.rows("make tenants", []string{n.ServiceID})
	found := o.rows("find tenants", []string{n.ServiceID})
	if o.err != nil {
		return 0
	}
	tenant := found[0][0].(int32)
	limit := v.Limits[0]
	stored := o.rows("store", [][16]byte{n.UUID}, []int64{micro(now)}, []int64{micro(n.ExpiresAt)}, []*int64(nil), []int32{tenant},
		[]int32{int32(n.TemplateVersion)}, []string{n.KeyName}, []string{string(n.KeyType)}, []string{n.To}, []string{n.TemplateID}, //nolint:gosec // 1
		[]string{n.Reference}, []string{n.Sender}, []string{n.Subject}, []string{n.Body}, []int16{kindCreated3},
		[][]byte{v.Idempotency.Key}, []int64{micro(v.Idempotency.ExpiresAt)}, [][]byte{nil},
		[]string{limit.Key}, []int64{1}, []int64{limit.Max}, []int64{micro(limit.ExpiresAt)},
		[]int32{tenant}, []int16{kindCreated3}, []int64{1})
	if o.err != nil {
		return 0
	}
	ids, ok := stored[0][0].([]any)
	if !ok || len(ids) != 1 {
		o.err = fmt.Errorf("store: %v", stored)
		return 0
	}
	return ids[0].(int64)
}

// oldClaim is a claim as version 3 knows it.
type oldClaim struct{ id, token int64 }

func (o *older) claim(now time.Time, limit int) (out []oldClaim) {
	for _, r := range o.rows("claim", phaseSMS, micro(now), limit, micro(now.Add(time.Hour))) {
		out = append(out, oldClaim{r[0].(int64), r[len(r)-1].(int64)})
	}
	return out
}

// oldRecord is what version 3 reads of a notification that it is about to
// change.
type oldRecord struct {
	id, sent, due, token int64
	tenant, attempts     int32
	kind                 int16
	reference, sender    string
	leased               bool
}

// change locks a notification in flight, and stores it as apply leaves it.
func (o *older) change(id int64, now time.Time, apply func(r *oldRecord) error) {
	o.plain("BEGIN")
	o.rows("lock outbox", []int64{id})
	found := o.rows("read records", []int64{id})
	if o.err != nil {
		return
	}
	if len(found) != 1 || found[0][12] != true {
		o.err = fmt.Errorf("notification %d is not in flight: %v", id, found)
		return
	}
	v := found[0]
	r := &oldRecord{id: id, leased: v[22] == true, reference: fmt.Sprint(v[18]), sender: fmt.Sprint(v[19])}
	for i, into := range map[int]any{1: &r.tenant, 13: &r.kind, 14: &r.attempts, 15: &r.sent, 20: &r.due, 21: &r.token} {
		if _, err := fmt.Sscan(fmt.Sprint(v[i]), into); err != nil {
			o.err = fmt.Errorf("read records: column %d: %w", i, err)
			return
		}
	}
	from := r.kind
	if o.err = apply(r); o.err != nil {
		return
	}
	at := micro(now)
	if r.kind == kindDelivered3 {
		o.exec(1, "save final", []int64{id}, []int16{r.kind}, []int32{r.attempts}, []int64{r.sent}, []int64{at}, []int64{at},
			[]string{""}, []string{r.reference}, []string{r.sender})
	}
	if r.kind == kindDelivered3 && !r.leased {
		o.exec(1, "land", []int64{id})
	} else {
		phase := map[int16]int16{kindCreated3: phaseSMS, kindSending3: phaseAwaiting3, kindDelivered3: phaseHeld3}[r.kind]
		o.exec(1, "save flying", []int64{id}, []int16{r.kind}, []int16{phase}, []int64{r.due}, []bool{r.leased}, []int32{r.attempts},
			[]int64{r.sent}, []int64{at}, []string{""}, []string{r.reference}, []string{r.sender})
	}
	if r.kind != from {
		if r.kind == kindDelivered3 {
			o.exec(1, "owe callbacks", []int64{id}, []int64{at}, []int32{r.tenant})
		}
		o.exec(2, "change totals", []int32{r.tenant, r.tenant}, []int16{from, r.kind}, []int64{-1, 1})
	}
	o.plain("COMMIT")
}

// holding applies a step if the claim still holds.
func (c oldClaim) holding(step func(r *oldRecord)) func(r *oldRecord) error {
	return func(r *oldRecord) error {
		if !r.leased || r.token != c.token {
			return fmt.Errorf("the lease of notification %d is lost", c.id)
		}
		step(r)
		return nil
	}
}

func (o *older) reassign(c oldClaim, now time.Time) {
	o.change(c.id, now, c.holding(func(r *oldRecord) { r.sender = olderSender }))
}

func (o *older) complete(c oldClaim, kind int16, reference string, now time.Time) {
	o.change(c.id, now, c.holding(func(r *oldRecord) {
		r.kind, r.leased, r.sent, r.reference, r.due = kind, false, micro(now), reference, micro(now)
	}))
}

func (o *older) receipt(p sentPart, now time.Time) {
	found := o.rows("find received", []int32{0}, []string{p.sender}, []string{p.reference}, [][16]byte{uuid.Nil})
	if o.err != nil {
		return
	}
	o.change(found[0][1].(int64), now, func(r *oldRecord) error {
		if r.kind != kindSending3 || r.leased {
			return fmt.Errorf("the receipt %v finds the kind %d", p, r.kind)
		}
		r.kind = kindDelivered3
		return nil
	})
}

const (
	olderSender = "old"
	newerSender = "new"
)

// sentPart is what a provider reports about.
type sentPart struct{ sender, reference string }

// beside is the work that both kinds of nodes share.
type beside struct {
	sent      chan sentPart // taken by a provider, without a receipt yet
	delivered atomic.Int64
	mu        sync.Mutex
	ended     map[int64]int // how often each notification was completed
}

func (b *beside) completed(id int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended[id]++
}

// older creates its share, and works on whatever there is until all is done.
func (b *beside) older(o *older, share int, total int64) error {
	for i := 0; b.delivered.Load() < total && o.err == nil; i++ {
		now := time.Now()
		if i < share {
			o.create(now)
		}
		for _, c := range o.claim(now, 3) {
			o.reassign(c, now)
			if c.id%2 == 0 {
				o.complete(c, kindDelivered3, "", now)
				b.delivered.Add(1)
			} else {
				p := sentPart{olderSender, fmt.Sprint("receipt-", c.id)}
				o.complete(c, kindSending3, p.reference, now)
				b.sent <- p
			}
			b.completed(c.id)
		}
		select {
		case p := <-b.sent:
			o.receipt(p, now)
			b.delivered.Add(1)
		default:
		}
	}
	return o.err
}

// newer does the same as this program.
func (b *beside) newer(s *Store, share int, total int64) error {
	ctx := context.Background()
	owed := func(string) bool { return true }
	for i := 0; b.delivered.Load() < total; i++ {
		now := time.Now()
		if i < share {
			if _, err := s.Create(ctx, sample(now)); err != nil {
				return err
			}
		}
		claims, err := s.Claim(ctx, storage.ClaimRequest{Channel: storage.SMS, Limit: 3, Now: now, Lease: time.Hour})
		if err != nil {
			return err
		}
		for _, c := range claims {
			id := c.Notification.ID
			if _, err := s.Reassign(ctx, c, newerSender); err != nil {
				return err
			}
			outcome := storage.Outcome{Status: storage.StatusDelivered, At: now, Callback: true}
			if id%2 != 0 {
				outcome.Status, outcome.ProviderReference = storage.StatusSending, fmt.Sprint("receipt-", id)
			}
			if err := s.Complete(ctx, c, outcome); err != nil {
				return err
			}
			if id%2 != 0 {
				b.sent <- sentPart{newerSender, outcome.ProviderReference}
			} else {
				b.delivered.Add(1)
			}
			b.completed(id)
		}
		select {
		case p := <-b.sent:
			_, changed, err := s.Receipt(ctx, storage.Receipt{
				Sender: p.sender, Reference: p.reference, Status: storage.StatusDelivered, At: now, Callback: owed,
			})
			if err == nil && !changed {
				err = errors.New("the receipt changed nothing")
			}
			if err != nil {
				return fmt.Errorf("%v: %w", p, err)
			}
			b.delivered.Add(1)
		default:
		}
	}
	return nil
}

// TestOlderProgramBeside lets programs of schema version 3 and of this one share
// the work on the newest schema: each sends what the other has created, reports
// what the other has sent, and counts on the other's counters.
func TestOlderProgramBeside(t *testing.T) {
	const share, each = 60, 2
	const total int64 = 2 * each * share
	server, name := database(t)
	s := node(t, Config{DSN: server.DSN(name)})
	b := &beside{sent: make(chan sentPart, total), ended: map[int64]int{}}
	var wg sync.WaitGroup
	for range each {
		o := newOlder(t, server.DSN(name))
		for _, work := range []func() error{
			func() error { return b.older(o, share, total) },
			func() error { return b.newer(s, share, total) },
		} {
			wg.Go(func() {
				if !assert.NoError(t, work()) {
					b.delivered.Add(total) // ends the others' work
				}
			})
		}
	}
	wg.Wait()
	if t.Failed() {
		return
	}
	ctx := t.Context()
	assert.Len(t, b.ended, int(total))
	for id, times := range b.ended {
		assert.Equal(t, 1, times, "notification %d was completed more than once", id)
	}

	// Both count the same.
	o := newOlder(t, server.DSN(name))
	p, err := s.Notifications(ctx, storage.Query{ServiceID: service, Limit: 1000})
	require.NoError(t, err)
	assert.Equal(t, total, p.Total)
	senders := map[string]int{}
	for _, n := range p.Notifications {
		assert.Equal(t, storage.StatusDelivered, n.Status)
		assert.Equal(t, 1, n.Attempts)
		senders[n.Sender]++
		read := o.rows("by id", n.ID, service)
		require.NoError(t, o.err)
		require.Len(t, read, 1)
		assert.Equal(t, [16]byte(n.UUID), read[0][1])
		assert.Equal(t, kindDelivered3, read[0][14])
		assert.Equal(t, n.Sender, read[0][21])
	}
	assert.Positive(t, senders[olderSender])
	assert.Positive(t, senders[newerSender])
	totals := o.rows("totals", service)
	require.NoError(t, o.err)
	require.Len(t, totals, 1)
	assert.Equal(t, []any{kindDelivered3, total}, totals[0][1:])
	key := sample(time.Now()).Limits[0].Key
	count, err := s.Counter(ctx, key)
	require.NoError(t, err)
	assert.Equal(t, total, count)
	assert.Equal(t, [][]any{{total}}, o.rows("counter", key))
	st, err := s.Stats(ctx)
	require.NoError(t, err)
	assert.Equal(t, storage.Stats{Callbacks: total}, st)

	// Callbacks, half and half.
	now := time.Now()
	owed := o.rows("claim callbacks", service, micro(now), total/2, micro(now.Add(time.Hour)))
	require.NoError(t, o.err)
	require.Len(t, owed, int(total/2))
	for _, r := range owed {
		o.exec(1, "complete callback", r[len(r)-4], r[len(r)-1])
	}
	require.NoError(t, o.err)
	rest, err := s.ClaimCallbacks(ctx, storage.CallbackRequest{ServiceID: service, Limit: int(total), Now: now, Lease: time.Hour})
	require.NoError(t, err)
	require.Len(t, rest, int(total/2))
	for _, c := range rest {
		require.NoError(t, s.CompleteCallback(ctx, c, time.Time{}))
	}

	// Retention, likewise.
	late := now.Add(1000 * time.Hour)
	swept := o.rows("sweep notifications", micro(late), total/2)
	require.NoError(t, o.err)
	assert.Equal(t, [][]any{{total / 2}}, swept)
	o.exec(total/2, "sweep keys", micro(late), total/2)
	require.NoError(t, o.err)
	done, err := s.Sweep(ctx, storage.SweepRequest{Now: late, Limit: int(2 * total)})
	require.NoError(t, err)
	assert.Equal(t, total/2, done.Notifications)
	assert.Equal(t, total/2+1, done.Keys, "and the counter")
	p, err = s.Notifications(ctx, storage.Query{ServiceID: service})
	require.NoError(t, err)
	assert.Zero(t, p.Total)
	assert.Empty(t, o.rows("totals", service))
	require.NoError(t, o.err)
	st, err = s.Stats(ctx)
	require.NoError(t, err)
	assert.Equal(t, storage.Stats{}, st)
}
