//go:build linux

package e2e

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// identity is as whom requests are signed.
type identity struct{ service, secret string }

var configured = identity{serviceID, secretOne}

// sign returns the value of the Authorization header. path is what is signed.
func (id identity) sign(method, path string, body []byte) (string, error) {
	token, err := notifyauth.Mint(notifyauth.MintRequest{
		Service: id.service, Secret: id.secret, Method: method, Path: path, Body: body,
	})
	return "Bearer " + token, err
}

// notification is the object of the signed dialect.
type notification struct {
	ID          int64  `json:"id"`
	To          string `json:"to"`
	Message     string `json:"message"`
	CreatedAt   string `json:"createdAt"`
	SentAt      string `json:"sentAt"`
	DeliveredAt string `json:"deliveredAt"`
	Status      string `json:"status"`
	Method      string `json:"method"`
	JobID       int64  `json:"jobId"`
	Sender      string `json:"sender"`
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) notification(t testing.TB) notification {
	t.Helper()
	n, err := parseNotification(a.body)
	require.NoError(t, err, "%d %s", a.status, a.body)
	return n
}

func parseNotification(body []byte) (notification, error) {
	var out struct{ Notification *notification }
	if err := json.Unmarshal(body, &out); err != nil {
		return notification{}, err
	}
	if out.Notification == nil {
		return notification{}, fmt.Errorf("not a notification: %s", body)
	}
	return *out.Notification, nil
}

// client calls an API with signed requests.
type client struct {
	identity

	base string
	http *http.Client
}

func newClient(t testing.TB, base string) *client {
	t.Helper()
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // a certificate of the test's own server
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{identity: configured, base: base, http: &http.Client{Transport: transport, Timeout: patience}}
}

func (c *client) do(method, path string, body []byte) (answer, error) {
	u, err := url.Parse(path)
	if err != nil {
		return answer{}, err
	}
	authorization, err := c.sign(method, u.EscapedPath(), body)
	if err != nil {
		return answer{}, err
	}
	return c.doAs(authorization, method, path, body)
}

// doAs sends a request with any value of the Authorization header; header holds
// names and values of others in turn.
func (c *client) doAs(authorization, method, path string, body []byte, header ...string) (answer, error) {
	req, err := http.NewRequest(method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	if len(body) > 0 {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, b}, err
}

func (c *client) must(t testing.TB, status int, method, path string, body []byte) answer {
	t.Helper()
	a, err := c.do(method, path, body)
	require.NoError(t, err)
	require.Equal(t, status, a.status, "%s %s: %s", method, path, a.body)
	return a
}

// smsBody asks for template 1 with a code that tests recognise.
func smsBody(code string) []byte {
	return fmt.Appendf(nil, `{"to":"+447723456789","template":1,"personalisation":{"code":%q}}`, code)
}

const messageStart = "Your code is "

// send creates a notification.
func (c *client) send(t testing.TB, code string) notification {
	t.Helper()
	return c.must(t, http.StatusCreated, http.MethodPost, "/notifications/sms", smsBody(code)).notification(t)
}

func (c *client) get(t testing.TB, id int64) notification {
	t.Helper()
	return c.must(t, http.StatusOK, http.MethodGet, fmt.Sprintf("/notifications/%d", id), nil).notification(t)
}

// await polls until a notification has a status.
func (c *client) await(t testing.TB, id int64, status string) (n notification) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		n = c.get(t, id)
		return n.Status == status, fmt.Sprintf("notification %d is %q, not %q", id, n.Status, status)
	})
	return n
}

// page is one page of a list.
type page struct {
	Notifications []notification
	Total         int
	Links         struct{ Next string }
}

func (c *client) list(t testing.TB, path string) (p page) {
	t.Helper()
	a := c.must(t, http.StatusOK, http.MethodGet, path, nil)
	require.NoError(t, json.Unmarshal(a.body, &p))
	return p
}

// all follows the links of the list and returns every notification by id.
func (c *client) all(t testing.TB) map[int64]notification {
	t.Helper()
	out := make(map[int64]notification)
	for path := "/notifications"; path != ""; {
		p := c.list(t, path)
		for _, n := range p.Notifications {
			out[n.ID] = n
		}
		path = p.Links.Next
	}
	return out
}

// awaitDelivered polls until every notification is delivered.
func (c *client) awaitDelivered(t testing.TB, within time.Duration) {
	t.Helper()
	eventually(t, within, func() (bool, string) {
		all := c.list(t, "/notifications").Total
		delivered := c.list(t, "/notifications?status=delivered").Total
		return all == delivered, fmt.Sprintf("%d of %d notifications are delivered", delivered, all)
	})
}
