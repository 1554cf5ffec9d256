package notifyauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

// errorTypes are the error names of v2 for the statuses that are no matter of
// authentication.
var errorTypes = map[int]string{
	http.StatusBadRequest:            "BadRequestError",
	http.StatusRequestTimeout:        "RequestTimeoutError",
	http.StatusRequestEntityTooLarge: "PayloadTooLargeError",
	http.StatusUnsupportedMediaType:  "UnsupportedMediaTypeError",
	http.StatusServiceUnavailable:    "ServiceUnavailableError",
}

// WriteError answers a request that Authenticate refused, in the dialect's
// JSON: {"error": M} for signed, {"status_code": N, "errors": [{"error": T,
// "message": M}]} for v2, with the headers of SetErrorHeaders. An error that
// isn't an [*Error] is answered as a technical fault.
func (v *Verifier) WriteError(w http.ResponseWriter, r *http.Request, err error) {
	e := asError(err)
	SetErrorHeaders(w, r, e)
	body := e.body(v.dialect)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(e.Status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) //nolint:gosec // JSON of constant texts; the client may have gone
	}
	e.Finish(w, r)
}

// drainFor is how long the body of a request is read and thrown away that was
// refused for want of memory.
const drainFor = 5 * time.Second

// Finish is to be called when the answer to a refusal has been written. A body
// that had no place in memory is thrown away as it comes: its sender did
// nothing wrong, and must see the answer and no reset connection.
func (e *Error) Finish(w http.ResponseWriter, r *http.Request) {
	if e.Code != CodeBusy || !e.CloseConnection || r.ProtoMajor > 1 || r.Header.Get("Expect") != "" {
		return
	}
	c := http.NewResponseController(w)
	if c.Flush() != nil || c.SetReadDeadline(time.Now().Add(drainFor)) != nil {
		return
	}
	_, _ = io.Copy(io.Discard, r.Body) // it ends with the deadline at the latest
}

// lingerForBody is how long a connection whose request was refused goes on
// reading the body.
const lingerForBody = 500 * time.Millisecond

func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return newError(CodeUnavailable, err)
}

// SetErrorHeaders sets the headers that belong to a refusal whoever writes its
// body: WWW-Authenticate, Retry-After, Cache-Control and Connection.
func SetErrorHeaders(w http.ResponseWriter, r *http.Request, e *Error) {
	h := w.Header()
	if challenge := e.Challenge(); challenge != "" {
		h.Set("WWW-Authenticate", challenge)
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((e.RetryAfter+time.Second-1)/time.Second), 10))
	}
	h.Set("Cache-Control", "no-store")
	if e.CloseConnection {
		CloseUnread(w, r)
	}
}

// CloseUnread is to be called before the answer to a request whose body is
// left unread: it makes this the last answer of an HTTP/1 connection.
//
// net/http reads up to 256 KiB of a body that the handler left alone, so as to
// reuse the connection, and waits for a client that waits for "100 Continue".
// It knows that case by the type of the request's body, which a server's own
// wrapper (Caddy puts one around every body, for idle deadlines and byte
// counts) hides from it. Closing the connection is the one signal that ends
// both. HTTP/2 and 3 reset the stream by themselves, and would take this
// header as an order to drain the whole connection.
func CloseUnread(w http.ResponseWriter, r *http.Request) {
	if r.ProtoMajor > 1 {
		return
	}
	w.Header().Set("Connection", "close")
	// After the answer it still reads up to 256 KiB from a client that may
	// send nothing. A short while lets the others finish, so that they see the
	// answer and no reset. Writers without deadlines can do without.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(lingerForBody))
}

// body renders the dialect's JSON.
func (e *Error) body(d Dialect) []byte {
	type item struct {
		Error   string `json:"error"`
		Message string `json:"message"`
	}
	var value any
	switch d {
	case V2:
		name, ok := errorTypes[e.Status]
		if !ok {
			name = "AuthError"
		}
		value = struct {
			StatusCode int    `json:"status_code"`
			Errors     []item `json:"errors"`
		}{e.Status, []item{{name, e.Message(d)}}}
	case Signed:
		value = struct {
			Error string `json:"error"`
		}{e.Message(d)}
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(value) // texts and numbers always encode
	return bytes.TrimSuffix(out.Bytes(), []byte("\n"))
}
