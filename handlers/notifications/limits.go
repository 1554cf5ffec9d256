package notifications

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// maxBurst bounds the bucket of the rate limit, as Notify does.
const maxBurst = 1000

// bucket is the rate limit of a service and key type: a third of a minute's
// requests at once, then the rate itself.
func (a *API) bucket(id notifyauth.Identity) storage.Bucket {
	limit := float64(a.config.RateLimit)
	return storage.Bucket{
		Key:       "rate/" + id.ServiceID + "/" + string(keyType(id)),
		Capacity:  min(math.Ceil(limit/3)+1, maxBurst),
		PerSecond: limit / 60,
	}
}

// take takes one request from the rate limit. giveBack, which is never nil,
// returns it, for a request that turns out to be a repetition.
func (a *API) take(ctx context.Context, r *http.Request, id notifyauth.Identity) (giveBack func(), ref *refusal) {
	giveBack = func() {}
	if a.config.RateLimit < 0 {
		return giveBack, nil
	}
	b := a.bucket(id)
	wait, err := a.config.Store.Take(ctx, b, a.config.Now())
	switch {
	case err != nil:
		return giveBack, technical(r, err)
	case wait > 0:
		return giveBack, &refusal{
			status: http.StatusTooManyRequests, code: codeRateLimited, retryAfter: wait,
			text: fmt.Sprintf("Exceeded rate limit for key type %s of %d requests per 60 seconds", keyTypeWord(id), a.config.RateLimit),
		}
	}
	return func() {
		if err := a.config.Store.GiveBack(ctx, b, a.config.Now()); err != nil {
			a.config.Logger.WarnContext(ctx, "rate limit: could not give a request back", "service_id", id.ServiceID, "error", err)
		}
	}, nil
}

// trialDailyLimit is how many notifications a service in trial may send a day by
// each channel.
const trialDailyLimit = 50

// daily are the daily limits of a service and channel. Test keys have nothing to
// do with the trial.
func (a *API) daily(id notifyauth.Identity, channel storage.Channel, trial bool, now time.Time) []storage.Limit {
	var limits []storage.Limit
	limit := func(name string, most int64) {
		limits = append(limits, storage.Limit{
			Key:       name + "/" + id.ServiceID + "/" + string(channel) + "/" + now.UTC().Format(time.DateOnly),
			Max:       most,
			ExpiresAt: nextDay(now).Add(time.Hour), // clocks of several nodes differ
		})
	}
	if trial && keyType(id) != storage.KeyTest {
		limit("trial", trialDailyLimit)
	}
	if a.config.DailyLimit >= 0 {
		limit("daily", a.config.DailyLimit)
	}
	return limits
}

// reached says which of the limits has been reached already. Whether one is
// passed is decided when a notification is stored; this look refuses earlier
// what has no chance.
func (a *API) reached(ctx context.Context, r *http.Request, channel storage.Channel, limits []storage.Limit, now time.Time) *refusal {
	for _, l := range limits {
		n, err := a.config.Store.Counter(ctx, l.Key)
		switch {
		case err != nil:
			return technical(r, err)
		case n >= l.Max:
			return dailyRefusal(channel, l.Max, now)
		}
	}
	return nil
}

func dailyRefusal(channel storage.Channel, most int64, now time.Time) *refusal {
	return &refusal{
		status: http.StatusTooManyRequests, code: codeDailyLimit, retryAfter: nextDay(now).Sub(now),
		text:   fmt.Sprintf("Exceeded send limits (%d) for today", most),
		errors: []v2Error{{errorTooMany, fmt.Sprintf("Exceeded send limits (%s: %d) for today", channel, most)}},
	}
}

func nextDay(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, time.UTC)
}

func keyType(id notifyauth.Identity) storage.KeyType {
	if t := storage.KeyType(id.KeyType); t == storage.KeyTeam || t == storage.KeyTest {
		return t
	}
	return storage.KeyNormal
}

// keyTypeWord is Notify's word for a key type in the rate limit's text.
func keyTypeWord(id notifyauth.Identity) string {
	switch keyType(id) {
	case storage.KeyTeam:
		return "TEAM"
	case storage.KeyTest:
		return "TEST"
	case storage.KeyNormal:
	}
	return "LIVE"
}
