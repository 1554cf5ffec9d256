package notifyauth

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// ExplainRequest is a token and the request that it came with.
type ExplainRequest struct {
	// Authorization is the header's value, or the token alone.
	Authorization string
	Method        string
	// Target is the request target: path and query as sent.
	Target string
	// ContentEncoding is that header's value.
	ContentEncoding string
	Body            []byte
	// Services holds the keys; with nil, no signature is checked.
	Services Services
	Dialect  Dialect
	// Allow, Leeway, MaxBody, BasePath, ServeRoot and Query are those of
	// Config.
	Allow     []string
	Leeway    time.Duration
	MaxBody   int64
	BasePath  string
	ServeRoot bool
	Query     QueryPolicy
	// Now is the server's clock at the request. Default: time.Now.
	Now time.Time
}

// Report says what a verifier makes of a request. It holds no secret, no MAC
// and no part of the body.
type Report struct {
	Accepted bool `json:"accepted"`
	// Code, Status and Message are those of the refusal. Without keys, a
	// request that has no other fault is neither accepted nor refused.
	Code    Code   `json:"code,omitempty"`
	Status  int    `json:"status,omitempty"`
	Message string `json:"message,omitempty"`
	// ClockOffsetSeconds is iat minus now, when the token has an iat.
	ClockOffsetSeconds *int64 `json:"clock_offset_seconds,omitempty"`
	// CanonicalRequests are the texts that req may sign.
	CanonicalRequests []string `json:"canonical_requests,omitempty"`
	// Checks are all steps of the verification in their order, also those
	// after the first that fails, as far as they can be made.
	Checks []Check `json:"checks"`
}

// Check is one step of the verification.
type Check struct {
	Name    string  `json:"name"`
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail,omitempty"`
}

// Outcome is what came of a check.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "ok"
	Failed  Outcome = "fails"
	Skipped Outcome = "skipped"
)

// String renders the report in lines, the verdict last.
func (r Report) String() string {
	var out strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&out, "%-8s %s: %s\n", c.Outcome, c.Name, c.Detail)
	}
	switch {
	case r.Accepted:
		out.WriteString("The request is accepted.\n")
	case r.Code != "":
		fmt.Fprintf(&out, "The request is refused: %d %s (reason code %s)\n", r.Status, r.Message, r.Code)
	default:
		out.WriteString("Nothing is wrong with the request as far as it can be checked without a key.\n")
	}
	return out.String()
}

// Explain makes every check of a verification in order and says in plain words
// what it found. The verdict is that of a Verifier with the same settings. Its
// error is about the settings, never about the token.
func Explain(ctx context.Context, q ExplainRequest) (Report, error) {
	now := q.Now
	if now.IsZero() {
		now = time.Now()
	}
	services := q.Services
	if services == nil {
		services = StaticServices()
	}
	v, err := New(Config{
		Services: services, Allow: q.Allow, Dialect: q.Dialect, Leeway: q.Leeway, MaxBody: q.MaxBody,
		BasePath: q.BasePath, ServeRoot: q.ServeRoot, Query: q.Query,
		Now: func() time.Time { return now },
	})
	if err != nil {
		return Report{}, err
	}
	e := &explainer{v: v, q: q, ctx: ctx, keyless: q.Services == nil}
	e.checks()
	e.verdict()
	return e.report, nil
}

type explainer struct {
	v       *Verifier
	q       ExplainRequest
	ctx     context.Context //nolint:containedctx // lives as long as one call
	keyless bool

	report Report
	s      scratch
	h      head
	t      target
	signed []byte
	alg    string
}

func (e *explainer) add(name string, outcome Outcome, format string, args ...any) {
	e.report.Checks = append(e.report.Checks, Check{name, outcome, fmt.Sprintf(format, args...)})
}

// fail adds a failed check; the first one decides the verdict when there is no
// key for a real one.
func (e *explainer) fail(name string, code Code, format string, args ...any) {
	e.add(name, Failed, format, args...)
	if e.report.Code == "" {
		e.refused(e.v.refuse(code, &e.h))
	}
}

func (e *explainer) refused(fault *Error) {
	e.report.Code, e.report.Status, e.report.Message = fault.Code, fault.Status, fault.Message(e.q.Dialect)
}

