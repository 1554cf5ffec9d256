package signing

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// modelRequest is what a signature request should be.
type modelRequest struct {
	token, cookie string
	state         int // 0 requested, 1 downloaded, 2 signed, 3 retrieved
	bound         bool
	deadline      time.Time
	until         time.Time // of the result
}

func (m *modelRequest) gone(now time.Time) bool {
	switch m.state {
	case 0, 1:
		return !now.Before(m.deadline)
	case 2:
		return !now.Before(m.until)
	}
	return true
}

// TestStateMachine compares the API with a model, over any calls in any order
// and any time between them. Sweeping makes no difference.
func TestStateMachine(t *testing.T) {
	upload := goodUpload(t, "RS256", "a", "b")
	rapid.Check(t, func(rt *rapid.T) {
		once := rapid.Bool().Draw(rt, "once")
		retention := time.Duration(rapid.IntRange(1, 1200).Draw(rt, "retention")) * time.Second
		f := newFixture(t, func(c *Config) {
			c.RetrieveOnce, c.Retention = once, retention
			c.Logger, c.Observe = nil, nil
			c.MinKeyBits = 2048
		})
		f.kid = "test-2048" // signs faster
		var all []*modelRequest
		expect := func(w *httptest.ResponseRecorder, status int, message string) {
			require.Equal(rt, status, w.Code, w.Body)
			if message != "" {
				require.Contains(rt, w.Body.String(), `"message":"`+message+`"`)
			}
		}
		const (
			unknown = "No signature request for specified token"
			other   = "This signature request has been opened in another browser"
		)
		pick := func(rt *rapid.T) *modelRequest {
			if len(all) == 0 {
				rt.Skip("no request yet")
			}
			return rapid.SampledFrom(all).Draw(rt, "request")
		}
		headers := func(rt *rapid.T, m *modelRequest) (h []string, with bool) {
			if m.cookie == "" || !rapid.Bool().Draw(rt, "with cookie") {
				return nil, false
			}
			return []string{"Cookie", m.cookie}, true
		}
		rt.Repeat(map[string]func(*rapid.T){
			"create": func(rt *rapid.T) {
				life := time.Duration(rapid.IntRange(1, 630).Draw(rt, "life")) * time.Second
				deadline := f.clock.now().Add(life)
				sent := f.mint(t, map[string]any{"exp": deadline.Unix()})
				w := f.post(t, sent)
				expect(w, 200, "")
				all = append(all, &modelRequest{token: tokenOf(t, w), deadline: time.Unix(deadline.Unix(), 0)})
				expect(f.post(t, sent), 400, "JWT payload is not valid. This JWT has been used")
			},
			"open": func(rt *rapid.T) {
				m := pick(rt)
				w := f.call(t, http.MethodGet, "/client?token="+m.token, "")
				if m.gone(f.clock.now()) {
					expect(w, 404, "")
					return
				}
				expect(w, 200, "")
				if cookie := w.Header().Get("Set-Cookie"); m.cookie == "" && cookie != "" {
					require.Zero(rt, m.state)
					m.cookie = w.Result().Cookies()[0].Name + "=" + w.Result().Cookies()[0].Value //nolint:bodyclose // a recorder's
				}
			},
			"download": func(rt *rapid.T) {
				m := pick(rt)
				h, with := headers(rt, m)
				w := f.download(t, m.token, h...)
				switch {
				case m.gone(f.clock.now()):
					expect(w, 404, unknown)
				case m.state > 0 && m.bound && !with:
					expect(w, 403, other)
				case m.state > 0:
					expect(w, 400, "Signature request has already been downloaded")
				default:
					expect(w, 200, "")
					m.state, m.bound = 1, with
				}
			},
			"upload": func(rt *rapid.T) {
				m := pick(rt)
				h, with := headers(rt, m)
				good := rapid.Bool().Draw(rt, "good")
				body := upload
				if !good {
					body = "{}"
				}
				w := f.upload(t, m.token, body, h...)
				switch {
				case m.gone(f.clock.now()):
					expect(w, 404, unknown)
				case m.bound && !with:
					expect(w, 403, other)
				case m.state == 0:
					expect(w, 400, "Signature request has not been downloaded yet")
				case m.state == 2:
					expect(w, 400, "Signature request has already been signed")
				case !good:
					expect(w, 400, `Invalid request payload: \"signatures\" is required`)
				default:
					expect(w, 200, "")
					m.state, m.until = 2, f.clock.now().Add(retention)
				}
			},
			"result": func(rt *rapid.T) {
				m := pick(rt)
				w := f.result(t, m.token)
				switch {
				case m.gone(f.clock.now()):
					expect(w, 404, unknown)
				case m.state == 0:
					expect(w, 400, "Signature request has not been downloaded yet")
				case m.state == 1:
					expect(w, 404, "Could not find the specified signature response")
				default:
					expect(w, 200, "")
					if once {
						m.state = 3
					}
				}
			},
			"wait": func(rt *rapid.T) {
				f.clock.add(time.Duration(rapid.IntRange(0, 300_000).Draw(rt, "wait")) * time.Millisecond)
			},
			"sweep": func(*rapid.T) { f.sweep(t) },
		})
	})
}
