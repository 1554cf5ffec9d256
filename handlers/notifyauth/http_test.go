package notifyauth

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readAll(t testing.TB, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	require.NoError(t, err)
	return string(data)
}

// sendRaw writes bytes to a new connection and reads one answer.
func sendRaw(t testing.TB, address, request string) *http.Response {
	t.Helper()
	connection := dial(t, address)
	_, err := io.WriteString(connection, request)
	require.NoError(t, err)
	answer, err := http.ReadResponse(bufio.NewReader(connection), nil)
	require.NoError(t, err)
	return answer
}

func start(t testing.TB, v *Verifier, next http.Handler) string {
	t.Helper()
	server := httptest.NewServer(v.Middleware(next))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func bearerFor(t testing.TB, method, path, body string) string {
	t.Helper()
	return "Authorization: Bearer " + mint(t, MintRequest{Method: method, Path: path, Body: []byte(body)}) + "\r\n"
}

const smallBody = `{"to": "+441234123123", "template": 1}`

func chunked(pieces ...string) string {
	var out strings.Builder
	for _, piece := range pieces {
		fmt.Fprintf(&out, "%x\r\n%s\r\n", len(piece), piece)
	}
	return out.String() + "0\r\n"
}

func TestBodyFormsOnTheWire(t *testing.T) {
	long := strings.Repeat("x", 200<<10)
	var next seen
	address := start(t, verifier(t, Config{MaxBody: 256 << 10}), &next)
	head := "POST /p HTTP/1.1\r\nHost: test\r\n"
	for _, c := range []struct {
		name, request string
		status        int
		body          string
	}{
		{"content length", head + bearerFor(t, "POST", "/p", smallBody) + "Content-Length: 38\r\n\r\n" + smallBody, 200, smallBody},
		{"any content type", head + bearerFor(t, "POST", "/p", "a=b") + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 3\r\n\r\na=b", 200, "a=b"},
		{"chunked", head + bearerFor(t, "POST", "/p", smallBody) + "Transfer-Encoding: chunked\r\n\r\n" + chunked(smallBody[:7], smallBody[7:]) + "\r\n", 200, smallBody},
		{"long chunked", head + bearerFor(t, "POST", "/p", long) + "Transfer-Encoding: chunked\r\n\r\n" + chunked(long[:5000], long[5000:]) + "\r\n", 200, long},
		{"long", head + bearerFor(t, "POST", "/p", long) + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(long)) + long, 200, long},
		{"empty chunked body is no body", head + bearerFor(t, "POST", "/p", "") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200, ""},
		{"length 0 is no body", head + bearerFor(t, "POST", "/p", "") + "Content-Length: 0\r\n\r\n", 200, ""},
		{"pay with an empty chunked body", head + bearerFor(t, "POST", "/p", "x") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 403, `{"error":"Invalid token: payload"}`},
		{"GET with a signed body", "GET /p HTTP/1.1\r\nHost: test\r\n" + bearerFor(t, "GET", "/p", "null") + "Content-Length: 4\r\n\r\nnull", 200, "null"},
		{"GET with an unsigned body", "GET /p HTTP/1.1\r\nHost: test\r\n" + bearerFor(t, "GET", "/p", "") + "Content-Length: 1\r\n\r\nx", 403, `{"error":"Invalid token: payload"}`},
		{"chunked body without pay", head + bearerFor(t, "POST", "/p", "") + "Transfer-Encoding: chunked\r\n\r\n" + chunked("x") + "\r\n", 403, `{"error":"Invalid token: payload"}`},
		{"identity encoding", head + bearerFor(t, "POST", "/p", "x") + "Content-Encoding: identity\r\nContent-Length: 1\r\n\r\nx", 200, "x"},
		{"gzip", head + bearerFor(t, "POST", "/p", "x") + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415, ""},
		{"identity, br", head + bearerFor(t, "POST", "/p", "x") + "Content-Encoding: identity, br\r\nContent-Length: 1\r\n\r\nx", 415, ""},
		{"gzip without a body", "GET /p HTTP/1.1\r\nHost: test\r\n" + bearerFor(t, "GET", "/p", "") + "Content-Encoding: gzip\r\n\r\n", 200, ""},
		{"one byte too long", head + bearerFor(t, "POST", "/p", long+long) + fmt.Sprintf("Content-Length: %d\r\n\r\n", 256<<10+1), 413, ""},
		{"too long, chunked", head + bearerFor(t, "POST", "/p", long+long) + "Transfer-Encoding: chunked\r\n\r\n" + chunked(long, long) + "\r\n", 413, ""},
		{"415 comes before 413", head + bearerFor(t, "POST", "/p", "x") + "Content-Encoding: gzip\r\nContent-Length: 9999999\r\n\r\n", 415, ""},
		{"403 comes before 415", head + bearerFor(t, "POST", "/q", "x") + "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 403, `{"error":"Invalid token: request"}`},
		{"broken chunk", head + bearerFor(t, "POST", "/p", "x") + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			next = seen{}
			answer := sendRaw(t, address, c.request)
			defer answer.Body.Close()
			text := readAll(t, answer.Body)
			require.Equal(t, c.status, answer.StatusCode, text)
			if c.status != http.StatusOK {
				assert.False(t, next.called)
				if c.body != "" {
					assert.JSONEq(t, c.body, text)
				}
				return
			}
			assert.Equal(t, len(c.body), len(next.body))
			assert.True(t, c.body == next.body)
			assert.Equal(t, int64(len(c.body)), next.length)
			assert.Empty(t, next.r.TransferEncoding)
		})
	}
}

func TestExactlyMaxBody(t *testing.T) {
	body := strings.Repeat("y", 100<<10)
	v := verifier(t, Config{MaxBody: 100 << 10})
	assert.Empty(t, code(t, v, post(t, "/p", body)))
	r := post(t, "/p", body)
	r.ContentLength = -1
	assert.Empty(t, code(t, v, r))
	assert.Zero(t, v.budget.Used())
}

func TestTrailersAreDropped(t *testing.T) {
	var next seen
	address := start(t, verifier(t, Config{}), &next)
	answer := sendRaw(t, address, "POST /p HTTP/1.1\r\nHost: test\r\nTrailer: X-Notify-Service, X-Other\r\n"+bearerFor(t, "POST", "/p", "x")+
		"Transfer-Encoding: chunked\r\n\r\n"+chunked("x")+"X-Notify-Service: evil\r\nX-Other: evil\r\n\r\n")
	defer answer.Body.Close()
	require.Equal(t, http.StatusOK, answer.StatusCode)
	assert.Empty(t, next.r.Trailer)
	assert.Empty(t, next.header["Trailer"])
	assert.Equal(t, []string{testService}, next.header["X-Notify-Service"])
	assert.Empty(t, next.header["X-Other"])
}

// wrapped hides the type of the body from net/http, as Caddy does.
func wrapped(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Body = struct{ io.ReadCloser }{r.Body}
		next.ServeHTTP(w, r)
	})
}

