// Package transition holds the rules by which a notification's delivery fields
// move, so that all back ends decide alike.
package transition

import (
	"fmt"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// NoReceipt is the reason of a notification whose receipt never came.
const NoReceipt = "no delivery receipt came in time"

// CheckOutcome refuses an outcome that no claim can have.
func CheckOutcome(o storage.Outcome) error {
	switch {
	case o.Status.Rank() < 0:
		return fmt.Errorf("%w: unknown status %q of an outcome", storage.ErrInvalid, o.Status)
	case o.At.IsZero():
		return fmt.Errorf("%w: an outcome needs its time", storage.ErrInvalid)
	case o.Status == storage.StatusCreated && o.NextAttempt.IsZero():
		return fmt.Errorf("%w: an outcome that tries again needs the time of the next attempt", storage.ErrInvalid)
	}
	return nil
}

// CheckReceipt refuses a receipt that no provider can mean.
func CheckReceipt(r storage.Receipt) error {
	switch {
	case r.Status.Rank() < 1:
		return fmt.Errorf("%w: status %q of a receipt", storage.ErrInvalid, r.Status)
	case r.At.IsZero():
		return fmt.Errorf("%w: a receipt needs its time", storage.ErrInvalid)
	}
	return nil
}

// CheckSender refuses a name that no provider can have.
func CheckSender(name string) error {
	if name == "" {
		return fmt.Errorf("%w: a provider needs a name", storage.ErrInvalid)
	}
	return nil
}

// Outcome applies what a worker recorded. It reports whether the notification
// is still queued, and then it is due at o.NextAttempt.
func Outcome(n *storage.Notification, o storage.Outcome) (queued bool) {
	at := storage.Micro(o.At)
	if o.Unattempted && n.Attempts > 0 {
		n.Attempts--
	}
	if n.ProviderReference == "" {
		n.ProviderReference = o.ProviderReference
	}
	n.UpdatedAt = at
	moved := n.Status != storage.StatusCreated // by a receipt that came first
	switch {
	case moved && o.Status == storage.StatusTechnicalFailure:
		// The worker believes that no provider took it; the receipt knows better.
	case o.Status == storage.StatusCreated && !moved:
		n.Reason = o.Reason
	case o.Status.Rank() > n.Status.Rank():
		if took(o.Status) {
			sent(n, at)
		}
		move(n, o.Status, o.Reason, at)
	}
	return n.Status == storage.StatusCreated
}

// took reports whether a state says that a provider has taken the notification.
func took(s storage.Status) bool {
	switch s {
	case storage.StatusSending, storage.StatusPending, storage.StatusSent, storage.StatusDelivered:
		return true
	default:
		return false
	}
}

// Receipt applies a provider's report and reports whether it moved anything.
func Receipt(n *storage.Notification, r storage.Receipt) bool {
	if r.Status.Rank() <= n.Status.Rank() {
		return false
	}
	at := storage.Micro(r.At)
	sent(n, at)
	move(n, r.Status, r.Reason, at)
	n.UpdatedAt = at
	return true
}

// TimeOut gives up waiting for a receipt.
func TimeOut(n *storage.Notification, now time.Time) {
	now = storage.Micro(now)
	move(n, storage.StatusTemporaryFailure, NoReceipt, now)
	n.UpdatedAt = now
}

func move(n *storage.Notification, s storage.Status, reason string, at time.Time) {
	n.Status, n.Reason = s, reason
	if s.Final() {
		n.CompletedAt = at
	}
}

func sent(n *storage.Notification, at time.Time) {
	if n.SentAt.IsZero() {
		n.SentAt = at
	}
}

// Owed reports whether a step from one state has brought the notification to its
// end, so that its service is owed a callback.
func Owed(from storage.Status, n *storage.Notification) bool {
	return !from.Final() && n.Status.Final()
}

// Requeue takes a dead letter back to the queue, where it is due at now.
func Requeue(n *storage.Notification, now time.Time) {
	n.Status, n.Attempts, n.ProviderReference = storage.StatusCreated, 0, ""
	n.SentAt, n.CompletedAt = time.Time{}, time.Time{}
	n.UpdatedAt = storage.Micro(now)
}
