package jwks

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// DefaultPublishAge is how long an answer of [Publish] may be kept when nothing
// is said.
const DefaultPublishAge = 10 * time.Minute

// publishRetryAfter is when, in seconds, to ask again for keys that aren't at
// hand.
const publishRetryAfter = "5"

// JWKS is a JWK set (RFC 7517, section 5). As JSON it holds what is public of
// the keys, in their order.
type JWKS struct{ Keys Keys }

// MarshalJSON writes {"keys": [...]}, never null in place of the list.
func (s JWKS) MarshalJSON() ([]byte, error) {
	keys := s.Keys
	if keys == nil {
		keys = Keys{}
	}
	return json.Marshal(struct {
		Keys Keys `json:"keys"`
	}{keys})
}

// KeyLister has public keys to publish, as a [Set] and an [Index] do. The list
// that it returns isn't changed by either side.
type KeyLister interface {
	Keys() Keys
}

// Publish serves the public keys as a JWK set, usually at
// /.well-known/jwks.json.
//
// GET and HEAD answer {"keys": [...]} with a strong ETag over the bytes, and
// 304 to an If-None-Match that holds it. maxAge is how long the answer may be
// kept (Cache-Control: public, max-age, in whole seconds). Default, when 0: 10
// min. Negative: it must be confirmed at each use (no-cache). Web pages of any
// origin may read it, for it is public. 503 with Retry-After is the answer when
// there are no keys at hand: an empty set would have clients give up those that
// they have. Other methods are answered 405.
//
// The answers' type is application/json. RFC 7517, section 8.5.1 registers
// application/jwk-set+json, but some clients of such servers take nothing but
// the former, and none only the latter.
func Publish(keys KeyLister, maxAge time.Duration) http.Handler {
	p := &publisher{keys: keys}
	switch seconds := int64(maxAge / time.Second); {
	case maxAge == 0:
		p.cacheControl = maxAgeOf(DefaultPublishAge)
	case seconds <= 0:
		p.cacheControl = "no-cache"
	default:
		p.cacheControl = maxAgeOf(maxAge)
	}
	return p
}

func maxAgeOf(d time.Duration) string {
	return fmt.Sprintf("public, max-age=%d", int64(d/time.Second))
}

type publisher struct {
	keys         KeyLister
	cacheControl string
	latest       atomic.Pointer[publication]
}

// publication is a key set as it is served.
type publication struct {
	keys Keys
	body []byte
	etag string
}

// ServeHTTP implements [http.Handler].
func (p *publisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		publishError(w, http.StatusMethodNotAllowed, "method_not_allowed", "a key set is read with GET or HEAD")
		return
	}
	set, err := p.current()
	switch {
	case err != nil:
		publishError(w, http.StatusInternalServerError, "server_error", "the key set can't be written")
		return
	case set == nil:
		h.Set("Retry-After", publishRetryAfter)
		publishError(w, http.StatusServiceUnavailable, "keys_unavailable", "no keys are at hand: try again later")
		return
	}
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", p.cacheControl)
	h.Set("ETag", set.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(set.body))
}

// current returns what is to be served, nil without keys. It is made once for
// each list of keys.
func (p *publisher) current() (*publication, error) {
	keys := p.keys.Keys()
	if len(keys) == 0 {
		return nil, nil
	}
	if last := p.latest.Load(); last != nil && slices.Equal(last.keys, keys) {
		return last, nil
	}
	body, err := json.Marshal(JWKS{keys})
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	next := &publication{
		keys: slices.Clone(keys), body: body,
		etag: `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`,
	}
	p.latest.Store(next)
	return next, nil
}

func publishError(w http.ResponseWriter, status int, code, text string) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	body, err := json.Marshal(map[string]string{"error": code, "error_description": text})
	if err == nil {
		_, _ = w.Write(body)
	}
}
