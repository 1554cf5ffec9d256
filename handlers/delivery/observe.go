package delivery

import (
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Result names what became of a call.
type Result string

// The results. With the configured names of providers they are safe as labels
// of metrics.
const (
	ResultDelivered  Result = "delivered"   // the provider says that it has arrived
	ResultSent       Result = "sent"        // accepted, the receipt is outstanding
	ResultSimulated  Result = "simulated"   // nothing was sent, and a failure was reported
	ResultRetry      Result = "retry"       // failed, another attempt will follow
	ResultRefused    Result = "refused"     // permanently refused
	ResultGaveUp     Result = "gave_up"     // the retry budget is used up: dead letter
	ResultNoProvider Result = "no_provider" // its sender isn't configured (any more)
	ResultReturned   Result = "returned"    // given back because the dispatcher stops
	ResultLeaseLost  Result = "lease_lost"  // another worker holds it now
	ResultFailedOver Result = "failed_over" // failed, and the channel's next provider is called
	ResultRepeated   Result = "repeated"    // the answer was lost, and the same provider is called again
)

// UnknownProvider stands for every sender that isn't configured.
const UnknownProvider = "unknown"

// Event describes one call to a provider, or an attempt that came to none.
type Event struct {
	Channel  storage.Channel
	Provider string // a configured name, Simulated or UnknownProvider
	Result   Result
	Duration time.Duration // of the call to the provider; 0 without one
}
