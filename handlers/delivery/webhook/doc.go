// Package webhook is the delivery provider that posts each message to an HTTP
// API, as JSON or as a form, in a shape that is configured or one of the presets.
//
// Answers are read like this: an expected status (200, 201, 202 or 204) means
// that the message was taken; 400, 406, 410, 413, 415, 422 and 451 mean that it
// is refused for good; everything else, a broken connection and a time-out mean
// "again later", after Retry-After (RFC 9110 section 10.2.3) if the answer has
// one. Redirects are not followed. Every attempt carries the message's
// reference in the Idempotency-Key header.
package webhook
