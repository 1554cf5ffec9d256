package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// vectorRequest is one case of notify_requests.json.
type vectorRequest struct {
	ID      string `json:"id"`
	Note    string `json:"note"`
	Request struct {
		Method        string            `json:"method"`
		Target        string            `json:"target"`
		Headers       map[string]string `json:"headers"`
		Body          *string           `json:"body"`
		Authorization []string          `json:"authorization"`
	} `json:"request"`
	Expect string `json:"expect"`
	Status string `json:"expect_status"`
}

func (v *vectorRequest) bytes() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: example.org\r\nConnection: close\r\n", v.Request.Method, v.Request.Target)
	for name, value := range v.Request.Headers {
		fmt.Fprintf(&b, "%s: %s\r\n", name, value)
	}
	for _, a := range v.Request.Authorization {
		fmt.Fprintf(&b, "Authorization: %s\r\n", a)
	}
	if v.Request.Body != nil {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(*v.Request.Body))
	}
	b.WriteString("\r\n")
	if v.Request.Body != nil {
		b.WriteString(*v.Request.Body)
	}
	return b.String()
}

func readVectors(t testing.TB, name string, v any) {
	t.Helper()
	content, err := os.ReadFile("../handlers/notifyauth/testdata/" + name)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(content, v))
}

// surroundings are ways in which a Caddyfile changes a request before
// notify_auth sees it; %s is notify_auth and reverse_proxy.
var surroundings = []struct{ name, site string }{
	{"plain", "%s"},
	{"handle_path", "handle_path /notifications/* {\n%[1]s\n}\nhandle {\n%[1]s\n}"},
	{"rewrite", "rewrite * /elsewhere{uri}?added=1\n%s"},
	{"strip_prefix", "uri strip_prefix /notifications\n%s"},
	{"method", "method PATCH\n%s"},
}

// TestVectors sends every case of the request vectors to a real listener, byte
// for byte, under each surrounding.
func TestVectors(t *testing.T) {
	var vectors struct {
		Now      int64 `json:"now"`
		Services []struct {
			Iss    string `json:"iss"`
			Secret string `json:"secret"`
		} `json:"services"`
		Cases []vectorRequest `json:"cases"`
	}
	readVectors(t, "notify_requests.json", &vectors)
	require.Len(t, vectors.Cases, 38)
	setClock(t, vectors.Now)
	var services, ids string
	for i, s := range vectors.Services {
		services += fmt.Sprintf("service %s {\n key k%d %s\n}\n", s.Iss, i, s.Secret)
		ids += " " + s.Iss
	}
	for _, around := range surroundings {
		t.Run(around.name, func(t *testing.T) {
			up := newUpstream(t)
			port := freePort(t)
			auth := fmt.Sprintf("notify_auth {\n services%s\n identity_header X-Service-Id\n}\nreverse_proxy %s", ids, up.Listener.Addr())
			load(t, globals(services)+fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n%s\n}\n", port, fmt.Sprintf(around.site, auth)))
			addr := fmt.Sprintf("127.0.0.1:%d", port)
			for _, c := range vectors.Cases {
				t.Run(c.ID, func(t *testing.T) {
					resp := raw(t, addr, c.bytes())
					got := up.take()
					if c.Expect != "accept" {
						require.Contains(t, c.Status, fmt.Sprint(resp.StatusCode), "%s: %s", c.Note, resp.text)
						require.Empty(t, got, "a refused request reached the upstream")
						if resp.StatusCode != http.StatusBadRequest {
							require.JSONEq(t, resp.text, resp.text)
							require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
							require.Contains(t, resp.text, `{"error":"`)
						}
						require.Equal(t, resp.StatusCode == http.StatusUnauthorized, resp.Header.Get("WWW-Authenticate") != "")
						return
					}
					require.Equal(t, http.StatusOK, resp.StatusCode, "%s: %s", c.Note, resp.text)
					require.Len(t, got, 1)
					want := ""
					if c.Request.Body != nil {
						want = *c.Request.Body
					}
					require.Equal(t, want, got[0].body)
					for name, values := range got[0].header {
						folded := strings.NewReplacer("_", "-", ".", "-").Replace(strings.ToLower(name))
						if folded == "x-service-id" {
							require.Equal(t, "X-Service-Id", name)
							require.Equal(t, []string{serviceID}, values)
						}
						require.NotEqual(t, "x-http-method-override", folded)
					}
					require.Equal(t, serviceID, got[0].header.Get("X-Service-Id"))
				})
			}
		})
	}
}

