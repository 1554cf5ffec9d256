package hub

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// bodyTimeout is how long a body may take to arrive.
const bodyTimeout = 20 * time.Second

// bodyFault is the refusal of a body.
type bodyFault struct {
	status  int
	message string
}

// readBody reads the body of an operation, or refuses it.
func (h *Hub) readBody(w http.ResponseWriter, r *http.Request, mediaType string, limit int64) (body []byte, ok bool) {
	body, fault := readBody(w, r, mediaType, limit)
	if fault != nil {
		h.config.Logger.InfoContext(r.Context(), "request refused", "code", string(CodeRequestInvalid), "reason", fault.message, "origin", originForLog(r))
		writeError(w, fault.status, invalid(fault.message))
	}
	return body, fault == nil
}

// readBody reads a body of one media type whole.
func readBody(w http.ResponseWriter, r *http.Request, mediaType string, limit int64) ([]byte, *bodyFault) {
	if !hasType(r, mediaType) {
		return nil, &bodyFault{http.StatusUnsupportedMediaType, "The body must be " + mediaType + "."}
	}
	if r.ContentLength > limit {
		return nil, tooLarge(limit)
	}
	c := http.NewResponseController(w)
	// Not every server has deadlines; those that have none bound reads by themselves.
	if c.SetReadDeadline(time.Now().Add(bodyTimeout)) == nil {
		defer func() { _ = c.SetReadDeadline(time.Time{}) }()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, tooLarge(limit)
	case err != nil:
		return nil, &bodyFault{http.StatusBadRequest, "The body could not be read."}
	}
	return body, nil
}

func tooLarge(limit int64) *bodyFault {
	return &bodyFault{http.StatusRequestEntityTooLarge, fmt.Sprintf("The body must be %d bytes at most.", limit)}
}

// hasType reports whether a body has a media type, and no encoding but UTF-8.
func hasType(r *http.Request, want string) bool {
	lines := r.Header["Content-Type"]
	if len(lines) != 1 {
		return false
	}
	got, parameters, err := mime.ParseMediaType(lines[0])
	if err != nil || got != want {
		return false
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return false
	}
	for _, coding := range r.Header["Content-Encoding"] {
		if !strings.EqualFold(coding, "identity") {
			return false
		}
	}
	return true
}
