//go:build linux

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/net/html"
)

// newMailStage is a server that sends emails by the mail server.
func newMailStage(t testing.TB, m *mailServer) *v2Stage {
	t.Helper()
	return newV2Stage(t, func(st *v2Stage, c *config) {
		st.write(t, "mail.pem", m.authority.pem())
		st.env = append(st.env, "MAIL_PASSWORD="+mailPassword)
		c.signpost += fmt.Sprintf(`
		delivery email smtp 127.0.0.1:%d {
			name relay
			ca_file mail.pem
			username %s
			password {env.MAIL_PASSWORD}
			from noreply@booking.example.org
			from_name "Booking service"
			bounces bounces@booking.example.org
			hello signpost.example.org
		}`, m.port, mailUser)
	})
}

func (st *v2Stage) sendEmail(t testing.TB, to string, more object) (id string) {
	t.Helper()
	body := object{"email_address": to, "template_id": emailTemplate, "personalisation": object{"name": "Kim", "things": "your card"}}
	maps.Copy(body, more)
	return st.v2.must(t, http.StatusCreated, http.MethodPost, "/v2/notifications/email", body)["id"].(string)
}

// An email from the API to the mail server, by TLS and with a password.
func TestSMTP(t *testing.T) {
	t.Parallel()
	m := newMailServer(t)
	m.start(t)
	st := newMailStage(t, m)

	// Nothing that a value holds becomes markup or a header.
	const name = "<script>alert(1)</script>\r\nBcc: eve@example.org\r\n\r\n# Big [here](https://evil.example/)"
	const address = "Kim.Jansen@example.net"
	id := st.sendEmail(t, address, object{
		"personalisation":   object{"name": name, "things": []string{"<img src=x onerror=alert(1)>", "a pen – ünï"}},
		"email_reply_to_id": otherReply, "one_click_unsubscribe_url": "https://booking.example.org/stop?u=1&x=2",
	})
	n := st.v2.await(t, id, "delivered")
	assert.Regexp(t, aTime, n["completed_at"])
	got := m.got(t, address)
	require.Len(t, got, 1)
	email := got[0]
	assert.True(t, email.secure)
	assert.Equal(t, "bounces@booking.example.org", email.from)
	assert.Equal(t, []string{
		"Auto-Submitted", "Content-Type", "Date", "From", "List-Unsubscribe", "List-Unsubscribe-Post",
		"Message-Id", "Mime-Version", "Reply-To", "Subject", "To",
	}, slices.Sorted(maps.Keys(email.header)))
	for header, want := range map[string]string{
		"Auto-Submitted":        "auto-generated",
		"From":                  `"Booking service" <bookings@booking.example.org>`,
		"List-Unsubscribe":      "<https://booking.example.org/stop?u=1&x=2>",
		"List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
		"Message-Id":            "<" + id + "@booking.example.org>",
		"Mime-Version":          "1.0",
		"Reply-To":              "<other@booking.example.org>",
		"To":                    "<" + address + ">",
	} {
		assert.Equal(t, []string{want}, email.header[header], header)
	}
	_, err := email.header.Date()
	require.NoError(t, err)
	assert.Equal(t, n["subject"], email.subject)
	assert.True(t, strings.HasPrefix(email.subject, "Welcome, <script>"), email.subject)

	assert.Len(t, email.parts, 2)
	assert.Contains(t, email.parts["text/plain"], "See our page: https://booking.example.org/.")
	assert.Contains(t, email.parts["text/plain"], "• <img src=x onerror=alert(1)>\r\n• a pen – ünï\r\n")
	page, err := html.Parse(strings.NewReader(email.parts["text/html"]))
	require.NoError(t, err)
	elements, links := make(map[string]int), []string{}
	for node := range page.Descendants() {
		if node.Type == html.ElementNode {
			elements[node.Data]++
			for _, attribute := range node.Attr {
				assert.False(t, strings.HasPrefix(attribute.Key, "on"), attribute.Key)
				if attribute.Key == "href" {
					links = append(links, attribute.Val)
				}
			}
		}
	}
	assert.Zero(t, elements["script"]+elements["img"]+elements["h1"]+elements["h3"], "%v", elements)
	assert.Equal(t, 2, elements["li"])
	assert.Contains(t, links, "https://booking.example.org/")
	for _, link := range links {
		// An address in a value is linked as what it is, not as what it says.
		assert.Contains(t, []string{"https://booking.example.org/", "https://evil.example/)", "https://evil.example/"}, link)
	}
	assert.NotContains(t, email.parts["text/html"], ">here</a>")

	// Without options: no unsubscribing, and the default address for answers.
	st.v2.await(t, st.sendEmail(t, "plain@example.net", nil), "delivered")
	plain := m.got(t, "plain@example.net")
	require.Len(t, plain, 1)
	assert.Equal(t, "Welcome, Kim", plain[0].subject)
	assert.Equal(t, []string{"<desk@booking.example.org>"}, plain[0].header["Reply-To"])
	assert.NotContains(t, plain[0].header, "List-Unsubscribe")

	// A service that has no address of its own sends from the provider's.
	service := strings.TrimSpace(st.ok(t, "signpost", "service", "add", "Pharmacy"))
	other := *st.v2
	other.identity = identity{service, printed(t, st.ok(t, "signpost", "service", "key", "add", service, "live"), "secret")}
	line := st.ok(t, "signpost", "template", "put", service, "It is ready.", "--type", "email", "--subject", "Your medicine")
	sent := other.must(t, http.StatusCreated, http.MethodPost, "/v2/notifications/email",
		object{"email_address": "other@example.net", "template_id": strings.Fields(line)[1]})
	assert.Equal(t, object{
		"body": "It is ready.", "subject": "Your medicine", "from_email": "noreply@booking.example.org", "one_click_unsubscribe_url": nil,
	}, sent["content"])
	other.await(t, sent["id"].(string), "delivered")
	provided := m.got(t, "other@example.net")
	require.Len(t, provided, 1)
	assert.Equal(t, []string{`"Booking service" <noreply@booking.example.org>`}, provided[0].header["From"])
	assert.NotContains(t, provided[0].header, "Reply-To")

	// A recipient that isn't there.
	const gone = "gone@example.net"
	m.mu.Lock()
	m.refused[gone] = &gosmtp.SMTPError{Code: 550, EnhancedCode: gosmtp.EnhancedCode{5, 1, 1}, Message: "no such user " + gone}
	offered := m.offered
	m.mu.Unlock()
	n = st.v2.await(t, st.sendEmail(t, gone, nil), "permanent-failure")
	assertObject(t, shown(st.base, n["id"].(string), "email", emailTemplate, object{
		"email_address": gone, "status": "permanent-failure", "subject": "Welcome, Kim", "sent_at": n["sent_at"],
		"body": "# Dear Kim\n\nBring:\nyour card\n\nSee [our page](https://booking.example.org/).",
	}), n)
	m.mu.Lock()
	assert.Equal(t, offered+1, m.offered, "it isn't tried again")
	m.mu.Unlock()
	b, err := os.ReadFile(st.log)
	require.NoError(t, err)
	assert.NotContains(t, string(b), gone, "recipients aren't logged")
	assert.NotContains(t, string(b), mailPassword)
}

// A mail server that is away gets its messages when it is back.
func TestSMTPAway(t *testing.T) {
	t.Parallel()
	m := newMailServer(t)
	st := newMailStage(t, m)
	id := st.sendEmail(t, "kim@example.net", nil)
	eventually(t, patience, func() (bool, string) {
		b, err := os.ReadFile(st.log)
		require.NoError(t, err)
		return strings.Contains(string(b), `"msg":"notification is tried again later"`), "nothing was tried"
	})
	assert.Equal(t, "created", st.v2.get(t, "/v2/notifications/"+id)["status"])
	m.start(t)
	st.v2.await(t, id, "delivered")
	assert.Len(t, m.got(t, "kim@example.net"), 1)
}
