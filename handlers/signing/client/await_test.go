package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/signing"
)

// awaiting is an Await that runs.
type awaiting struct {
	s       *service
	p       *Pending
	r       *Response
	err     error
	ended   time.Time
	started time.Time
	cancel  context.CancelFunc
	opened  int
}

// inTime runs a test while time passes only when all wait.
func inTime(t *testing.T, o AwaitOptions, withCallback bool, test func(t *testing.T, a *awaiting, back *Callback), change ...func(*signing.Config)) *awaiting {
	t.Helper()
	a := &awaiting{}
	synctest.Test(t, func(t *testing.T) {
		a.s = newService(t, change...)
		var err error
		c := a.s.client()
		a.p, err = c.Request(t.Context(), Request{Subject: user, Documents: twoDocuments(), State: "st&te"})
		require.NoError(t, err)
		var back *Callback
		if withCallback {
			back = NewCallback(a.p)
			o.Callback = back
		}
		o.Opened = func() { a.opened++ }
		var ctx context.Context
		ctx, a.cancel = context.WithCancel(t.Context())
		defer a.cancel()
		a.started = time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			a.r, a.err = c.Await(ctx, a.p, o)
			a.ended = time.Now()
		}()
		test(t, a, back)
		<-done
	})
	return a
}

func (a *awaiting) took() time.Duration { return a.ended.Sub(a.started) }

func TestAwaitPolls(t *testing.T) {
	a := inTime(t, AwaitOptions{}, false, func(_ *testing.T, a *awaiting, _ *Callback) {
		time.Sleep(5 * time.Second)
		a.s.open(a.p)
		time.Sleep(6 * time.Second)
		a.s.sign(a.p)
	})
	require.NoError(t, a.err)
	assert.Len(t, a.r.Signatures, 2)
	assert.Equal(t, 12*time.Second, a.took())
	assert.Equal(t, 1, a.opened)
}

func TestAwaitDeadline(t *testing.T) {
	for name, test := range map[string]func(*testing.T, *awaiting, *Callback){
		"never opened": func(*testing.T, *awaiting, *Callback) {},
		"never signed": func(_ *testing.T, a *awaiting, _ *Callback) { a.s.open(a.p) },
	} {
		a := inTime(t, AwaitOptions{}, name == "never signed", test)
		require.ErrorIs(t, a.err, ErrNotSigned, name)
		assert.Equal(t, MaxLifetime, a.took().Round(time.Second), name)
		require.ErrorContains(t, a.err, textUnknown)
	}
	// The server's clock is behind: it still waits.
	a := inTime(t, AwaitOptions{}, false, func(*testing.T, *awaiting, *Callback) {}, func(c *signing.Config) {
		c.Now = func() time.Time { return time.Now().Add(-20 * time.Second) }
	})
	require.ErrorIs(t, a.err, ErrNotSigned)
	require.ErrorContains(t, a.err, "it could be signed until 20")
	assert.Equal(t, MaxLifetime, a.took())
}

// What may pass by is tried again, with the pause that the server asks for.
func TestAwaitTrouble(t *testing.T) {
	for status, took := range map[int]time.Duration{
		http.StatusServiceUnavailable: 32 * time.Second, http.StatusTooManyRequests: 32 * time.Second, http.StatusBadGateway: 4 * time.Second,
	} {
		a := inTime(t, AwaitOptions{}, false, func(_ *testing.T, a *awaiting, _ *Callback) {
			a.s.open(a.p)
			a.s.sign(a.p)
			failed := false
			a.s.behave(func(w http.ResponseWriter, _ *http.Request) bool {
				if failed {
					return false
				}
				failed = true
				if took > 4*time.Second {
					w.Header().Set("Retry-After", "30")
				}
				w.WriteHeader(status)
				return true
			})
		})
		require.NoError(t, a.err)
		assert.Equal(t, took, a.took(), status)
	}
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusBadRequest, http.StatusFound} {
		a := inTime(t, AwaitOptions{}, true, func(_ *testing.T, a *awaiting, _ *Callback) {
			a.s.behave(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(status); return true })
		})
		e, ok := errors.AsType[*Error](a.err)
		require.True(t, ok)
		assert.Equal(t, status, e.Status)
		assert.Equal(t, 10*time.Second, a.took())
	}
	a := inTime(t, AwaitOptions{}, false, func(_ *testing.T, a *awaiting, _ *Callback) {
		a.s.behave(func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(503); return true })
	})
	require.ErrorContains(t, a.err, "can't be told: the signing API answered 503")
	assert.Equal(t, MaxLifetime, a.took())
}

