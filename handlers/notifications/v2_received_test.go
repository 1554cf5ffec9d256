package notifications

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// receive stores a message that somebody has sent to a service.
func (s *server) receive(serviceID string, number int, at time.Time) string {
	s.t.Helper()
	id, err := uuid.NewV7()
	require.NoError(s.t, err)
	require.NoError(s.t, s.store.PutInbound(s.t.Context(), storage.InboundMessage{
		ID: id, ServiceID: serviceID, Provider: "log", Reference: fmt.Sprint(serviceID, number), UserNumber: "+447700900123",
		NotifyNumber: "60006", Content: fmt.Sprintf("Nº %d <&>", number), CreatedAt: at, ExpiresAt: at.Add(time.Hour),
	}))
	return id.String()
}

func TestV2Received(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BasePath = "/api" })
	const list = "http://example.com/v2/received-text-messages"
	assert.Equal(t, `{"received_text_messages":[],"links":{"current":"`+list+`"}}`+"\n", s.v2("GET", "/v2/received-text-messages", "").Body.String())
	first := s.receive(serviceA, 1, t1)
	second := s.receive(serviceA, 2, t1.Add(time.Second))
	s.receive(serviceB, 3, t1)
	object1 := `{"id":"` + first + `","created_at":"2016-01-25T00:00:00.000000Z","service_id":"` + serviceA +
		`","notify_number":"60006","user_number":"447700900123","content":"Nº 1 <&>"}`
	object2 := strings.NewReplacer(first, second, "00:00:00.", "00:00:01.", "Nº 1", "Nº 2").Replace(object1)
	for path, want := range map[string]string{
		"":                         object2 + "," + object1 + `],"links":{"current":"` + list + `","next":"` + list + "?older_than=" + first + `"}}`,
		"?older_than=" + second:    object1 + `],"links":{"current":"` + list + "?older_than=" + second + `","next":"` + list + "?older_than=" + first + `"}}`,
		"?older_than=" + first:     `],"links":{"current":"` + list + "?older_than=" + first + `"}}`,
		"?older_than=" + nilID:     `],"links":{"current":"` + list + "?older_than=" + nilID + `"}}`,
		"?older_than=" + unknownID: `],"links":{"current":"` + list + "?older_than=" + unknownID + `"}}`,
	} {
		for _, base := range []string{"", "/api"} {
			w := s.v2("GET", base+"/v2/received-text-messages"+path, "")
			assert.Equal(t, 200, w.Code)
			assert.Equal(t, strings.ReplaceAll(`{"received_text_messages":[`+want+"\n", "example.com/", "example.com"+base+"/"), w.Body.String())
		}
	}
	b := s.withKey(serviceB, secretB)
	assert.Len(t, decode[v2ReceivedPage](t, s.v2("GET", "/v2/received-text-messages", "", b)).ReceivedTextMessages, 1)
	assert.Empty(t, decode[v2ReceivedPage](t, s.v2("GET", "/v2/received-text-messages?older_than="+second, "", b)).ReceivedTextMessages)
}

func TestV2ReceivedRefusals(t *testing.T) {
	s := newServer(t)
	const path = "/v2/received-text-messages"
	assertV2Error(t, s.v2("GET", path+"?older_than=x", ""), 400, errorValidation, "older_than is not a valid UUID")
	assertV2Error(t, s.v2("GET", path+"?status=x&older_than=x", ""), 400, errorValidation,
		"older_than is not a valid UUID", "Additional properties are not allowed (status was unexpected)")
	assertV2Error(t, s.v2("GET", path+"?a=%2", ""), 400, errorBadRequest, "The query string is malformed")
}

func TestV2ReceivedIterator(t *testing.T) {
	s := newServer(t)
	var want []string
	for i := range 2*v2PageSize + 3 {
		// Several at a time.
		want = append([]string{s.receive(serviceA, i, t1.Add(time.Duration(i/4)*time.Second))}, want...)
	}
	var got []string
	var sizes []int
	next := "/v2/received-text-messages"
	for next != "" {
		p := decode[v2ReceivedPage](t, s.v2("GET", next, ""))
		for _, m := range p.ReceivedTextMessages {
			got = append(got, m.ID)
		}
		sizes = append(sizes, len(p.ReceivedTextMessages))
		assert.Equal(t, len(p.ReceivedTextMessages) > 0, p.Links.Next != "")
		next = ""
		if p.Links.Next != "" {
			next = below(t, p.Links.Next)
		}
	}
	assert.Equal(t, []int{250, 250, 3, 0}, sizes)
	assert.Equal(t, want, got)
}
