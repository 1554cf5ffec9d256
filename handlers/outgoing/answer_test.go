package outgoing

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRetryAfter(t *testing.T) {
	now := func() time.Time { return time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC) }
	for name, tc := range map[string]struct {
		after, date string
		want        time.Duration
	}{
		"none":             {"", "", 0},
		"zero":             {"0", "", 0},
		"seconds":          {" 120 ", "", 2 * time.Minute},
		"negative":         {"-5", "", 0},
		"fraction":         {"1.5", "", 0},
		"huge":             {"9223372036854775807", "", 365 * 24 * time.Hour},
		"too huge":         {"92233720368547758070", "", 0},
		"date":             {"Sun, 22 Nov 2026 12:00:30 GMT", "", 30 * time.Second},
		"date, their time": {"Sun, 22 Nov 2026 12:10:30 GMT", "Sun, 22 Nov 2026 12:10:00 GMT", 30 * time.Second},
		"date, past":       {"Sun, 22 Nov 2026 11:00:00 GMT", "", 0},
		"old date form":    {"Sunday, 22-Nov-26 12:00:30 GMT", "", 30 * time.Second},
	} {
		h := http.Header{"Retry-After": {tc.after}, "Date": {tc.date}}
		assert.Equal(t, tc.want, RetryAfter(h, now), name)
	}
}

func TestDescribe(t *testing.T) {
	for want, err := range map[string]error{
		"them's host resolves to an address that is not public; allow_private permits it": &RefusedError{netip.MustParseAddr("10.0.0.1")},
		"the call was ended before an answer came":                                        context.Canceled,
		"them's host name does not resolve":                                               &net.DNSError{Err: "no such host", Name: "secret.example"},
		"no answer from them within 5s":                                                   context.DeadlineExceeded,
		"them's TLS certificate is not trusted":                                           &tls.CertificateVerificationError{Err: errors.New("secret")},
		"the TLS handshake with them failed":                                              tls.AlertError(40),
		"them refused the connection":                                                     syscall.ECONNREFUSED,
		"the connection broke before an answer came":                                      io.ErrUnexpectedEOF,
		"the call to them failed":                                                         errors.New("secret"),
	} {
		got := Describe("them", &url.Error{Op: "Post", URL: "https://secret.example/", Err: err}, 5*time.Second)
		assert.Equal(t, want, got)
	}
}
