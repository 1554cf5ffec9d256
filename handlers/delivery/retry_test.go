package delivery

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"
)

func TestRetryPauses(t *testing.T) {
	r := Retry{}.withDefaults()
	for attempts, want := range map[int]time.Duration{
		1: 5 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second, 6: 160 * time.Second,
		7: 5 * time.Minute, 8: 5 * time.Minute, 1000: 5 * time.Minute, 1 << 40: 5 * time.Minute,
	} {
		assert.Equal(t, want, r.pause(attempts), attempts)
	}
	assert.Equal(t, lateAttempts, r.enough())
	assert.Equal(t, 3, Retry{Budget: 10 * time.Second}.withDefaults().enough())
	assert.Equal(t, 2, Retry{Budget: time.Second}.withDefaults().enough())
}

func TestRetryNext(t *testing.T) {
	created := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	r := Retry{}.withDefaults()
	for name, tc := range map[string]struct {
		attempts   int
		age        time.Duration
		retryAfter time.Duration
		random     float64
		want       time.Duration // after now; negative: over
	}{
		"first, shortest":            {1, 0, 0, 0, 2500 * time.Millisecond},
		"first, mean":                {1, 0, 0, 0.5, 5 * time.Second},
		"asked for a minute":         {1, 0, time.Minute, 0, time.Minute},
		"asked for a minute, spread": {1, 0, time.Minute, 0.8, 72 * time.Second},
		"asked for less than first":  {9, time.Hour, time.Second, 0, 5 * time.Second},
		"asked for a week":           {1, 0, 7 * 24 * time.Hour, 0, time.Hour},
		"asked beyond the budget":    {9, 4*time.Hour - time.Minute, 10 * time.Minute, 0, 10 * time.Minute},
		"last before the end":        {50, 4*time.Hour - time.Minute, 0, 0.5, time.Minute},
		"at the end":                 {50, 4 * time.Hour, 0, 0.5, -1},
		"at the end, asked":          {50, 4 * time.Hour, time.Minute, 0.5, -1},
		"began late":                 {1, 5 * time.Hour, 0, 0.5, 5 * time.Second},
		"began late, enough":         {lateAttempts, 5 * time.Hour, 0, 0.5, -1},
	} {
		t.Run(name, func(t *testing.T) {
			now := created.Add(tc.age)
			at, giveUp := r.next(tc.attempts, created, now, tc.retryAfter, tc.random)
			assert.Equal(t, tc.want < 0, giveUp)
			if !giveUp {
				assert.Equal(t, tc.want, at.Sub(now))
			}
		})
	}
}

func TestRetryProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seconds := func(name string, lo, hi int) time.Duration {
			return time.Duration(rapid.IntRange(lo, hi).Draw(t, name)) * time.Second
		}
		r := Retry{Initial: seconds("initial", 1, 60), Budget: seconds("budget", 1, 100_000)}.withDefaults()
		r.Max = r.Initial + seconds("max", 0, 600)
		if err := r.validate(); err != nil {
			t.Fatal(err)
		}
		created := time.Unix(1_700_000_000, 0)
		now := created.Add(seconds("late", 0, 100_000))
		// A life of failures: it ends, not before its time, and never in a rush.
		for attempts := 1; ; attempts++ {
			if attempts > 200_000 {
				t.Fatal("it never ends")
			}
			var asked time.Duration
			if rapid.IntRange(0, 9).Draw(t, "asks") == 0 {
				asked = seconds("asked", 1, 10_000)
			}
			at, giveUp := r.next(attempts, created, now, asked, rapid.Float64Range(0, 0.999).Draw(t, "random"))
			if giveUp {
				if now.Sub(created) < r.Budget {
					t.Fatalf("given up after %s of %s", now.Sub(created), r.Budget)
				}
				if attempts < r.enough() {
					t.Fatalf("given up after %d attempts", attempts)
				}
				return
			}
			pause := at.Sub(now)
			switch end := created.Add(r.Budget); {
			case asked > 0 && pause < min(asked, r.MaxRetryAfter):
				t.Fatalf("asked for %s, comes after %s", asked, pause)
			case asked == 0 && pause < r.Initial/2 && !at.Equal(end):
				t.Fatalf("pause of %s", pause)
			case pause > max(r.Max*3/2, r.MaxRetryAfter*5/4):
				t.Fatalf("pause of %s", pause)
			}
			now = at
		}
	})
}
