//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sameKey sends a request with one Idempotency-Key from many callers at once and
// returns how many were told 201, and with which ids.
func sameKey(t testing.TB, key string, clients ...*v2Client) (created int, ids map[any]bool) {
	t.Helper()
	const callers = 16
	body := marshal(t, object{"phone_number": "07723456789", "template_id": smsTemplate, "personalisation": object{"name": key}})
	answers := make([]answer, callers)
	start := make(chan struct{})
	var running sync.WaitGroup
	for i := range callers {
		c := clients[i%len(clients)]
		running.Go(func() {
			<-start
			var err error
			answers[i], err = c.do(http.MethodPost, "/v2/notifications/sms", body, "Idempotency-Key", key)
			assert.NoError(t, err)
		})
	}
	close(start)
	running.Wait()
	ids = make(map[any]bool)
	fresh := 0
	for _, a := range answers {
		switch a.status {
		case http.StatusCreated:
			created++
			ids[a.object(t)["id"]] = true
			if a.header.Get("Idempotent-Replayed") == "" {
				fresh++
			}
		case http.StatusConflict:
			assert.Equal(t, faults(http.StatusConflict, "IdempotencyKeyError",
				"A request with this Idempotency-Key is still being processed, try again"), a.object(t))
		default:
			assert.Fail(t, "unexpected", "%d %s", a.status, a.body)
		}
	}
	assert.Equal(t, 1, fresh, "of those that were answered 201 one is the first")
	return created, ids
}

func TestV2Idempotency(t *testing.T) {
	t.Parallel()
	st := newV2Stage(t, nil)
	for round := range 10 {
		key := fmt.Sprint("round-", round)
		_, ids := sameKey(t, key, st.v2)
		assert.Len(t, ids, 1)
		// Later it is answered byte for byte.
		body := marshal(t, object{"phone_number": "07723456789", "template_id": smsTemplate, "personalisation": object{"name": key}})
		var bodies [2]string
		for i := range bodies {
			a, err := st.v2.do(http.MethodPost, "/v2/notifications/sms", body, "Idempotency-Key", key)
			require.NoError(t, err)
			assert.Equal(t, http.StatusCreated, a.status)
			assert.Equal(t, "true", a.header.Get("Idempotent-Replayed"))
			bodies[i] = string(a.body)
			ids[a.object(t)["id"]] = true
		}
		assert.Equal(t, bodies[0], bodies[1])
		assert.Len(t, ids, 1)
	}
	other := object{"phone_number": "07723456789", "template_id": smsTemplate, "personalisation": object{"name": "other"}}
	assert.Equal(t, faults(http.StatusUnprocessableEntity, "IdempotencyKeyError", "This Idempotency-Key was used with another request"),
		st.v2.must(t, http.StatusUnprocessableEntity, http.MethodPost, "/v2/notifications/sms", other, "Idempotency-Key", "round-0"))
	assert.Len(t, objects(t, st.v2.get(t, "/v2/notifications")["notifications"]), 10)
	// Without the header each request is its own.
	assert.NotEqual(t, st.v2.send(t, "07723456789", nil), st.v2.send(t, "07723456789", nil))
	eventually(t, patience, func() (bool, string) {
		return len(st.stand.got()) == 12, fmt.Sprintf("the provider got %d calls, not 12", len(st.stand.got()))
	})
}

func TestV2Limits(t *testing.T) {
	t.Parallel()
	st := newV2Stage(t, func(_ *v2Stage, c *config) { c.api = "rate_limit 3\n\t\tdaily_limit 5" })
	body := object{"phone_number": guestNumber, "template_id": smsTemplate, "personalisation": object{"name": "x"}}
	for secret, word := range map[string]string{secretOne: "LIVE", secretTeam: "TEAM", secretTest: "TEST"} {
		c := st.v2.as(secret)
		eventually(t, patience, func() (bool, string) { // the bucket fills meanwhile
			a, err := c.do(http.MethodPost, "/v2/notifications/sms", marshal(t, body))
			require.NoError(t, err)
			if a.status == http.StatusCreated {
				return false, "the rate is never exceeded"
			}
			if fault := objects(t, a.object(t)["errors"])[0]; fault["error"] == "TooManyRequestsError" {
				assert.Equal(t, faults(http.StatusTooManyRequests, "TooManyRequestsError", "Exceeded send limits (sms: 5) for today"), a.object(t))
				return false, "the rate is never exceeded"
			}
			assert.Equal(t, http.StatusTooManyRequests, a.status)
			assert.Equal(t, faults(http.StatusTooManyRequests, "RateLimitError",
				"Exceeded rate limit for key type "+word+" of 3 requests per 60 seconds"), a.object(t))
			assert.Empty(t, a.header.Get("Retry-After"))
			return true, ""
		})
	}
}

func TestV2DailyLimit(t *testing.T) {
	t.Parallel()
	st := newV2Stage(t, func(_ *v2Stage, c *config) { c.api = "rate_limit 0\n\t\tdaily_limit 5" })
	statuses := make(map[int]int)
	for i := range 8 {
		a, err := st.v2.do(http.MethodPost, "/v2/notifications/sms", marshal(t, object{
			"phone_number": "07723456789", "template_id": smsTemplate, "personalisation": object{"name": fmt.Sprint(i)},
		}))
		require.NoError(t, err)
		statuses[a.status]++
		if a.status != http.StatusCreated {
			assert.Equal(t, faults(http.StatusTooManyRequests, "TooManyRequestsError", "Exceeded send limits (sms: 5) for today"), a.object(t))
			assert.Empty(t, a.header.Get("Retry-After"))
		}
	}
	assert.Equal(t, map[int]int{http.StatusCreated: 5, http.StatusTooManyRequests: 3}, statuses)
}

// Team keys, and all but test keys of a service on trial, send to the guests.
func TestV2Guests(t *testing.T) {
	t.Parallel()
	const team = "Can’t send to this recipient using a team-only API key"
	const trial = "Can’t send to this recipient when service is in trial mode – see https://www.notifications.service.gov.uk/trial-mode"
	for name, texts := range map[string]map[string]string{
		"":      {secretTeam: team},
		"trial": {secretTeam: team, secretOne: trial},
	} {
		t.Run("service on "+name, func(t *testing.T) {
			t.Parallel()
			st := newV2Stage(t, func(_ *v2Stage, c *config) { c.service += "\n\t\t\t" + name })
			for _, secret := range []string{secretOne, secretTeam, secretTest} {
				c := st.v2.as(secret)
				for _, to := range []object{
					{"phone_number": "(07700) 900-999"}, {"phone_number": "07723456789"},
					{"email_address": "Guest@Example.org"}, {"email_address": "stranger@example.org"},
				} {
					kind, guest := "email", to["email_address"] == "Guest@Example.org"
					body := object{"template_id": emailTemplate, "personalisation": object{"name": "x", "things": "y"}}
					if _, sms := to["phone_number"]; sms {
						kind, guest = "sms", to["phone_number"] != "07723456789"
						body["template_id"] = smsTemplate
					}
					for name, value := range to {
						body[name] = value
					}
					if text := texts[secret]; text != "" && !guest {
						assert.Equal(t, bad(text), c.must(t, http.StatusBadRequest, http.MethodPost, "/v2/notifications/"+kind, body))
					} else {
						c.must(t, http.StatusCreated, http.MethodPost, "/v2/notifications/"+kind, body)
					}
				}
			}
		})
	}
}
