package delivery

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// createAs stores a notification that differs from the usual one.
func (b *bench) createAs(change func(*storage.Notification)) storage.Notification {
	b.t.Helper()
	now := time.Now()
	n := storage.Notification{
		UUID: uuid.New(), ServiceID: testService, Channel: storage.SMS, To: testNumber, Body: testText,
		Sender: "fake", CreatedAt: now, ExpiresAt: now.Add(168 * time.Hour),
	}
	change(&n)
	c, err := b.store.Create(b.t.Context(), storage.Creation{Notification: n})
	require.NoError(b.t, err)
	return c.Notification
}

// The recipient of a test key's notification says how it ends, and the service is
// told as of any other.
func TestSimulatedOutcomes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		c := b.callbacks(e, b.store)
		stopCallbacks := b.runCallbacks(c)
		var results []Result
		d := b.dispatcher(b.store, providerFunc(func(context.Context, Message) (Sent, error) {
			t.Error("something was sent")
			return Sent{}, nil
		}), func(cfg *Config) {
			cfg.Callbacks = c
			cfg.Observe = func(e Event) { results = append(results, e.Result) }
		})
		stop := b.run(d)
		for _, tc := range []struct {
			channel storage.Channel
			to      string
			want    storage.Status
			result  Result
		}{
			{storage.SMS, "+447700900003", storage.StatusTemporaryFailure, ResultSimulated},
			{storage.SMS, "+447700900002", storage.StatusPermanentFailure, ResultSimulated},
			{storage.SMS, testNumber, storage.StatusDelivered, ResultDelivered},
			{storage.Email, "temp-fail@simulator.notify", storage.StatusTemporaryFailure, ResultSimulated},
			{storage.Email, "perm-fail@simulator.notify", storage.StatusPermanentFailure, ResultSimulated},
			{storage.Email, "kim@example.org", storage.StatusDelivered, ResultDelivered},
		} {
			results = nil
			n := b.createAs(func(n *storage.Notification) { n.Channel, n.To, n.Sender = tc.channel, tc.to, Simulated })
			synctest.Wait()
			got := b.get(n.ID)
			assert.Equal(t, tc.want, got.Status, tc.to)
			assert.False(t, got.SentAt.IsZero(), tc.to)
			assert.False(t, got.CompletedAt.IsZero(), tc.to)
			assert.Equal(t, 1, got.Attempts)
			assert.Equal(t, []Result{tc.result}, results)
		}
		assert.Len(t, e.times("a"), 6)
		stop()
		stopCallbacks()
		assert.Zero(t, b.owed())
	})
}

// awayReceipt is an outbox that can't record receipts for a while.
type awayReceipt struct {
	Outbox
	fails int
}

func (o *awayReceipt) Receipt(ctx context.Context, r storage.Receipt) (storage.Notification, bool, error) {
	if o.fails > 0 {
		o.fails--
		return storage.Notification{}, false, storage.ErrUnavailable
	}
	return o.Outbox.Receipt(ctx, r)
}

func TestSimulatedFailureSurvivesStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		stop := b.run(b.dispatcher(&awayReceipt{b.store, 2}, newScript(nil)))
		n := b.createAs(func(n *storage.Notification) { n.To, n.Sender = "+447700900003", Simulated })
		synctest.Wait()
		assert.Equal(t, storage.StatusCreated, b.get(n.ID).Status)
		time.Sleep(time.Minute)
		assert.Equal(t, storage.StatusTemporaryFailure, b.get(n.ID).Status)
		stop()
	})
}

