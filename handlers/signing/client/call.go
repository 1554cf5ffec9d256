package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
)

// Error is an answer of the API other than success.
type Error struct {
	// Status is the HTTP status.
	Status int
	// Message is what the API says: its message, what an OperationOutcome
	// displays, or the beginning of the body. It is one line of at most 500
	// characters without control characters.
	Message string
	// RetryAfter is how long the API asks to wait; 0 when it doesn't.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	return fmt.Sprintf("the signing API answered %d: %s", e.Status, e.Message)
}

// The texts by which the dialect tells the states of a request apart.
const (
	textNotDownloaded = "Signature request has not been downloaded yet"
	textPending       = "Could not find the specified signature response"
	textUnknown       = "No signature request for specified token"
)

// Pending reports whether the API waits for the signatures. opened tells that
// the browser page has the request by now.
func (e *Error) Pending() (pending, opened bool) {
	switch {
	case e.Status == http.StatusBadRequest && e.Message == textNotDownloaded:
		return true, false
	case e.Status == http.StatusNotFound && e.Message == textPending:
		return true, true
	}
	return false, false
}

// Unknown reports whether the API knows no request of that token: it never had
// it, or its time is over.
func (e *Error) Unknown() bool {
	return e.Status == http.StatusNotFound && e.Message == textUnknown
}

// Temporary reports whether it is worth to ask again.
func (e *Error) Temporary() bool {
	return e.Status >= http.StatusInternalServerError || e.Status == http.StatusTooManyRequests || e.Status == http.StatusRequestTimeout
}

const (
	// maxAnswer is room for 250 signatures of the largest keys.
	maxAnswer  = 4 << 20
	maxMessage = 500
)

// call makes one call and decodes the answer.
func (c *Client) call(ctx context.Context, method, path, query string, body io.Reader, into any) error {
	u := c.base.JoinPath(path)
	u.RawQuery = query
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return fmt.Errorf("signing client: %w", err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "text/plain")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Request-ID", uuid.NewString())
	if c.config.AccessToken != nil {
		token, err := c.config.AccessToken(ctx)
		if err != nil {
			return fmt.Errorf("signing client: the access token: %w", err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return unreachable(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return unreachable(err)
	case resp.StatusCode != http.StatusOK:
		return errorOf(resp, answer)
	case len(answer) > maxAnswer:
		return fmt.Errorf("signing client: the answer is longer than %d MiB", maxAnswer>>20)
	}
	if err := json.Unmarshal(answer, into); err != nil {
		return fmt.Errorf("signing client: the answer is not that of a signing API: is %s the right base URL? (%w)", c.config.BaseURL, err)
	}
	return nil
}

// transportError says that there was no answer. Asking again may help.
type transportError struct{ err error }

func (e *transportError) Error() string { return "signing client: " + e.err.Error() }
func (e *transportError) Unwrap() error { return e.err }

// unreachable keeps the URL, which may hold a token, out of the error.
func unreachable(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return &transportError{err}
}

// errorOf reads what the service itself says ({"statusCode", "error",
// "message"}) or what a gateway before it does (an OperationOutcome).
func errorOf(resp *http.Response, body []byte) *Error {
	e := &Error{Status: resp.StatusCode}
	var known struct {
		Message string `json:"message"`
		Issue   []struct {
			Diagnostics string `json:"diagnostics"`
			Details     struct {
				Coding []struct {
					Display string `json:"display"`
				} `json:"coding"`
			} `json:"details"`
		} `json:"issue"`
	}
	_ = json.Unmarshal(body, &known) // what can't be read is shown as it is
	var parts []string
	if known.Message != "" {
		parts = append(parts, known.Message)
	} else if len(known.Issue) > 0 {
		for _, coding := range known.Issue[0].Details.Coding {
			parts = append(parts, coding.Display)
		}
		parts = append(parts, known.Issue[0].Diagnostics)
	}
	e.Message = oneLine(strings.Join(parts, " "))
	if location := resp.Header.Get("Location"); e.Message == "" && location != "" {
		e.Message = oneLine("it redirects to " + location)
	}
	if e.Message == "" {
		e.Message = oneLine(string(body[:min(len(body), 4*maxMessage)]))
	}
	if e.Message == "" {
		e.Message = http.StatusText(resp.StatusCode)
	}
	if seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 16); err == nil {
		e.RetryAfter = time.Duration(seconds) * time.Second
	}
	return e
}

// oneLine makes text of a stranger fit for a terminal and a log.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Map(func(r rune) rune {
		if !unicode.IsGraphic(r) || unicode.IsSpace(r) {
			return ' '
		}
		return r
	}, text)
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxMessage {
		return string(runes[:maxMessage-1]) + "…"
	}
	return text
}
