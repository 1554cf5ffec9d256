package hub

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
)

// setHeaders sets what every answer has. A Cross-Origin-Resource-Policy isn't
// among it: a page that isn't allowed to read an answer finds out by it that
// there is a hub, and can say so to the user.
func setHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Add("Vary", "Origin")
}

// allowOrigin lets a page of the origin read the answer. Only the compatibility
// routes are called with credentials, of which the hub uses none.
func allowOrigin(w http.ResponseWriter, origin string, credentials bool) {
	w.Header().Set("Access-Control-Allow-Origin", origin)
	if credentials {
		w.Header().Set("Access-Control-Allow-Credentials", "true")
	}
}

// preflight answers a CORS preflight, and the one of Private Network Access.
func preflight(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Access-Control-Allow-Methods", "GET, POST")
	h.Set("Access-Control-Allow-Headers", "content-type")
	if r.Header.Get("Access-Control-Request-Private-Network") == "true" {
		h.Set("Access-Control-Allow-Private-Network", "true")
	}
	w.WriteHeader(http.StatusNoContent)
}

// writeJSON writes an answer. What is written are structs of texts and numbers,
// so it can't fail to encode.
func writeJSON(w http.ResponseWriter, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"error":"internal"}`)
	}
	writeBody(w, status, "application/json; charset=utf-8", bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// writeBody writes an answer whole; a browser that has gone needs no error.
func writeBody(w http.ResponseWriter, status int, mediaType string, body []byte) {
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) //nolint:gosec // JSON with nosniff, or a page of html/template
}

// writeError writes {"error", "message", "retriesLeft"?}.
func writeError(w http.ResponseWriter, status int, e *Error) {
	answer := struct {
		Error       Code   `json:"error"`
		Message     string `json:"message"`
		RetriesLeft *int   `json:"retriesLeft,omitempty"`
	}{Error: e.Code, Message: e.Error()}
	if e.Code == CodePINIncorrect && e.RetriesLeft >= 0 {
		answer.RetriesLeft = &e.RetriesLeft
	}
	writeJSON(w, status, answer)
}
