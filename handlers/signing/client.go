package signing

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/jwks"
)

// ErrUnknownClient says that there is no client of that id.
var ErrUnknownClient = errors.New("signing: there is no such client")

// Client is an application that may ask for signatures.
type Client struct {
	ID   string // the iss of its requests
	Name string // for people, on the browser page; may be empty
	// Callback is where the browser goes when it has signed; see
	// CheckCallback. token and state are added to its query.
	Callback string
	// Keys are the client's own: a key of one client verifies no request of
	// another.
	Keys jwks.KeySource
}

// Clients finds clients. It must be safe for concurrent use.
type Clients interface {
	// Client returns the client of that id. The error is, or wraps,
	// ErrUnknownClient; any other is a technical one, answered 503. It is
	// called for requests that have not been verified yet.
	Client(ctx context.Context, id string) (*Client, error)
}

// AccessError is the error of [Config.AccessToken].
type AccessError struct {
	// Unavailable says that it can't be told whether the token is good: the
	// answer is 503. Otherwise it is 401.
	Unavailable bool
	// Challenge is the WWW-Authenticate of a 401. Default: Bearer.
	Challenge string
	// RetryAfter is the Retry-After of a 503. Default: 5 s.
	RetryAfter time.Duration
	// Err is the reason, for the log. It must not quote the token.
	Err error
}

func (e *AccessError) Error() string {
	text := "signing: the access token is refused"
	if e.Unavailable {
		text = "signing: the access token can't be checked"
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *AccessError) Unwrap() error { return e.Err }

// CheckCallback says why a URL can't be a client's callback: it must be
// absolute and https, or http on a loopback address, without user, password
// and fragment.
func CheckCallback(callback string) error {
	for _, c := range callback {
		if c <= ' ' || c == '\\' || c > '~' {
			return fmt.Errorf("the callback %q holds a blank, a backslash, a control or a non-ASCII character: escape it", callback)
		}
	}
	u, err := url.Parse(callback)
	switch {
	case err != nil:
		return fmt.Errorf("the callback is no URL: %w", err)
	case u.Hostname() == "" || u.Opaque != "":
		return fmt.Errorf("the callback %q must be an absolute URL, such as https://app.example.org/signed", callback)
	case !isSecure(u):
		return fmt.Errorf("the callback %q must begin with https:// (http:// is for loopback addresses only)", callback)
	case u.User != nil:
		return errors.New("the callback must not hold a user name or password")
	case strings.Contains(callback, "#"):
		return fmt.Errorf("the callback %q must not have a fragment", callback)
	case u.Query().Has("token") || u.Query().Has("state"):
		return fmt.Errorf("the query of the callback %q must not have token or state: these are added to it", callback)
	}
	return nil
}

// callbackURL adds the token and the state, if there is one, to a callback.
// The state is encoded so that no decoder takes a plus sign for a blank.
func callbackURL(callback, token, state string, hasState bool) string {
	var b strings.Builder
	b.WriteString(callback)
	switch {
	case !strings.Contains(callback, "?"):
		b.WriteByte('?')
	case !strings.HasSuffix(callback, "?") && !strings.HasSuffix(callback, "&"):
		b.WriteByte('&')
	}
	b.WriteString("token=")
	b.WriteString(token)
	if hasState {
		b.WriteString("&state=")
		b.WriteString(strings.ReplaceAll(url.QueryEscape(state), "+", "%20"))
	}
	return b.String()
}

// isSecure reports whether nobody on the way to a URL can listen.
func isSecure(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

// isLoopback reports whether a host is this machine, by its name alone.
func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