// TestGoldenTokens sends the golden tokens to a listener whose clock stands at
// their time.
func TestGoldenTokens(t *testing.T) {
	var golden struct {
		Cases []struct {
			Name, Method, Path, Body, Token, Secret string
			Service                                 any
			Now                                     int64
		} `json:"cases"`
	}
	readVectors(t, "notify_golden.json", &golden)
	for _, c := range golden.Cases {
		if len(c.Secret) < minSecret {
			continue // the configuration refuses it; the package's own tests have it
		}
		t.Run(c.Name, func(t *testing.T) {
			setClock(t, c.Now)
			up := newUpstream(t)
			port := freePort(t)
			dialect := "signed"
			if strings.HasPrefix(c.Name, "F") {
				dialect = "v2"
			}
			load(t, globals(fmt.Sprintf("service %v {\n key live %s\n}", c.Service, c.Secret))+
				fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_auth {\n dialect %s\n }\n reverse_proxy %s\n}\n", port, dialect, up.Listener.Addr()))
			req, err := http.NewRequest(c.Method, fmt.Sprintf("http://127.0.0.1:%d%s", port, c.Path), strings.NewReader(c.Body))
			require.NoError(t, err)
			req.Header.Set("Authorization", "bearer "+c.Token)
			resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, http.StatusOK, resp.StatusCode)
			got := up.take()
			require.Len(t, got, 1)
			require.Equal(t, c.Body, got[0].body)
			require.Equal(t, fmt.Sprint(c.Service), got[0].header.Get("X-Notify-Service"))
		})
	}
}

// site loads one site with notify_auth and an upstream.
func site(t *testing.T, options, after string) (addr string, up *upstream) {
	t.Helper()
	up = newUpstream(t)
	port := freePort(t)
	load(t, globals(oneService())+fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_auth {\n%s\n}\n%s\n reverse_proxy %s\n}\n", port, options, after, up.Listener.Addr()))
	return fmt.Sprintf("127.0.0.1:%d", port), up
}

// mint signs a request as the service.
func mint(t testing.TB, method, path, body string) string {
	t.Helper()
	token, err := notifyauth.Mint(notifyauth.MintRequest{
		Service: serviceID, Secret: secretOne, IssuedAt: clock(), Method: method, Path: path, Body: []byte(body),
	})
	require.NoError(t, err)
	return "Bearer " + token
}

func head(t testing.TB, method, path, body string, lines ...string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\n%s\r\n\r\n",
		method, path, mint(t, method, path, body), strings.Join(lines, "\r\n"))
}

func TestBodies(t *testing.T) {
	addr, up := site(t, "max_body 1KiB", "")
	long := strings.Repeat("x", 1024)
	chunks := func(s string) string {
		var b strings.Builder
		for i := 0; i < len(s); i += 100 {
			c := s[i:min(i+100, len(s))]
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(c), c)
		}
		return b.String() + "0\r\n"
	}
	for _, c := range []struct {
		name, request, want string
		status              int
	}{
		{"at the limit", head(t, "POST", "/a", long, "Content-Length: 1024") + long, long, 200},
		{"chunked at the limit", head(t, "POST", "/a", long, "Transfer-Encoding: chunked") + chunks(long) + "\r\n", long, 200},
		{"over the limit", head(t, "POST", "/a", long+"x", "Content-Length: 1025") + long + "x", "", 413},
		{"chunked over the limit", head(t, "POST", "/a", long+"x", "Transfer-Encoding: chunked") + chunks(long+"x") + "\r\n", "", 413},
		{"empty chunked", head(t, "POST", "/a", "", "Transfer-Encoding: chunked") + "0\r\n\r\n", "", 200},
		{"GET with a body", head(t, "GET", "/a", "null", "Content-Length: 4") + "null", "null", 200},
		{"form", head(t, "POST", "/a", "a=1&b=%20", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 9") + "a=1&b=%20", "a=1&b=%20", 200},
		{"invalid UTF-8", head(t, "PUT", "/a", "\xff\x00\xfe", "Content-Length: 3") + "\xff\x00\xfe", "\xff\x00\xfe", 200},
		{"identity encoding", head(t, "POST", "/a", "x", "Content-Encoding: identity", "Content-Length: 1") + "x", "x", 200},
		{"gzip", head(t, "POST", "/a", "x", "Content-Encoding: gzip", "Content-Length: 1") + "x", "", 415},
		{"gzip without a body", head(t, "GET", "/a", "", "Content-Encoding: gzip"), "", 200},
		{"token as body", fmt.Sprintf("POST /a HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: 7\r\n\r\ne30.e30", tokenFor("e30.e30")), "", 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := raw(t, addr, c.request)
			require.Equal(t, c.status, resp.StatusCode, resp.text)
			got := up.take()
			if c.status != 200 {
				require.Empty(t, got)
				return
			}
			require.Len(t, got, 1)
			require.Equal(t, c.want, got[0].body)
		})
	}
}

// tokenFor signs a body that notifyauth itself refuses to sign: its pay and
// the token's signature are made by hand.
func tokenFor(body string) string {
	return "Bearer " + handMint(serviceID, secretOne, clock().Unix(), "POST /a", body)
}

