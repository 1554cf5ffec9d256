package notifications

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// What the v2 dialect knows and this one has no word for: a state between, and
// one that ends without a receipt.
func TestSignedStates(t *testing.T) {
	s := newServer(t, func(c *Config) { c.NoIdempotency = true })
	for range 4 {
		require.Equal(t, 201, s.sms(plainSMS).Code)
	}
	s.deliver(storage.StatusSent, t1)
	s.deliver(storage.StatusSending, t1.Add(time.Second))
	s.deliver(storage.StatusSending, t1.Add(2*time.Second))
	n, err := s.store.NotificationByID(t.Context(), serviceA, 3)
	require.NoError(t, err)
	_, changed, err := s.store.Receipt(t.Context(), storage.Receipt{
		Sender: "log", Reference: n.ProviderReference, Status: storage.StatusPending, At: t1.Add(3 * time.Second),
	})
	require.NoError(t, err)
	require.True(t, changed)
	for id, want := range map[string]string{"1": "sent", "2": "sent", "3": "sent", "4": "created"} {
		assert.Equal(t, want, notification(t, s.get("/notifications/"+id))["status"], id)
	}
	for word, want := range map[string]int{"sent": 3, "sending": 1, "pending": 1, "created": 1, "delivered": 0} {
		assert.Equal(t, want, s.list("?status="+word).Total, word)
	}
}

// Templates can be addressed by the UUID by which v2 knows them, and archived
// ones are gone.
func TestSignedTemplates(t *testing.T) {
	s := newServer(t)
	assert.Equal(t, 201, s.sms(`{"to":"07700900123","template":"`+templateID("1")+`"}`).Code)
	n, err := s.store.NotificationByID(t.Context(), serviceA, 1)
	require.NoError(t, err)
	assert.Equal(t, "1", n.TemplateID)
	s.directory.archive(serviceA, "1")
	assertAnswer(t, s.sms(plainSMS), 404, notFoundBody)
}

func TestSignedSenders(t *testing.T) {
	s := newServer(t)
	s.directory.settings[serviceA] = settled()
	require.Equal(t, 201, s.sms(plainSMS).Code)
	require.Equal(t, 201, s.email(`{"to":"al@example.org","template":3,"personalisation":{"name":"Al","things":"x"}}`).Code)
	n, err := s.store.NotificationByID(t.Context(), serviceA, 1)
	require.NoError(t, err)
	assert.Equal(t, "Urgent", n.Details.From)
	n, err = s.store.NotificationByID(t.Context(), serviceA, 2)
	require.NoError(t, err)
	assert.Equal(t, "bookings@example.org", n.Details.From)
	assert.Equal(t, "desk@example.org", n.Details.ReplyTo)
	assert.NotEmpty(t, n.Details.Values)
}
