package notifications

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// deliver moves the oldest queued text message to a status.
func (s *server) deliver(status storage.Status, at time.Time) {
	s.t.Helper()
	claims, err := s.store.Claim(s.t.Context(), storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: at, Lease: time.Minute})
	require.NoError(s.t, err)
	require.Len(s.t, claims, 1)
	require.NoError(s.t, s.store.Complete(s.t.Context(), claims[0], storage.Outcome{Status: status, Reason: "x", ProviderReference: fmt.Sprint(at.UnixNano()), At: at}))
}

func TestGetStates(t *testing.T) {
	const later = `,"sentAt":"2016-01-25T00:00:01.500000Z"`
	for status, want := range map[storage.Status]struct{ word, times string }{
		storage.StatusCreated:          {"created", ""},
		storage.StatusSending:          {"sent", later},
		storage.StatusSent:             {"sent", later},
		storage.StatusDelivered:        {"delivered", later + `,"deliveredAt":"2016-01-25T00:00:01.500000Z"`},
		storage.StatusTemporaryFailure: {"error", ""},
		storage.StatusPermanentFailure: {"error", ""},
		storage.StatusTechnicalFailure: {"error", ""},
	} {
		t.Run(string(status), func(t *testing.T) {
			s := newServer(t)
			require.Equal(t, 201, s.sms(plainSMS).Code)
			if status != storage.StatusCreated {
				s.deliver(status, t1.Add(1500*time.Millisecond))
			}
			w := s.get("/notifications/1")
			assert.Equal(t, 200, w.Code)
			got := w.Body.String()
			if want.word == "error" { // whether a failure was sent before is the back end's to say
				assert.NotContains(t, got, "deliveredAt")
				got = strings.Replace(got, later, "", 1)
			}
			assert.Equal(t, `{"notification":{"id":1,"to":"+441234123123","message":"Hello from the booking service",`+
				`"createdAt":"2016-01-25T00:00:00.000000Z"`+want.times+`,"status":"`+want.word+`","method":"sms","jobId":1,"sender":"log"}}`+"\n", got)
		})
	}
}

func TestGetByUUIDAndHead(t *testing.T) {
	s := newServer(t)
	require.Equal(t, 201, s.sms(plainSMS).Code)
	n, err := s.store.NotificationByID(t.Context(), serviceA, 1)
	require.NoError(t, err)
	byID := s.get("/notifications/1")
	for _, id := range []string{n.UUID.String(), strings.ToUpper(n.UUID.String())} {
		assert.Equal(t, byID.Body.String(), s.get("/notifications/"+id).Body.String())
	}
	head := s.do(request{method: "HEAD", target: "/notifications/1"})
	assert.Equal(t, 200, head.Code)
	assert.Equal(t, byID.Header(), head.Header())
}

// What can't be an id, is unknown or another service's gets one answer.
func TestNotFound(t *testing.T) {
	s := newServer(t)
	require.Equal(t, 201, s.do(request{method: "POST", target: "/notifications/sms", service: serviceB, body: `{"to":"07700900111","template":9}`}).Code)
	foreign, err := s.store.NotificationByID(t.Context(), serviceB, 1)
	require.NoError(t, err)
	for _, id := range []string{
		"1", foreign.UUID.String(), "2", "9223372036854775807",
		"0", "-1", "+1", "01", "1.0", "1e3", "0x1", "1_0", "9223372036854775808", "99999999999999999999", "%D9%A1", "1%20", "1;drop", "x",
		uuid.NewString(), uuid.Nil.String(), "{" + foreign.UUID.String() + "}", strings.ReplaceAll(foreign.UUID.String(), "-", ""), "urn:uuid:" + foreign.UUID.String(),
		strings.Repeat("1", 4000),
	} {
		w := s.get("/notifications/" + id)
		assert.Equal(t, 404, w.Code, id)
		assert.Equal(t, notFoundBody+"\n", w.Body.String(), id)
	}
}

type listed struct {
	Notifications []map[string]any  `json:"notifications"`
	PageSize      int               `json:"page_size"`
	Total         int               `json:"total"`
	Links         map[string]string `json:"links"`
}

func (s *server) list(query string) listed {
	s.t.Helper()
	w := s.get("/notifications" + query)
	require.Equal(s.t, 200, w.Code, "%s", w.Body)
	var l listed
	require.NoError(s.t, json.Unmarshal(w.Body.Bytes(), &l))
	return l
}

