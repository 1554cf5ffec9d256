package caddymodule

import (
	"context"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

// healthReport is what `/ready` answers.
type healthReport struct {
	Status  string `json:"status"` // ok or unavailable
	Storage string `json:"storage,omitempty"`
	// KeySets has those without usable keys; nothing when all have some.
	KeySets []string `json:"key_sets,omitempty"`
}

// checkFor is how long an answer of the storage is used again: a check writes
// and syncs, which whoever reaches the health path may ask for.
const checkFor = time.Second

// healthCheck asks the storage, at most once in checkFor.
type healthCheck struct {
	mu     sync.Mutex
	at     time.Time
	err    error
	failed bool // the last state that was logged
}

// ready asks the key sets, and the storage when something needs it.
func (a *App) ready(ctx context.Context) healthReport {
	report := healthReport{Status: "ok"}
	for name, k := range a.keySets {
		if len(k.pooled.Keys()) == 0 {
			report.Status = "unavailable"
			report.KeySets = append(report.KeySets, name)
		}
	}
	slices.Sort(report.KeySets)
	if len(a.needs) == 0 {
		return report
	}
	report.Storage = "ok"
	if err := a.health.run(ctx, a); err != nil {
		report.Status, report.Storage = "unavailable", "unavailable"
	}
	return report
}

func (h *healthCheck) run(ctx context.Context, a *App) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if now := time.Now(); now.Sub(h.at) < checkFor {
		return h.err
	}
	// One caller's end must not decide for the others.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), awaitTimeout)
	defer cancel()
	h.err = a.ping(ctx)
	h.at = time.Now()
	if failed := h.err != nil; failed != h.failed {
		h.failed = failed
		if failed {
			a.logger.Error("not ready", zap.Error(h.err))
		} else {
			a.logger.Info("ready again")
		}
	}
	return h.err
}

func (a *App) ping(ctx context.Context) error {
	if err := a.handle.Acquire(ctx, awaitTimeout); err != nil {
		return err
	}
	defer a.handle.Release()
	return a.handle.Backend().Ping(ctx)
}
