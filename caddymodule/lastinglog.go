package caddymodule

import (
	"context"
	"log/slog"
	"math"

	"go.uber.org/zap/exp/zapslog"
	"go.uber.org/zap/zapcore"

	"github.com/caddyserver/caddy/v2"
)

// moduleLogger returns the module's logger for a core package. Caddy's own
// Slogger would do, but for a request's log lines it forgets that it was told to
// leave stack traces out.
func moduleLogger(ctx caddy.Context) *slog.Logger {
	log := ctx.Logger()
	return slog.New(handlerOf(log.Core(), log.Name()))
}

// handlerOf writes no stack traces: what the cores log as an error is a fault of
// something else, and their lines say of what.
func handlerOf(core zapcore.Core, name string) slog.Handler {
	return zapslog.NewHandler(core, zapslog.WithName(name), zapslog.AddStacktraceAt(slog.Level(math.MaxInt)))
}

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
	out := handlerOf(caddy.Log().Core(), h.name)
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
