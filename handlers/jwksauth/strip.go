package jwksauth

import (
	"errors"
	"io"
	"net/http"
	"sync"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// strip removes what the client has sent, or is going to send, under the names
// of the headers that claims are handed on in; and what some backend may take
// for the header that the token comes in.
func (a *Authenticator) strip(r *http.Request) {
	for _, name := range a.twins {
		lines, ok := r.Header[name]
		notifyauth.StripIdentity(r.Header, name)
		if ok {
			r.Header[name] = lines
		}
	}
	if len(a.headers) == 0 {
		return
	}
	notifyauth.StripIdentity(r.Header, a.headers...)
	if r.Trailer != nil {
		notifyauth.StripIdentity(r.Trailer, a.headers...)
	}
	if notifyauth.AnnouncesBody(r) {
		r.Body = &trailerGuard{body: r.Body, request: r, headers: a.headers}
	}
}

// trailerGuard is a request's body that removes headers from the request's
// trailers as soon as these have come: at the end of the body, by reading or
// by closing it, which may read on to the end.
type trailerGuard struct {
	body    io.ReadCloser
	request *http.Request
	headers []string

	// Bodies may be closed while they are read.
	mu   sync.Mutex
	done bool
}

func (g *trailerGuard) Read(p []byte) (int, error) {
	n, err := g.body.Read(p)
	if errors.Is(err, io.EOF) {
		g.end()
	}
	return n, err
}

func (g *trailerGuard) Close() error {
	err := g.body.Close()
	g.end()
	return err
}

// end is called when no more trailers can come. It strips once only: later the
// trailers may be read without a lock.
func (g *trailerGuard) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.done {
		return
	}
	g.done = true
	if g.request.Trailer != nil {
		notifyauth.StripIdentity(g.request.Trailer, g.headers...)
	}
}
