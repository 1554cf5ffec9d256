package delivery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// DefaultStatusMap says what providers' words mean, in lower case. Words that say
// no more than that the provider has the message are storage.StatusSending;
// pending is an interim report, and the final one is still to come.
func DefaultStatusMap() map[string]storage.Status {
	return map[string]storage.Status{
		"queued":            storage.StatusSending,
		"accepted":          storage.StatusSending,
		"sending":           storage.StatusSending,
		"sent":              storage.StatusSending,
		"pending":           storage.StatusPending,
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
	// ReasonMap says what reasons, such as a provider's error codes, mean in a
	// report whose word means that the notification has failed. They are compared
	// as they are; those that aren't in it add nothing to the word.
	ReasonMap map[string]storage.Status
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
// secret), 403 (no or a wrong signature), 404 (unknown reference), 405, 413,
// 415, 422 (unknown status word) or 503 with Retry-After (storage is away).
type Receipts struct {
	cfg      ReceiptsConfig
	intake   *intake
	words    map[string]storage.Status
	patience time.Duration
}

// NewReceipts checks the configuration.
func NewReceipts(cfg ReceiptsConfig) (*Receipts, error) {
	if cfg.Outbox == nil || cfg.Sender == "" {
		return nil, errors.New("delivery: receipts need an outbox and the name of the provider that sends them")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	for name, def := range map[*string]string{
		&cfg.ReferenceField: "reference", &cfg.StatusField: "status", &cfg.ReasonField: "reason",
	} {
		if *name == "" {
			*name = def
		}
	}
	h := &Receipts{cfg: cfg, words: DefaultStatusMap(), patience: outcomePatience}
	var err error
	h.intake, err = newIntake("receipts", cfg.Sender, cfg.Secrets, cfg.Signed, cfg.ReferenceField, cfg.StatusField, cfg.ReasonField)
	if err != nil {
		return nil, err
	}
	h.intake.logger, h.intake.refused = cfg.Logger, "delivery receipt refused"
	for word, status := range cfg.StatusMap {
		if err := checkReported(word, status); err != nil {
			return nil, err
		}
		h.words[statusWord(word)] = status
	}
	for reason, status := range cfg.ReasonMap {
		if err := checkReported(reason, status); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// checkReported refuses a state that no report can bring about.
func checkReported(word string, status storage.Status) error {
	if status.Rank() < storage.StatusSending.Rank() {
		return fmt.Errorf("delivery: receipts: the word %q is mapped to %q; use sending, pending, sent, delivered, temporary-failure, permanent-failure or technical-failure", word, status)
	}
	return nil
}

func statusWord(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// ServeHTTP takes one receipt.
func (h *Receipts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := h.serve(w, r); err != nil {
		h.intake.refuse(w, r, err, "No notification has this reference")
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (h *Receipts) serve(w http.ResponseWriter, r *http.Request) error {
	receipt, err := h.read(w, r)
	if err != nil {
		return err
	}
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
		slog.String("status", string(receipt.Status)),
		slog.Bool("changed", changed))
	return nil
}

// read returns what a request reports.
func (h *Receipts) read(w http.ResponseWriter, r *http.Request) (storage.Receipt, error) {
	values, err := h.intake.read(w, r)
	if err != nil {
		return storage.Receipt{}, err
	}
	reference, word, reason := textOf(values[0]), textOf(values[1]), textOf(values[2])
	switch {
	case reference == "" || !plain(reference):
		return storage.Receipt{}, h.intake.missing(0)
	case word == "":
		return storage.Receipt{}, h.intake.missing(1)
	}
	status, known := h.words[statusWord(word)]
	if !known {
		return storage.Receipt{}, &postedError{
			http.StatusUnprocessableEntity,
			"Unknown status, known are: " + strings.Join(slices.Sorted(maps.Keys(h.words)), ", "),
		}
	}
	if better, known := h.cfg.ReasonMap[reason]; known && status.Final() && status != storage.StatusDelivered {
		status = better
	}
	return storage.Receipt{
		Sender:    h.cfg.Sender,
		Reference: reference,
		Status:    status,
		Reason:    scrub(reason),
		At:        h.cfg.Now(),
		Callback:  h.cfg.Callbacks.Wants,
	}, nil
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