func TestList(t *testing.T) {
	s := newServer(t, func(c *Config) { c.NoIdempotency = true })
	assertAnswer(t, s.get("/notifications"), 200, `{"notifications":[],"page_size":50,"total":0,"links":{}}`)
	require.Equal(t, 201, s.email(`{"to":"al@example.org","template":3,"personalisation":{"name":"Al","things":"x"}}`).Code)
	for range 104 {
		require.Equal(t, 201, s.sms(plainSMS).Code)
	}
	for i, status := range []storage.Status{storage.StatusDelivered, storage.StatusSending, storage.StatusTemporaryFailure, storage.StatusTechnicalFailure} {
		s.deliver(status, t1.Add(time.Duration(i)*time.Second))
	}
	require.Equal(t, 201, s.do(request{method: "POST", target: "/notifications/sms", service: serviceB, body: `{"to":"07700900111","template":9}`}).Code)

	for query, want := range map[string]struct {
		rows, total int
		links       map[string]string
	}{
		"":        {50, 105, map[string]string{"next": "/notifications?page=2", "last": "/notifications?page=3"}},
		"?page=1": {50, 105, map[string]string{"next": "/notifications?page=2", "last": "/notifications?page=3"}},
		"?page=2": {50, 105, map[string]string{"prev": "/notifications?page=1", "next": "/notifications?page=3", "last": "/notifications?page=3"}},
		"?page=3": {5, 105, map[string]string{"prev": "/notifications?page=2"}},
		"?status=created&page=2&template_type=sms&x=1": {50, 100, map[string]string{"prev": "/notifications?page=1&status=created&template_type=sms"}},
		"?template_type=sms&status=error&status=created&status=error": {50, 102, map[string]string{
			"next": "/notifications?page=2&status=error&status=created&template_type=sms",
			"last": "/notifications?page=3&status=error&status=created&template_type=sms",
		}},
		"?template_type=email":                                {1, 1, nil},
		"?template_type=email&template_type=sms&status=error": {2, 2, nil},
		"?status=sent":                                        {1, 1, nil},
		"?status=sending":                                     {1, 1, nil},
		"?status=sending&status=sent":                         {1, 1, nil},
		"?status=delivered":                                   {1, 1, nil},
		"?status=failed":                                      {2, 2, nil},
		"?status=temporary-failure":                           {1, 1, nil},
		"?status=permanent-failure":                           {0, 0, nil},
		"?status=technical-failure":                           {1, 1, nil},
		"?status=delivered&template_type=email":               {0, 0, nil},
	} {
		l := s.list(query)
		assert.Len(t, l.Notifications, want.rows, query)
		assert.Equal(t, want.total, l.Total, query)
		assert.Equal(t, 50, l.PageSize)
		if want.links == nil {
			want.links = map[string]string{}
		}
		assert.Equal(t, want.links, l.Links, query)
	}

	l := s.list("?page=3")
	assert.EqualValues(t, 1, l.Notifications[4]["id"], "newest first")
	assert.Equal(t, "email", l.Notifications[4]["method"])
	assert.Equal(t, "delivered", l.Notifications[3]["status"])
	assert.Contains(t, l.Notifications[3], "deliveredAt")
	one := notification(t, s.get("/notifications/2"))
	assert.Equal(t, one, l.Notifications[3], "the same object as alone")

	for _, query := range []string{"?page=4", "?page=1000000", "?page=9223372036854775807", "?status=sent&page=2"} {
		assertAnswer(t, s.get("/notifications"+query), 404, notFoundBody)
	}
	head := s.do(request{method: "HEAD", target: "/notifications?page=3"})
	assert.Equal(t, 200, head.Code)
}

func TestListFaults(t *testing.T) {
	s := newServer(t)
	many := strings.Repeat("&status=created", 100) + "&status=x"
	for query, want := range map[string]faults{
		"?page=0":                          {"page": {"Not a positive integer"}},
		"?page=-1":                         {"page": {"Not a positive integer"}},
		"?page=":                           {"page": {"Not a valid integer."}},
		"?page=x":                          {"page": {"Not a valid integer."}},
		"?page=01":                         {"page": {"Not a valid integer."}},
		"?page=%2B1":                       {"page": {"Not a valid integer."}},
		"?page=1.0":                        {"page": {"Not a valid integer."}},
		"?page=%D9%A1":                     {"page": {"Not a valid integer."}},
		"?page=9223372036854775808":        {"page": {"Not a valid integer."}},
		"?page=1&page=1":                   {"page": {"Not a valid integer."}},
		"?status=":                         {"status": {"Not a valid choice."}},
		"?status=Sent":                     {"status": {"Not a valid choice."}},
		"?status=sent,created":             {"status": {"Not a valid choice."}},
		"?template_type=letter":            {"template_type": {"Not a valid choice."}},
		"?template_type=sms&status=x&page": {"status": {"Not a valid choice."}, "page": {"Not a valid integer."}},
		"?x" + many:                        {"status": {"Not a valid choice."}},
	} {
		body, err := json.Marshal(map[string]any{"result": "error", "message": want})
		require.NoError(t, err)
		assertAnswer(t, s.get("/notifications"+query), 400, string(body))
	}
	for _, query := range []string{"?page=%zz", "?a;b"} {
		assertAnswer(t, s.get("/notifications"+query), 400, `{"result":"error","message":"The query string is malformed"}`)
	}
}

// Whatever two services do, neither sees anything of the other's.
func TestIsolation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := newServer(t, func(c *Config) { c.NoIdempotency = true })
		owner := map[int64]string{}
		service := rapid.SampledFrom([]string{serviceA, serviceB})
		for range rapid.IntRange(1, 12).Draw(rt, "steps") {
			who := service.Draw(rt, "who")
			switch rapid.SampledFrom([]string{"post", "get", "list"}).Draw(rt, "what") {
			case "post":
				template := map[string]string{serviceA: "1", serviceB: "9"}[who]
				w := s.do(request{method: "POST", target: "/notifications/sms", service: who, body: `{"to":"07700900111","template":` + template + `}`})
				require.Equal(rt, 201, w.Code)
				owner[int64(notification(t, w)["id"].(float64))] = who
			case "get":
				id := int64(rapid.IntRange(1, 6).Draw(rt, "id"))
				want := http.StatusNotFound
				if owner[id] == who {
					want = http.StatusOK
				}
				require.Equal(rt, want, s.do(request{method: "GET", target: fmt.Sprintf("/notifications/%d", id), service: who}).Code)
			case "list":
				w := s.do(request{method: "GET", target: "/notifications", service: who})
				var l listed
				require.NoError(rt, json.Unmarshal(w.Body.Bytes(), &l))
				own := 0
				for _, o := range owner {
					if o == who {
						own++
					}
				}
				require.Equal(rt, own, l.Total)
				for _, n := range l.Notifications {
					require.Equal(rt, who, owner[int64(n["id"].(float64))])
				}
			}
		}
	})
}
