package notifyauth

import (
	"context"
	"net/http"
	"strings"
	"time"
)

// Identity is what a verified token says.
type Identity struct {
	ServiceID   string
	ServiceName string
	KeyName     string
	KeyType     string // KeyNormal, KeyTeam or KeyTest
	IssuedAt    time.Time
	// TokenMAC is the token's signature, decoded: one value for every way to
	// write the token. It identifies a signed request for idempotency; it is
	// no secret, but keep it out of logs.
	TokenMAC [32]byte
	// Path is the escaped path as the client sent it, below the base path and
	// without its query: in the signed dialect, what the client signed.
	Path string
}

type identityKey struct{}

// WithIdentity returns a context that carries the identity.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, id)
}

// FromContext returns the identity that the middleware left in the request's
// context.
func FromContext(ctx context.Context) (Identity, bool) {
	id, ok := ctx.Value(identityKey{}).(Identity)
	return id, ok
}

// methodOverrides are headers by which a client asks frameworks to act on a
// method other than the one that it signed.
var methodOverrides = [...]string{"X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"}

// StripIdentity removes what a client may have sent under the names of
// identity headers: each header in every spelling of [SameHeader], and its
// mention in Connection, by which a client could make a proxy drop the header
// that is set afterwards. Trailers are headers too: call it for both.
func StripIdentity(h http.Header, names ...string) {
	for key := range h {
		for _, name := range names {
			if SameHeader(key, name) {
				delete(h, key)
				break
			}
		}
	}
	for _, name := range names {
		stripConnection(h, name)
	}
}

// SameHeader reports whether some backend may take two header names for one:
// they differ in upper and lower case, and in "_" and "." for "-", at most.
func SameHeader(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldHeader(a[i]) != foldHeader(b[i]) {
			return false
		}
	}
	return true
}

func foldHeader(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + ('a' - 'A')
	case c == '_' || c == '.':
		return '-'
	}
	return c
}

func stripConnection(h http.Header, name string) {
	lines := h["Connection"]
	if !namedIn(lines, name) {
		return
	}
	var kept []string
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			if token = strings.TrimSpace(token); token != "" && !SameHeader(token, name) {
				kept = append(kept, token)
			}
		}
	}
	if len(kept) == 0 {
		h.Del("Connection")
		return
	}
	h.Set("Connection", strings.Join(kept, ", "))
}

func namedIn(lines []string, name string) bool {
	for _, line := range lines {
		for token := range strings.SplitSeq(line, ",") {
			if SameHeader(strings.TrimSpace(token), name) {
				return true
			}
		}
	}
	return false
}

// stripClaims removes everything by which a client could claim an identity or
// another method than it signed.
func stripClaims(r *http.Request, name string) {
	for key := range r.Header {
		if SameHeader(key, name) || isMethodOverride(key) {
			delete(r.Header, key)
		}
	}
	stripConnection(r.Header, name)
	if r.Trailer != nil {
		StripIdentity(r.Trailer, name)
	}
}

func isMethodOverride(key string) bool {
	for _, override := range methodOverrides {
		if SameHeader(key, override) {
			return true
		}
	}
	return false
}
