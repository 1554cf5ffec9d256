package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fetch gets the document once, unless the server says that it has not changed.
func (s *URL) fetch(ctx context.Context) (document, error) {
	doc, err := s.get(ctx)
	if err != nil {
		return document{}, s.located(err)
	}
	doc.next = s.nextFetch()
	return doc, nil
}

func (s *URL) located(err error) error {
	return fmt.Errorf("jwks: key set at %s: %w", s.poller.cfg.location, withoutURL(err))
}

// Fetch gets the text that a key set's server publishes, once, as a [URL] of
// this configuration does and within its limits, and leaves no connection
// behind. Its keys are not read: see [Parse].
func Fetch(ctx context.Context, cfg URLConfig) ([]byte, error) {
	s, err := NewURL(cfg)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	text, _, err := s.download(ctx)
	if err != nil {
		return nil, s.located(err)
	}
	return text, nil
}

func (s *URL) get(ctx context.Context) (document, error) {
	text, header, err := s.download(ctx)
	switch {
	case err != nil:
		return document{}, err
	case text == nil:
		s.next = maxAge(header)
		return document{unchanged: true}, nil
	}
	keys, skipped, err := parseUsable(text, Limits{MaxKeys: s.cfg.MaxKeys, MaxBytes: s.cfg.MaxBytes, Issuers: s.cfg.Issuers})
	if err != nil {
		return document{}, err
	}
	s.etag, s.next = header.Get("ETag"), maxAge(header)
	return document{keys: keys, skipped: skipped}, nil
}

// download makes one request. The text is nil when the document is the one with
// s.etag.
func (s *URL) download(ctx context.Context) (text []byte, header http.Header, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, FetchTimeout, fmt.Errorf("the answer wasn't complete after %s", FetchTimeout))
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url.String(), nil)
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	req.Header.Set("User-Agent", s.cfg.UserAgent)
	if s.etag != "" {
		req.Header.Set("If-None-Match", s.etag)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, nil, orCause(ctx, err)
	}
	defer resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusNotModified && s.etag != "":
		return nil, resp.Header, nil
	case resp.StatusCode != http.StatusOK:
		return nil, nil, fmt.Errorf("found status %d, expected 200", resp.StatusCode)
	case resp.ContentLength > int64(s.cfg.MaxBytes):
		return nil, nil, s.tooLong()
	}
	text, err = io.ReadAll(io.LimitReader(resp.Body, int64(s.cfg.MaxBytes)+1))
	if err != nil {
		return nil, nil, orCause(ctx, err)
	}
	if len(text) > s.cfg.MaxBytes {
		return nil, nil, s.tooLong()
	}
	return text, resp.Header, nil
}

func (s *URL) tooLong() error {
	return fmt.Errorf("the document is longer than %d KiB", s.cfg.MaxBytes>>10)
}

// orCause prefers our own reason for the end of the fetch to "deadline exceeded".
func orCause(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// withoutURL takes off what [http.Client] puts before an error: the URL, whose
// query may hold a credential.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// checkRedirect keeps a fetch where the operator sent it.
func (s *URL) checkRedirect(req *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case req.URL.Scheme != s.url.Scheme:
		return fmt.Errorf("a redirect leads from %s to %s: refused", s.url.Scheme, req.URL.Scheme)
	case !strings.EqualFold(authority(req.URL), authority(s.url)):
		return errors.New("a redirect leads to another host or port: refused")
	case req.URL.User != nil:
		return errors.New("a redirect names a user: refused")
	}
	return nil
}

// authority is the host with its port, written or not.
func authority(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return u.Hostname() + ":" + port
}

// loopbackControl refuses to connect to anything but this machine.
func loopbackControl(_ context.Context, _, address string, _ syscall.RawConn) error {
	addr, err := netip.ParseAddrPort(address)
	if err != nil || !addr.Addr().Unmap().IsLoopback() {
		return fmt.Errorf("%s is no loopback address: http is for those only", address)
	}
	return nil
}

// nextFetch is the pause until the next fetch.
func (s *URL) nextFetch() time.Duration {
	if s.cfg.Refresh > 0 {
		return jitter(s.cfg.Refresh)
	}
	pause := DefaultRefresh
	if s.next > 0 {
		pause = min(max(s.next, minMaxAge), maxMaxAge)
	}
	// Leave time to try again before the keys run out.
	return jitter(max(minRefresh, min(pause, s.cfg.StaleIfError/2)))
}

// maxAge reads how long the answer is fresh (RFC 9111, section 4.2): max-age
// less the Age that caches added; 1 ns when it must not be kept at all, 0 when
// it doesn't say.
func maxAge(h http.Header) time.Duration {
	age := time.Duration(-1)
	for _, line := range h.Values("Cache-Control") {
		for directive := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
			switch strings.ToLower(name) {
			case "no-store", "no-cache":
				return 1
			case "max-age":
				if secs, ok := seconds(strings.Trim(value, `"`)); ok && age < 0 {
					age = secs
				}
			}
		}
	}
	if age < 0 {
		return 0
	}
	if old, ok := seconds(h.Get("Age")); ok {
		age -= old
	}
	return max(age, 1)
}

// seconds reads delta-seconds (RFC 9111, section 1.2.2); what is beyond a year
// counts as one.
func seconds(text string) (time.Duration, bool) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	return time.Duration(min(n, 365*24*3600)) * time.Second, true
}
