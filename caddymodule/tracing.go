package caddymodule

import (
	"net/http"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

// startSpan begins a span below the one that the request carries, with its
// tracer provider: Caddy's `tracing` directive says what becomes of it. It is
// nil when nobody records the request.
func startSpan(r *http.Request, name string) trace.Span {
	parent := trace.SpanFromContext(r.Context())
	if !parent.IsRecording() {
		return nil
	}
	_, span := parent.TracerProvider().Tracer(modulePath).Start(r.Context(), name)
	return span
}

// endSpan ends it; err is nil for a request that passed, which has the
// attributes.
func endSpan(span trace.Span, err error, attrs ...attribute.KeyValue) {
	if span == nil {
		return
	}
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	} else {
		span.SetAttributes(attrs...)
	}
	span.End()
}
