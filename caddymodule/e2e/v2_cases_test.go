//go:build linux

package e2e

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Cases 12 and 13 of section 5 of the wire reference, and what is known without
// a token.
func TestV2Cases(t *testing.T) {
	t.Parallel()
	st := newV2Stage(t, nil)
	sent := st.v2.as(secretTest).must(t, http.StatusCreated, http.MethodPost, "/v2/notifications/sms",
		object{"phone_number": "07700900003", "template_id": smsTemplate, "personalisation": object{"name": "Al"}})
	assertObject(t, accepted(st.base, smsTemplate, nil, object{"body": "Hi Al", "from_number": "Bookings"}), sent)
	got := st.v2.await(t, sent["id"].(string), "temporary-failure")
	assertObject(t, shown(st.base, sent["id"].(string), "sms", smsTemplate, object{
		"status": "temporary-failure", "phone_number": "07700900003", "body": "Hi Al",
	}), got)
	assert.Empty(t, st.stand.got(), "a test key sends nothing")

	assert.Equal(t, invalid(
		"phone_number Must not contain letters or symbols", "template_id is a required property",
		"Additional properties are not allowed (template was unexpected)",
	), st.v2.must(t, http.StatusBadRequest, http.MethodPost, "/v2/notifications/sms", object{"phone_number": "07890x32109", "template": "x"}))

	c := newClient(t, st.base)
	for _, tc := range []struct {
		authorization, method, path string
		status                      int
		kind                        string
	}{
		{"", http.MethodGet, "/v2/nothing", http.StatusNotFound, "NotFound"},
		{"", http.MethodGet, prefix + "/v2/nothing", http.StatusNotFound, "NotFound"},
		{"", http.MethodDelete, "/v2/templates", http.StatusMethodNotAllowed, "MethodNotAllowed"},
		{"", http.MethodGet, "/v2/templates", http.StatusUnauthorized, "AuthError"},
		{"Basic eA==", http.MethodGet, "/v2/templates", http.StatusUnauthorized, "AuthError"},
		{"bearer x", http.MethodGet, "/v2/templates", http.StatusForbidden, "AuthError"},
	} {
		a, err := c.doAs(tc.authorization, tc.method, tc.path, nil)
		require.NoError(t, err)
		assert.Equal(t, tc.status, a.status, tc.path)
		assert.Equal(t, "application/json", strings.Split(a.header.Get("Content-Type"), ";")[0])
		fault := objects(t, a.object(t)["errors"])[0]
		assert.Equal(t, tc.kind, fault["error"], string(a.body))
		assert.Equal(t, faults(tc.status, tc.kind, fault["message"].(string)), a.object(t))
	}
	// The recipients that are for trying.
	for _, number := range []string{"07700900000", "07700900111", "07700900222"} {
		id := st.v2.send(t, number, nil)
		assert.Equal(t, noResult(), st.v2.must(t, http.StatusNotFound, http.MethodGet, "/v2/notifications/"+id, nil))
	}
}

// receipts are the posts to a service's callback.
type receipts struct {
	*httptest.Server

	mu    sync.Mutex
	fail  int // how many are answered by 503
	heard []object
	raw   []http.Header
}

func newReceipts(t testing.TB) *receipts {
	t.Helper()
	r := new(receipts)
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (s *receipts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var o object
	if err != nil || json.Unmarshal(body, &o) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail > 0 {
		s.fail--
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	s.heard, s.raw = append(s.heard, o), append(s.raw, r.Header)
}

// await returns the post for a notification.
func (s *receipts) await(t testing.TB, id string) (o object) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.IndexFunc(s.heard, func(o object) bool { return o["id"] == id })
		if i < 0 {
			return false, fmt.Sprintf("the service wasn't told of %s: %v", id, s.heard)
		}
		o = s.heard[i]
		return true, ""
	})
	return o
}

