// Package smtp is the delivery provider that hands emails to a mail server (RFC
// 5321), mostly the operator's own relay or that of a mail service, which signs
// them (DKIM, RFC 6376) and takes care of the rest of their way.
//
// An email has a text and, when there is one, an HTML part. Its headers are those
// that a signer expects, once each: Date, From, Subject, To, Message-ID,
// MIME-Version, Content-Type, Auto-Submitted, and where they apply Reply-To,
// List-Unsubscribe and List-Unsubscribe-Post (RFC 8058). The Message-ID is made of
// the message's reference and the domain of From: it is the same at each attempt,
// so that a server that has seen it can drop the twin.
//
// A message that the server has taken counts as delivered, since no receipt ever
// comes. Answers of the 4xx class are temporary, those of the 5xx class to a
// recipient or a text are final, and everything that an operator can mend is
// temporary: a refused password, sender or relaying, and a TLS that can't be
// trusted. When the connection breaks after the text was begun, or the server
// answers it by 421, it is uncertain whether it was taken.
//
// The server is the operator's own choice, so that it may have any address; what
// package outgoing refuses of URLs is not refused here.
package smtp