// TestWithheldBody: the client waits for 100 Continue, or sends its body
// never; a refusal has to come all the same, and to end the connection.
func TestWithheldBody(t *testing.T) {
	v := verifier(t, Config{})
	server := httptest.NewServer(wrapped(v.Middleware(new(seen))))
	t.Cleanup(server.Close)
	for name, c := range map[string]struct {
		headers string
		status  int
	}{
		"no token":           {"Expect: 100-continue\r\nContent-Length: 1000000\r\n", 401},
		"wrong request":      {bearerFor(t, "POST", "/other", "x") + "Expect: 100-continue\r\nContent-Length: 1000000\r\n", 403},
		"no pay":             {bearerFor(t, "POST", "/p", "") + "Content-Length: 1000000\r\n", 403},
		"too long":           {bearerFor(t, "POST", "/p", "x") + "Expect: 100-continue\r\nContent-Length: 1048577\r\n", 413},
		"encoded":            {bearerFor(t, "POST", "/p", "x") + "Content-Encoding: gzip\r\nContent-Length: 1000\r\n", 415},
		"chunked, no token":  {"Transfer-Encoding: chunked\r\n", 401},
		"chunked and expect": {"Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n", 401},
	} {
		t.Run(name, func(t *testing.T) {
			connection := dial(t, server.Listener.Addr().String())
			_, err := io.WriteString(connection, "POST /p HTTP/1.1\r\nHost: test\r\n"+c.headers+"\r\n")
			require.NoError(t, err)
			reader := bufio.NewReader(connection)
			answer, err := http.ReadResponse(reader, nil)
			require.NoError(t, err)
			defer answer.Body.Close()
			assert.Equal(t, c.status, answer.StatusCode)
			assert.True(t, answer.Close, "the connection must close")
			readAll(t, answer.Body)
			_, err = reader.ReadByte()
			assert.ErrorIs(t, err, io.EOF)
		})
	}
}

