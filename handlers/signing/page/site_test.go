package page

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testToken = "ZjQ3YWMxMGItNThjYy00MzcyLWE1NjctMGUwMmIyYzNkNDc5"

// sites routes by the first segment of the path.
var sites siteMap

type siteMap struct {
	mu  sync.Mutex
	all []*fakeSite
}

func (m *siteMap) add(s *fakeSite) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.all = append(m.all, s)
	return fmt.Sprintf("/s%d", len(m.all)-1)
}

func (m *siteMap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var n int
	_, err := fmt.Sscanf(r.URL.Path, "/s%d/", &n)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil || n >= len(m.all) {
		http.NotFound(w, r)
		return
	}
	m.all[n].serve(w, r)
}

// fakeSite is as much of the signing API as the page sees.
type fakeSite struct {
	t       *testing.T
	base    string // path
	page    *Page
	view    View
	request string // JWT
	ids     []string

	downloads int
	uploads   []string
	mocked    int

	// Instead of the good answer, while not nil: true tells that it has answered.
	onDownload, onUpload func(http.ResponseWriter) bool
}

type claimDocument struct {
	ID      string `json:"id"`
	Payload []byte `json:"payload"`
	Display string `json:"display,omitempty"`
}

// newSite returns a site whose page asks for these documents; a single one
// without an id makes a request of the single-payload kind.
func newSite(t *testing.T, config Config, documents ...claimDocument) *fakeSite {
	t.Helper()
	s := &fakeSite{t: t}
	config.BasePath = sites.add(s) + "/signing-service"
	s.base = config.BasePath
	var err error
	s.page, err = New(config)
	require.NoError(t, err)
	s.view = View{
		Token: testToken, ClientName: "Pharmacy system", ClientID: "qvP9NoQcOVqKrXEdtLv8B0j7p5VmjPDd",
		Subject: "555086689106", Documents: len(documents), Deadline: time.Now().Add(10 * time.Minute),
	}
	claims := map[string]any{"iss": s.view.ClientID, "sub": s.view.Subject, "algorithm": "RS256"}
	if len(documents) == 1 && documents[0].ID == "" {
		claims["payload"] = documents[0].Payload
		s.ids = []string{"1"}
	} else {
		claims["payloads"] = documents
		for _, d := range documents {
			s.ids = append(s.ids, d.ID)
		}
	}
	s.request = segment(t, map[string]any{"alg": "RS512", "typ": "JWT", "kid": "k1"}) + "." + segment(t, claims) + ".c2ln"
	return s
}

func segment(t *testing.T, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString(text)
}

func (s *fakeSite) client() string { return shared.site.URL + s.base + "/client?token=" + testToken }

func (s *fakeSite) serve(w http.ResponseWriter, r *http.Request) {
	route := strings.TrimPrefix(r.URL.Path, s.base)
	if name, found := strings.CutPrefix(route, "/assets/"); found {
		if !s.page.ServeAsset(w, r, name) {
			http.NotFound(w, r)
		}
		return
	}
	switch r.Method + " " + route {
	case "GET /client":
		v := s.view
		if s.downloads > 0 && v.State == "" {
			v.State = StateDownloaded
		}
		if len(s.uploads) > 0 {
			v.State = StateSigned
		}
		if v.State == "" {
			v.State = StateReady
		}
		v.Mock = r.URL.Query().Get("mock") == "true"
		s.page.Render(w, r, v)
	case "GET /signaturerequest/" + testToken:
		assert.Equal(s.t, "same-origin", r.Header.Get("Sec-Fetch-Site"))
		assert.Empty(s.t, r.Header.Get("Referer"))
		if s.onDownload != nil && s.onDownload(w) {
			return
		}
		s.downloads++
		if s.downloads > 1 {
			refuse(w, http.StatusBadRequest, "Signature request has already been downloaded")
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, s.request)
	case "POST /signatureresponse/" + testToken:
		assert.Equal(s.t, "application/json", r.Header.Get("Content-Type"))
		assert.Equal(s.t, shared.site.URL, r.Header.Get("Origin"))
		body, err := io.ReadAll(r.Body)
		assert.NoError(s.t, err)
		if s.onUpload != nil && s.onUpload(w) {
			return
		}
		s.uploads = append(s.uploads, string(body))
		writeJSON(w, http.StatusOK, map[string]any{
			"token":       testToken,
			"redirectUri": shared.site.URL + s.base + "/callback?x=1&token=" + testToken + "&state=a%2Bb",
		})
	case "POST /mock/" + testToken:
		s.mocked++
		writeJSON(w, http.StatusOK, hubAnswer(s.ids))
	case "GET /callback":
		assert.Empty(s.t, r.Header.Get("Referer"))
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, `<!doctype html><link rel="icon" href="data:,"><p id="callback">`+r.URL.RawQuery+`</p>`)
	default:
		s.t.Errorf("unexpected request: %s %s", r.Method, route)
		http.NotFound(w, r)
	}
}

