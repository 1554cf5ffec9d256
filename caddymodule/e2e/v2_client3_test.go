//go:build linux

package e2e

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The client of early 2017, the first one with the v2 API: another HTTP
// library, another form of tokens, and options by their place.
func TestNodeClient3(t *testing.T) {
	t.Parallel()
	for _, base := range []string{"", prefix} {
		t.Run("base path "+base, func(t *testing.T) {
			t.Parallel()
			st := newV2Stage(t, nil)
			node := startNode(t)
			base := st.base + base
			c := node.client(t, "3", base, apiKey("live", secretOne))
			t.Run("sending", func(t *testing.T) { testSending3(t, st, c) })
			t.Run("lists", func(t *testing.T) { testLists3(t, st, c) })
			t.Run("templates", func(t *testing.T) { testTemplates(t, st, c) })
			t.Run("keys", func(t *testing.T) { testKeys3(t, node, base) })
			c.requireComplete(t)
		})
	}
}

func testSending3(t *testing.T, st *v2Stage, c *nodeClient) {
	sms := c.ok(t, http.StatusCreated, "sendSms", smsTemplate, "0044 7723 456789", object{"name": "Al"}, "sms-1")
	assertObject(t, accepted(c.base, smsTemplate, "sms-1", object{"body": "Hi Al", "from_number": "Bookings"}), sms)
	email := c.ok(t, http.StatusCreated, "sendEmail", derivedTemplate("2"), "kim@example.org", object{"name": "Kim", "day": "Monday"})
	content := object{
		"body": "Dear Kim, we expect you on Monday.", "subject": "Your appointment on Monday",
		"from_email": "bookings@booking.example.org", "one_click_unsubscribe_url": nil,
	}
	assertObject(t, accepted(c.base, derivedTemplate("2"), nil, content), email)
	for _, want := range []object{
		shown(c.base, sms["id"].(string), "sms", smsTemplate, object{"reference": "sms-1", "phone_number": "0044 7723 456789", "body": "Hi Al"}),
		shown(c.base, email["id"].(string), "email", derivedTemplate("2"), object{
			"email_address": "kim@example.org", "body": content["body"], "subject": content["subject"],
		}),
	} {
		st.v2.await(t, want["id"].(string), "delivered")
		assertObject(t, want, c.ok(t, http.StatusOK, "getNotificationById", want["id"]))
	}
	c.refused(t, 400, invalid("phone_number Too many digits"), "sendSms", smsTemplate, "077234567890123", object{"name": "x"})
	c.refused(t, 400, invalid("template_id is not a valid UUID"), "sendSms", "1", "07723456789")
	c.refused(t, 400, bad("Template not found"), "sendSms", nowhereID, "07723456789")
	c.refused(t, 400, bad("Missing personalisation: Name"), "sendSms", smsTemplate, "07723456789")
	c.refused(t, 400, invalid("email_address Not a valid email address"), "sendEmail", derivedTemplate("2"), "kim@")
	c.refused(t, 400, bad("sms template is not suitable for email notification"), "sendEmail", smsTemplate, "kim@example.org")
	c.refused(t, 404, noResult(), "getNotificationById", nowhereID)
	c.refused(t, 400, invalid("notification_id is not a valid UUID"), "getNotificationById", "1")
}

func testLists3(t *testing.T, st *v2Stage, c *nodeClient) {
	all := objects(t, c.ok(t, http.StatusOK, "getNotifications")["notifications"])
	require.Len(t, all, 2)
	assert.Equal(t, []any{"email", "sms"}, column(all, "type"))
	for i, args := range [][]any{
		{"email"}, {"sms"}, {"email", "delivered"}, {"sms", "delivered", "sms-1"}, {nil, nil, nil, all[0]["id"]},
	} {
		got := objects(t, c.ok(t, http.StatusOK, "getNotifications", args...)["notifications"])
		assert.Equal(t, []object{all[[]int{0, 1, 0, 1, 1}[i]]}, got, "%v", args)
	}
	assert.Empty(t, c.ok(t, http.StatusOK, "getNotifications", "letter", "failed")["notifications"])
	c.refused(t, 400, invalid("template_type fax is not one of [sms, email, letter]"), "getNotifications", "fax")

	const many = 300
	for range many {
		st.v2.send(t, "07723456789", object{"reference": "many & more"})
	}
	seen := make(map[any]bool)
	var older any
	for {
		page := c.ok(t, http.StatusOK, "getNotifications", nil, nil, "many & more", older)
		ids := column(objects(t, page["notifications"]), "id")
		_, next := page["links"].(object)["next"]
		assert.Equal(t, len(ids) > 0, next)
		if len(ids) == 0 {
			break
		}
		for _, id := range ids {
			seen[id] = true
		}
		older = ids[len(ids)-1]
	}
	assert.Len(t, seen, many)
}

func testKeys3(t *testing.T, node *nodeProcess, base string) {
	for _, args := range [][]any{
		{base, apiKey("live", secretOne)},
		{base, serviceID, secretOne},
		{base, serviceID, apiKey("live", secretOne)},
	} {
		c := node.client(t, "3", args...)
		assert.Equal(t, [3]string{base, serviceID, secretOne}, [3]string{c.base, c.service, c.secret})
		c.ok(t, http.StatusOK, "getTemplateById", smsTemplate)
	}
	wrong := node.client(t, "3", base, apiKey("live", nowhereID))
	for method, args := range map[string][]any{
		"sendSms": {smsTemplate, "07723456789"}, "sendEmail": {derivedTemplate("2"), "kim@example.org"},
		"getNotificationById": {nowhereID}, "getNotifications": nil, "getTemplateById": {smsTemplate},
		"getTemplateByIdAndVersion": {smsTemplate, 1}, "getAllTemplates": nil, "previewTemplateById": {smsTemplate},
	} {
		wrong.refused(t, 403, faults(403, "AuthError", "Invalid token: API key not found"), method, args...)
	}
}
