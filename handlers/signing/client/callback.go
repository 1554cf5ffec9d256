package client

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
)

// Callback is a page for the browser that comes back from signing one request,
// at any path: programs without a site of their own serve it on a loopback
// address that is the client's registered callback. It shows nothing of what it
// is sent, loads nothing, and believes nothing: what it says to the user it has
// from [Client.Await].
type Callback struct {
	token, state string
	visits       chan chan outcome
	once         sync.Once
	done         chan struct{}
	last         outcome // readable when done is closed
}

// NewCallback makes the page for a request. Its token and state must come back.
func NewCallback(p *Pending) *Callback {
	return &Callback{token: p.Token, state: p.State, visits: make(chan chan outcome), done: make(chan struct{})}
}

// outcome is what the browser is told.
type outcome int

const (
	outcomeFailed outcome = iota
	outcomePending
	outcomeSigned
	outcomeForeign
)

func (c *Callback) finish(signed bool) {
	c.once.Do(func() {
		if signed {
			c.last = outcomeSigned
		}
		close(c.done)
	})
}

// ServeHTTP answers the browser when Await has asked the API, or has ended.
func (c *Callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		// Not HEAD either: those who only look at a link have not signed.
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
		return
	}
	query := r.URL.Query()
	if !same(query["token"], c.token) || c.state != "" && !same(query["state"], c.state) {
		outcomeForeign.write(w)
		return
	}
	visitor := make(chan outcome, 1)
	select {
	case c.visits <- visitor:
	case <-c.done:
		c.last.write(w)
		return
	case <-r.Context().Done():
		return
	}
	select {
	case told := <-visitor:
		told.write(w)
	case <-r.Context().Done():
	}
}

func same(given []string, expected string) bool {
	return len(given) == 1 && subtle.ConstantTimeCompare([]byte(given[0]), []byte(expected)) == 1
}

var pages = map[outcome]struct {
	status      int
	title, text string
}{
	outcomeSigned:  {http.StatusOK, "Signed", "Signed, you can close this window."},
	outcomePending: {http.StatusOK, "Not signed yet", "The signing service has no signatures yet. The program that asked for them goes on waiting."},
	outcomeFailed:  {http.StatusOK, "That did not work", "The program that asked for the signatures says why. You can close this window."},
	outcomeForeign: {http.StatusNotFound, "Nothing to see here", "This is not the signature that is being waited for."},
}

const style = `body{font:1.25rem/1.5 system-ui,sans-serif;max-width:32rem;margin:4rem auto;padding:0 1rem;color-scheme:light dark}`

var policy = func() string {
	sum := sha256.Sum256([]byte(style))
	return "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}()

// write writes the whole page.
func (o outcome) write(w http.ResponseWriter) {
	p := pages[o]
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", policy)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	w.WriteHeader(p.status)
	var b strings.Builder
	b.WriteString("<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n")
	b.WriteString("<meta name=\"viewport\" content=\"width=device-width\">\n")
	b.WriteString("<title>" + p.title + "</title>\n<style>" + style + "</style>\n<main><h1>" + p.title + "</h1>\n<p>" + p.text + "</p></main>\n</html>\n")
	_, _ = w.Write([]byte(b.String()))
}
