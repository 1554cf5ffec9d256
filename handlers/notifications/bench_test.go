package notifications

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// blank is a ResponseWriter that keeps nothing.
type blank struct {
	header http.Header
	status int
}

func (w *blank) Header() http.Header         { return w.header }
func (w *blank) Write(b []byte) (int, error) { return len(b), nil }
func (w *blank) WriteHeader(status int)      { w.status = status }

// BenchmarkPost is the CPU of a POST behind authentication, on the memory
// store: reading, checking, rendering, storing, answering.
func BenchmarkPost(b *testing.B) {
	for name, body := range map[string]string{
		"plain":           plainSMS,
		"personalisation": `{"to":"07700900111","template":2,"personalisation":{"name":"Al","code":"123456","vip":"yes"}}`,
	} {
		b.Run(name, func(b *testing.B) {
			s := newServer(b, func(c *Config) { c.RateLimit, c.DailyLimit, c.Observe, c.Logger = -1, -1, nil, nil })
			id := identity()
			id.Path = "/notifications/sms"
			text := []byte(body)
			r := httptest.NewRequest("POST", id.Path, bytes.NewReader(text))
			w := &blank{header: http.Header{}}
			var n uint64
			b.ReportAllocs()
			for b.Loop() {
				n++
				binary.BigEndian.PutUint64(id.TokenMAC[:], n)
				r.Body = io.NopCloser(bytes.NewReader(text))
				s.api.Serve(w, r, id, notifyauth.OriginalOf(r))
				if w.status != http.StatusCreated {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// BenchmarkGet is the CPU of reading one notification, and of a page of 50.
func BenchmarkGet(b *testing.B) {
	for name, path := range map[string]string{"one": "/notifications/1", "page": "/notifications"} {
		b.Run(name, func(b *testing.B) {
			s := newServer(b, func(c *Config) { c.NoIdempotency, c.Observe, c.Logger = true, nil, nil })
			for range 50 {
				s.sms(plainSMS)
			}
			id := identity()
			id.Path = path
			r := httptest.NewRequest("GET", path, nil)
			w := &blank{header: http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				s.api.Serve(w, r, id, notifyauth.OriginalOf(r))
				if w.status != http.StatusOK {
					b.Fatal(w.status)
				}
			}
		})
	}
}

// BenchmarkParseRequest is the reading of a body alone.
func BenchmarkParseRequest(b *testing.B) {
	body := []byte(`{"to":"07700900111","template":2,"personalisation":{"name":"Al","code":"123456","vip":"yes"}}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, ref := parseSignedRequest(body); ref != nil {
			b.Fatal(ref.text)
		}
	}
}

// BenchmarkV2Post is BenchmarkPost for the v2 dialect.
func BenchmarkV2Post(b *testing.B) {
	sms := v2SMS("template_id", templateID("2"), "phone_number", "07700900123",
		"personalisation", map[string]any{"name": "Al", "code": "123456", "vip": "yes"})
	for name, c := range map[string]struct {
		body  string
		serve func(*API, *v2Call) (int, string)
	}{
		"sms":   {sms, (*API).v2SendSMS},
		"email": {v2Email(), (*API).v2SendEmail},
	} {
		b.Run(name, func(b *testing.B) {
			s := newServer(b, func(c *Config) { c.RateLimit, c.DailyLimit, c.Observe, c.Logger = -1, -1, nil, nil })
			r := httptest.NewRequest("POST", "/v2/notifications/"+name, nil)
			w := &blank{header: http.Header{}}
			call := &v2Call{w: w, r: r, id: identity(), route: routeV2SMS, root: "https://example.com"}
			text := []byte(c.body)
			b.ReportAllocs()
			for b.Loop() {
				r.Body = io.NopCloser(bytes.NewReader(text))
				if status, _ := c.serve(s.api, call); status != http.StatusCreated {
					b.Fatal(status)
				}
			}
		})
	}
}