// verdict asks the verifier itself, so that the report can't differ from it.
func (e *explainer) verdict() {
	if e.keyless {
		return
	}
	r := &http.Request{
		Method: e.q.Method, RequestURI: e.q.Target, Header: http.Header{}, ProtoMajor: 1, ProtoMinor: 1,
		Body: http.NoBody,
	}
	if e.q.Authorization != "" {
		r.Header.Set("Authorization", e.authorization())
	}
	if e.q.ContentEncoding != "" {
		r.Header.Set("Content-Encoding", e.q.ContentEncoding)
	}
	if len(e.q.Body) > 0 {
		r.Body = readCloser{bytes.NewReader(e.q.Body)}
		r.ContentLength = int64(len(e.q.Body))
	}
	var h head
	_, body, fault := e.v.authenticate(nil, r.WithContext(e.ctx), OriginalOf(r), &h)
	if body != nil {
		body.release()
	}
	e.report.Accepted = fault == nil
	e.report.Code, e.report.Status, e.report.Message = "", 0, ""
	if fault != nil {
		e.refused(fault)
	}
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// authorization accepts a token alone as well.
func (e *explainer) authorization() string {
	if value := strings.TrimSpace(e.q.Authorization); strings.Contains(value, " ") || !strings.Contains(value, ".") {
		return value
	}
	return "Bearer " + strings.TrimSpace(e.q.Authorization)
}

func (e *explainer) checks() {
	if e.header() && e.form() {
		e.service()
		e.times()
	}
	e.path()
	if e.q.Dialect == V2 {
		e.add("request", Skipped, "v2 tokens sign neither the request line nor the body")
		return
	}
	e.req()
	e.body()
}

func (e *explainer) header() bool {
	const name = "Authorization header"
	header := http.Header{}
	if e.q.Authorization != "" {
		header.Set("Authorization", e.authorization())
	}
	token, code := bearer(header)
	switch code {
	case "":
	case CodeNoToken:
		e.fail(name, code, "there is none; send Authorization: Bearer followed by the token")
		return false
	default:
		e.fail(name, code, "the scheme is not Bearer; send Authorization: Bearer followed by the token")
		return false
	}
	e.add(name, Passed, "one bearer token of %d characters", len(token))
	header2, signed, err := e.s.parse(token, &e.h)
	if err != nil {
		e.fail("token form", formCode(err), "%s", strings.TrimPrefix(err.Error(), "jws: "))
		return false
	}
	e.alg, e.signed = header2.Alg, signed
	return true
}

func (e *explainer) form() bool {
	const name = "token form"
	if e.alg != algorithm {
		e.fail(name, CodeAlgorithm, "the algorithm is %q; it must be HS256", e.alg)
		return false
	}
	if _, code := e.v.issuer(&e.h.claims); code != "" {
		e.fail(name, code, "%s", map[Code]string{
			CodeIssMissing:     "the claim iss is missing; it holds the service id",
			CodeIssType:        "the claim iss is not a service id of the right type (v2 wants the text of a UUID)",
			CodeUnknownService: "the claim iss is longer than any service id",
		}[code])
		return false
	}
	e.add(name, Passed, "an HS256 token of service %q", e.h.claims.iss)
	return true
}

func (e *explainer) service() {
	const service, signature = "service", "signature"
	if e.keyless {
		e.add(service, Skipped, "no keys were given")
		e.add(signature, Skipped, "no keys were given")
		return
	}
	iss, _ := e.v.issuer(&e.h.claims)
	code, err := e.v.findService(e.ctx, iss, &e.h)
	if err != nil {
		e.fail(service, CodeUnavailable, "it can't be looked up: %v", err)
		e.add(signature, Skipped, "there is no service to take keys from")
		return
	}
	if code != "" {
		e.fail(service, code, "%s", map[Code]string{
			CodeUnknownService: "there is no service of that id, or it isn't among those that may pass here",
			CodeNoKeys:         "it has no keys",
			CodeArchived:       "it is archived",
		}[code])
		e.add(signature, Skipped, "there is no service to take keys from")
		return
	}
	active, revoked := 0, 0
	for _, key := range e.h.service.Keys {
		if key.revoked {
			revoked++
		} else {
			active++
		}
	}
	e.add(service, Passed, "known as %q, with %d active and %d revoked keys", e.h.service.Name, active, revoked)
	e.h.findKey(e.signed, &e.s, true, e.v.now)
	switch {
	case e.h.key == nil:
		e.fail(signature, CodeSignature, "none of the service's keys made it: the secret is another service's, mistyped, or was decoded (the key is the text of the secret, as it stands)")
	case e.h.key.revoked:
		code := CodeRevoked
		if e.q.Dialect == Signed {
			code = CodeSignature
		}
		e.fail(signature, code, "made with the key %q, which is revoked", e.h.key.name)
	default:
		e.add(signature, Passed, "made with the key %q", e.h.key.name)
	}
}

func (e *explainer) times() {
	const name = "time"
	code := e.v.checkTimes(&e.h)
	if e.h.timed {
		e.report.ClockOffsetSeconds = &e.h.offset
	}
	switch code {
	case "":
		e.add(name, Passed, "issued %s; up to %d s either way is accepted", offsetText(e.h.offset), e.v.leeway)
	case CodeIatOld, CodeIatFuture:
		e.fail(name, code, "issued %s, but only %d s either way are accepted: one of the two clocks is wrong, or the token was kept too long (make one for each request)", offsetText(e.h.offset), e.v.leeway)
	default:
		e.fail(name, code, "%s", map[Code]string{ //nolint:gosec // texts, no credentials
			CodeIatMissing: "the claim iat is missing; it holds the seconds since 1970",
			CodeIatType:    "the claim iat is not a number of seconds since 1970 (text is not accepted)",
			CodeTimeForm:   "exp or nbf is not a number of seconds since 1970, or exp is not later than iat",
			CodeExpPassed:  "the claim exp has passed",
			CodeNotYet:     "the claim nbf lies in the future",
			CodeAudience:   "the claim aud is not accepted",
		}[code])
	}
}

func offsetText(seconds int64) string {
	switch {
	case seconds < 0:
		return fmt.Sprintf("%d s before the server's clock", -seconds)
	case seconds > 0:
		return fmt.Sprintf("%d s after the server's clock", seconds)
	}
	return "in the second of the server's clock"
}
