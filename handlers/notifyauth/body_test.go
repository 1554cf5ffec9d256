package notifyauth

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func TestTokenBodies(t *testing.T) {
	object := encode(goodHeader)
	claims := encode(`{"iss":"x","iat":1453680000}`)
	for body, want := range map[string]bool{
		object + "." + claims:             true,
		object + ".":                      true,
		object + "." + claims + "\n":      true,
		" " + object + ".\r\n" + claims:   true,
		object + "==." + claims + "=":     true,
		encode("\uFEFF{}") + "." + claims: true,
		encode(" {\"alg\":1}") + ".x":     true,
		"e30." + claims:                   true,
		"e31.x":                           true, // spare bits
		strings.Replace(encode(`{"a":"??>"}`), "_", "/", 1) + ".x": true,
		object + "." + claims + "." + "sig":                        false, // a whole token
		object:                                                     false,
		"." + claims:                                               false,
		"":                                                         false,
		".":                                                        false,
		"YQ.YQ":                                                    false, // no object
		encode("[1]") + ".x":                                       false,
		encode(`{"a":`) + ".x":                                     false,
		smallBody:                                                  false,
		"to=1.x":                                                   false,
		"hello.world":                                              false,
		"a.b":                                                      false,
		object + "." + claims + "!":                                false,
	} {
		assert.Equal(t, want, isTokenBody([]byte(body)), body)
		for cut := range len(body) {
			require.Equal(t, want, isTokenBody([]byte(body[:cut]), []byte(body[cut:])), "%s at %d", body, cut)
		}
	}
}

// TestTokenBodyAttack is the attack that the rule is for: without it, pay of a
// lawfully signed body is the signature of a token that its author chose.
func TestTokenBodyAttack(t *testing.T) {
	claims := `{"iss":"` + testService + `","iat":1453680000,"req":"` + macOf(t, "GET /admin") + `"}`
	body := encode(goodHeader) + "." + encode(claims)
	_, err := Mint(MintRequest{Service: testService, Secret: testSecret, Method: "POST", Path: "/p", Body: []byte(body)})
	require.ErrorIs(t, err, ErrTokenBody)

	for _, contentLength := range []int64{int64(len(body)), -1} {
		r := httptest.NewRequest(http.MethodPost, "/p", strings.NewReader(body))
		r.ContentLength = contentLength
		r.Header.Set("Authorization", "Bearer "+forge(t, goodHeader,
			`{"iss":"`+testService+`","iat":1453680000,"req":"`+macOf(t, "POST /p")+`","pay":"`+macOf(t, body)+`"}`, testSecret))
		v := verifier(t, Config{})
		assert.Equal(t, CodeTokenBody, code(t, v, r))
		assert.Zero(t, v.budget.Used())
	}
}

func TestBudget(t *testing.T) {
	v := verifier(t, Config{MaxBody: 100 << 10, Buffers: NewBudget(150 << 10)})
	body := strings.Repeat("x", 100<<10)

	first := post(t, "/p", body)
	_, release, err := v.Authenticate(httptest.NewRecorder(), first, OriginalOf(first))
	require.NoError(t, err)
	assert.Equal(t, int64(100<<10), v.budget.Used())

	for _, length := range []int64{int64(len(body)), -1} {
		second := post(t, "/p", body)
		second.ContentLength = length
		w := httptest.NewRecorder()
		v.Middleware(new(seen)).ServeHTTP(w, second)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code)
		assert.Equal(t, "5", w.Header().Get("Retry-After"))
		assert.Equal(t, "close", w.Header().Get("Connection"))
		assert.Equal(t, int64(100<<10), v.budget.Used(), "a refusal keeps nothing")
	}
	// A request without a body needs no budget.
	assert.Empty(t, code(t, v, get(t, "/p")))

	got, err := io.ReadAll(first.Body)
	require.NoError(t, err)
	assert.Equal(t, body, string(got))
	release()
	release()
	assert.Zero(t, v.budget.Used())
	_, err = first.Body.Read(make([]byte, 1))
	require.ErrorIs(t, err, http.ErrBodyReadAfterClose)
	assert.Empty(t, code(t, v, post(t, "/p", body)))
}