func TestContinueIsSentToTheAuthenticated(t *testing.T) {
	var next seen
	address := start(t, verifier(t, Config{}), &next)
	connection := dial(t, address)
	_, err := io.WriteString(connection, "POST /p HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 38\r\n"+bearerFor(t, "POST", "/p", smallBody)+"\r\n")
	require.NoError(t, err)
	reader := bufio.NewReader(connection)
	line, err := reader.ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
	_, err = reader.ReadString('\n')
	require.NoError(t, err)
	_, err = io.WriteString(connection, smallBody)
	require.NoError(t, err)
	answer, err := http.ReadResponse(reader, nil)
	require.NoError(t, err)
	defer answer.Body.Close()
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	assert.Equal(t, smallBody, next.body)
}

func TestRefusalWithoutBodyKeepsTheConnection(t *testing.T) {
	address := start(t, verifier(t, Config{}), new(seen))
	connection := dial(t, address)
	reader := bufio.NewReader(connection)
	for range 2 {
		_, err := io.WriteString(connection, "GET /p HTTP/1.1\r\nHost: test\r\n\r\n")
		require.NoError(t, err)
		answer, err := http.ReadResponse(reader, nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
		assert.Equal(t, `Bearer realm="notify"`, answer.Header.Get("WWW-Authenticate"))
		assert.False(t, answer.Close)
		assert.JSONEq(t, `{"error":"Unauthorized, authentication token must be provided"}`, readAll(t, answer.Body))
		_ = answer.Body.Close()
	}
}

func TestTargetForms(t *testing.T) {
	address := start(t, verifier(t, Config{Query: QueryUnsigned}), new(seen))
	token := bearerFor(t, "GET", "/p", "")
	for target, want := range map[string]int{
		"/p":             200,
		"/p?x=1":         200,
		"http://test/p":  403,
		"//test/p":       403,
		"/./p":           403,
		"/p?x#y":         403,
		"http://test//p": 403,
	} {
		answer := sendRaw(t, address, "GET "+target+" HTTP/1.1\r\nHost: test\r\n"+token+"\r\n")
		assert.Equal(t, want, answer.StatusCode, target)
		if want == http.StatusForbidden {
			assert.JSONEq(t, `{"error":"Invalid token: request"}`, readAll(t, answer.Body), target)
		}
		_ = answer.Body.Close()
	}
	answer := sendRaw(t, address, "OPTIONS * HTTP/1.1\r\nHost: test\r\n"+bearerFor(t, "OPTIONS", "/p", "")+"\r\n")
	defer answer.Body.Close()
	// net/http answers this one itself.
	assert.Contains(t, []int{200, 403}, answer.StatusCode)
}

func TestHTTP2(t *testing.T) {
	var next seen
	server := httptest.NewUnstartedServer(verifier(t, Config{MaxBody: 1000}).Middleware(&next))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	client := server.Client()

	do := func(r *http.Request) (int, string) {
		answer, err := client.Do(r)
		require.NoError(t, err)
		defer answer.Body.Close()
		require.Equal(t, 2, answer.ProtoMajor)
		return answer.StatusCode, readAll(t, answer.Body)
	}
	request := func(method, path, signed string, body io.Reader) *http.Request {
		r, err := http.NewRequestWithContext(background(), method, server.URL+path, body)
		require.NoError(t, err)
		r.Header.Set("Authorization", "Bearer "+mint(t, MintRequest{Method: method, Path: path, Body: []byte(signed)}))
		return r
	}

	status, text := do(request("POST", "/p", smallBody, strings.NewReader(smallBody)))
	require.Equal(t, 200, status, text)
	assert.Equal(t, smallBody, next.body)

	// Without a content length.
	status, text = do(request("POST", "/p", smallBody, io.MultiReader(strings.NewReader(smallBody))))
	require.Equal(t, 200, status, text)
	assert.Equal(t, smallBody, next.body)
	assert.Equal(t, int64(len(smallBody)), next.length)

	status, text = do(request("GET", "/a%20b", "", nil))
	require.Equal(t, 200, status, text)

	status, _ = do(request("POST", "/p", "y", strings.NewReader("x")))
	assert.Equal(t, 403, status)

	long := strings.Repeat("z", 1001)
	status, _ = do(request("POST", "/p", long, io.MultiReader(strings.NewReader(long))))
	assert.Equal(t, 413, status)

	// A refusal must not end the connection for other streams.
	status, _ = do(request("GET", "/p", "", nil))
	assert.Equal(t, 200, status)
}
