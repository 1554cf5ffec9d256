package jwksauth

import (
	"context"
	"log/slog"

	"github.com/signpost-gateway/signpost/jwks"
)

// report logs and counts one request.
func (a *Authenticator) report(ctx context.Context, token *jwks.Token, fault *Error) {
	if level, message := severity(ctx, token, fault); a.log.Enabled(ctx, level) {
		attrs := make([]slog.Attr, 0, 3)
		switch {
		case fault != nil:
			attrs = append(attrs, slog.String("reason", string(fault.Code)), slog.Int("status", fault.Status))
			if fault.err != nil {
				attrs = append(attrs, slog.Any("error", fault.err))
			}
		case token != nil:
			attrs = append(attrs, slog.Bool("cached", token.Cached))
		}
		a.log.LogAttrs(ctx, level, message, attrs...)
	}
	if a.observe == nil {
		return
	}
	result := Result{Anonymous: token == nil && fault == nil}
	if token != nil {
		result.Cached = token.Cached
	}
	if fault != nil {
		result.Code, result.Status = fault.Code, fault.Status
	}
	a.observe(result)
}

func severity(ctx context.Context, token *jwks.Token, fault *Error) (slog.Level, string) {
	switch {
	case fault == nil && token == nil:
		return slog.LevelDebug, "request passed without a token"
	case fault == nil:
		return slog.LevelDebug, "request authenticated"
	case ctx.Err() != nil:
		// What failed is most likely the wait for a client that has gone.
		return slog.LevelDebug, "request abandoned"
	case fault.Technical():
		return slog.LevelError, "request could not be authenticated"
	}
	return slog.LevelInfo, "request refused"
}
