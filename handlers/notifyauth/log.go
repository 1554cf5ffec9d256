package notifyauth

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// refuse makes the error for a code, with what is known of the token.
func (v *Verifier) refuse(code Code, h *head) *Error { return v.refuseFor(code, h, nil) }

func (v *Verifier) refuseForm(err error, h *head) *Error {
	return v.refuseFor(formCode(err), h, err)
}

func (v *Verifier) refuseFor(code Code, h *head, cause error) *Error {
	e := newError(code, cause)
	e.leeway = v.leeway
	if h.service != nil {
		e.ServiceID = h.service.ID
	}
	if h.key != nil {
		e.KeyName = h.key.name
	}
	if code == CodeIatOld || code == CodeIatFuture {
		e.ClockOffset = time.Duration(h.offset) * time.Second
	}
	return e
}

// report logs and counts one request.
func (v *Verifier) report(r *http.Request, h *head, t *target, fault *Error) {
	ctx := r.Context()
	if level, message := severity(ctx, fault); v.log.Enabled(ctx, level) {
		attrs := make([]slog.Attr, 0, 6)
		if fault != nil {
			attrs = append(attrs, slog.String("reason", string(fault.Code)), slog.Int("status", fault.Status))
			if fault.err != nil {
				attrs = append(attrs, slog.Any("error", fault.err))
			}
		}
		if h.service != nil {
			attrs = append(attrs, slog.String("service_id", h.service.ID))
		}
		if h.key != nil {
			attrs = append(attrs, slog.String("key_name", h.key.name))
		}
		if h.timed {
			attrs = append(attrs, slog.Int64("clock_offset_s", h.offset))
		}
		// Paths hold ids, so they are for those who debug signatures.
		if t.path != "" && v.log.Enabled(ctx, slog.LevelDebug) {
			attrs = append(attrs, slog.String("canonical_request", t.method+" "+t.path))
		}
		v.log.LogAttrs(ctx, level, message, attrs...)
	}
	if v.observe == nil {
		return
	}
	result := Result{}
	if h.service != nil {
		result.ServiceID = h.service.ID
	}
	if h.key != nil {
		result.KeyName = h.key.name
	}
	if h.timed {
		result.ClockOffset = time.Duration(h.offset) * time.Second
	}
	if fault != nil {
		result.Code, result.Status = fault.Code, fault.Status
	}
	v.observe(result)
}

func severity(ctx context.Context, fault *Error) (slog.Level, string) {
	switch {
	case fault == nil:
		return slog.LevelDebug, "request authenticated"
	case ctx.Err() != nil:
		// What failed is most likely the wait for a client that has gone.
		return slog.LevelDebug, "request abandoned"
	case fault.Technical():
		return slog.LevelError, "request could not be authenticated"
	case fault.Code == CodeTokenBody:
		return slog.LevelWarn, "attack: a signed body has the form of an unsigned token"
	}
	return slog.LevelInfo, "request refused"
}
