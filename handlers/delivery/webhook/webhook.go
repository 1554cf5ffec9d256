package webhook

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/delivery/internal/field"
	"github.com/signpost-gateway/signpost/handlers/outgoing"
)

// Format is how the body is written.
type Format string

// The formats.
const (
	JSON Format = "json"
	Form Format = "form"
)

const (
	// DefaultTimeout bounds a call, from resolution to the end of the answer.
	DefaultTimeout = 10 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes.
	maxAnswer = 64 << 10
	// defaultIdempotencyHeader carries the message's reference.
	defaultIdempotencyHeader = "Idempotency-Key"
)

// Config configures a Provider.
type Config struct {
	// Preset fills what is left empty below for a common shape of API; default
	// Generic.
	Preset Preset
	// URL is called for each message; required, unless the preset has one.
	// Userinfo in it becomes Basic authentication.
	URL string
	// Username and Password are sent as Basic authentication. With Twilio they
	// are the account's SID (or that of an API key) and its token.
	Username, Password string
	// Account is the SID of a Twilio account; default Username.
	Account string
	// From is the number, name or address that recipients see, or with Twilio also
	// the SID of a messaging service: of messages that have none of their own.
	From string
	// StatusCallback is the URL to which Twilio is to post its receipts, see
	// TwilioReceipts.
	StatusCallback string
	// Method is POST (default), PUT or PATCH.
	Method string
	// Headers are added to each call. Their values may be secrets: they are
	// never logged.
	Headers map[string]string
	// Format is JSON (default) or Form.
	Format Format
	// Fields are the members of the body, by name, with the placeholders {to},
	// {message}, {subject}, {reference}, {from}, {reply_to}, {unsubscribe_url},
	// {sender}, {service} and {channel}. Values are inserted as they are, after
	// the template was read, and escaped as the format needs it. Default: those
	// of the preset.
	Fields map[string]string
	// Body is a JSON document whose strings are such templates, for APIs that
	// need more than a flat object. It excludes Fields and Form.
	Body string
	// Expect lists the statuses that mean "taken"; default 200, 201, 202, 204.
	Expect []int
	// Timeout bounds a call; default 10 s.
	Timeout time.Duration
	// ReferencePath says where the answer's JSON has the provider's own
	// reference, as member names and array indexes joined by dots, such as
	// "messages.0.id". Default: the provider reports our reference.
	ReferencePath string
	// DeliveredOnAccept is for providers that never post receipts: what they
	// accept counts as delivered.
	DeliveredOnAccept bool
	// IdempotencyHeader is the name of the header with the reference; default
	// Idempotency-Key, "off" for none.
	IdempotencyHeader string
	// Outgoing says what may be called.
	Outgoing outgoing.Policy
	Logger   *slog.Logger
}

// Provider posts messages. It implements delivery.Provider.
type Provider struct {
	url         string
	method      string
	header      http.Header
	host        string // of a configured Host header
	idempotency string
	payload     payload
	from        string
	expect      []int
	timeout     time.Duration
	path        field.Path
	delivered   bool
	twilio      bool
	client      *http.Client
	logger      *slog.Logger
}

var _ delivery.Provider = (*Provider)(nil)

// New checks the configuration. It calls nobody.
func New(cfg Config) (*Provider, error) {
	cfg, members, err := cfg.filled()
	if err != nil {
		return nil, err
	}
	target, err := url.Parse(cfg.URL)
	if err != nil {
		return nil, errors.New("webhook: the URL can't be parsed") // err quotes it, with any secret in it
	}
	p := &Provider{
		url:       cfg.URL,
		method:    cfg.Method,
		from:      cfg.From,
		expect:    cfg.Expect,
		timeout:   cfg.Timeout,
		delivered: cfg.DeliveredOnAccept,
		twilio:    cfg.Preset == Twilio,
		logger:    cfg.Logger,
	}
	if p.logger == nil {
		p.logger = slog.New(slog.DiscardHandler)
	}
	if p.method == "" {
		p.method = http.MethodPost
	}
	if !slices.Contains([]string{http.MethodPost, http.MethodPut, http.MethodPatch}, p.method) {
		return nil, fmt.Errorf("webhook: method %q: it must be POST, PUT or PATCH", p.method)
	}
	if p.timeout == 0 {
		p.timeout = DefaultTimeout
	}
	if p.timeout < 0 {
		return nil, errors.New("webhook: the time-out must not be negative")
	}
	if len(p.expect) == 0 {
		p.expect = []int{http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent}
	}
	for _, status := range p.expect {
		if status < 200 || status > 499 {
			return nil, fmt.Errorf("webhook: expected status %d: it must be between 200 and 499", status)
		}
	}
	if cfg.Format != "" && cfg.Format != JSON && cfg.Format != Form {
		return nil, fmt.Errorf("webhook: unknown format %q, known are json and form", cfg.Format)
	}
	if p.payload, err = parsePayload(cfg.Format, cfg.Fields, members, cfg.Body); err != nil {
		return nil, err
	}
	if err := p.setHeaders(cfg); err != nil {
		return nil, err
	}
	if p.path, err = field.Parse(cfg.ReferencePath); err != nil {
		return nil, fmt.Errorf("webhook: reference path: %w", err)
	}
	if p.client, err = outgoing.NewClient(target, cfg.Outgoing, p.timeout); err != nil {
		return nil, fmt.Errorf("webhook: %w", err)
	}
	return p, nil
}

