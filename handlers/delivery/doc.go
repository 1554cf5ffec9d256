// Package delivery hands stored notifications to providers and records what
// became of them.
//
// A notification's row is its own outbox. A [Dispatcher] claims rows that are
// due under a lease, calls the [Provider] that the row names as its sender and
// records the outcome. Delivery is at least once: a notification is sent twice
// only when the process or the network dies between the provider's acceptance
// and the record of it, or when an answer is lost, and then every attempt
// carries the same [Message.Reference], so that the provider can drop twins.
//
// Failed attempts are repeated under a [Retry] policy. A notification that no
// provider takes ends in storage.StatusTechnicalFailure, the dead-letter
// state, with a reason; one that a provider refuses for good ends in
// storage.StatusPermanentFailure. [Receipts] takes the reports that providers
// post later.
//
// Logs and reasons carry no recipient, no message text and no secret.
package delivery