// TestWithheldBody: who waits for "100 Continue" is answered at once, from the
// head alone, and never told to continue.
func TestWithheldBody(t *testing.T) {
	addr, up := site(t, "max_body 1KiB", "")
	for _, c := range []struct {
		name, auth, length string
		status             int
	}{
		{"no token", "X-None: 1", "10", 401},
		{"bad token", "Authorization: Bearer a.b.c", "10", 403},
		{"too large", "Authorization: " + mint(t, "POST", "/a", "x"), "2000", 413},
	} {
		t.Run(c.name, func(t *testing.T) {
			resp := raw(t, addr, "POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"+c.auth+"\r\nContent-Length: "+c.length+"\r\n\r\n")
			require.Equal(t, c.status, resp.StatusCode, resp.text)
			require.True(t, resp.Close, "the connection can't be used again: a body may follow or not")
			require.Empty(t, up.take())
		})
	}
	t.Run("good token", func(t *testing.T) {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(conn, head(t, "POST", "/a", "body", "Expect: 100-continue", "Content-Length: 4"))
		require.NoError(t, err)
		r := bufio.NewReader(conn)
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 100 Continue\r\n", line)
		_, err = r.ReadString('\n')
		require.NoError(t, err)
		_, err = io.WriteString(conn, "body")
		require.NoError(t, err)
		resp, err := http.ReadResponse(r, nil)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, "body", up.take()[0].body)
	})
}

// TestClaimsOfIdentity: nothing that a client sends looks like the gateway's
// word, or keeps the gateway's word from the upstream.
func TestClaimsOfIdentity(t *testing.T) {
	addr, up := site(t, "", "")
	resp := raw(t, addr, head(t, "POST", "/a", "body",
		"Connection: X-Notify-Service, close",
		"x-notify-service: evil", "X_Notify_Service: evil", "X.Notify.Service: evil",
		"X-HTTP-Method: DELETE", "X-Method-Override: DELETE",
		"Trailer: X-Notify-Service", "Transfer-Encoding: chunked")+
		"4\r\nbody\r\n0\r\nX-Notify-Service: evil\r\n\r\n")
	require.Equal(t, 200, resp.StatusCode, resp.text)
	got := up.take()
	require.Len(t, got, 1)
	require.Equal(t, []string{serviceID}, got[0].header["X-Notify-Service"])
	require.Empty(t, got[0].trailer)
	for name, values := range got[0].header {
		require.NotContains(t, values, "evil", name)
		require.NotContains(t, values, "DELETE", name)
	}
}

func TestQueryPolicy(t *testing.T) {
	for _, c := range []struct {
		policy, signed, sent string
		status               int
	}{
		{"refuse", "/a", "/a", 200},
		{"refuse", "/a", "/a?x=1", 403},
		{"refuse", "/a?x=1", "/a?x=1", 403},
		{"unsigned", "/a", "/a?x=1", 200},
		{"signed", "/a?x=1", "/a?x=1", 200},
		{"signed", "/a", "/a?x=1", 403},
		{"signed", "/a?x=1", "/a?x=2", 403},
	} {
		t.Run(c.policy+" "+c.sent, func(t *testing.T) {
			addr, _ := site(t, "query "+c.policy, "")
			resp := raw(t, addr, fmt.Sprintf("GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", c.sent, mint(t, "GET", c.signed, "")))
			require.Equal(t, c.status, resp.StatusCode, resp.text)
		})
	}
}

