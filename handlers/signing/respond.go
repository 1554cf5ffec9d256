package signing

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strconv"
	"time"
)

// setHeaders sets what every answer has. Nothing here is for caches, nor for
// other sites to learn of.
func setHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
}

// maxMirrored is the longest request id that is mirrored, in bytes.
const maxMirrored = 128

// mirrorIDs answers the ids by which a client finds its call in the logs.
func mirrorIDs(w http.ResponseWriter, r *http.Request) {
	for _, name := range [...]string{"X-Request-Id", "X-Correlation-Id"} {
		if lines := r.Header[name]; len(lines) == 1 && isPrintable(lines[0]) {
			w.Header().Set(name, lines[0])
		}
	}
}

func isPrintable(id string) bool {
	if id == "" || len(id) > maxMirrored {
		return false
	}
	for i := range len(id) {
		if id[i] < ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}

// issue is the one issue of an OperationOutcome.
type issue struct {
	kind    string // FHIR's IssueType
	code    string // of Spine-ErrorOrWarningCode
	display string
}

// MarshalJSON writes the OperationOutcome, in the order of the API page.
func (i *issue) MarshalJSON() ([]byte, error) {
	type coding struct {
		System  string `json:"system"`
		Version string `json:"version"`
		Code    string `json:"code"`
		Display string `json:"display"`
	}
	type details struct {
		Coding [1]coding `json:"coding"`
	}
	type entry struct {
		Severity string  `json:"severity"`
		Code     string  `json:"code"`
		Details  details `json:"details"`
	}
	return json.Marshal(struct {
		ResourceType string   `json:"resourceType"`
		Issue        [1]entry `json:"issue"`
	}{"OperationOutcome", [1]entry{{
		Severity: "error", Code: i.kind,
		Details: details{[1]coding{{"https://fhir.nhs.uk/R4/CodeSystem/Spine-ErrorOrWarningCode", "1", i.code, i.display}}},
	}}})
}

// writeRefusal writes {"statusCode", "error", "message"}, or an
// OperationOutcome.
func writeRefusal(w http.ResponseWriter, r *http.Request, ref *refusal) {
	h := w.Header()
	if ref.retryAfter > 0 {
		setRetryAfter(h, ref.retryAfter)
	}
	if ref.allow != "" {
		h.Set("Allow", ref.allow)
	}
	if ref.challenge != "" {
		h.Set("WWW-Authenticate", ref.challenge)
	}
	if ref.issue != nil {
		writeJSON(w, r, ref.status, ref.issue)
		return
	}
	phrase := http.StatusText(ref.status)
	if phrase == "" {
		phrase = "Unknown"
	}
	writeJSON(w, r, ref.status, struct {
		StatusCode int    `json:"statusCode"`
		Error      string `json:"error"`
		Message    string `json:"message"`
	}{ref.status, phrase, ref.text})
}

// setRetryAfter rounds up, so that whoever obeys doesn't come too early.
func setRetryAfter(h http.Header, wait time.Duration) {
	h.Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
}

// writeJSON writes an answer. What is written are structs of strings and
// numbers, so it can't fail to encode.
func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		status = http.StatusInternalServerError
		b.Reset()
		b.WriteString(`{"statusCode":500,"error":"Internal Server Error","message":"` + textInternal + `"}`)
	}
	writeBody(w, r, status, "application/json; charset=utf-8", bytes.TrimSuffix(b.Bytes(), []byte("\n")))
}

// writeBody writes an answer whole; a client that has gone needs no error.
func writeBody(w http.ResponseWriter, r *http.Request, status int, mediaType string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body) //nolint:gosec // JSON, or a JWT as text/plain with nosniff
	}
}
