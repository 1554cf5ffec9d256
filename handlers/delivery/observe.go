package delivery

import (
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Result names what became of an attempt.
type Result string

// The results. With the configured names of providers they are safe as labels
// of metrics.
const (
	ResultDelivered  Result = "delivered"   // the provider says that it has arrived
	ResultSent       Result = "sent"        // accepted, the receipt is outstanding
	ResultRetry      Result = "retry"       // failed, another attempt will follow
	ResultRefused    Result = "refused"     // permanently refused
	ResultGaveUp     Result = "gave_up"     // the retry budget is used up: dead letter
	ResultNoProvider Result = "no_provider" // its sender isn't configured (any more)
	ResultReturned   Result = "returned"    // given back because the dispatcher stops
	ResultLeaseLost  Result = "lease_lost"  // another worker holds it now
)

// UnknownProvider stands for every sender that isn't configured.
const UnknownProvider = "unknown"

// Event describes one attempt.
type Event struct {
	Channel  storage.Channel
	Provider string // a configured name, Simulated or UnknownProvider
	Result   Result
	Duration time.Duration // of the call to the provider; 0 without one
}
