package delivery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// circuit is a breaker with a clock, and what it has announced.
type circuit struct {
	*breaker
	at      time.Time
	changes []BreakerState
}

func newCircuit(p Breaker) *circuit {
	c := &circuit{at: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	c.breaker = newBreaker(p.withDefaults(), func() time.Time { return c.at }, func(to BreakerState) { c.changes = append(c.changes, to) })
	return c
}

func (c *circuit) call(t require.TestingT, v verdict) {
	p, ok := c.allow()
	require.True(t, ok)
	c.report(p, v)
}

func TestBreaker(t *testing.T) {
	c := newCircuit(Breaker{Probes: 2})
	for range 4 {
		c.call(t, fails)
	}
	c.call(t, works)
	for range 4 {
		c.call(t, fails)
	}
	c.call(t, noVerdict)
	stale, _ := c.allow()
	assert.Equal(t, ProviderStats{Name: "a", State: BreakerClosed, Failures: 4, Since: c.at}, c.stats("a"))
	opened := c.at
	c.call(t, fails)
	assert.Equal(t, ProviderStats{Name: "a", State: BreakerOpen, Failures: 5, Since: opened}, c.stats("a"))
	c.report(stale, works)
	c.at = c.at.Add(30*time.Second - 1)
	assert.False(t, c.ready())
	_, ok := c.allow()
	assert.False(t, ok, "open, and a success from before doesn't count")

	c.at = c.at.Add(1)
	assert.Equal(t, BreakerHalfOpen, c.stats("a").State)
	probe, ok := c.allow()
	require.True(t, ok)
	assert.False(t, c.ready())
	_, ok = c.allow()
	assert.False(t, ok, "one at a time")
	c.report(probe, noVerdict)
	c.call(t, works)
	assert.Equal(t, BreakerHalfOpen, c.stats("a").State)
	c.call(t, fails)
	assert.Equal(t, BreakerOpen, c.stats("a").State)

	c.at = c.at.Add(30 * time.Second)
	c.call(t, works)
	c.call(t, works)
	assert.Equal(t, BreakerClosed, c.stats("a").State)
	assert.Equal(t, []BreakerState{BreakerOpen, BreakerClosed}, c.changes, "a failed probe is no news")

	// A forced call that succeeds is as good as a probe.
	c = newCircuit(Breaker{Failures: 1})
	c.call(t, fails)
	c.report(c.force(), fails)
	assert.Equal(t, BreakerOpen, c.stats("a").State)
	c.report(c.force(), works)
	assert.Equal(t, BreakerClosed, c.stats("a").State)
}

// TestBreakerProperty compares a breaker with what its policy says, whatever
// the order of calls, their ends and time.
func TestBreakerProperty(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		policy := Breaker{
			Failures: rapid.IntRange(1, 4).Draw(rt, "failures"),
			Probes:   rapid.IntRange(1, 3).Draw(rt, "probes"),
			OpenFor:  time.Minute,
		}
		c := newCircuit(policy)
		var (
			open      bool
			since     = c.at
			inRow     int
			successes int
			epoch     int
			out       []pass
			epochs    []int
			probes    = map[int]bool{} // of out, by index
			done      = map[int]bool{}
		)
		half := func() bool { return open && c.at.Sub(since) >= time.Minute }
		probing := func() bool {
			for i := range out {
				if probes[i] && !done[i] && epochs[i] == epoch {
					return true
				}
			}
			return false
		}
		note := func(p pass, probe bool) {
			probes[len(out)] = probe
			out, epochs = append(out, p), append(epochs, epoch)
		}
		rt.Repeat(map[string]func(*rapid.T){
			"wait": func(rt *rapid.T) {
				c.at = c.at.Add(rapid.SampledFrom([]time.Duration{time.Second, 30 * time.Second, time.Minute}).Draw(rt, "time"))
			},
			"call": func(rt *rapid.T) {
				p, ok := c.allow()
				require.Equal(rt, !open || half() && !probing(), ok)
				if ok {
					note(p, open)
				}
			},
			"force": func(*rapid.T) { note(c.force(), false) },
			"end": func(rt *rapid.T) {
				if len(out) == 0 {
					rt.Skip("no call was permitted")
				}
				i := rapid.IntRange(0, len(out)-1).Draw(rt, "which")
				if done[i] {
					rt.Skip("it has ended")
				}
				v := rapid.SampledFrom([]verdict{noVerdict, works, fails}).Draw(rt, "verdict")
				c.report(out[i], v)
				done[i] = true
				if epochs[i] != epoch {
					return
				}
				was := epoch
				switch v {
				case works:
					inRow = 0
					if successes++; open && successes >= policy.Probes {
						open, epoch = false, epoch+1
					}
				case fails:
					inRow++
					if successes = 0; half() || !open && inRow >= policy.Failures {
						open, epoch = true, epoch+1
					}
				case noVerdict:
				}
				if epoch != was {
					since, successes = c.at, 0
				}
			},
			"": func(rt *rapid.T) {
				want := BreakerClosed
				switch {
				case half():
					want = BreakerHalfOpen
				case open:
					want = BreakerOpen
				}
				require.Equal(rt, ProviderStats{Name: "x", State: want, Failures: inRow, Since: since}, c.stats("x"))
				require.Equal(rt, !open || half() && !probing(), c.ready())
			},
		})
	})
}