// A text message to another country ends when a provider has it, whatever the
// provider reports then or later.
func TestInternational(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		e := newEndpoint()
		c := b.callbacks(e, b.store, func(cfg *CallbacksConfig) { cfg.Poll = 5 * time.Hour })
		stopCallbacks := b.runCallbacks(c)
		var sent Sent
		stop := b.run(b.dispatcher(b.store, providerFunc(func(context.Context, Message) (Sent, error) { return sent, nil }), func(cfg *Config) {
			cfg.Callbacks, cfg.Poll = c, 5*time.Hour
			cfg.Channels[storage.Email] = "fake"
		}))
		abroad := func(n *storage.Notification) { n.To, n.Details.International = "+31612345678", true }
		for _, sent = range []Sent{{Reference: "theirs"}, {Delivered: true}} {
			n := b.createAs(abroad)
			synctest.Wait()
			got := b.get(n.ID)
			assert.Equal(t, storage.StatusSent, got.Status)
			assert.False(t, got.SentAt.IsZero())
			assert.Equal(t, got.SentAt, got.CompletedAt)
		}
		assert.Len(t, e.times("a"), 2)
		w := answer(b.receipts(), receipt(`{"reference":"theirs","status":"failed"}`, "application/json"))
		assert.Equal(t, http.StatusNoContent, w.Code, "late, and no fault of the provider's")
		time.Sleep(100 * time.Hour)
		assert.Len(t, e.times("a"), 2)

		sent = Sent{Reference: "an email"}
		n := b.createAs(func(n *storage.Notification) {
			abroad(n)
			n.Channel, n.To = storage.Email, "kim@example.org"
		})
		synctest.Wait()
		assert.Equal(t, storage.StatusSending, b.get(n.ID).Status, "emails know no countries")
		stop()
		stopCallbacks()
	})
}

// What the message says about itself reaches the provider.
func TestMessageDetails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		got := make(chan Message, 1)
		stop := b.run(b.dispatcher(b.store, providerFunc(func(_ context.Context, m Message) (Sent, error) {
			got <- m
			return Sent{Delivered: true}, nil
		})))
		b.createAs(func(n *storage.Notification) {
			n.Details = storage.Details{From: "BOOKING", ReplyTo: "help@example.org", UnsubscribeURL: "https://example.org/u", Supplied: "07700 900417"}
		})
		m := <-got
		assert.Equal(t, "BOOKING", m.From)
		assert.Equal(t, "help@example.org", m.ReplyTo)
		assert.Equal(t, "https://example.org/u", m.UnsubscribeURL)
		assert.Equal(t, testNumber, m.To, "not as the client wrote it")
		stop()
	})
}

// Outcomes and receipts in any order: the states only move forward, the first end
// stands, and it has its time.
func TestStatesMoveForward(t *testing.T) {
	words := map[string]storage.Status{
		"queued": storage.StatusSending, "pending": storage.StatusPending, "delivered": storage.StatusDelivered,
		"expired": storage.StatusTemporaryFailure, "rejected": storage.StatusPermanentFailure,
	}
	rapid.Check(t, func(t *rapid.T) {
		b := newBench(t)
		h := b.receipts()
		n := b.createAs(func(n *storage.Notification) { n.Details.International = rapid.Bool().Draw(t, "abroad") })
		claims, err := b.store.Claim(t.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: time.Now(), Lease: time.Minute})
		require.NoError(t, err)
		require.Len(t, claims, 1)
		d := b.dispatcher(b.store, newScript(nil))
		recorded := false
		last := storage.StatusCreated
		for range rapid.IntRange(1, 8).Draw(t, "steps") {
			if !recorded && rapid.Bool().Draw(t, "record") {
				recorded = true
				sent := Sent{Reference: "theirs", Delivered: rapid.Bool().Draw(t, "delivered")}
				outcome, _ := d.judge(&claims[0].Notification, []call{{provider: "fake", sent: sent}})
				require.NoError(t, b.store.Complete(t.Context(), claims[0], outcome))
			} else {
				word := rapid.SampledFrom([]string{"queued", "pending", "delivered", "expired", "rejected"}).Draw(t, "word")
				w := answer(h, receipt(`{"reference":"`+n.UUID.String()+`","status":"`+word+`"}`, "application/json"))
				require.Equal(t, http.StatusNoContent, w.Code)
				if want := words[word]; want.Rank() > last.Rank() {
					require.Equal(t, want, b.get(n.ID).Status)
				}
			}
			got := b.get(n.ID)
			require.GreaterOrEqual(t, got.Status.Rank(), last.Rank(), "%s after %s", got.Status, last)
			if last.Final() {
				require.Equal(t, last, got.Status)
			}
			require.Equal(t, got.Status.Final(), !got.CompletedAt.IsZero())
			require.Equal(t, got.Status == storage.StatusCreated, got.SentAt.IsZero())
			last = got.Status
		}
	})
}
