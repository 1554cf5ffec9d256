package jwks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/jwks/jws"
)

// ExplainRequest is a token and what a verifier makes of it.
type ExplainRequest struct {
	// Token is the compact token alone.
	Token string
	// Config is that of the verifier. Its cache is not used. Bindings may be
	// empty, or have no Keys in any: then no signature is checked.
	Config Config
}

// Report says what a verifier makes of a token. Of the token's contents it
// holds header parameters, iss, aud and times only, quoted so that no control
// character reaches a terminal.
type Report struct {
	Accepted bool `json:"accepted"`
	// Code and Message are those of the refusal. Without keys, a token that has
	// no other fault is neither accepted nor refused.
	Code    Code   `json:"code,omitempty"`
	Message string `json:"message,omitempty"`
	// Checks are all steps of the verification in their order, also those after
	// the first that fails, as far as they can be made.
	Checks []Check `json:"checks"`
}

// Check is one step of the verification.
type Check struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	// Code is what the verifier gives when this check is the first that fails.
	Code   Code   `json:"code,omitempty"`
	Detail string `json:"detail,omitempty"`
}

// Outcome is what came of a check.
type Outcome string

// The outcomes.
const (
	OutcomeOK      Outcome = "ok"
	OutcomeFails   Outcome = "fails"
	OutcomeSkipped Outcome = "skipped"
)

// String renders the report in lines, the verdict last.
func (r *Report) String() string {
	var out strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&out, "%-8s %s: %s\n", c.Outcome, c.Name, c.Detail)
	}
	switch {
	case r.Accepted:
		out.WriteString("The token is accepted.\n")
	case r.Code != "":
		fmt.Fprintf(&out, "The token is refused: %s (reason code %s)\n", r.Message, r.Code)
	default:
		out.WriteString("Nothing is wrong with the token as far as it can be checked without keys.\n")
	}
	return out.String()
}

// Explain makes every check of a verification in order and says in plain words
// what it found. The verdict is that of a [Verifier] with the same
// configuration. Its error is about the configuration, never about the token.
func Explain(ctx context.Context, q ExplainRequest) (*Report, error) {
	c := q.Config
	c.CacheSize = -1
	now := time.Now()
	if c.Now != nil {
		now = c.Now()
	}
	// Whatever is asked twice is to have one answer.
	c.Now = func() time.Time { return now }
	keyless := !slices.ContainsFunc(c.Bindings, func(b Binding) bool { return b.Keys != nil })
	c.Bindings = slices.Clone(c.Bindings)
	if len(c.Bindings) == 0 {
		c.Bindings = []Binding{{}}
	}
	for i, b := range c.Bindings {
		switch {
		case keyless:
			c.Bindings[i].Keys = new(Index)
		case b.Keys != nil:
			c.Bindings[i].Keys = &oneAnswer{source: b.Keys, answers: make(map[string]answer)}
		}
	}
	v, err := New(c)
	if err != nil {
		return nil, err
	}
	e := &explainer{ctx: ctx, v: v, now: now, keyless: keyless, token: &Token{}}
	for _, b := range c.Bindings {
		e.sources = append(e.sources, b.Keys)
	}
	e.checks([]byte(q.Token))
	e.verdict([]byte(q.Token))
	return &e.report, nil
}

type explainer struct {
	ctx     context.Context //nolint:containedctx // lives as long as one call
	v       *Verifier
	now     time.Time
	keyless bool
	sources []KeySource // those that may have the key; all, until iss is known

	report Report
	parts  jws.Compact
	token  *Token
	// What could be read.
	hasHeader, hasClaims bool
}

func (e *explainer) ok(name, format string, args ...any) {
	e.report.Checks = append(e.report.Checks, Check{Name: name, Outcome: OutcomeOK, Detail: fmt.Sprintf(format, args...)})
}

func (e *explainer) skip(name, format string, args ...any) {
	e.report.Checks = append(e.report.Checks, Check{Name: name, Outcome: OutcomeSkipped, Detail: fmt.Sprintf(format, args...)})
}

func (e *explainer) fail(name string, code Code, format string, args ...any) {
	e.report.Checks = append(e.report.Checks, Check{Name: name, Outcome: OutcomeFails, Code: code, Detail: fmt.Sprintf(format, args...)})
}

func (e *explainer) checks(token []byte) {
	if !e.form(token) {
		return
	}
	e.header()
	e.claimsForm()
	e.issuer()
	e.key()
	e.signature()
	if e.hasClaims {
		e.claims()
	}
}

// verdict asks the verifier itself, so that the report can't differ from it.
// Without keys, the first check that fails decides.
func (e *explainer) verdict(token []byte) {
	if e.keyless {
		for _, c := range e.report.Checks {
			if c.Outcome == OutcomeFails {
				e.report.Code, e.report.Message = c.Code, c.Name+": "+c.Detail
				return
			}
		}
		return
	}
	_, err := e.v.Verify(e.ctx, token)
	e.report.Accepted = err == nil
	if err != nil {
		e.report.Code, e.report.Message = CodeOf(err), strings.TrimPrefix(err.Error(), "jwks: ")
	}
}

// oneAnswer asks a source once for each kid.
type oneAnswer struct {
	source  KeySource
	answers map[string]answer
}

type answer struct {
	key *Key
	err error
}

// Key implements [KeySource].
func (o *oneAnswer) Key(ctx context.Context, kid string) (*Key, error) {
	a, known := o.answers[kid]
	if !known {
		a.key, a.err = o.source.Key(ctx, kid)
		o.answers[kid] = a
	}
	return a.key, a.err
}