func refuse(w http.ResponseWriter, status int, message string) bool {
	writeJSON(w, status, map[string]any{"statusCode": status, "error": http.StatusText(status), "message": message})
	return true
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

type signature struct {
	ID        string `json:"id"`
	Signature string `json:"signature"`
}

func hubAnswer(ids []string) map[string]any {
	signatures := make([]signature, len(ids))
	for i, id := range ids {
		sum := sha256.Sum256([]byte(id))
		signatures[i] = signature{id, base64.StdEncoding.EncodeToString(sum[:])}
	}
	return map[string]any{"signatures": signatures, "failed": []any{}, "certificate": "Q0VSVA==", "chain": []string{}}
}

// uploaded is what the page should send for the good answer.
func uploaded(t *testing.T, ids []string) string {
	t.Helper()
	answer := hubAnswer(ids)
	text, err := json.Marshal(map[string]any{"signatures": answer["signatures"], "certificate": answer["certificate"]})
	require.NoError(t, err)
	return string(text)
}

// fakeHub is a hub/1.
type fakeHub struct {
	*httptest.Server
	t *testing.T

	mu       sync.Mutex
	calls    []string // operations
	bodies   []string // of sign
	origin   string   // that is allowed
	answers  map[string]func(http.ResponseWriter, *http.Request)
	finished chan struct{} // what waits in an answer ends
}

func newHub(t *testing.T) *fakeHub {
	t.Helper()
	h := &fakeHub{t: t, finished: make(chan struct{})}
	h.answers = map[string]func(http.ResponseWriter, *http.Request){
		"info": func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, map[string]any{"version": "1", "name": "test", "algorithms": []string{"RS256", "RS1"}, "card": "present"})
		},
		"certificates": func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, map[string]any{"certificates": []any{map[string]any{
				"id": "c1", "certificate": "Q0VSVA==", "chain": []string{}, "algorithms": []string{"RS256"},
			}}})
		},
		"sign": func(w http.ResponseWriter, _ *http.Request) {
			writeJSON(w, http.StatusOK, hubAnswer(h.requested()))
		},
	}
	h.Server = httptest.NewServer(h)
	t.Cleanup(func() {
		close(h.finished)
		h.CloseClientConnections()
		h.Close()
	})
	return h
}

// fault answers with an error of hub/1.
func fault(status int, name string, more ...any) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) {
		body := map[string]any{"error": name, "message": "The hub says: " + name}
		for i := 0; i < len(more); i += 2 {
			body[more[i].(string)] = more[i+1]
		}
		writeJSON(w, status, body)
	}
}

func (h *fakeHub) config() Config { return Config{Hub: Hub{Kind: HubOne, URL: h.URL}} }

func (h *fakeHub) on(operation string, answer func(http.ResponseWriter, *http.Request)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answers[operation] = answer
}

func (h *fakeHub) called() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.calls...)
}

// requested are the ids in the JWT that is to be signed.
func (h *fakeHub) requested() []string {
	var body struct {
		Request string `json:"request"`
	}
	assert.NoError(h.t, json.Unmarshal([]byte(h.bodies[len(h.bodies)-1]), &body))
	claims, err := base64.RawURLEncoding.DecodeString(strings.Split(body.Request, ".")[1])
	assert.NoError(h.t, err)
	var c struct {
		Payloads []claimDocument `json:"payloads"`
	}
	assert.NoError(h.t, json.Unmarshal(claims, &c))
	if c.Payloads == nil {
		return []string{"whatever the hub calls it"}
	}
	ids := make([]string, len(c.Payloads))
	for i, p := range c.Payloads {
		ids[i] = p.ID
	}
	return ids
}

func (h *fakeHub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	allowed := h.origin
	h.mu.Unlock()
	if allowed == "" {
		allowed = shared.site.URL
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.Header.Get("Origin") != allowed {
		fault(http.StatusForbidden, "origin_not_allowed")(w, r)
		return
	}
	header := w.Header()
	header.Set("Access-Control-Allow-Origin", allowed)
	header.Set("Vary", "Origin")
	if r.Method == http.MethodOptions {
		header.Set("Access-Control-Allow-Methods", "GET, POST")
		header.Set("Access-Control-Allow-Headers", "content-type")
		if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
			header.Set("Access-Control-Allow-Private-Network", "true")
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	assert.Empty(h.t, r.Header.Get("Cookie"))
	assert.Empty(h.t, r.Header.Get("Referer"))
	operation := strings.TrimPrefix(r.URL.Path, "/hub/v1/")
	h.mu.Lock()
	h.calls = append(h.calls, operation)
	answer := h.answers[operation]
	if operation != "info" {
		assert.Equal(h.t, http.MethodPost, r.Method)
		assert.Equal(h.t, "application/json", r.Header.Get("Content-Type"))
	}
	if operation == "sign" {
		body, err := io.ReadAll(r.Body)
		assert.NoError(h.t, err)
		h.bodies = append(h.bodies, string(body))
	}
	h.mu.Unlock()
	if answer == nil {
		http.NotFound(w, r)
		return
	}
	answer(w, r)
}
