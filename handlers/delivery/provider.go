package delivery

import (
	"context"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Simulated is the sender of notifications that must not leave the house, such
// as those of test keys. The provider of this name is built in: it sends nothing
// and reports delivery, or the failure that the recipient stands for (package
// simulate).
const Simulated = "simulated"

// Message is one attempt to send a notification.
type Message struct {
	// Reference is the UUID text of the notification, the same at each attempt:
	// a provider that has seen it drops the twin.
	Reference string
	ServiceID string
	// ServiceName is empty when the service has none or it can't be found.
	ServiceName string
	Channel     storage.Channel
	To          string // E.164 with "+", or an email address
	Subject     string // emails only
	Body        string
	// Values says which parts of an email's body are values that the client gave:
	// storage.Details.Values.
	Values string
	// From is who the message is to be from: the text or number of an SMS sender,
	// or an email address. Empty means the provider's own.
	From string
	// ReplyTo is the address for answers to an email; empty for none.
	ReplyTo string
	// UnsubscribeURL is the https address of an email's one-click unsubscription
	// (RFC 8058); empty for none.
	UnsubscribeURL string
	Sender         string // the provider's configured name
}

// Sent is a provider's acceptance.
type Sent struct {
	// Reference is the provider's own, under which its receipts come. Empty
	// means that it reports Message.Reference.
	Reference string
	// Delivered says that the message has arrived, or that no receipt will
	// ever come. Otherwise the notification waits for its receipt, unless it is a
	// text message to another country: that ends as storage.StatusSent.
	Delivered bool
}

// Provider sends messages. Send is called concurrently, and returns when ctx
// ends. An error means that the message may be sent again; wrap a [SendError]
// to say more. A provider whose calls take long should have a method
// "Timeout() time.Duration", which New compares with the lease.
type Provider interface {
	Send(ctx context.Context, m Message) (Sent, error)
}

// SendError says why a message was not taken. Any other error counts as
// temporary, and its text is neither stored nor logged, as it may quote the
// message.
type SendError struct {
	// Permanent says that another attempt can't succeed.
	Permanent bool
	// Uncertain says that the message may have been taken all the same: it was
	// on its way, and the answer is lost. When the channel has other providers,
	// this one is asked once more before them, as it alone can drop the twin.
	Uncertain bool
	// RetryAfter is the provider's wish when to be asked again; 0 when it has
	// none. It is ignored with Permanent.
	RetryAfter time.Duration
	// Reason is stored with the notification and logged: no recipient, no
	// message text, no secret.
	Reason string
	// Err is the cause, for errors.Is and errors.As. Its text stays unseen.
	Err error
}

func (e *SendError) Error() string { return e.Reason }

func (e *SendError) Unwrap() error { return e.Err }
