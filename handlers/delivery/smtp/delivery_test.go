package smtp

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/memory"
)

// A stored email goes out through the dispatcher and ends as delivered; one that
// the server refuses for good says so and not to whom.
func TestDelivery(t *testing.T) {
	box := newMailbox(t, setup{})
	box.refuse["gone@example.net"] = errNoSuchUser
	store := memory.New()
	require.NoError(t, store.Open(t.Context()))
	create := func(to string) storage.Notification {
		now := time.Now()
		c, err := store.Create(t.Context(), storage.Creation{Notification: storage.Notification{
			UUID: uuid.New(), ServiceID: message.ServiceID, Channel: storage.Email, To: to, Subject: "Hi", Body: "text",
			Sender: "relay", CreatedAt: now, ExpiresAt: now.Add(time.Hour),
			Details: storage.Details{From: "termine@booking.example.org", ReplyTo: "hilfe@booking.example.org", UnsubscribeURL: "https://booking.example.org/u"},
		}})
		require.NoError(t, err)
		return c.Notification
	}
	there, gone := create(testTo), create("gone@example.net")
	d, err := delivery.New(delivery.Config{
		Outbox:    store,
		Providers: map[string]delivery.Provider{"relay": newProvider(t, box.config())},
		Channels:  map[storage.Channel]string{storage.Email: "relay"},
	})
	require.NoError(t, err)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	state := func(n storage.Notification) storage.Notification {
		got, err := store.NotificationByID(context.Background(), n.ServiceID, n.ID)
		require.NoError(t, err)
		return got
	}
	require.Eventually(t, func() bool { return state(there).Status.Final() && state(gone).Status.Final() }, 10*time.Second, time.Millisecond)
	stop()
	require.NoError(t, <-done)
	require.NoError(t, d.Wait(context.Background()))
	got := state(there)
	assert.Equal(t, storage.StatusDelivered, got.Status)
	assert.False(t, got.SentAt.IsZero())
	got = state(gone)
	assert.Equal(t, storage.StatusPermanentFailure, got.Status)
	assert.Equal(t, "the mail server answered 550 5.1.1 to the recipient", got.Reason)
	require.Len(t, box.all(), 1)
	email, _ := read(t, box.all()[0].body)
	assert.Equal(t, "<"+there.UUID.String()+"@booking.example.org>", email.Header.Get("Message-Id"))
	assert.Equal(t, "<hilfe@booking.example.org>", email.Header.Get("Reply-To"))
}
