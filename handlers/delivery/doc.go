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
// A channel may have several providers, in order. When one fails, the next is
// called within the same attempt, and becomes the sender; one that keeps
// failing is passed over for a while, see [Breaker]. What a provider refuses
// for good, no other is asked to send. A lost answer is ambiguous: the provider
// that may have said yes is asked again first, since it alone knows the
// reference. An answer that doesn't come in time is as ambiguous, and yet the
// next provider is called, because a message late by hours is worth less than
// one that comes twice now and then.
//
// Failed attempts are repeated under a [Retry] policy. A notification that no
// provider takes ends in storage.StatusTechnicalFailure, the dead-letter
// state, with a reason, and can be tried again by [DeadLetters]; one that a
// provider refuses for good ends in storage.StatusPermanentFailure. [Receipts]
// takes the reports that providers post later. [Callbacks] tell services what
// became of their notifications. [Inbound] takes the text messages that providers
// have received for services.
//
// A notification that is scheduled is claimed when its time has come, and the
// time for its attempts begins then. A text message to another country ends when
// a provider has taken it, as storage.StatusSent, since few countries report
// delivery.
//
// Logs and reasons carry no recipient, no message text and no secret.
package delivery
