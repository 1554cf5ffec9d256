package caddymodule

import (
	"context"
	"log/slog"

	"go.uber.org/zap/exp/zapslog"

	"github.com/caddyserver/caddy/v2"
)

// lastingLogger returns a logger for what outlives a configuration: each line
// goes to the logs of the configuration that runs then, while those of the one
// that made it may be closed.
func lastingLogger(name string) *slog.Logger {
	return slog.New(lastingHandler{name: name})
}

type lastingHandler struct {
	name string
	with func(slog.Handler) slog.Handler // what WithAttrs and WithGroup add
}

func (h lastingHandler) current() slog.Handler {
	var out slog.Handler = zapslog.NewHandler(caddy.Log().Core(), zapslog.WithName(h.name))
	if h.with != nil {
		out = h.with(out)
	}
	return out
}

// Enabled implements slog.Handler.
func (h lastingHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.current().Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h lastingHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.current().Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h lastingHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.adding(func(to slog.Handler) slog.Handler { return to.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h lastingHandler) WithGroup(name string) slog.Handler {
	return h.adding(func(to slog.Handler) slog.Handler { return to.WithGroup(name) })
}

func (h lastingHandler) adding(f func(slog.Handler) slog.Handler) slog.Handler {
	before := h.with
	return lastingHandler{h.name, func(to slog.Handler) slog.Handler {
		if before != nil {
			to = before(to)
		}
		return f(to)
	}}
}
