package hub

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var askCertificates = call{method: http.MethodPost, path: "/hub/v1/certificates", body: "{}"}

// showCertificates has the user show them.
func (p *pageFixture) showCertificates() {
	p.tb.Helper()
	page, result := p.start(askCertificates)
	p.post(page, approve(), nil)
	require.Equal(p.tb, http.StatusOK, (<-result).StatusCode)
	require.Equal(p.tb, http.StatusOK, p.do(askCertificates).StatusCode, "without another question")
}

// TestShownForHours: the consent ends by itself.
func TestShownForHours(t *testing.T) {
	p := newPageFixture(t, nil)
	p.showCertificates()
	p.clock.add(shownFor - time.Second)
	require.Equal(t, http.StatusOK, p.do(askCertificates).StatusCode)
	p.clock.add(time.Second)
	p.showCertificates() // asks again
}

// TestShownUntilRemoval: it ends when the card is taken out, also when the same
// one is back before the next request.
func TestShownUntilRemoval(t *testing.T) {
	for _, c := range []struct {
		name   string
		notice func(p *pageFixture)
	}{
		{"noticed by a page", func(p *pageFixture) {
			assert.Contains(t, p.do(call{path: "/hub/v1/info"}).body, `"absent"`)
		}},
		{"noticed by a request", func(p *pageFixture) {
			assert.Equal(t, http.StatusConflict, p.do(askCertificates).StatusCode)
		}},
		{"noticed by the hub", func(p *pageFixture) {
			require.Eventually(t, func() bool { return p.shown.idle() }, 10*time.Second, time.Millisecond)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPageFixture(t, nil)
			if c.name == "noticed by the hub" {
				p.cardWatch = time.Millisecond
			}
			p.showCertificates()
			p.signer.set(func() { p.signer.absent = true })
			c.notice(p)
			p.signer.set(func() { p.signer.absent = false })
			p.showCertificates() // asks again
		})
	}
}

// TestCardIsWatchedByOne: however many consents there are, one goroutine looks,
// and it ends with the last of them.
func TestCardIsWatchedByOne(t *testing.T) {
	s := &shown{now: time.Now}
	certificate := goodCertificate(t)
	all := []*Certificate{&certificate}
	assert.True(t, s.add("a", all))
	assert.False(t, s.add("b", all))
	assert.False(t, s.idle())
	s.forget()
	assert.True(t, s.idle())
	assert.True(t, s.add("a", all))
}
