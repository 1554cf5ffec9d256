package notifyauth

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestGoldenTokens(t *testing.T) {
	for _, g := range loadGolden(t) {
		t.Run(g.Name, func(t *testing.T) {
			id, number := g.service()
			m := MintRequest{
				Service: id, NumericService: number, Secret: g.Secret, IssuedAt: time.Unix(g.Now, 0), Dialect: g.dialect(),
				Method: g.Method, Path: g.Path, Body: []byte(g.Body),
			}
			if strings.HasPrefix(g.Token, "eyJhbGci") {
				m.Header = AlgTyp
			}
			token, err := Mint(m)
			require.NoError(t, err)
			assert.Equal(t, g.Token, token)

			v := verifier(t, Config{
				Dialect: g.dialect(), Now: clock(g.Now),
				Services: StaticServices(&Service{ID: id, Keys: []*Key{key(t, "k", g.Secret)}}),
			})
			r := httptest.NewRequest(g.Method, g.Path, strings.NewReader(g.Body))
			r.Header.Set("Authorization", "Bearer "+g.Token)
			var next seen
			w := httptest.NewRecorder()
			v.Middleware(&next).ServeHTTP(w, r)
			assert.Equal(t, http.StatusOK, w.Code, w.Body)
			assert.Equal(t, g.Body, next.body)
			assert.Equal(t, id, next.id.ServiceID)
			assert.Equal(t, g.Path, next.id.Path)
			assert.Equal(t, g.Now, next.id.IssuedAt.Unix())
		})
	}
}

// wantMessages are the texts for those vectors that are refused 403; the file
// has only statuses.
var wantMessages = map[string]string{
	"hs009": "expired", "hs013": "signature", "hs015": "signature", "hs017": "expired", "hs019": "signature",
	"hs021": "request", "hs023": "signature", "hs025": "signature", "hs027": "request", "hs029": "request",
	"hs031": "request", "hs033": "request", "hs035": "request", "hs037": "request", "hs039": "request",
	"hs041": "request", "hs045": "payload", "hs047": "payload", "hs049": "payload", "hs053": "signature",
	"hs055": "request", "hs057": "request", "hs059": "signature", "hs061": "signature", "hs063": "signature",
	"hs065": "signature", "hs067": "signature", "hs073": "signature",
}

// TestRequestVectors sends every vector as raw bytes, where a client library
// would tidy the request.
func TestRequestVectors(t *testing.T) {
	vectors := loadRequests(t)
	v := verifier(t, Config{Services: vectors.services(t), Now: clock(vectors.Now), IdentityHeader: "X-Service-Id"})
	var next seen
	server := httptest.NewServer(v.Middleware(&next))
	defer server.Close()

	for _, c := range vectors.Cases {
		t.Run(c.ID+" "+c.Note, func(t *testing.T) {
			next = seen{}
			answer := sendRaw(t, server.Listener.Addr().String(), c.raw())
			defer answer.Body.Close()
			if c.Expect == "accept" {
				require.Equal(t, http.StatusOK, answer.StatusCode, readAll(t, answer.Body))
				assert.Equal(t, []string{testService}, next.header.Values("X-Service-Id"))
				for name := range next.header {
					if name != "X-Service-Id" {
						assert.False(t, SameHeader(name, "X-Service-Id"), name)
					}
				}
				assert.Empty(t, next.header.Get("X-Http-Method-Override"))
				if c.Request.Body != nil {
					assert.Equal(t, *c.Request.Body, next.body)
				}
				return
			}
			assert.False(t, next.called)
			assert.Contains(t, c.ExpectStatus, strconv.Itoa(answer.StatusCode))
			if answer.StatusCode == http.StatusForbidden {
				want, ok := wantMessages[c.ID]
				require.True(t, ok)
				assert.JSONEq(t, fmt.Sprintf(`{"error":"Invalid token: %s"}`, want), readAll(t, answer.Body))
			}
		})
	}
}

func (c *requestVector) raw() string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n", c.Request.Method, c.Request.Target)
	for _, line := range c.Request.Authorization {
		fmt.Fprintf(&out, "Authorization: %s\r\n", line)
	}
	for name, value := range c.Request.Headers {
		fmt.Fprintf(&out, "%s: %s\r\n", name, value)
	}
	if c.Request.Body != nil {
		fmt.Fprintf(&out, "Content-Length: %d\r\n\r\n%s", len(*c.Request.Body), *c.Request.Body)
	} else {
		out.WriteString("\r\n")
	}
	return out.String()
}

// TestExplainAgreesWithVectors: the first check that fails is the verifier's
// reason, and with a key the verdict is the verifier's own.
func TestExplainAgreesWithVectors(t *testing.T) {
	vectors := loadRequests(t)
	for _, c := range vectors.Cases {
		if len(c.Request.Authorization) != 1 || c.Request.Target == "/notifications/1#x" {
			continue
		}
		t.Run(c.ID, func(t *testing.T) {
			q := ExplainRequest{
				Authorization: c.Request.Authorization[0], Method: c.Request.Method, Target: c.Request.Target,
				ContentEncoding: c.Request.Headers["Content-Encoding"],
				Services:        vectors.services(t), Now: time.Unix(vectors.Now, 0),
			}
			if c.Request.Body != nil {
				q.Body = []byte(*c.Request.Body)
			}
			report, err := Explain(background(), q)
			require.NoError(t, err)
			assert.Equal(t, c.Expect == "accept", report.Accepted, report)
			failed := 0
			for _, check := range report.Checks {
				if check.Outcome == Failed {
					failed++
				}
			}
			assert.Equal(t, report.Accepted, failed == 0, report.String())
			for _, s := range vectors.Services {
				assert.NotContains(t, report.String(), s.Secret)
			}
		})
	}
}

func dial(t testing.TB, address string) net.Conn {
	t.Helper()
	connection, err := net.DialTimeout("tcp", address, 5*time.Second)
	require.NoError(t, err)
	require.NoError(t, connection.SetDeadline(time.Now().Add(10*time.Second)))
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}
