package jwksauth

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func dial(t testing.TB, server *httptest.Server) net.Conn {
	t.Helper()
	connection, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func start(t testing.TB, h http.Handler) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server
}

// sendRaw writes bytes to a new connection and reads one answer.
func sendRaw(t testing.TB, server *httptest.Server, request string) *http.Response {
	t.Helper()
	connection := dial(t, server)
	_, err := io.WriteString(connection, request)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = answer.Body.Close() })
	return answer
}

func subjectAuthenticator(t testing.TB, c Config) *Authenticator {
	t.Helper()
	c.Claims = []ClaimHeader{{"sub", "X-Subject", Comma}, {"roles", "X-User-Roles", Comma}}
	return authenticator(t, c)
}

// TestSpellingsOnTheWire: no spelling of a mapped header that some backend may
// take for it gets through, whether or not there is a token.
func TestSpellingsOnTheWire(t *testing.T) {
	var next seen
	server := start(t, subjectAuthenticator(t, Config{Optional: true}).Middleware(&next))
	for _, token := range []string{"", "Authorization: Bearer " + mint(t, nil) + "\r\n"} {
		answer := sendRaw(t, server, "GET /p HTTP/1.1\r\nHost: test\r\n"+token+
			"X-Subject: evil\r\nx-subject: evil\r\nX_Subject: evil\r\nX.Subject: evil\r\nX_SUBJECT: evil\r\n"+
			"X-User-Roles: evil\r\nX_User_Roles: evil\r\nX-User_Roles: evil\r\nx.user-roles: evil\r\n"+
			"X-Subjects: kept\r\nXSubject: kept\r\n"+
			"Connection: keep-alive, X-Subject\r\nConnection: x_user_roles, close\r\n\r\n")
		require.Equal(t, http.StatusOK, answer.StatusCode)
		want := http.Header{"X-Subjects": {"kept"}, "Xsubject": {"kept"}, "Connection": {"keep-alive, close"}}
		if token != "" {
			want["X-Subject"] = []string{"someone"}
		}
		assert.Equal(t, want, next.header)
	}
}

// TestTrailers: the client's trailers are merged into the request while its
// body is read.
func TestTrailers(t *testing.T) {
	const evil = "X-Subject: evil\r\nx_user_roles: evil\r\nX-Other: kept\r\n\r\n"
	for name, c := range map[string]struct {
		announced string
		want      http.Header
	}{
		"announced":         {"Trailer: X-Subject, X_User_Roles, X-Other\r\n", http.Header{"X-Other": {"kept"}}},
		"some announced":    {"Trailer: X-Other\r\n", http.Header{"X-Other": {"kept"}}},
		"only the mapped":   {"Trailer: X-Subject\r\n", http.Header{"X-Other": {"kept"}}},
		"none is announced": {"", http.Header{"X-Other": {"kept"}}},
	} {
		for how, end := range map[string]func(*http.Request) error{
			"read":   func(r *http.Request) error { _, err := io.Copy(io.Discard, r.Body); return err },
			"closed": func(r *http.Request) error { return r.Body.Close() },
		} {
			t.Run(name+"/"+how, func(t *testing.T) {
				a := subjectAuthenticator(t, Config{})
				var before, after, behind http.Header
				server := start(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
					// net/http merges into the request that it made, and into the
					// map that copies share with it.
					a.Middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						before = r.Trailer.Clone()
						assert.NoError(t, end(r))
						after = r.Trailer.Clone()
					})).ServeHTTP(nil, r)
					behind = r.Trailer.Clone()
				}))
				answer := sendRaw(t, server, "POST /p HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer "+mint(t, nil)+"\r\n"+c.announced+
					"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"+evil)
				require.Equal(t, http.StatusOK, answer.StatusCode)
				assert.NotContains(t, before, "X-Subject")
				assert.Equal(t, c.want, behind)
				if c.announced == "" {
					assert.Nil(t, after)
				} else {
					assert.Equal(t, c.want, after)
				}
			})
		}
	}
}

// trailingBody adds trailers to a request when its body ends.
type trailingBody struct {
	io.Reader
	trailer http.Header
	add     http.Header
}

func (b *trailingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err == io.EOF {
		for k, v := range b.add {
			b.trailer[k] = v
		}
	}
	return n, err
}