func TestAwaitCancelled(t *testing.T) {
	a := inTime(t, AwaitOptions{}, true, func(t *testing.T, a *awaiting, back *Callback) {
		time.Sleep(time.Second)
		a.cancel()
		synctest.Wait()
		w := visit(back, "GET", comeBack+"&token="+a.p.Token+"&state=st%26te")
		assert.Contains(t, w.Body.String(), "That did not work")
	})
	require.ErrorIs(t, a.err, context.Canceled)
	assert.Equal(t, time.Second, a.took())
}

// The callback is a hint: only what the server then says counts.
func TestAwaitCallback(t *testing.T) {
	a := inTime(t, AwaitOptions{}, true, func(t *testing.T, a *awaiting, back *Callback) {
		good := comeBack + "&token=" + a.p.Token + "&state=st%26te"
		before := a.s.questions()
		for _, wrong := range []string{
			"/", "/favicon.ico", "/?token=" + a.p.Token, "/?state=st%26te", "/?token=x&state=st%26te",
			"/?token=" + a.p.Token + "&state=", "/?token=" + a.p.Token + "&state=st%26teX",
			"/?token=" + a.p.Token + "&state=st%26te&state=st%26te", "/?token=" + a.p.Token + "&token=x&state=st%26te",
		} {
			w := visit(back, "GET", "http://127.0.0.1"+wrong)
			assert.Equal(t, http.StatusNotFound, w.Code, wrong)
			assert.NotContains(t, w.Body.String(), a.p.Token)
		}
		for _, method := range []string{"HEAD", "POST", "OPTIONS"} {
			assert.Equal(t, http.StatusMethodNotAllowed, visit(back, method, good).Code)
		}
		assert.Equal(t, before, a.s.questions(), "none of them makes a question")

		w := visit(back, "GET", good)
		assert.Contains(t, w.Body.String(), "Not signed yet")
		assert.Equal(t, before+1, a.s.questions())
		a.s.open(a.p)
		assert.Contains(t, visit(back, "GET", good).Body.String(), "Not signed yet")
		assert.Equal(t, good, a.s.sign(a.p))
		w = visit(back, "GET", good)
		assert.Equal(t, http.StatusOK, w.Code)
		assert.Contains(t, w.Body.String(), "Signed, you can close this window")
		assert.NotContains(t, w.Body.String(), "st&")
		h := w.Header()
		assert.Equal(t, "no-store", h.Get("Cache-Control"))
		assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"))
		assert.Contains(t, h.Get("Content-Security-Policy"), "default-src 'none'; style-src 'sha256-")
		synctest.Wait()
		assert.Contains(t, visit(back, "GET", good).Body.String(), "Signed, you can", "after a reload of the page, too")
	})
	require.NoError(t, a.err)
	assert.Zero(t, a.took())
}

// A callback that points elsewhere only makes it slower; one that is late is
// waited for.
func TestAwaitCallbackLate(t *testing.T) {
	a := inTime(t, AwaitOptions{}, true, func(_ *testing.T, a *awaiting, _ *Callback) {
		a.s.open(a.p)
		a.s.sign(a.p)
	})
	require.NoError(t, a.err)
	assert.Equal(t, 13*time.Second, a.took())

	a = inTime(t, AwaitOptions{}, true, func(t *testing.T, a *awaiting, back *Callback) {
		a.s.open(a.p)
		good := a.s.sign(a.p)
		time.Sleep(11 * time.Second)
		assert.Contains(t, visit(back, "GET", good).Body.String(), "Signed")
	})
	require.NoError(t, a.err)
	assert.Equal(t, 11*time.Second, a.took())
}

// The browser is not told that all is well when the caller finds otherwise.
func TestAwaitCheck(t *testing.T) {
	bad := errors.New("another document")
	a := inTime(t, AwaitOptions{Check: func(r *Response) error {
		if len(r.Signatures) != 2 {
			return nil
		}
		return bad
	}}, true, func(t *testing.T, a *awaiting, back *Callback) {
		a.s.open(a.p)
		w := visit(back, "GET", a.s.sign(a.p))
		assert.Contains(t, w.Body.String(), "That did not work")
	})
	require.ErrorIs(t, a.err, bad)
	require.EqualError(t, a.err, "another document")
}

// A browser that leaves is not waited for.
func TestCallbackVisitorLeaves(t *testing.T) {
	back := NewCallback(&Pending{Token: "t"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	back.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/?token=t", strings.NewReader("")))
	assert.Empty(t, w.Body.String())
}
