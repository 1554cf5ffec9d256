package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/delivery/internal/field"
	"github.com/signpost-gateway/signpost/handlers/outgoing"
)

// maxReference bounds a provider's reference, in bytes.
const maxReference = 255

// permanent are the statuses by which a provider refuses the message itself.
// Others of the 4xx class, such as 401, 403 and 404, speak of credentials and
// addresses, which an operator can mend while the notifications wait; and 409
// may say that the first attempt is still being worked on.
var permanent = []int{
	http.StatusBadRequest, http.StatusNotAcceptable, http.StatusGone,
	http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType,
	http.StatusUnprocessableEntity, http.StatusUnavailableForLegalReasons,
}

// refusal reads an answer with an unexpected status.
func refusal(res *http.Response) *delivery.SendError {
	status := res.StatusCode
	e := &delivery.SendError{Reason: fmt.Sprintf("the provider answered %d", status)}
	switch {
	case slices.Contains(permanent, status):
		e.Permanent = true
		return e
	case status >= 300 && status < 400:
		e.Reason += "; redirects are not followed"
	case status < 300:
		e.Reason += ", which is not an expected status"
	}
	e.RetryAfter = retryAfter(res.Header, time.Now)
	return e
}

// retryAfter reads the header of RFC 9110 section 10.2.3 in both forms; 0 when
// it is absent or senseless. A date is taken relative to the answer's own
// Date, as the provider's clock may differ from ours.
func retryAfter(h http.Header, now func() time.Time) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.ParseUint(text, 10, 63); err == nil {
		const most = 365 * 24 * 60 * 60
		return time.Duration(min(seconds, most)) * time.Second
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	from, err := http.ParseTime(h.Get("Date"))
	if err != nil {
		from = now()
	}
	return max(at.Sub(from), 0)
}

// describe names a failed call without quoting it: a *url.Error holds the URL.
func (p *Provider) describe(err error) string {
	var (
		refused  *outgoing.RefusedError
		dns      *net.DNSError
		untrue   *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		netError net.Error
	)
	switch {
	case errors.As(err, &refused):
		return "the provider's host resolves to an address that is not public; allow_private permits it"
	case errors.Is(err, context.Canceled):
		return "the call was ended before an answer came"
	case errors.As(err, &dns):
		return "the provider's host name does not resolve"
	case errors.As(err, &netError) && netError.Timeout():
		return fmt.Sprintf("no answer from the provider within %s", p.timeout)
	case errors.As(err, &untrue):
		return "the provider's TLS certificate is not trusted"
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return "the TLS handshake with the provider failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the provider refused the connection"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection broke before an answer came"
	}
	return "the call to the provider failed"
}

// find returns the text at a path of a JSON answer; empty when it isn't there
// or can't be a reference.
func find(answer []byte, path field.Path) string {
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return ""
	}
	s, _ := path.Text(v)
	if len(s) > maxReference || strings.ContainsFunc(s, unicode.IsControl) {
		return ""
	}
	return s
}
