package delivery

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/delivery/internal/field"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// maxReceipt bounds the body of a receipt, in bytes.
const maxReceipt = 64 << 10

// DefaultStatusMap says what providers' words mean, in lower case.
func DefaultStatusMap() map[string]storage.Status {
	return map[string]storage.Status{
		"queued":            storage.StatusSending,
		"accepted":          storage.StatusSending,
		"sending":           storage.StatusSending,
		"sent":              storage.StatusSending,
		"delivered":         storage.StatusDelivered,
		"undelivered":       storage.StatusTemporaryFailure,
		"expired":           storage.StatusTemporaryFailure,
		"temporary-failure": storage.StatusTemporaryFailure,
		"rejected":          storage.StatusPermanentFailure,
		"failed":            storage.StatusPermanentFailure,
		"permanent-failure": storage.StatusPermanentFailure,
	}
}

// ReceiptsConfig configures Receipts.
type ReceiptsConfig struct {
	Outbox interface {
		Receipt(ctx context.Context, r storage.Receipt) (n storage.Notification, changed bool, err error)
	}
	// Sender is the configured name of the provider whose receipts these are.
	Sender string
	// Secrets are accepted as bearer token or Basic password (with any user
	// name). At least one is required, unless Signed is set; several allow a
	// change of secrets.
	Secrets []string
	// Signed checks a provider's signature over a report; optional. With Secrets
	// too, a report needs both.
	Signed func(r *http.Request, body []byte) bool
	// ReferenceField, StatusField and ReasonField name the parts of a receipt,
	// default "reference", "status" and "reason". In JSON they are paths, such
	// as "message.id". The reason is optional in a receipt.
	ReferenceField string
	StatusField    string
	ReasonField    string
	// StatusMap is added to DefaultStatusMap and wins over it. Words are
	// compared without regard to case.
	StatusMap map[string]storage.Status
	// Callbacks, unless nil, are told to services whose notifications become
	// final.
	Callbacks *Callbacks
	// Now is the clock; default time.Now.
	Now    func() time.Time
	Logger *slog.Logger
}

// Receipts takes the reports that one provider posts about its messages, as a
// JSON object or a form of at most 64 KiB.
//
// It answers 204 when the report was applied, and also when it changed nothing
// because it is a twin or late: states only move forward. Otherwise it answers
// {"result":"error","message":…} with 400 (malformed), 401 (no or a wrong
// secret), 403 (no or a wrong signature), 404 (unknown reference), 405, 413, 415, 422 (unknown status word) or
// 503 with Retry-After (storage is away).
type Receipts struct {
	cfg       ReceiptsConfig
	secrets   [][sha256.Size]byte
	reference field.Path
	status    field.Path
	reason    field.Path
	words     map[string]storage.Status
	patience  time.Duration
}

