package smtp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"regexp"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/outgoing"
)

// mendableError is a failure that isn't the message's or its recipient's: the
// operator of this server or of the mail server has to do something.
type mendableError struct {
	reason string
	err    error
}

func (e *mendableError) Error() string { return e.reason }

func (e *mendableError) Unwrap() error { return e.err }

// stages name what the server answered.
var stages = map[stage]string{
	greeting: "the greeting", securing: "STARTTLS", authenticating: "the user and password",
	sender: "the sender", recipient: "the recipient", data: "the text", text: "the text",
}

// enhanced is a status code of RFC 3463 at the beginning of an answer's text.
var enhanced = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\b`)

const (
	serviceCloses = 421 // the server closes the connection
	needsAuth     = 530
	weakAuth      = 534
	wrongAuth     = 535
	needsTLS      = 538
)

// broken reports whether a session is of no use after this error.
func broken(err error) bool {
	if err == nil || errors.Is(err, errNoUTF8) {
		return false
	}
	answer, ok := errors.AsType[*textproto.Error](err)
	return !ok || answer.Code == serviceCloses
}

// failure says what an error at a stage means. Its reason has the codes of the
// server's answer and not the text, which mostly quotes the recipient.
func (p *Provider) failure(ctx context.Context, at stage, err error) *delivery.SendError {
	answer, ok := errors.AsType[*textproto.Error](err)
	switch {
	case errors.Is(err, errNoUTF8):
		return &delivery.SendError{Permanent: true, Reason: err.Error(), Err: err}
	case errors.Is(err, errNoTLS), errors.Is(err, errNoAuth), errors.Is(err, errNotLocal):
		return mendable(err.Error(), err)
	case !ok:
		return p.lost(ctx, at, err)
	}
	reason := fmt.Sprintf("the mail server answered %d", answer.Code)
	code := enhanced.FindString(answer.Msg)
	if code != "" {
		reason += " " + code
	}
	reason += " to " + stages[at]
	switch {
	case answer.Code == serviceCloses:
		return &delivery.SendError{Reason: reason, Uncertain: at == text, Err: err}
	case at == authenticating && answer.Code >= 500,
		answer.Code == needsAuth, answer.Code == weakAuth, answer.Code == wrongAuth, answer.Code == needsTLS,
		at < recipient && answer.Code >= 500,
		at == recipient && answer.Code >= 500 && refusesRelaying(code, answer.Msg):
		return mendable(reason, err)
	case answer.Code >= 500:
		return &delivery.SendError{Permanent: true, Reason: reason, Err: err}
	}
	return &delivery.SendError{Reason: reason, Err: err}
}

func mendable(reason string, err error) *delivery.SendError {
	return &delivery.SendError{Reason: reason, Err: &mendableError{reason, err}}
}

// lost is the failure when there is no answer.
func (p *Provider) lost(ctx context.Context, at stage, err error) *delivery.SendError {
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() && ctx.Err() == nil {
		err = errors.Join(context.DeadlineExceeded, err)
	}
	reason := outgoing.Describe("the mail server", cmp.Or(ctx.Err(), err), p.cfg.Timeout)
	if at == securing && ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) {
		return mendable(reason, err)
	}
	return &delivery.SendError{Reason: reason, Uncertain: at == text, Err: errors.Join(ctx.Err(), err)}
}

// refusesRelaying reports whether a recipient is refused because the server
// doesn't take messages for its domain from here at all: RFC 3463 has the same
// code, 5.7.1, for that and for a recipient who refuses the sender.
func refusesRelaying(code, text string) bool {
	return (code == "" || strings.HasPrefix(code, "5.7.")) && strings.Contains(strings.ToLower(text), "relay")
}