// TestBudgetModel: whatever is reserved and freed, by whomever, the sum is
// right and never over the limit.
func TestBudgetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := rapid.Int64Range(0, 1000).Draw(t, "limit")
		b := NewBudget(limit)
		var held []int64
		var sum int64
		t.Repeat(map[string]func(*rapid.T){
			"reserve": func(t *rapid.T) {
				n := rapid.Int64Range(0, 400).Draw(t, "n")
				if ok := b.reserve(n); ok != (sum+n <= limit) {
					t.Fatalf("reserve(%d) = %v with %d of %d used", n, ok, sum, limit)
				} else if ok {
					held = append(held, n)
					sum += n
				}
			},
			"free": func(t *rapid.T) {
				if len(held) == 0 {
					t.Skip()
				}
				n := held[len(held)-1]
				held = held[:len(held)-1]
				b.free(n)
				sum -= n
			},
			"": func(t *rapid.T) {
				if b.Used() != sum {
					t.Fatalf("used %d, not %d", b.Used(), sum)
				}
			},
		})
	})
}

// TestBodiesModel sends bodies of any size in reads of any size and reads them
// back in any size.
func TestBodiesModel(t *testing.T) {
	v := verifier(t, Config{MaxBody: 300 << 10})
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 300<<10).Draw(rt, "size")
		body := bytes.Repeat([]byte{'x'}, size)
		for i := range body {
			body[i] = byte(i*7 + i>>8)
		}
		r := httptest.NewRequest(http.MethodPut, "/p", &dribble{data: body, most: rapid.IntRange(1, 90_000).Draw(rt, "read")})
		r.ContentLength = int64(size)
		if rapid.Bool().Draw(rt, "chunked") {
			r.ContentLength = -1
		}
		r.Header.Set("Authorization", "Bearer "+mint(t, MintRequest{Method: "PUT", Path: "/p", Body: body}))
		_, release, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
		if err != nil {
			rt.Fatal(err)
		}
		if used := v.budget.Used(); used < int64(size) || used > int64(size)+bigChunk {
			rt.Fatalf("%d bytes reserved for %d", used, size)
		}
		got, err := io.ReadAll(&dribble{r: r.Body, most: rapid.IntRange(1, 90_000).Draw(rt, "back")})
		if err != nil || !bytes.Equal(got, body) || r.ContentLength != int64(size) {
			rt.Fatalf("read back %d bytes: %v", len(got), err)
		}
		release()
		if v.budget.Used() != 0 {
			rt.Fatalf("%d bytes stay reserved", v.budget.Used())
		}
	})
}

// dribble reads at most so much at once.
type dribble struct {
	data []byte
	r    io.Reader
	most int
}

func (d *dribble) Read(p []byte) (int, error) {
	p = p[:min(len(p), d.most)]
	if d.r != nil {
		return d.r.Read(p)
	}
	if len(d.data) == 0 {
		return 0, io.EOF
	}
	n := copy(p, d.data)
	d.data = d.data[n:]
	return n, nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestBodyReadFaults(t *testing.T) {
	v := verifier(t, Config{})
	for _, c := range []struct {
		name   string
		body   io.Reader
		length int64
		want   Code
		status int
	}{
		{"too short", strings.NewReader(smallBody[1:]), 38, CodeBodyRead, 400},
		{"empty", strings.NewReader(""), 38, CodeBodyRead, 400},
		{"longer than announced: replaced by another handler", strings.NewReader(smallBody + "x"), 38, CodePay, 403},
		{"replaced by another handler", strings.NewReader(strings.ToUpper(smallBody)), 38, CodePay, 403},
		{"timeout", failing{os.ErrDeadlineExceeded}, 38, CodeBodyTimeout, 408},
		{"timeout, chunked", failing{os.ErrDeadlineExceeded}, -1, CodeBodyTimeout, 408},
		{"another handler's limit", failing{&http.MaxBytesError{Limit: 1}}, -1, CodeTooLarge, 413},
		{"reset", failing{errors.New("reset")}, -1, CodeBodyRead, 400},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := post(t, "/p", smallBody)
			r.Body = io.NopCloser(c.body)
			r.ContentLength = c.length
			_, _, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, c.want, e.Code)
			assert.Equal(t, c.status, e.Status)
			assert.True(t, e.CloseConnection || c.want == CodePay)
			assert.Zero(t, v.budget.Used())
		})
	}
}