func TestTrailersOverHTTP2(t *testing.T) {
	var next seen
	server := httptest.NewUnstartedServer(subjectAuthenticator(t, Config{}).Middleware(&next))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	for name, announced := range map[string][]string{
		"announced":      {"X-Subject", "X_user_roles", "X-Other"},
		"some announced": {"X-Other"},
	} {
		t.Run(name, func(t *testing.T) {
			next = seen{}
			trailer := http.Header{}
			for _, key := range announced {
				trailer[key] = nil
			}
			body := &trailingBody{strings.NewReader("abc"), trailer, http.Header{"X-Subject": {"evil"}, "X_user_roles": {"evil"}, "X-Other": {"kept"}}}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
			require.NoError(t, err)
			r.Trailer = trailer
			r.Header.Set("Authorization", "Bearer "+mint(t, nil))
			answer, err := server.Client().Do(r)
			require.NoError(t, err)
			defer answer.Body.Close()
			require.Equal(t, 2, answer.ProtoMajor)
			require.Equal(t, http.StatusOK, answer.StatusCode)
			assert.Equal(t, "abc", next.body)
			assert.Equal(t, http.Header{"X-Other": {"kept"}}, next.trailer)
		})
	}
}

// TestBodyIsLeftAlone: it gets through byte for byte, and is wrapped only where
// there are trailers to mind.
func TestBodyIsLeftAlone(t *testing.T) {
	var next seen
	server := start(t, subjectAuthenticator(t, Config{}).Middleware(&next))
	long := strings.Repeat("0123456789\r\n", 20_000)
	for _, headers := range []string{fmt.Sprintf("Content-Length: %d\r\n", len(long)), "Transfer-Encoding: chunked\r\n"} {
		body := long
		if strings.HasPrefix(headers, "Transfer") {
			body = fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(long), long)
		}
		answer := sendRaw(t, server, "POST /p HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer "+mint(t, nil)+"\r\n"+headers+"\r\n"+body)
		require.Equal(t, http.StatusOK, answer.StatusCode)
		assert.True(t, long == next.body)
	}

	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("abc"))
	body := r.Body
	_, _ = authenticator(t, Config{}).Authenticate(r)
	assert.True(t, body == r.Body, "nothing is mapped")
	r = httptest.NewRequest(http.MethodPost, "/", http.NoBody)
	_, _ = subjectAuthenticator(t, Config{}).Authenticate(r)
	assert.Equal(t, http.NoBody, r.Body)
}

// TestWithheldBody: the client waits for 100 Continue, or sends its body never;
// a refusal has to come all the same, and to end the connection.
func TestWithheldBody(t *testing.T) {
	a := subjectAuthenticator(t, Config{})
	server := start(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body} // hidden from net/http, as Caddy does
		a.Middleware(new(seen)).ServeHTTP(w, r)
	}))
	for name, headers := range map[string]string{
		"expect":  "Expect: 100-continue\r\nContent-Length: 1000000\r\n",
		"length":  "Content-Length: 1000000\r\n",
		"chunked": "Transfer-Encoding: chunked\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			connection := dial(t, server)
			_, err := io.WriteString(connection, "POST /p HTTP/1.1\r\nHost: test\r\n"+headers+"\r\n")
			require.NoError(t, err)
			reader := bufio.NewReader(connection)
			answer, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			defer answer.Body.Close()
			assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
			assert.True(t, answer.Close, "the connection must close")
			text, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			assert.Equal(t, bodyNone, string(text))
			_, err = reader.ReadByte()
			assert.ErrorIs(t, err, io.EOF)
		})
	}
	// Without a body the connection serves on.
	answer := sendRaw(t, server, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n")
	assert.False(t, answer.Close)
}

// TestClosedWhileRead: bodies may be, by transports that give up. The race
// detector watches.
func TestClosedWhileRead(t *testing.T) {
	for range 100 {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("abc"))
		r.Trailer = http.Header{"X-Other": nil}
		_, _ = subjectAuthenticator(t, Config{Optional: true}).Authenticate(r)
		r.Trailer["X-Subject"] = []string{"evil"}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = io.Copy(io.Discard, r.Body)
		}()
		assert.NoError(t, r.Body.Close())
		<-done
		assert.Equal(t, http.Header{"X-Other": nil}, r.Trailer)
	}
}