// NewReceipts checks the configuration.
func NewReceipts(cfg ReceiptsConfig) (*Receipts, error) {
	if cfg.Outbox == nil || cfg.Sender == "" {
		return nil, errors.New("delivery: receipts need an outbox and the name of the provider that sends them")
	}
	if len(cfg.Secrets) == 0 && cfg.Signed == nil || slices.Contains(cfg.Secrets, "") {
		return nil, errors.New("delivery: receipts need a secret: without one anybody could report deliveries")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Receipts{cfg: cfg, words: DefaultStatusMap(), patience: outcomePatience}
	for _, s := range cfg.Secrets {
		h.secrets = append(h.secrets, sha256.Sum256([]byte(s)))
	}
	for _, f := range []struct {
		name *string
		def  string
		path *field.Path
	}{
		{&h.cfg.ReferenceField, "reference", &h.reference},
		{&h.cfg.StatusField, "status", &h.status},
		{&h.cfg.ReasonField, "reason", &h.reason},
	} {
		if *f.name == "" {
			*f.name = f.def
		}
		path, err := field.Parse(*f.name)
		if err != nil {
			return nil, fmt.Errorf("delivery: receipts: %w", err)
		}
		*f.path = path
	}
	for word, status := range cfg.StatusMap {
		if status.Rank() < storage.StatusSending.Rank() {
			return nil, fmt.Errorf("delivery: receipts: the word %q is mapped to %q; use sending, delivered, temporary-failure, permanent-failure or technical-failure", word, status)
		}
		h.words[statusWord(word)] = status
	}
	return h, nil
}

func statusWord(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// receiptError is a refusal with its status.
type receiptError struct {
	status int
	text   string
}

func (e *receiptError) Error() string { return e.text }

// ServeHTTP takes one receipt.
func (h *Receipts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h.serve(w, r)
	if err == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	refusal := &receiptError{status: http.StatusInternalServerError, text: "Internal error"}
	level := slog.LevelInfo
	switch {
	case errors.As(err, &refusal):
	case errors.Is(err, storage.ErrNotFound):
		refusal = &receiptError{http.StatusNotFound, "No notification has this reference"}
	case errors.Is(err, storage.ErrUnavailable), errors.Is(err, context.DeadlineExceeded):
		level = slog.LevelError
		w.Header().Set("Retry-After", "5")
		refusal = &receiptError{http.StatusServiceUnavailable, "Storage is not available, try again later"}
	default:
		level = slog.LevelError
	}
	attrs := []slog.Attr{slog.String("provider", h.cfg.Sender), slog.Int("status", refusal.status)}
	if level == slog.LevelError {
		attrs = append(attrs, slog.Any("error", err))
	}
	h.cfg.Logger.LogAttrs(r.Context(), level, "delivery receipt refused", attrs...)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(refusal.status)
	_ = json.NewEncoder(w).Encode(map[string]string{"result": "error", "message": refusal.text})
}

func (h *Receipts) serve(w http.ResponseWriter, r *http.Request) error {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return &receiptError{http.StatusMethodNotAllowed, "Receipts are posted"}
	}
	if len(h.secrets) > 0 && !h.authorised(r) {
		w.Header().Add("WWW-Authenticate", `Bearer realm="receipts"`)
		w.Header().Add("WWW-Authenticate", `Basic realm="receipts"`)
		return &receiptError{http.StatusUnauthorized, "The receipts secret is missing or wrong"}
	}
	word, receipt, err := h.read(w, r)
	if err != nil {
		return err
	}
	status, known := h.words[word]
	if !known {
		return &receiptError{
			http.StatusUnprocessableEntity,
			"Unknown status, known are: " + strings.Join(slices.Sorted(maps.Keys(h.words)), ", "),
		}
	}
	receipt.Status = status
	receipt.Callback = h.cfg.Callbacks.Wants
	n, changed, err := h.apply(r.Context(), receipt)
	if err != nil {
		return err
	}
	if changed && n.Status.Final() {
		h.cfg.Callbacks.Wake(n.ServiceID)
	}
	h.cfg.Logger.LogAttrs(r.Context(), slog.LevelDebug, "delivery receipt",
		slog.String("provider", h.cfg.Sender),
		slog.Int64("id", n.ID),
		slog.String("status", string(status)),
		slog.Bool("changed", changed))
	return nil
}

// outcomePatience is how long a receipt waits for the record of the provider's
// answer that it has overtaken: before that nobody knows the reference. Few
// providers post again what was answered by 404.
const outcomePatience = 500 * time.Millisecond

// apply stores a receipt. One with an unknown reference that isn't ours gets a
// second chance.
func (h *Receipts) apply(ctx context.Context, r storage.Receipt) (n storage.Notification, changed bool, err error) {
	n, changed, err = h.cfg.Outbox.Receipt(ctx, r)
	if !errors.Is(err, storage.ErrNotFound) || uuid.Validate(r.Reference) == nil {
		return n, changed, err
	}
	t := time.NewTimer(h.patience)
	defer t.Stop()
	select {
	case <-t.C:
		return h.cfg.Outbox.Receipt(ctx, r)
	case <-ctx.Done():
		return n, changed, err
	}
}

// authorised compares hashes, so that neither the length nor the first
// differing byte shows; a request without a secret is compared all the same.
func (h *Receipts) authorised(r *http.Request) bool {
	var secret string
	lines := r.Header.Values("Authorization")
	if len(lines) == 1 {
		if scheme, token, ok := strings.Cut(lines[0], " "); ok && strings.EqualFold(scheme, "Bearer") {
			secret = strings.TrimSpace(token)
		} else if _, password, ok := r.BasicAuth(); ok {
			secret = password
		}
	}
	got := sha256.Sum256([]byte(secret))
	same := 0
	for _, want := range h.secrets {
		same |= subtle.ConstantTimeCompare(got[:], want[:])
	}
	return same == 1
}