// setHeaders fills the fixed headers; errors name them but never their values.
func (p *Provider) setHeaders(cfg Config) error {
	p.header = http.Header{
		"Content-Type": {p.payload.contentType()},
		"Accept":       {"application/json"},
		"User-Agent":   {"Signpost"},
	}
	for name, value := range cfg.Headers {
		if !token(name) {
			return fmt.Errorf("webhook: %q is not a header name", name)
		}
		if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
			return fmt.Errorf("webhook: the value of header %q holds a control character, such as a line break", name)
		}
		switch name := http.CanonicalHeaderKey(name); name {
		case "Host":
			p.host = value
		case "Content-Length", "Transfer-Encoding", "Connection", "Trailer", "Te", "Upgrade", "Expect":
			return fmt.Errorf("webhook: the header %q is set by the connection itself", name)
		default:
			p.header.Set(name, value)
		}
	}
	if err := p.setBasicAuth(cfg); err != nil {
		return err
	}
	p.idempotency = cfg.IdempotencyHeader
	switch {
	case p.idempotency == "":
		p.idempotency = defaultIdempotencyHeader
	case p.idempotency == "off":
		p.idempotency = ""
	case !token(p.idempotency):
		return fmt.Errorf("webhook: %q is not a header name", p.idempotency)
	}
	return nil
}

func (p *Provider) setBasicAuth(cfg Config) error {
	switch {
	case cfg.Username == "" && cfg.Password == "":
		return nil
	case cfg.Username == "" || strings.Contains(cfg.Username, ":"):
		return errors.New("webhook: Basic authentication needs a user name without a colon")
	case p.header.Get("Authorization") != "":
		return errors.New("webhook: a user name and an Authorization header are given; one of them must go")
	}
	p.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(cfg.Username+":"+cfg.Password)))
	return nil
}

// token reports whether s is a token of RFC 9110 section 5.6.2.
func token(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !strings.ContainsRune("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", r)
	})
}

// Timeout returns the bound of a call, which the dispatcher's lease must
// exceed.
func (p *Provider) Timeout() time.Duration { return p.timeout }

// Close closes the connections that are idle. Call it when no Send runs.
func (p *Provider) Close() error {
	p.client.CloseIdleConnections()
	return nil
}

// Send posts the message. Its errors are of type *delivery.SendError.
func (p *Provider) Send(ctx context.Context, m delivery.Message) (delivery.Sent, error) {
	if m.From == "" {
		m.From = p.from
	}
	body, err := p.payload.render(m)
	if err != nil {
		return delivery.Sent{}, &delivery.SendError{Permanent: true, Reason: "the message can't be written as a request", Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, p.method, p.url, bytes.NewReader(body))
	if err != nil {
		return delivery.Sent{}, &delivery.SendError{Reason: "the request can't be made", Err: err}
	}
	req.Header = p.header.Clone()
	req.Host = p.host
	if p.idempotency != "" {
		req.Header.Set(p.idempotency, m.Reference)
	}
	// Until there is a connection the provider can't have taken anything.
	connected := false
	req = req.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected = true },
	}))
	res, err := p.client.Do(req)
	if err != nil {
		return delivery.Sent{}, &delivery.SendError{
			Reason: outgoing.Describe("the provider", err, p.timeout), Uncertain: connected, Err: err,
		}
	}
	defer res.Body.Close()
	// The status decides. A body that breaks off only costs the reference.
	answer, readErr := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	if !slices.Contains(p.expect, res.StatusCode) {
		return delivery.Sent{}, p.refusal(res, answer)
	}
	if p.twilio {
		if err := twilioFailure(answer); err != nil {
			return delivery.Sent{}, err
		}
	}
	sent := delivery.Sent{Delivered: p.delivered}
	if len(p.path) > 0 {
		sent.Reference = find(answer, p.path)
		if sent.Reference == "" {
			p.logger.LogAttrs(ctx, slog.LevelInfo, "the provider's answer has no reference where one is expected; receipts must name ours",
				slog.String("provider", m.Sender),
				slog.String("reference", m.Reference),
				slog.Int("status", res.StatusCode),
				slog.Bool("broken_off", readErr != nil))
		}
	}
	return sent, nil
}
