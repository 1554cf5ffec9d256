package delivery

import (
	"errors"
	"time"
)

// Retry is the policy for failed attempts. The zero value means the defaults.
//
// The n-th failure is followed by a pause of Initial doubled n-1 times, at most
// Max, times a random factor of 0.5 to 1.5, so that the notifications of one
// outage don't come back in one crowd. (The state lives in storage, as the
// number of attempts, hence no back-off object.)
type Retry struct {
	// Initial is the mean pause after the first failure; default 5 s.
	Initial time.Duration
	// Max bounds the mean pause; default 5 min.
	Max time.Duration
	// Budget is how long after its creation, or the time that it was scheduled
	// for, a notification is tried; default 4 h. A notification whose first attempts came late, because the process
	// was down, still gets the attempts of about the first ten minutes.
	Budget time.Duration
	// MaxRetryAfter bounds what a provider may ask for by Retry-After; default
	// 1 h. Shorter wishes than Initial are rounded up to it.
	MaxRetryAfter time.Duration
}

// lateAttempts is how many attempts a notification gets even when its budget
// has run out before the first.
const lateAttempts = 8

func (r Retry) withDefaults() Retry {
	if r.Initial == 0 {
		r.Initial = 5 * time.Second
	}
	if r.Max == 0 {
		r.Max = max(5*time.Minute, r.Initial)
	}
	if r.Budget == 0 {
		r.Budget = 4 * time.Hour
	}
	if r.MaxRetryAfter == 0 {
		r.MaxRetryAfter = max(time.Hour, r.Initial)
	}
	return r
}

func (r Retry) validate() error {
	switch {
	case r.Initial < 0, r.Max < 0, r.Budget < 0, r.MaxRetryAfter < 0:
		return errors.New("delivery: the times of the retry policy must not be negative")
	case r.Max < r.Initial:
		return errors.New("delivery: the longest pause between attempts is shorter than the first")
	case r.MaxRetryAfter < r.Initial:
		return errors.New("delivery: the bound of Retry-After is shorter than the first pause between attempts")
	}
	return nil
}

// pause is the mean pause after that many attempts.
func (r Retry) pause(attempts int) time.Duration {
	d := r.Initial
	for range attempts - 1 {
		if d >= r.Max/2 {
			return r.Max
		}
		d *= 2
	}
	return min(d, r.Max)
}

// enough is the number of attempts without which nothing is given up: those
// that fit into the budget, at most lateAttempts.
func (r Retry) enough() int {
	n := 1
	for sum := time.Duration(0); n < lateAttempts && sum < r.Budget; n++ {
		sum += r.pause(n)
	}
	return n
}

// next returns when to try again after a failure, or that it is over. due is
// when the first attempt was to be made, random is in [0, 1).
func (r Retry) next(attempts int, due, now time.Time, retryAfter time.Duration, random float64) (at time.Time, giveUp bool) {
	end := due.Add(r.Budget)
	if !now.Before(end) && attempts >= r.enough() {
		return time.Time{}, true
	}
	if retryAfter > 0 {
		// Spread upwards only: the provider asked not to be called before.
		d := min(max(retryAfter, r.Initial), r.MaxRetryAfter)
		return now.Add(d + time.Duration(random*float64(d)/4)), false
	}
	at = now.Add(time.Duration((0.5 + random) * float64(r.pause(attempts))))
	if now.Before(end) && at.After(end) {
		at = end
	}
	return at, false
}