// TestMemoryFollowsWhatArrived: a sender that announces much and sends little
// holds little.
func TestMemoryFollowsWhatArrived(t *testing.T) {
	b := &bufferedBody{budget: NewBudget(1 << 20), factor: 1}
	mac := decoy.begin()
	err := b.fill(io.MultiReader(strings.NewReader("x"), failing{os.ErrDeadlineExceeded}), 1<<20, 1<<20, mac)
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	held := 0
	for _, c := range b.chunks {
		held += cap(c.data)
	}
	assert.LessOrEqual(t, held, bigChunk)
	assert.Equal(t, int64(1<<20), b.budget.Used())
	b.release()
}

func TestReadRacesRelease(t *testing.T) {
	v := verifier(t, Config{})
	body := strings.Repeat("z", 300<<10)
	r := post(t, "/p", body)
	_, release, err := v.Authenticate(httptest.NewRecorder(), r, OriginalOf(r))
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		got, err := io.ReadAll(r.Body)
		if err == nil {
			assert.Equal(t, body, string(got))
		} else {
			assert.ErrorIs(t, err, http.ErrBodyReadAfterClose)
			assert.True(t, strings.HasPrefix(body, string(got)))
		}
	})
	wg.Go(release)
	wg.Wait()
	assert.Zero(t, v.budget.Used())
}

type memoryGuard struct {
	mu      sync.Mutex
	seen    map[string]time.Time
	err     error
	service string
}

func (g *memoryGuard) Remember(_ context.Context, serviceID string, key []byte, expires time.Time) (bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return false, g.err
	}
	g.service = serviceID
	if _, ok := g.seen[string(key)]; ok {
		return false, nil
	}
	g.seen[string(key)] = expires
	return true, nil
}

func TestReplay(t *testing.T) {
	guard := &memoryGuard{seen: map[string]time.Time{}}
	v := verifier(t, Config{Replay: guard})
	// Refused requests don't use a token up.
	wrong := post(t, "/p", smallBody)
	wrong.Body = io.NopCloser(strings.NewReader(strings.ToUpper(smallBody)))
	assert.Equal(t, CodePay, code(t, v, wrong))

	assert.Empty(t, code(t, v, post(t, "/p", smallBody)))
	again := post(t, "/p", smallBody)
	w := httptest.NewRecorder()
	v.Middleware(new(seen)).ServeHTTP(w, again)
	assert.Equal(t, http.StatusForbidden, w.Code)
	assert.JSONEq(t, `{"error":"Invalid token: replayed"}`, w.Body.String())
	assert.Zero(t, v.budget.Used())

	assert.Empty(t, code(t, v, get(t, "/p")))
	assert.Empty(t, code(t, v, get(t, "/p")), "safe methods may be repeated")
	require.Len(t, guard.seen, 1)
	assert.Equal(t, testService, guard.service)
	for _, expires := range guard.seen {
		assert.Equal(t, int64(testNow+61), expires.Unix())
	}

	guard.err = errors.New("away")
	assert.Equal(t, CodeUnavailable, code(t, v, post(t, "/q", smallBody)))
	assert.Zero(t, v.budget.Used())
}
