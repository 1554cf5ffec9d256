//go:build linux

package e2e

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // G505: Twilio's signature is an HMAC of it
	"encoding/base64"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The preset twilio, from the request to the signed status callback.
func TestTwilio(t *testing.T) {
	t.Parallel()
	const sid, token = "AC00000000000000000000000000000001", "0f0e0d0c0b0a09080706050403020100"
	port := freePort(t)
	callback := plainURL(port) + "/receipts/twilio"
	forms := make(chan url.Values, 1)
	stand := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		assert.Equal(t, [3]string{"/2010-04-01/Accounts/" + sid + "/Messages.json", sid, token}, [3]string{r.URL.Path, user, password})
		assert.NoError(t, r.ParseForm())
		forms <- r.PostForm
		w.WriteHeader(http.StatusCreated)
		fmt.Fprint(w, `{"sid":"SM0123456789abcdef0123456789abcdef","status":"queued","error_code":null}`)
	}))
	t.Cleanup(stand.Close)
	s := newServer(t)
	s.env = append(s.env, "TWILIO_TOKEN="+token)
	s.start(t, config{port: port, signpost: fmt.Sprintf(`delivery sms webhook {
			name twilio
			preset twilio
			url %s
			username %s
			password {env.TWILIO_TOKEN}
			from +447700900000
			status_callback %s
		}`, stand.URL, sid, callback)}.String())
	c := newClient(t, plainURL(port))
	n := c.send(t, "314")
	assert.Equal(t, url.Values{
		"To": {"+447723456789"}, "From": {"+447700900000"}, "Body": {messageStart + "314"}, "StatusCallback": {callback},
	}, <-forms)
	c.await(t, n.ID, "sent")

	report := func(status, key string) int {
		form := url.Values{"MessageSid": {"SM0123456789abcdef0123456789abcdef"}, "MessageStatus": {status}, "AccountSid": {sid}}
		var signed strings.Builder
		signed.WriteString(callback)
		for _, name := range slices.Sorted(maps.Keys(form)) {
			signed.WriteString(name + form.Get(name))
		}
		mac := hmac.New(sha1.New, []byte(key))
		mac.Write([]byte(signed.String()))
		req, err := http.NewRequest(http.MethodPost, callback, strings.NewReader(form.Encode()))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if key != "" {
			req.Header.Set("X-Twilio-Signature", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
		}
		resp, err := c.http.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	assert.Equal(t, http.StatusForbidden, report("delivered", ""))
	assert.Equal(t, http.StatusForbidden, report("delivered", secretOne))
	assert.Equal(t, "sent", c.get(t, n.ID).Status)
	assert.Equal(t, http.StatusNoContent, report("delivered", token))
	assert.Equal(t, "delivered", c.get(t, n.ID).Status)
}
