package notifyauth

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Authenticate verifies a request against the token in its Authorization
// header. o is the request as the client sent it. In the signed dialect it
// reads the body, and leaves it in r to be read again, byte for byte. In v2
// the body is not signed: it stays unread, limited to MaxBody, unless
// Config.BufferBody asks for it.
//
// It changes r in place: the identity header, method overrides and trailers
// that the client sent are gone, whatever the outcome; on success the identity
// header is set. An error is always an [*Error]; give it to WriteError.
//
// The returned function is never nil. Call it when the request has been
// served: it gives the buffered body's memory back, after which the body can't
// be read any more.
func (v *Verifier) Authenticate(w http.ResponseWriter, r *http.Request, o Original) (Identity, func(), error) {
	stripClaims(r, v.identity)
	var h head
	t, body, fault := v.authenticate(w, r, o, &h)
	if fault != nil {
		v.report(r, &h, &t, fault)
		return Identity{}, func() {}, fault
	}
	// A trailer is a header that comes after the verification.
	r.Trailer = nil
	r.Header.Del("Trailer")
	r.Header[v.identity] = []string{h.service.ID}
	v.report(r, &h, &t, nil)
	id := Identity{
		ServiceID:   h.service.ID,
		ServiceName: h.service.Name,
		KeyName:     h.key.name,
		KeyType:     h.key.keyType,
		IssuedAt:    time.Unix(h.claims.iat, 0).UTC(),
		TokenMAC:    h.mac,
		Path:        t.path,
	}
	if body == nil {
		return id, func() {}, nil
	}
	return id, body.release, nil
}

func (v *Verifier) authenticate(w http.ResponseWriter, r *http.Request, o Original, h *head) (t target, body *bufferedBody, fault *Error) {
	read := false
	defer func() {
		if fault != nil && !read && AnnouncesBody(r) {
			fault.CloseConnection = true
		}
	}()
	token, code := bearer(r.Header)
	if code != "" {
		return t, nil, v.refuse(code, h)
	}
	if t, fault = v.verifyHead(r.Context(), token, o, h); fault != nil {
		return t, nil, fault
	}
	if v.dialect == V2 && !v.buffer {
		if r.ContentLength > v.maxBody {
			return t, nil, v.refuse(CodeTooLarge, h)
		}
		if AnnouncesBody(r) {
			r.Body = http.MaxBytesReader(w, r.Body, v.maxBody)
		}
		return t, nil, nil
	}
	if v.dialect == V2 {
		body, read, fault = v.takeBody(r, h)
	} else {
		body, read, fault = v.verifyBody(r, h)
	}
	if fault != nil {
		return t, nil, fault
	}
	if fault = v.checkReplay(r.Context(), o.Method, h); fault != nil {
		if body != nil {
			body.release()
		}
		return t, nil, fault
	}
	handOn(r, body)
	return t, body, nil
}

// bearer returns the token of the one Authorization line.
func bearer(header http.Header) (token string, code Code) {
	lines := header["Authorization"]
	switch {
	case len(lines) > 1:
		return "", CodeManyTokens
	case len(lines) == 0, lines[0] == "":
		return "", CodeNoToken
	}
	scheme, token, found := strings.Cut(lines[0], " ")
	if !found || !strings.EqualFold(scheme, "Bearer") {
		return "", CodeScheme
	}
	return strings.TrimLeft(token, " "), "" // 1*SP, RFC 9110, section 11.4
}

// checkReplay refuses the second use of a token, when that is asked for.
func (v *Verifier) checkReplay(ctx context.Context, method string, h *head) *Error {
	if v.replay == nil {
		return nil
	}
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace:
		return nil
	}
	// The token dies one second after iat + leeway, by this clock; another
	// node's may be behind by as much as a client's.
	expires := time.Unix(h.claims.iat+2*v.leeway+1, 0)
	// A copy: the guard may keep it, and h would move to the heap.
	first, err := v.replay.Remember(ctx, h.service.ID, bytes.Clone(h.mac[:]), expires)
	switch {
	case err != nil:
		return v.refuseFor(CodeUnavailable, h, err)
	case !first:
		return v.refuse(CodeReplayed, h)
	}
	return nil
}

// handOn puts the verified body in the place of the one that has been read.
func handOn(r *http.Request, body *bufferedBody) {
	r.TransferEncoding = nil
	if body == nil {
		r.Body = http.NoBody
		r.ContentLength = 0
		return
	}
	r.Body = body
	r.ContentLength = body.length
	// The body is here: a proxy that asked its upstream to wait for it would
	// hand a second "100 Continue" on to the client.
	r.Header.Del("Expect")
	// Gateways to CGI take the length from the header, which a chunked
	// request has not.
	if len(r.Header["Content-Length"]) == 0 {
		r.Header.Set("Content-Length", strconv.FormatInt(body.length, 10))
	}
}

// Middleware lets requests through to next that Authenticate accepts, with the
// Identity in their context, and answers the others by WriteError.
func (v *Verifier) Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, release, err := v.Authenticate(w, r, OriginalOf(r))
		defer release()
		if err != nil {
			v.WriteError(w, r, err)
			return
		}
		next.ServeHTTP(w, r.WithContext(WithIdentity(r.Context(), id)))
	})
}
