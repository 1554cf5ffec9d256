package delivery

import (
	"context"

	"github.com/signpost-gateway/signpost/handlers/simulate"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// simulate gives a notification the end that its recipient stands for. A failure
// is recorded as the receipt that a provider would have posted, so that it has
// the time of its sending, too; done says that it was.
func (d *Dispatcher) simulate(ctx context.Context, f *flight) (calls []call, done bool) {
	n := f.current().Notification
	status := simulate.Outcome(n.Channel, n.To)
	if status == storage.StatusDelivered {
		return []call{{provider: Simulated, sent: Sent{Delivered: true}}}, false
	}
	write, cancel := context.WithTimeout(ctx, storageTimeout)
	defer cancel()
	_, _, err := d.cfg.Outbox.Receipt(write, storage.Receipt{
		Sender: Simulated, Reference: n.UUID.String(), Status: status, Reason: "simulated",
		At: d.cfg.Now(), Callback: d.cfg.Callbacks.Wants,
	})
	if err != nil {
		if ctx.Err() == nil {
			d.writes.note(err)
		}
		err = &SendError{Reason: "storage was away before the simulated outcome could be recorded", Err: err}
		return []call{{provider: Simulated, err: err, cause: context.Cause(ctx)}}, false
	}
	d.cfg.Callbacks.Wake(n.ServiceID)
	return []call{{provider: Simulated}}, true
}