// Statuses from created to the last one, and what the service is told, to the
// letter.
func TestV2Statuses(t *testing.T) {
	t.Parallel()
	service := newReceipts(t)
	service.fail = 1 // it is told again
	st := newV2Stage(t, func(st *v2Stage, c *config) {
		c.service += "\n\t\t\tcallback " + service.URL + "/told {env.BEARER}"
		c.signpost = carrier(st.stand.URL, "")
		c.api += "\n\t\tinternational on"
	})
	told := func(n object, kind, template string, change object) {
		t.Helper()
		want := object{
			"id": n["id"], "reference": nil, "to": n["phone_number"], "status": n["status"], "created_at": n["created_at"],
			"completed_at": n["completed_at"], "sent_at": n["sent_at"], "notification_type": kind, "template_id": template, "template_version": 1.0,
		}
		for name, value := range change {
			want[name] = value
		}
		assert.Equal(t, want, service.await(t, n["id"].(string)))
		assert.Regexp(t, aTime, n["completed_at"])
		assert.Regexp(t, aTime, n["created_at"])
	}
	// receipt reports a status of the nth message.
	receipt := func(id, word string) {
		t.Helper()
		a := st.callback(t, "receipts", object{"reference": id, "status": word})
		require.Equal(t, http.StatusNoContent, a.status, string(a.body))
	}
	id := st.v2.send(t, "07723 456-789", object{"reference": "r"})
	n := st.v2.await(t, id, "sending")
	assert.Nil(t, n["completed_at"])
	assert.Regexp(t, aTime, n["sent_at"])
	receipt(id, "pending")
	n = st.v2.await(t, id, "pending")
	assert.Nil(t, n["completed_at"])
	assert.Equal(t, []any{id}, column(objects(t, st.v2.get(t, "/v2/notifications?status=pending")["notifications"]), "id"))
	receipt(id, "delivered")
	n = st.v2.get(t, "/v2/notifications/"+id)
	assertObject(t, shown(st.base, id, "sms", smsTemplate, object{"reference": "r", "phone_number": "07723 456-789", "body": "Hi Al"}), n)
	told(n, "sms", smsTemplate, object{"reference": "r"})
	receipt(id, "permanent-failure") // too late
	assert.Equal(t, n, st.v2.get(t, "/v2/notifications/"+id))

	for _, word := range []string{"temporary-failure", "permanent-failure", "lost"} {
		id := st.v2.send(t, "+447723456789", nil)
		st.v2.await(t, id, "sending")
		receipt(id, word)
		n := st.v2.get(t, "/v2/notifications/"+id)
		assert.Equal(t, cmp.Or(map[string]string{"lost": "technical-failure"}[word], word), n["status"])
		told(n, "sms", smsTemplate, nil)
	}
	abroad := st.v2.send(t, "+33 6 12 34 56 78", nil)
	n = st.v2.await(t, abroad, "sent")
	told(n, "sms", smsTemplate, nil)

	try := st.v2.as(secretTest)
	for number, status := range map[string]string{"07700900003": "temporary-failure", "07700900002": "permanent-failure", "07700900004": "delivered"} {
		told(try.await(t, try.send(t, number, nil), status), "sms", smsTemplate, nil)
	}
	for recipient, status := range map[string]string{
		"temp-fail@simulator.notify": "temporary-failure", "perm-fail@simulator.notify": "permanent-failure", "Any.One@example.org": "delivered",
	} {
		sent := try.must(t, http.StatusCreated, http.MethodPost, "/v2/notifications/email", object{
			"email_address": recipient, "template_id": emailTemplate, "personalisation": object{"name": "x", "things": "y"},
		})
		told(try.await(t, sent["id"].(string), status), "email", emailTemplate, object{"to": recipient})
	}
	failed := objects(t, st.v2.get(t, "/v2/notifications?status=failed")["notifications"])
	assert.Equal(t, []any{"technical-failure", "permanent-failure", "temporary-failure"}, column(failed, "status"))
	assert.Len(t, objects(t, try.get(t, "/v2/notifications?status=failed")["notifications"]), 4)
	assert.Len(t, objects(t, st.v2.get(t, "/v2/notifications")["notifications"]), 5, "no other key's")

	service.mu.Lock()
	defer service.mu.Unlock()
	assert.Len(t, service.heard, 11, "each once")
	for _, header := range service.raw {
		assert.Equal(t, "Bearer "+bearer, header.Get("Authorization"))
		assert.Equal(t, "application/json", header.Get("Content-Type"))
	}
}

// What is for later isn't sent before, and is when a restart lies between.
func TestV2Scheduled(t *testing.T) {
	t.Parallel()
	st := newV2Stage(t, nil)
	at := time.Now().Add(4 * time.Second).UTC().Truncate(time.Microsecond)
	body := object{
		"phone_number": "07723456789", "template_id": smsTemplate, "personalisation": object{"name": "later"},
		"scheduled_for": at.Format(time.RFC3339Nano),
	}
	sent := st.v2.must(t, http.StatusCreated, http.MethodPost, "/v2/notifications/sms", body)
	when := at.Format("2006-01-02T15:04:05.000000Z")
	assert.Equal(t, when, sent["scheduled_for"])
	far := st.v2.send(t, "07723456789", object{"scheduled_for": time.Now().Add(23 * time.Hour).UTC().Format(time.RFC3339)})
	now := st.v2.send(t, "07723456789", nil)
	st.v2.await(t, now, "delivered")
	st.stop(t)
	st.start(t, st.readCaddyfile(t))

	id := sent["id"].(string)
	n := st.v2.get(t, "/v2/notifications/"+id)
	if time.Now().Before(at) { // else this computer was slow
		assert.Equal(t, "created", n["status"])
	}
	n = st.v2.await(t, id, "delivered")
	assert.False(t, time.Now().Before(at))
	assert.Equal(t, when, n["scheduled_for"])
	assert.GreaterOrEqual(t, n["sent_at"], n["scheduled_for"], "sent before its time")
	calls := st.stand.got()
	assert.Equal(t, []string{now, id}, []string{calls[0].reference, calls[1].reference})
	n = st.v2.get(t, "/v2/notifications/"+far)
	assert.Equal(t, "created", n["status"])
	assert.Nil(t, n["sent_at"])
	assert.Len(t, calls, 2)

	for text, message := range map[string]string{
		time.Now().Add(-time.Minute).UTC().Format(time.RFC3339):   "scheduled_for datetime can not be in the past",
		time.Now().Add(25 * time.Hour).UTC().Format(time.RFC3339): "scheduled_for datetime can only be 24 hours in the future",
		"noon": "scheduled_for datetime format is invalid. It must be a valid ISO8601 date time format, https://en.wikipedia.org/wiki/ISO_8601",
	} {
		body["scheduled_for"] = text
		assert.Equal(t, invalid(message), st.v2.must(t, http.StatusBadRequest, http.MethodPost, "/v2/notifications/sms", body))
	}
}
