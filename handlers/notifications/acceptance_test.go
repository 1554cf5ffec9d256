package notifications

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vectors are the tokens of testdata/notify_golden.json by name.
func vectors(t *testing.T) map[string]request {
	t.Helper()
	raw, err := os.ReadFile("testdata/notify_golden.json")
	require.NoError(t, err)
	var file struct {
		Cases []struct{ Name, Method, Path, Body, Token string }
	}
	require.NoError(t, json.Unmarshal(raw, &file))
	m := map[string]request{}
	for _, c := range file.Cases {
		m[c.Name] = request{method: c.Method, target: c.Path, body: c.Body, token: c.Token}
	}
	return m
}

// The acceptance cases 1 to 11 of section 5 of the wire reference.
func TestAcceptance(t *testing.T) {
	v := vectors(t)
	with := func(q request, change func(*request)) request { change(&q); return q }

	t.Run("1 create", func(t *testing.T) {
		w := newServer(t).do(v["A"])
		assert.Equal(t, 201, w.Code)
		assert.Equal(t, `{"notification":{"id":1,"to":"+441234123123","message":"Hello from the booking service",`+
			`"createdAt":"2016-01-25T00:00:00.000000Z","status":"created","method":"sms","jobId":1,"sender":"log"}}`+"\n", w.Body.String())
	})
	t.Run("2 read, with and without a query", func(t *testing.T) {
		s := newServer(t)
		require.Equal(t, 201, s.do(v["A"]).Code)
		for _, target := range []string{"/notifications/1", "/notifications/1?x=1"} {
			w := s.do(with(v["B"], func(q *request) { q.target = target }))
			assert.Equal(t, 200, w.Code)
			assert.InEpsilon(t, 1, notification(t, w)["id"], 0)
		}
	})
	t.Run("3 no token", func(t *testing.T) {
		w := newServer(t).do(with(v["B"], func(q *request) { q.token = "-" }))
		assertAnswer(t, w, 401, `{"error":"Unauthorized, authentication token must be provided"}`)
	})
	t.Run("4 no JWT", func(t *testing.T) {
		w := newServer(t).do(with(v["B"], func(q *request) { q.token = "1234" }))
		assertAnswer(t, w, 403, `{"error":"Invalid token: signature"}`)
	})
	t.Run("5 another request", func(t *testing.T) {
		for _, q := range []request{
			with(v["B"], func(q *request) { q.target = "/notifications/2" }),
			with(v["B"], func(q *request) { q.method = "POST" }),
		} {
			assertAnswer(t, newServer(t).do(q), 403, `{"error":"Invalid token: request"}`)
		}
	})
	t.Run("6 and 7 another body", func(t *testing.T) {
		for _, q := range []request{
			with(v["A"], func(q *request) { q.body = `{"to":"+441234123123", "template": 1}` }),
			with(v["B"], func(q *request) { q.body = "x" }),
			with(v["A"], func(q *request) { q.body = "" }),
		} {
			assertAnswer(t, newServer(t).do(q), 403, `{"error":"Invalid token: payload"}`)
		}
	})
	t.Run("8 window", func(t *testing.T) {
		s := newServer(t)
		require.Equal(t, 201, s.do(v["A"]).Code)
		s.clock.add(30 * time.Second)
		assert.Equal(t, 200, s.do(v["B"]).Code)
		s.clock.add(time.Second)
		assertAnswer(t, s.do(v["B"]), 403, `{"error":"Invalid token: expired"}`)
	})
	t.Run("9 another service's secret", func(t *testing.T) {
		w := newServer(t).do(request{method: "GET", target: "/notifications/1", secret: secretB})
		assertAnswer(t, w, 403, `{"error":"Invalid token: signature"}`)
	})
	t.Run("10 wrapped", func(t *testing.T) {
		flat, wrapped := newServer(t).do(v["A"]), newServer(t).do(v["E"])
		assert.Equal(t, 201, wrapped.Code)
		assert.Equal(t, flat.Body.String(), wrapped.Body.String())
	})
	t.Run("11 faults", func(t *testing.T) {
		s := newServer(t)
		assertAnswer(t, s.sms(`{"to":"invalid","template":1}`), 400,
			`{"result":"error","message":{"to":["Invalid phone number: Must not contain letters or symbols"]}}`)
		assertAnswer(t, s.sms(`{"to":"invalid"}`), 400,
			`{"result":"error","message":{"to":["Invalid phone number: Must not contain letters or symbols"],"template":["Missing data for required field."]}}`)
	})
}
