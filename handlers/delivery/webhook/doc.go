// Package webhook is the delivery provider that posts each message to an HTTP
// API, as JSON or as a form.
//
// Answers are read like this: an expected status (200, 201, 202 or 204) means
// that the message was taken; 408, 425, 429, any 5xx, other 2xx and 3xx, a
// broken connection and a time-out mean "again later", after Retry-After (RFC
// 9110 section 10.2.3) if the answer has one; other 4xx mean that the message
// is refused for good. Redirects are not followed. Every attempt carries the
// message's reference in the Idempotency-Key header.
package webhook
