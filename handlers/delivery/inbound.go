package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// DefaultInboundRetention is how long received messages are kept.
const DefaultInboundRetention = 168 * time.Hour

const (
	// maxInboundNumber bounds a number or sender's name, in bytes.
	maxInboundNumber = 64
	// maxInboundReference bounds a provider's reference, in bytes.
	maxInboundReference = 255
	// maxInboundText bounds the text, in bytes: ten times what one may hold that
	// is sent in parts.
	maxInboundText = 16 << 10
)

// InboundConfig configures Inbound.
type InboundConfig struct {
	// Store keeps the messages; required.
	Store interface {
		PutInbound(ctx context.Context, m storage.InboundMessage) error
	}
	// Provider is the configured name of the provider that hands them over.
	Provider string
	// ServiceOf returns the service to which messages for a number belong, or
	// storage.ErrNotFound; required.
	ServiceOf func(ctx context.Context, number string) (serviceID string, err error)
	// Secrets and Signed are as in ReceiptsConfig.
	Secrets []string
	Signed  func(r *http.Request, body []byte) bool
	// FromField, ToField, MessageField and ReferenceField name the parts of a
	// message, default "from", "to", "message" and "reference"; paths in JSON. A
	// message may lack its reference, and then twins of it can't be told.
	FromField, ToField, MessageField, ReferenceField string
	// TimeField names when the message was received: RFC 3339, or seconds since
	// 1970. Default: none, it is the time of the request.
	TimeField string
	// Number brings a number into the form in which it is stored and looked up;
	// default InboundNumber.
	Number func(string) string
	// Retention is how long messages are kept; default 168 h.
	Retention time.Duration
	// Answer is the body of the answer to a message that was taken, of the media
	// type AnswerType; default none, with 204.
	Answer, AnswerType string
	// Now is the clock; default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Inbound takes the text messages that one provider has received for services,
// as a JSON object or a form of at most 64 KiB.
//
// It answers 204 (or 200 with an Answer) when the message is stored, and also
// when it is the twin of one that is. Otherwise it answers
// {"result":"error","message":…} with 400 (malformed), 401 (no or a wrong
// secret), 403 (no or a wrong signature), 404 (nobody's number), 405, 413, 415
// or 503 with Retry-After (storage is away).
type Inbound struct {
	cfg    InboundConfig
	intake *intake
}

// NewInbound checks the configuration.
func NewInbound(cfg InboundConfig) (*Inbound, error) {
	switch {
	case cfg.Store == nil || cfg.Provider == "" || cfg.ServiceOf == nil:
		return nil, errors.New("delivery: received messages need a store, the name of the provider that hands them over, and a look-up of services")
	case cfg.Retention < 0:
		return nil, errors.New("delivery: the retention of received messages must not be negative")
	}
	for name, def := range map[*string]string{
		&cfg.FromField: "from", &cfg.ToField: "to", &cfg.MessageField: "message", &cfg.ReferenceField: "reference",
	} {
		if *name == "" {
			*name = def
		}
	}
	setDefault(&cfg.Retention, DefaultInboundRetention)
	if cfg.Number == nil {
		cfg.Number = InboundNumber
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	in, err := newIntake("received messages", cfg.Provider, cfg.Secrets, cfg.Signed,
		cfg.FromField, cfg.ToField, cfg.MessageField, cfg.ReferenceField, cfg.TimeField)
	if err != nil {
		return nil, err
	}
	in.logger, in.refused = cfg.Logger, "received message refused"
	return &Inbound{cfg: cfg, intake: in}, nil
}

// ServeHTTP takes one message.
func (h *Inbound) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.serve(w, r); err != nil {
		h.intake.refuse(w, r, err, "No service has this number")
		return
	}
	if h.cfg.Answer == "" {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", h.cfg.AnswerType)
	_, _ = w.Write([]byte(h.cfg.Answer))
}

func (h *Inbound) serve(w http.ResponseWriter, r *http.Request) error {
	m, err := h.read(w, r)
	if err != nil {
		return err
	}
	if m.ServiceID, err = h.cfg.ServiceOf(r.Context(), m.NotifyNumber); err != nil {
		return err
	}
	err = h.cfg.Store.PutInbound(r.Context(), m)
	twin := errors.Is(err, storage.ErrExists)
	if err != nil && !twin {
		return err
	}
	h.cfg.Logger.LogAttrs(r.Context(), slog.LevelDebug, "message received",
		slog.String("provider", h.cfg.Provider),
		slog.String("service", m.ServiceID),
		slog.String("id", m.ID.String()),
		slog.Bool("twin", twin))
	return nil
}

// read returns the message of a request, without its service.
func (h *Inbound) read(w http.ResponseWriter, r *http.Request) (storage.InboundMessage, error) {
	values, err := h.intake.read(w, r)
	if err != nil {
		return storage.InboundMessage{}, err
	}
	for i, limit := range []int{maxInboundNumber, maxInboundNumber, maxInboundText, maxInboundReference} {
		v, optional := textOf(values[i]), i == 3
		switch {
		case values[i] == nil && !optional, !plain(v), v == "" && i < 2:
			return storage.InboundMessage{}, h.intake.missing(i)
		case len(v) > limit:
			return storage.InboundMessage{}, badPost("The field %q is longer than %d bytes", h.intake.fields[i].name, limit)
		}
	}
	now := h.cfg.Now()
	id, err := uuid.NewV7()
	if err != nil {
		return storage.InboundMessage{}, fmt.Errorf("delivery: no id for a received message: %w", err)
	}
	return storage.InboundMessage{
		ID:           id,
		Provider:     h.cfg.Provider,
		UserNumber:   h.cfg.Number(*values[0]),
		NotifyNumber: h.cfg.Number(*values[1]),
		Content:      *values[2],
		Reference:    textOf(values[3]),
		CreatedAt:    h.received(textOf(values[4]), now),
		ExpiresAt:    now.Add(h.cfg.Retention),
	}, nil
}

// received reads the provider's time. One that can't be meant, or is after now or
// longer ago than messages are kept, is replaced by now.
func (h *Inbound) received(text string, now time.Time) time.Time {
	at, err := time.Parse(time.RFC3339, strings.TrimSpace(text))
	if err != nil {
		seconds, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return now
		}
		at = time.Unix(seconds, 0)
	}
	if at.After(now) || now.Sub(at) > h.cfg.Retention {
		return now
	}
	return at
}

// shortCode is the most digits that a number may have without being one of E.164.
const shortCode = 7

// InboundNumber brings a number as providers write it into the form in which
// services have theirs: E.164 with "+", whether it came with "+", "00" or
// neither. Short codes, numbers in a national form and names stay as they are.
func InboundNumber(s string) string {
	s = strings.TrimSpace(s)
	digits := strings.NewReplacer(" ", "", "-", "", "(", "", ")", "", ".", "").Replace(strings.TrimPrefix(s, "+"))
	if digits == "" || strings.ContainsFunc(digits, func(r rune) bool { return r < '0' || r > '9' }) {
		return s
	}
	national := digits[0] == '0'
	if !strings.HasPrefix(s, "+") {
		var international bool
		if digits, international = strings.CutPrefix(digits, "00"); international {
			national = strings.HasPrefix(digits, "0")
		}
		if national || len(digits) <= shortCode {
			return digits
		}
	}
	return "+" + digits
}
