package outgoing

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RetryAfter reads the header of RFC 9110 section 10.2.3 in both forms; 0 when
// it is absent or senseless. A date is taken relative to the answer's own
// Date, as the other side's clock may differ from now.
func RetryAfter(h http.Header, now func() time.Time) time.Duration {
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

// Describe names a failed call without quoting it, since a *url.Error holds the
// URL. whom is who was called, such as "the provider", and timeout what bounded
// the call.
func Describe(whom string, err error, timeout time.Duration) string {
	var (
		refused  *RefusedError
		dns      *net.DNSError
		untrue   *tls.CertificateVerificationError
		record   tls.RecordHeaderError
		alert    tls.AlertError
		netError net.Error
	)
	switch {
	case errors.As(err, &refused):
		return whom + "'s host resolves to an address that is not public; allow_private permits it"
	case errors.Is(err, context.Canceled):
		return "the call was ended before an answer came"
	case errors.As(err, &dns):
		return whom + "'s host name does not resolve"
	case errors.As(err, &netError) && netError.Timeout():
		return fmt.Sprintf("no answer from %s within %s", whom, timeout)
	case errors.As(err, &untrue):
		return whom + "'s TLS certificate is not trusted"
	case errors.As(err, &record), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return "the TLS handshake with " + whom + " failed"
	case errors.Is(err, syscall.ECONNREFUSED):
		return whom + " refused the connection"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the connection broke before an answer came"
	}
	return "the call to " + whom + " failed"
}
