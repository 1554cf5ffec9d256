package delivery

import (
	"context"
	"log/slog"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	sweepBatch = 1000
	// sweepBreath lets other writers pass between two batches.
	sweepBreath = 10 * time.Millisecond
)

// sweep removes what has expired, at once and then at intervals.
func (d *Dispatcher) sweep(ctx context.Context) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return
		}
		d.sweepOnce(ctx)
		t.Reset(d.cfg.SweepInterval)
	}
}

func (d *Dispatcher) sweepOnce(ctx context.Context) {
	var sum storage.Swept
	for {
		now := d.cfg.Now()
		r := storage.SweepRequest{Now: now, Limit: sweepBatch, Callback: d.cfg.Callbacks.Wants}
		if d.cfg.ReceiptTimeout > 0 {
			r.ReceiptsSince = now.Add(-d.cfg.ReceiptTimeout)
		}
		call, cancel := context.WithTimeout(ctx, storageTimeout)
		s, err := d.cfg.Outbox.Sweep(call, r)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if err != nil { // success may be that there was nothing to write
			d.writes.note(err)
		}
		sum.Notifications += s.Notifications
		sum.Keys += s.Keys
		sum.Requests += s.Requests
		sum.Inbound += s.Inbound
		sum.TimedOut += s.TimedOut
		if err != nil || !s.More {
			break
		}
		t := time.NewTimer(sweepBreath)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return
		}
	}
	if sum.TimedOut > 0 {
		d.cfg.Callbacks.WakeAll()
	}
	if sum.Notifications+sum.Keys+sum.Requests+sum.Inbound+sum.TimedOut > 0 {
		d.cfg.Logger.Debug("swept",
			slog.Int64("notifications", sum.Notifications),
			slog.Int64("keys", sum.Keys),
			slog.Int64("signature_requests", sum.Requests),
			slog.Int64("received_messages", sum.Inbound),
			slog.Int64("receipts_timed_out", sum.TimedOut))
	}
}