func TestBasePathAndReplay(t *testing.T) {
	addr, up := site(t, "base_path /api/endpoint\nreplay reject\n", "")
	get := func(method, path, signed string) answer {
		return raw(t, addr, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", method, path, mint(t, method, signed, "")))
	}
	require.Equal(t, 200, get("GET", "/api/endpoint/notifications/1", "/notifications/1").StatusCode)
	require.Equal(t, "/api/endpoint/notifications/1", up.take()[0].uri, "the prefix goes on to the service")
	require.Equal(t, 403, get("GET", "/notifications/1", "/notifications/1").StatusCode)
	require.Equal(t, 403, get("GET", "/api/endpointx/notifications/1", "/notifications/1").StatusCode)

	setClock(t, time.Now().Unix())
	addr, _ = site(t, "replay reject", "")
	require.Equal(t, 200, get("POST", "/a", "/a").StatusCode)
	again := get("POST", "/a", "/a")
	require.Equal(t, 403, again.StatusCode)
	require.JSONEq(t, `{"error":"Invalid token: replayed"}`, again.text)
	require.Equal(t, 200, get("GET", "/a", "/a").StatusCode)
	require.Equal(t, 200, get("GET", "/a", "/a").StatusCode, "safe methods may be repeated")
}

func TestHandleErrorsAndPlaceholders(t *testing.T) {
	port := freePort(t)
	load(t, globals(oneService())+fmt.Sprintf(`http://:%d {
	bind 127.0.0.1
	notify_auth {
		errors handle
	}
	respond "{http.auth.user.id} {http.auth.user.name} {http.auth.user.key} {http.auth.user.key_type}"
	handle_errors {
		respond "mine: {err.status_code} {err.message}"
	}
}
`, port))
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	ok := raw(t, addr, head(t, "GET", "/a", "", "Connection: close"))
	require.Equal(t, serviceID+" Booking live normal", ok.text)
	refused := raw(t, addr, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	require.Equal(t, 401, refused.StatusCode)
	require.Equal(t, "mine: 401 Unauthorized, authentication token must be provided", refused.text)
	require.NotEmpty(t, refused.Header.Get("WWW-Authenticate"))
	refused = raw(t, addr, head(t, "GET", "/b", "", "Connection: close")[:0]+fmt.Sprintf("GET /b HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nConnection: close\r\n\r\n", mint(t, "GET", "/a", "")))
	require.Equal(t, "mine: 403 Invalid token: request", refused.text)
}

// TestProvider: the provider form under Caddy's stock handler.
func TestProvider(t *testing.T) {
	port := freePort(t)
	cfg, err := adaptCaddyfile(t, globals(oneService())+fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n route {\n  basic_auth {\n   bob $2a$14$W/z/Aai0o49nHKMBbc/pXuyiOHE4I/EhZQm2.4LHB0ij1UpqDcmEm\n  }\n  respond \"{http.auth.user.id}\"\n }\n}\n", port))
	require.NoError(t, err)
	// There is no directive for it: put it in the place of basic_auth's.
	var tree any
	require.NoError(t, json.Unmarshal(cfg, &tree))
	replaced := replaceProviders(tree)
	require.Equal(t, 1, replaced)
	cfg, err = json.Marshal(tree)
	require.NoError(t, err)
	loadJSON(t, cfg)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	require.Equal(t, serviceID, raw(t, addr, head(t, "POST", "/a", "x", "Content-Length: 1", "Connection: close")+"x").text)
	require.Equal(t, 401, raw(t, addr, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").StatusCode)
	require.Equal(t, 401, raw(t, addr, head(t, "POST", "/a", "y", "Content-Length: 1", "Connection: close")+"x").StatusCode)
}

func replaceProviders(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		if v["handler"] == "authentication" {
			v["providers"] = map[string]any{"notify": map[string]any{}}
			return 1
		}
		for _, e := range v {
			n += replaceProviders(e)
		}
	case []any:
		for _, e := range v {
			n += replaceProviders(e)
		}
	}
	return n
}

// TestBodiesOverTLS: HTTP/2 and HTTP/3 hand the same bytes on.
func TestBodiesOverTLS(t *testing.T) {
	up := newUpstream(t)
	port := freePort(t)
	load(t, strings.Replace(globals(oneService()), "auto_https off", "skip_install_trust\n\thttp_port "+fmt.Sprint(freePort(t)), 1)+
		fmt.Sprintf("https://localhost:%d {\n bind 127.0.0.1\n tls internal\n notify_auth\n reverse_proxy %s\n}\n", port, up.Listener.Addr()))
	insecure := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	h2 := &http.Transport{TLSClientConfig: insecure, ForceAttemptHTTP2: true}
	defer h2.CloseIdleConnections()
	// The certificate is made in the background.
	require.Eventually(t, func() bool {
		conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), insecure)
		if err == nil {
			conn.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond)
	h3 := &http3.Transport{TLSClientConfig: insecure}
	defer h3.Close()
	for _, c := range []struct {
		name  string
		tr    http.RoundTripper
		major int
	}{{"HTTP/2", h2, 2}, {"HTTP/3", h3, 3}} {
		for _, declared := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s declared=%t", c.name, declared), func(t *testing.T) {
				body := strings.Repeat("\x00\xffé", 100_000)
				var r io.Reader = strings.NewReader(body)
				if !declared {
					r = io.MultiReader(r) // hides the length
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				req, err := http.NewRequestWithContext(ctx, http.MethodPost, fmt.Sprintf("https://localhost:%d/a", port), r)
				require.NoError(t, err)
				req.Header.Set("Authorization", mint(t, "POST", "/a", body))
				resp, err := c.tr.RoundTrip(req)
				require.NoError(t, err)
				defer resp.Body.Close()
				require.Equal(t, 200, resp.StatusCode)
				require.Equal(t, c.major, resp.ProtoMajor)
				got := up.take()
				require.Len(t, got, 1)
				require.True(t, bytes.Equal([]byte(body), []byte(got[0].body)), "the body changed on its way")
			})
		}
	}
}
