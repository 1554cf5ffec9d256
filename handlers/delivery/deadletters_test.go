package delivery

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// A provider was out for longer than the budget: what was given up is listed
// with its reason and, when the provider is back, sent with its old reference
// and with attempts enough.
func TestDeadLettersAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		p := newScript(&SendError{Reason: "the provider answered 503"})
		stop := b.run(b.dispatcher(b.store, p))
		const letters = retryBatch + 3
		dead := make([]storage.Notification, letters)
		for i := range dead {
			dead[i] = b.create("fake")
		}
		time.Sleep(5 * time.Hour)
		synctest.Wait()
		d := &DeadLetters{Outbox: b.store, Logger: b.logs.logger()}
		list, err := d.List(t.Context(), storage.DeadLetterQuery{ServiceID: testService, Limit: 2})
		require.NoError(t, err)
		require.Len(t, list, 2)
		assert.Equal(t, dead[letters-1].ID, list[0].ID)
		assert.Contains(t, list[0].Reason, "the provider answered 503")

		one, err := d.Retry(t.Context(), storage.DeadLetterQuery{IDs: []int64{dead[0].ID}})
		require.NoError(t, err)
		assert.Equal(t, 1, one)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		n := b.get(dead[0].ID)
		assert.Equal(t, storage.StatusCreated, n.Status, "it has attempts again")
		assert.Equal(t, 6, n.Attempts)
		p.mu.Lock()
		p.steps, p.attempts = []error{nil}, nil
		p.mu.Unlock()
		n2, err := d.Retry(t.Context(), storage.DeadLetterQuery{ServiceID: testService, Since: dead[0].CreatedAt})
		require.NoError(t, err)
		assert.Equal(t, letters-1, n2)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		stop()
		seen := map[string]bool{}
		for _, a := range p.attempts {
			seen[a.reference] = true
		}
		for _, n := range dead {
			assert.Equal(t, storage.StatusDelivered, b.get(n.ID).Status)
			assert.True(t, seen[n.UUID.String()], "the reference is the old one")
		}
		none, err := d.Retry(t.Context(), storage.DeadLetterQuery{})
		require.NoError(t, err)
		assert.Zero(t, none)
		assert.Len(t, b.logs.lines("dead letters are tried again"), 2)
	})
}

// The provider has gone for good, and another took its place: dead letters go
// to that one, what only waits does not.
func TestDeadLettersGoToTheNewProvider(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		failed, absent := b.create("fake"), b.create("gone")
		stop := b.run(b.dispatcher(b.store, newScript(&SendError{Reason: "the provider answered 503"})))
		time.Sleep(25 * time.Hour)
		stop()
		assert.Equal(t, `given up: no delivery provider named "gone"`, b.get(absent.ID).Reason)
		waiting := b.create("gone")
		p := newScript(&SendError{Reason: "not yet"}, nil)
		stop = b.run(b.dispatcher(b.store, nil, func(c *Config) {
			c.Providers = map[string]Provider{"new": p}
			c.Channels = map[storage.Channel]string{storage.SMS: "new"}
		}))
		n, err := (&DeadLetters{Outbox: b.store}).Retry(t.Context(), storage.DeadLetterQuery{})
		require.NoError(t, err)
		assert.Equal(t, 2, n)
		time.Sleep(10 * time.Minute)
		stop()
		for _, n := range []storage.Notification{b.get(failed.ID), b.get(absent.ID)} {
			assert.Equal(t, storage.StatusDelivered, n.Status)
			assert.Equal(t, "new", n.Sender)
		}
		assert.Equal(t, storage.StatusCreated, b.get(waiting.ID).Status)
	})
}

// requeueing returns as many ids as asked for, and fails in the end.
type requeueing struct {
	calls   int
	queries []storage.DeadLetterQuery
}

func (*requeueing) DeadLetters(context.Context, storage.DeadLetterQuery) ([]storage.Notification, error) {
	return nil, nil
}

func (o *requeueing) Requeue(_ context.Context, q storage.DeadLetterQuery, _ time.Time) ([]int64, error) {
	o.queries = append(o.queries, q)
	if o.calls++; o.calls > 2 {
		return nil, storage.Unavailable("test", errors.New("away"))
	}
	ids := make([]int64, q.Limit)
	for i := range ids {
		ids[i] = int64(10_000*(3-o.calls) - i)
	}
	return ids, nil
}

func TestRetryTellsHowFarItCame(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	o := &requeueing{}
	d := &DeadLetters{Outbox: o, Now: func() time.Time { return now }}
	n, err := d.Retry(t.Context(), storage.DeadLetterQuery{ServiceID: "a", Until: now.Add(time.Hour), Limit: 1})
	require.ErrorIs(t, err, storage.ErrUnavailable)
	assert.Equal(t, 2*retryBatch, n)
	assert.Equal(t, []storage.DeadLetterQuery{
		{ServiceID: "a", Until: now, Limit: retryBatch},
		{ServiceID: "a", Until: now, Limit: retryBatch, Before: 20_000 - retryBatch + 1},
		{ServiceID: "a", Until: now, Limit: retryBatch, Before: 10_000 - retryBatch + 1},
	}, o.queries)
}
