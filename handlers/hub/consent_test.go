package hub

import (
	"context"
	"errors"
	"html"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// pageFixture is a hub that asks on pages, and a browser that opens them.
type pageFixture struct {
	*fixture
	opened chan string
}

func newPageFixture(t *testing.T, change func(*Config)) *pageFixture {
	t.Helper()
	p := &pageFixture{opened: make(chan string, 4)}
	p.fixture = newFixture(t, func(c *Config) {
		consent, err := NewPageConsent(func(_ context.Context, url string) error {
			p.opened <- url
			return nil
		})
		require.NoError(t, err)
		c.Consent = consent
		if change != nil {
			change(c)
		}
	})
	return p
}

// start sends a request whose answer comes when the user has answered.
func (p *pageFixture) start(c call) (page string, result chan *answer) {
	p.tb.Helper()
	result = make(chan *answer, 1)
	ctx := context.WithoutCancel(p.tb.Context())
	r := p.request(ctx, c)
	go func() {
		response, err := p.client.Do(r)
		if !assert.NoError(p.tb, err) {
			close(result)
			return
		}
		_ = response.Body.Close()
		result <- &answer{Response: response}
	}()
	select {
	case opened := <-p.opened:
		return strings.TrimPrefix(opened, p.server.URL), result
	case <-time.After(10 * time.Second):
		require.Fail(p.tb, "no page was opened")
		return "", nil
	}
}

func (p *pageFixture) startSign(changes map[string]any) (page string, result chan *answer) {
	p.tb.Helper()
	return p.start(call{method: http.MethodPost, path: "/hub/v1/sign", body: signBody(p.token(changes))})
}

// view is what a browser shows: a navigation has no Origin.
func (p *pageFixture) view(page string) *answer {
	p.tb.Helper()
	return p.do(call{path: page, header: map[string]string{"Origin": "-"}})
}

var stepField = regexp.MustCompile(`name="step" value="(\d+)"`)

// post sends the page's form, as a browser does; fields without step get that
// of the page.
func (p *pageFixture) post(page string, fields url.Values, header map[string]string) *answer {
	p.tb.Helper()
	if !fields.Has("step") {
		if found := stepField.FindStringSubmatch(p.view(page).body); found != nil {
			fields.Set("step", found[1])
		}
	}
	all := map[string]string{"Origin": p.server.URL, "Sec-Fetch-Site": "same-origin", "Content-Type": typeForm}
	for name, value := range header {
		all[name] = value
	}
	return p.do(call{method: http.MethodPost, path: page, body: fields.Encode(), header: all})
}

func (p *pageFixture) state(page string) string {
	p.tb.Helper()
	found := regexp.MustCompile(`data-state="(\w+)"`).FindStringSubmatch(p.view(page).body)
	require.NotNil(p.tb, found)
	return found[1]
}

// awaitState polls, as the page does by its refresh.
func (p *pageFixture) awaitState(page, state string) {
	p.tb.Helper()
	require.Eventually(p.tb, func() bool { return p.state(page) == state }, 10*time.Second, time.Millisecond)
}

func approve() url.Values { return url.Values{"decision": {"approve"}} }

func TestConsentPage(t *testing.T) {
	p := newPageFixture(t, nil)
	documents := append(payloads(),
		map[string]any{"id": "<b>", "payload": "PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==", "display": "Aspirin <i>"}, // <script>alert(1)</script>
		map[string]any{"id": "x\u202e", "payload": "AAEC"},
	)
	page, result := p.startSign(map[string]any{"payloads": documents, "iss": "client <1>"})
	assert.Regexp(t, `^/consent/[A-Z2-7]{52}$`, page)

	a := p.view(page)
	require.Equal(t, http.StatusOK, a.StatusCode)
	assert.Equal(t, "text/html; charset=utf-8", a.Header.Get("Content-Type"))
	policy := a.Header.Get("Content-Security-Policy")
	assert.Contains(t, policy, "default-src 'none'")
	assert.Contains(t, policy, "frame-ancestors 'none'")
	assert.Equal(t, "DENY", a.Header.Get("X-Frame-Options"))
	assert.Equal(t, "no-store", a.Header.Get("Cache-Control"))
	assert.Equal(t, "same-origin", a.Header.Get("Referrer-Policy"))
	assert.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
	text := html.UnescapeString(a.body)
	for _, want := range []string{
		"Sign 4 documents?", site, "client <1>", subject, "<SignedInfo>a</SignedInfo>", "<SignedInfo>b</SignedInfo>", "Aspirin <i>",
		subject + "_TEST", "Test CA", "<script>alert(1)</script>", "00 01 02", ">U+202E</span>", "1. <bdi>a</bdi>",
	} {
		assert.Contains(t, text, want)
	}
	assert.NotContains(t, a.body, "<script")
	assert.NotContains(t, a.body, "<i>")
	assert.NotContains(t, a.body, "\u202e")
	assert.NotContains(t, a.body, `name="pin"`, "no PIN is needed")

	calls, _ := p.signer.count()
	assert.Zero(t, calls)
	a = p.post(page, approve(), nil)
	assert.Equal(t, http.StatusSeeOther, a.StatusCode)
	assert.Equal(t, page, a.Header.Get("Location"))
	assert.Equal(t, http.StatusOK, (<-result).StatusCode)

	a = p.view(page)
	assert.Equal(t, http.StatusGone, a.StatusCode)
	assert.Contains(t, a.body, "Signed")
	assert.NotContains(t, a.body, "SignedInfo")
	p.clock.add(lingering + time.Second)
	a = p.view(page)
	assert.Equal(t, http.StatusNotFound, a.StatusCode)
	assert.Contains(t, a.Header.Get("Content-Type"), "text/html")
}

func TestConsentRefused(t *testing.T) {
	p := newPageFixture(t, nil)
	page, result := p.startSign(nil)
	p.post(page, url.Values{"decision": {"refuse"}}, nil)
	a := <-result
	assert.Equal(t, http.StatusForbidden, a.StatusCode)
	assert.Contains(t, p.view(page).body, "Refused")
	a = p.post(page, url.Values{"decision": {"approve"}, "step": {"1"}}, nil)
	assert.Equal(t, http.StatusSeeOther, a.StatusCode)
	assert.Equal(t, "ended", p.state(page))
	calls, _ := p.signer.count()
	assert.Zero(t, calls)
}

// TestConsentForged: only the page's own form agrees.
func TestConsentForged(t *testing.T) {
	p := newPageFixture(t, nil)
	page, result := p.startSign(nil)
	for name, header := range map[string]map[string]string{
		"the asking site":    {"Origin": site},
		"another site":       {"Origin": "https://evil.example"},
		"null":               {"Origin": "null"},
		"no origin":          {"Origin": "-"},
		"another port":       {"Origin": "http://127.0.0.1:1"},
		"another name":       {"Origin": strings.Replace(p.server.URL, "127.0.0.1", "localhost", 1)},
		"https":              {"Origin": strings.Replace(p.server.URL, "http:", "https:", 1)},
		"fetched cross-site": {"Sec-Fetch-Site": "cross-site"},
		"fetched same-site":  {"Sec-Fetch-Site": "same-site"},
	} {
		a := p.post(page, approve(), header)
		assert.Equal(t, http.StatusForbidden, a.StatusCode, name)
		assert.Empty(t, a.Header.Get("Access-Control-Allow-Origin"))
	}
	assert.Equal(t, http.StatusUnsupportedMediaType, p.post(page, approve(), map[string]string{"Content-Type": "text/plain"}).StatusCode)
	for _, fields := range []url.Values{
		{"decision": {"perhaps"}},
		{"decision": {"approve"}, "step": {"x"}},
		{"decision": {"approve"}, "pin": {strings.Repeat("1", maxPIN+1)}},
	} {
		assert.Equal(t, http.StatusBadRequest, p.post(page, fields, nil).StatusCode)
	}
	assert.Equal(t, http.StatusRequestEntityTooLarge, p.post(page, url.Values{"pin": {strings.Repeat("1", maxConsentForm)}}, nil).StatusCode)
	assert.Equal(t, http.StatusNotFound, p.post(page+"A", approve(), nil).StatusCode)
	assert.Equal(t, http.StatusMethodNotAllowed, p.do(call{method: http.MethodPut, path: page}).StatusCode)
	p.post(page, url.Values{"decision": {"approve"}, "step": {"0"}}, nil)
	assert.Equal(t, "asking", p.state(page), "an answer to another question")
	calls, _ := p.signer.count()
	assert.Zero(t, calls)
	p.post(page, approve(), map[string]string{"Sec-Fetch-Site": "-"}) // a browser without Sec-Fetch
	assert.Equal(t, http.StatusOK, (<-result).StatusCode)
}

func TestConsentPIN(t *testing.T) {
	p := newPageFixture(t, nil)
	p.signer.set(func() { p.signer.pin, p.signer.hint = secretPIN, true })
	page, result := p.startSign(nil)
	assert.Contains(t, p.view(page).body, `name="pin"`)
	assert.Contains(t, p.view(page).body, "3 tries are left")
	p.post(page, approve(), nil)
	assert.Contains(t, p.view(page).body, "Enter the PIN.")
	p.post(page, url.Values{"decision": {"approve"}, "pin": {"0000"}}, nil)
	p.awaitState(page, "pin")
	assert.Contains(t, p.view(page).body, "The PIN was wrong.")
	assert.Contains(t, p.view(page).body, "2 tries are left")
	p.post(page, url.Values{"decision": {"approve"}, "pin": {"0001"}}, nil)
	require.Eventually(t, func() bool { return strings.Contains(p.view(page).body, "last try") }, 10*time.Second, time.Millisecond)
	p.post(page, url.Values{"decision": {"approve"}, "pin": {secretPIN}}, nil)
	assert.Equal(t, http.StatusOK, (<-result).StatusCode)
	assert.NotContains(t, p.view(page).body, secretPIN)

	// A signer that doesn't say beforehand asks afterwards.
	p.signer.set(func() { p.signer.hint = false })
	page, result = p.startSign(map[string]any{"jti": "2"})
	assert.NotContains(t, p.view(page).body, `name="pin"`)
	p.post(page, approve(), nil)
	p.awaitState(page, "pin")
	p.post(page, url.Values{"decision": {"refuse"}}, nil)
	assert.Equal(t, http.StatusForbidden, (<-result).StatusCode)
	_, signed := p.signer.count()
	assert.Equal(t, 2, signed)
}

// TestConsentWrongBefore: who gave a PIN without knowing that another was wrong
// before is asked again, with the number of tries that are left.
func TestConsentWrongBefore(t *testing.T) {
	p := newPageFixture(t, nil)
	p.signer.set(func() { p.signer.pin, p.signer.hint, p.signer.wrongFirst = secretPIN, true, true })
	page, result := p.startSign(nil)
	p.post(page, url.Values{"decision": {"approve"}, "pin": {"0000"}}, nil)
	p.awaitState(page, "pin")
	assert.Contains(t, p.view(page).body, "3 tries are left")
	p.post(page, url.Values{"decision": {"approve"}, "pin": {secretPIN}}, nil)
	assert.Equal(t, http.StatusOK, (<-result).StatusCode)
}

func TestConsentCertificate(t *testing.T) {
	p := newPageFixture(t, nil)
	other := goodCertificate(t)
	other.ID = "second"
	p.signer.certificates = append(p.signer.certificates, other)
	page, result := p.startSign(nil)
	assert.Equal(t, 2, strings.Count(p.view(page).body, `type="radio"`))
	fields := approve()
	fields.Set("certificate", "nobody")
	p.post(page, fields, nil)
	assert.Equal(t, http.StatusInternalServerError, (<-result).StatusCode)
	page, result = p.startSign(nil)
	fields = approve()
	fields.Set("certificate", "second")
	p.post(page, fields, nil)
	assert.Equal(t, http.StatusOK, (<-result).StatusCode)
}

// TestConsentOnce: certificates are shown to a site with the user's consent,
// which lasts as long as the hub and the card.
func TestConsentOnce(t *testing.T) {
	p := newPageFixture(t, nil)
	certificates := call{method: http.MethodPost, path: "/hub/v1/certificates", body: "{}"}
	page, result := p.start(certificates)
	a := p.view(page)
	assert.Contains(t, a.body, "to see your certificates")
	assert.Contains(t, a.body, subject)
	p.post(page, url.Values{"decision": {"refuse"}}, nil)
	assert.Equal(t, http.StatusForbidden, (<-result).StatusCode)

	page, result = p.start(certificates)
	p.post(page, approve(), nil)
	assert.Equal(t, http.StatusOK, (<-result).StatusCode)
	assert.Equal(t, http.StatusOK, p.do(certificates).StatusCode, "without another question")

	page, result = p.startSign(nil)
	p.post(page, approve(), nil)
	assert.Equal(t, http.StatusOK, (<-result).StatusCode)

	elsewhere := certificates
	elsewhere.header = map[string]string{"Origin": "http://localhost:8080"}
	page, result = p.start(elsewhere)
	p.post(page, url.Values{"decision": {"refuse"}}, nil)
	<-result
	p.signer.set(func() { p.signer.certificates = []Certificate{goodCertificate(t)} })
	page, result = p.start(certificates)
	p.post(page, approve(), nil)
	assert.Equal(t, http.StatusOK, (<-result).StatusCode, "another card")
}

func TestConsentTimeout(t *testing.T) {
	p := newPageFixture(t, func(c *Config) { c.UserTimeout = time.Millisecond })
	page, result := p.startSign(nil)
	a := <-result
	assert.Equal(t, http.StatusForbidden, a.StatusCode)
	assert.Equal(t, http.StatusGone, p.view(page).StatusCode)
	assert.Contains(t, p.view(page).body, "Nobody answered in time")
	p.post(page, url.Values{"decision": {"approve"}, "step": {"1"}}, nil)
	calls, _ := p.signer.count()
	assert.Zero(t, calls)
}

// TestConsentTooLate: while the user reads, the request can run out.
func TestConsentTooLate(t *testing.T) {
	p := newPageFixture(t, nil)
	page, result := p.startSign(nil)
	p.clock.add(300 * time.Second)
	p.post(page, approve(), nil)
	assert.Equal(t, http.StatusBadRequest, (<-result).StatusCode)
	assert.Contains(t, p.view(page).body, "run out")
}

func TestConsentUnopened(t *testing.T) {
	f := newFixture(t, func(c *Config) {
		var err error
		c.Consent, err = NewPageConsent(func(context.Context, string) error { return errors.New("no browser") })
		require.NoError(t, err)
	})
	a := f.postSign(f.token(nil))
	assert.Equal(t, http.StatusInternalServerError, a.StatusCode)
	assert.Contains(t, a.body, "could not open its window")
	assert.Contains(t, f.log.String(), "no browser")
	_, err := NewPageConsent(nil)
	require.Error(t, err)
}

func TestConsentPagesAreFew(t *testing.T) {
	p := newPageFixture(t, nil)
	for range maxPages + 3 {
		page, result := p.startSign(nil)
		p.post(page, url.Values{"decision": {"refuse"}}, nil)
		<-result
	}
	assert.Len(t, p.page.pages, maxPages)
}

func TestNeverWarns(t *testing.T) {
	f := newFixture(t, nil)
	assert.Contains(t, f.log.String(), "without asking")
	f.signer.set(func() { f.signer.pin = secretPIN })
	a := f.postSign(f.token(nil))
	assert.Equal(t, http.StatusInternalServerError, a.StatusCode)
	assert.Contains(t, a.body, "asks nobody")
}
