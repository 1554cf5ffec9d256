//go:build linux

package e2e

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Today's client, at the root of a site and below a prefix, on either storage.
func TestNodeClient8(t *testing.T) {
	t.Parallel()
	for name, base := range map[string]string{"SQLite": "", "PostgreSQL": prefix} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st := newV2Stage(t, func(_ *v2Stage, c *config) {
				if name == "PostgreSQL" {
					_, c.postgres = newDatabase(t)
				}
			})
			node := startNode(t)
			base := st.base + base
			c := node.client(t, "8", base, apiKey("live", secretOne))
			t.Run("sending", func(t *testing.T) { testSending8(t, st, c) })
			t.Run("lists", func(t *testing.T) { testLists8(t, st, c) })
			t.Run("templates", func(t *testing.T) { testTemplates(t, st, c) })
			t.Run("received texts", func(t *testing.T) { testReceived8(t, st, c) })
			t.Run("files and letters", func(t *testing.T) { testRefusedKinds8(t, c) })
			t.Run("keys", func(t *testing.T) { testKeys8(t, node, base) })
			t.Run("proxy and client", func(t *testing.T) { testProxies8(t, c) })
			c.requireComplete(t)
		})
	}
}

func testSending8(t *testing.T, st *v2Stage, c *nodeClient) {
	sms := c.ok(t, http.StatusCreated, "sendSms", smsTemplate, "07723 456-789", object{
		"personalisation": object{"NAME": "Al", "surplus": 1}, "reference": "sms-1", "smsSenderId": numberSender,
	})
	assertObject(t, accepted(c.base, smsTemplate, "sms-1", object{"body": "Hi Al", "from_number": "+447700900001"}), sms)
	assert.Equal(t, c.base+"/v2/notifications/"+sms["id"].(string), sms["uri"])
	plain := c.ok(t, http.StatusCreated, "sendSms", derivedTemplate("1"), "+44 7723 456789", object{"personalisation": object{"code": 314}})
	assertObject(t, accepted(c.base, derivedTemplate("1"), nil, object{"body": messageStart + "314", "from_number": "Bookings"}), plain)

	email := c.ok(t, http.StatusCreated, "sendEmail", emailTemplate, "Kim@example.org", object{
		"personalisation": object{"name": "Kim", "things": []string{"your card", "a pen"}}, "reference": "email-1",
		"emailReplyToId": otherReply, "oneClickUnsubscribeURL": "https://booking.example.org/stop?u=1", "sanitiseContentFor": []string{"name"},
	})
	text := "# Dear Kim\n\nBring:\n\n\n* your card\n* a pen\n\nSee [our page](https://booking.example.org/)."
	assertObject(t, accepted(c.base, emailTemplate, "email-1", object{
		"body": text, "subject": "Welcome, Kim", "from_email": "bookings@booking.example.org",
		"one_click_unsubscribe_url": "https://booking.example.org/stop?u=1",
	}), email)
	bare := c.ok(t, http.StatusCreated, "sendEmail", derivedTemplate("2"), "kim@example.org", object{"personalisation": object{"name": "Kim", "day": "Monday"}})
	assertObject(t, accepted(c.base, derivedTemplate("2"), nil, object{
		"body": "Dear Kim, we expect you on Monday.", "subject": "Your appointment on Monday",
		"from_email": "bookings@booking.example.org", "one_click_unsubscribe_url": nil,
	}), bare)

	for _, want := range []object{
		shown(c.base, sms["id"].(string), "sms", smsTemplate, object{"reference": "sms-1", "phone_number": "07723 456-789", "body": "Hi Al"}),
		shown(c.base, plain["id"].(string), "sms", derivedTemplate("1"), object{"phone_number": "+44 7723 456789", "body": messageStart + "314"}),
		shown(c.base, email["id"].(string), "email", emailTemplate, object{
			"reference": "email-1", "email_address": "Kim@example.org", "body": text, "subject": "Welcome, Kim",
			"one_click_unsubscribe_url": "https://booking.example.org/stop?u=1",
		}),
		shown(c.base, bare["id"].(string), "email", derivedTemplate("2"), object{
			"email_address": "kim@example.org", "body": "Dear Kim, we expect you on Monday.", "subject": "Your appointment on Monday",
		}),
	} {
		st.v2.await(t, want["id"].(string), "delivered")
		assertObject(t, want, c.ok(t, http.StatusOK, "getNotificationById", want["id"]))
	}
	assert.Equal(t, call{sms["id"].(string), sms["id"].(string), "+447723456789", "Hi Al"}, normal(st.stand.got()[0]))

	c.refused(t, 400, invalid("phone_number Not enough digits"), "sendSms", smsTemplate, "077", object{"personalisation": object{"name": "x"}})
	c.refused(t, 400, invalid("phone_number Must not contain letters or symbols", "template_id is not a valid UUID"), "sendSms", "1", "07723x456789")
	c.refused(t, 400, bad("Template not found"), "sendSms", nowhereID, "07723456789")
	c.refused(t, 400, bad("email template is not suitable for sms notification"), "sendSms", emailTemplate, "07723456789")
	c.refused(t, 400, bad("Missing personalisation: Name"), "sendSms", smsTemplate, "07723456789")
	c.refused(t, 400, bad("sms_sender_id "+deskReply+" does not exist in database for service id "+serviceID),
		"sendSms", smsTemplate, "07723456789", object{"personalisation": object{"name": "x"}, "smsSenderId": deskReply})
	c.refused(t, 400, bad("Your message is too long. Text messages cannot be longer than 918 characters. Your message is 919 characters long."),
		"sendSms", textTemplate, "07723456789", object{"personalisation": object{"text": strings.Repeat("x", 919)}})
	c.refused(t, 400, bad("Your message is empty."), "sendSms", textTemplate, "07723456789", object{"personalisation": object{"text": " "}})
	c.refused(t, 400, invalid("email_address Not a valid email address"), "sendEmail", emailTemplate, "kim")
	c.refused(t, 400, bad("sms template is not suitable for email notification"), "sendEmail", smsTemplate, "kim@example.org")
	c.refused(t, 400, bad("Missing personalisation: name, things"), "sendEmail", emailTemplate, "kim@example.org")
	c.refused(t, 400, invalid("one_click_unsubscribe_url is not a valid https url"),
		"sendEmail", derivedTemplate("2"), "kim@example.org", object{"oneClickUnsubscribeURL": "http://booking.example.org/"})
	c.refused(t, 404, noResult(), "getNotificationById", nowhereID)
	c.refused(t, 400, invalid("notification_id is not a valid UUID"), "getNotificationById", "1")
	for _, method := range []string{"sendSms", "sendEmail", "sendLetter"} { // refused by the client itself
		assert.Contains(t, c.call(t, method, smsTemplate, "x", object{"colour": "red"}).Thrown+c.call(t, method, smsTemplate, object{"colour": "red"}).Thrown, "not recognised")
	}
}

// testLists8 looks for what was sent before, and then at lists of several
// pages.
func testLists8(t *testing.T, st *v2Stage, c *nodeClient) {
	list := func(args ...any) []object {
		t.Helper()
		page := c.ok(t, http.StatusOK, "getNotifications", args...)
		assert.Len(t, page, 2)
		return objects(t, page["notifications"])
	}
	assert.Len(t, list(), 4)
	assert.Equal(t, []any{"email", "email"}, column(list("email"), "type"))
	assert.Equal(t, []any{"sms", "sms"}, column(list("sms"), "type"))
	assert.Empty(t, list("letter"))
	assert.Len(t, list(nil, "delivered"), 4)
	for _, status := range []string{"created", "sending", "failed", "technical-failure", "received", "cancelled"} {
		assert.Empty(t, list(nil, status), status)
	}
	assert.Equal(t, []any{"email-1"}, column(list(nil, nil, "email-1"), "reference"))
	assert.Empty(t, list(nil, nil, "email-2"))
	assert.Equal(t, []any{"email-1"}, column(list("email", "delivered", "email-1"), "reference"))
	assert.Empty(t, list("sms", "delivered", "email-1"))
	all := list()
	assert.Equal(t, all[2:], list(nil, nil, nil, all[1]["id"]))
	assert.Equal(t, all[:2], list("email"), "newest first")
	assertObject(t, all[3], c.ok(t, http.StatusOK, "getNotificationById", all[3]["id"]))
	assert.Empty(t, list(nil, nil, nil, nowhereID))
	assert.Equal(t, object{"notifications": []any{}, "links": object{"current": c.base + "/v2/notifications?older_than=" + nowhereID}},
		c.ok(t, http.StatusOK, "getNotifications", nil, nil, nil, nowhereID))

	c.refused(t, 400, invalid("template_type fax is not one of [sms, email, letter]"), "getNotifications", "fax")
	c.refused(t, 400, invalid("status lost is not one of [cancelled, created, sending, sent, delivered, pending, failed, technical-failure, "+
		"temporary-failure, permanent-failure, pending-virus-check, validation-failed, virus-scan-failed, returned-letter, accepted, received]"),
		"getNotifications", nil, "lost")
	c.refused(t, 400, invalid("older_than is not a valid UUID"), "getNotifications", nil, nil, nil, "1")

	// Two full pages and a part of one, with a reference that looks like a
	// cursor.
	const reference = "5b9c4c8e-0f6a-4c8e-9d52-0a1b2c3d4e5f"
	const many = 510
	want := make([]string, many)
	for i := range want {
		want[many-1-i] = st.v2.send(t, "07723456789", object{"reference": reference})
	}
	var got []string
	var older any
	for sizes := []int{250, 250, 10, 0}; len(sizes) > 0; sizes = sizes[1:] {
		page := c.ok(t, http.StatusOK, "getNotifications", "sms", nil, reference, older)
		found := objects(t, page["notifications"])
		require.Len(t, found, sizes[0])
		links := page["links"].(object)
		assertQuery(t, c.base, links["current"], older, reference)
		if len(found) == 0 {
			assert.Len(t, links, 1)
			break
		}
		for _, n := range found {
			got = append(got, n["id"].(string))
		}
		older = found[len(found)-1]["id"]
		assertQuery(t, c.base, links["next"], older, reference)
		// What other clients take for the cursor.
		assert.Equal(t, older, anyUUID.FindString(strings.TrimPrefix(links["next"].(string), c.base)))
	}
	assert.Equal(t, want, got)
}

// assertQuery looks at a link of a list of text messages with a reference.
func assertQuery(t *testing.T, base string, link, older any, reference string) {
	t.Helper()
	u, err := url.Parse(link.(string))
	require.NoError(t, err)
	q := u.Query()
	want := url.Values{"template_type": {"sms"}, "reference": {reference}}
	if older != nil {
		want.Set("older_than", older.(string))
		assert.True(t, strings.HasSuffix(u.RawQuery, "&older_than="+older.(string)), u.RawQuery)
	}
	assert.Equal(t, want, q)
	u.RawQuery = ""
	assert.Equal(t, base+"/v2/notifications", u.String())
}

// testTemplates is for the clients that have the four methods of templates.
func testTemplates(t *testing.T, st *v2Stage, c *nodeClient) {
	greeting := object{
		"id": smsTemplate, "type": "sms", "name": "Greeting", "created_at": aTime, "updated_at": nil, "created_by": nil, "version": 1.0,
		"body": "Hi ((Name))", "subject": nil, "personalisation": object{"Name": object{"required": true}}, "postage": nil, "letter_contact_block": nil,
	}
	assertObject(t, greeting, c.ok(t, http.StatusOK, "getTemplateById", smsTemplate))
	assertObject(t, greeting, c.ok(t, http.StatusOK, "getTemplateByIdAndVersion", smsTemplate, 1))
	welcome := c.ok(t, http.StatusOK, "getTemplateById", emailTemplate)
	assertObject(t, object{
		"id": emailTemplate, "type": "email", "name": "Welcome", "created_at": aTime, "updated_at": nil, "created_by": nil, "version": 1.0,
		"body": "# Dear ((name))\n\nBring:\n((things))\n\nSee [our page](https://booking.example.org/).", "subject": "Welcome, ((name))",
		"personalisation": object{"name": object{"required": true}, "things": object{"required": true}}, "postage": nil, "letter_contact_block": nil,
	}, welcome)
	assert.Equal(t, derivedTemplate("1"), c.ok(t, http.StatusOK, "getTemplateById", derivedTemplate("1"))["id"])

	// One of storage, in two versions.
	const stored = "e2f1c0b9-8a77-4d66-9c55-44b3a2918070"
	for _, text := range []string{"Old ((code))", "New ((code)) ((extra??please))"} {
		st.ok(t, "signpost", "template", "put", serviceID, text, "--id", stored, "--name", "Versions")
	}
	first := c.ok(t, http.StatusOK, "getTemplateByIdAndVersion", stored, 1)
	newest := c.ok(t, http.StatusOK, "getTemplateById", stored)
	assertObject(t, object{
		"id": stored, "type": "sms", "name": "Versions", "created_at": aTime, "updated_at": nil, "created_by": nil, "version": 1.0,
		"body": "Old ((code))", "subject": nil, "personalisation": object{"code": object{"required": true}}, "postage": nil, "letter_contact_block": nil,
	}, first)
	assertObject(t, object{
		"id": stored, "type": "sms", "name": "Versions", "created_at": first["created_at"], "updated_at": aTime, "created_by": nil, "version": 2.0,
		"body": "New ((code)) ((extra??please))", "subject": nil,
		"personalisation": object{"code": object{"required": true}, "extra": object{"required": true}}, "postage": nil, "letter_contact_block": nil,
	}, newest)
	assert.Equal(t, newest, c.ok(t, http.StatusOK, "getTemplateByIdAndVersion", stored, 2))

	all := c.ok(t, http.StatusOK, "getAllTemplates")
	assert.Len(t, all, 1)
	ids := column(objects(t, all["templates"]), "id")
	assert.ElementsMatch(t, []any{smsTemplate, emailTemplate, textTemplate, stored, derivedTemplate("1"), derivedTemplate("2")}, ids)
	assert.Contains(t, all["templates"], welcome)
	assert.Contains(t, all["templates"], newest)
	assert.ElementsMatch(t, []any{emailTemplate, derivedTemplate("2")}, column(objects(t, c.ok(t, http.StatusOK, "getAllTemplates", "email")["templates"]), "id"))
	assert.Len(t, objects(t, c.ok(t, http.StatusOK, "getAllTemplates", "sms")["templates"]), 4)
	assert.Equal(t, object{"templates": []any{}}, c.ok(t, http.StatusOK, "getAllTemplates", "letter"))

	assert.Equal(t, object{"id": smsTemplate, "type": "sms", "version": 1.0, "body": "Hi Al", "html": nil, "subject": nil, "postage": nil},
		c.ok(t, http.StatusOK, "previewTemplateById", smsTemplate, object{"name": "Al"}))
	preview := c.ok(t, http.StatusOK, "previewTemplateById", emailTemplate, object{"name": "<b>Kim", "things": []string{"a card"}})
	html, _ := preview["html"].(string)
	for _, part := range []string{"<h2", "Dear &lt;b&gt;Kim</h2>", "<li", "a card</li>", `href="https://booking.example.org/"`} {
		assert.Contains(t, html, part)
	}
	delete(preview, "html")
	assert.Equal(t, object{
		"id": emailTemplate, "type": "email", "version": 1.0, "subject": "Welcome, <b>Kim", "postage": nil,
		"body": "# Dear <b>Kim\n\nBring:\n\n\n* a card\n\nSee [our page](https://booking.example.org/).",
	}, preview)

	c.refused(t, 404, noResult(), "getTemplateById", nowhereID)
	c.refused(t, 400, invalid("id is not a valid UUID"), "getTemplateById", "1")
	c.refused(t, 404, noResult(), "getTemplateByIdAndVersion", stored, 3)
	c.refused(t, 400, invalid("version x is not of type integer, null"), "getTemplateByIdAndVersion", stored, "x")
	c.refused(t, 400, invalid("type fax is not one of [sms, email, letter]"), "getAllTemplates", "fax")
	c.refused(t, 404, noResult(), "previewTemplateById", nowhereID, object{"name": "Al"})
	c.refused(t, 400, invalid("id is not a valid UUID"), "previewTemplateById", "1")
	c.refused(t, 400, bad("Missing personalisation: Name"), "previewTemplateById", smsTemplate)
	c.refused(t, 400, invalid("personalisation x is not of type object"), "previewTemplateById", smsTemplate, "x")
}

func testReceived8(t *testing.T, st *v2Stage, c *nodeClient) {
	assert.Equal(t, object{"received_text_messages": []any{}, "links": object{"current": c.base + "/v2/received-text-messages"}}, c.ok(t, http.StatusOK, "getReceivedTexts"))
	for i := range 3 {
		a := st.callback(t, "inbound", object{"from": "+447723456789", "to": serviceNumber, "message": fmt.Sprint("Yes ✓ ", i), "reference": fmt.Sprint(i)})
		require.Equal(t, http.StatusNoContent, a.status, string(a.body))
	}
	page := c.ok(t, http.StatusOK, "getReceivedTexts")
	got := objects(t, page["received_text_messages"])
	require.Equal(t, []any{"Yes ✓ 2", "Yes ✓ 1", "Yes ✓ 0"}, column(got, "content"))
	assertObject(t, object{
		"id": aUUID, "created_at": aTime, "service_id": serviceID, "notify_number": strings.TrimPrefix(serviceNumber, "+"),
		"user_number": "447723456789", "content": "Yes ✓ 2",
	}, got[0])
	assert.Equal(t, object{"current": c.base + "/v2/received-text-messages", "next": c.base + "/v2/received-text-messages?older_than=" + got[2]["id"].(string)}, page["links"])
	assert.Equal(t, got[1:], objects(t, c.ok(t, http.StatusOK, "getReceivedTexts", got[0]["id"])["received_text_messages"]))
	assert.Empty(t, c.ok(t, http.StatusOK, "getReceivedTexts", got[2]["id"])["received_text_messages"])
	c.refused(t, 400, invalid("older_than is not a valid UUID"), "getReceivedTexts", "x")
}

// testRefusedKinds8 is for what a service of Notify may not have: letters and
// files.
func testRefusedKinds8(t *testing.T, c *nodeClient) {
	letters := bad("Service is not allowed to send letters")
	c.refused(t, 400, letters, "sendLetter", smsTemplate, object{"personalisation": object{"address_line_1": "1 High Street"}, "reference": "x"})
	c.refused(t, 400, invalid("personalisation is a required property"), "sendLetter", smsTemplate)
	pdf := object{"$buffer": base64.StdEncoding.EncodeToString([]byte("%PDF-1.7"))}
	c.refused(t, 400, letters, "sendPrecompiledLetter", "x", pdf)
	c.refused(t, 400, letters, "sendPrecompiledLetter", "x", pdf, "first")
	c.refused(t, 400, invalid("postage invalid. It must be first, second or economy."), "sendPrecompiledLetter", "x", pdf, "pigeon")

	id := objects(t, c.ok(t, http.StatusOK, "getNotifications")["notifications"])[0]["id"]
	c.refused(t, 400, bad("Notification is not a letter"), "getPdfForLetterNotification", id)
	c.refused(t, 404, noResult(), "getPdfForLetterNotification", nowhereID)
	c.refused(t, 400, invalid("notification_id is not a valid UUID"), "getPdfForLetterNotification", "1")

	file := c.call(t, "prepareUpload", pdf, object{"filename": "a.pdf", "confirmEmailBeforeDownload": true, "retentionPeriod": "4 weeks"})
	assert.Equal(t, object{"file": pdf["$buffer"], "filename": "a.pdf", "confirm_email_before_download": true, "retention_period": "4 weeks"}, file.Value)
	c.refused(t, 400, bad("Send files by email has not been set up for this service"),
		"sendEmail", derivedTemplate("2"), "kim@example.org", object{"personalisation": object{"name": file.Value, "day": "x"}})
}

// testKeys8 is for the ways of giving a key, and for keys that are wrong: every
// method that calls says so.
func testKeys8(t *testing.T, node *nodeProcess, base string) {
	for _, args := range [][]any{
		{base, apiKey("live", secretOne)},
		{base, apiKey("a name - with-hyphens", secretOne)},
		{base, serviceID, secretOne},
		{base, serviceID, apiKey("live", secretOne)},
		{base, apiKey("team", secretTeam)},
		{base, apiKey("try", secretTest)},
	} {
		c := node.client(t, "8", args...)
		assert.Equal(t, [2]string{base, serviceID}, [2]string{c.base, c.service})
		c.ok(t, http.StatusOK, "getTemplateById", smsTemplate)
	}
	team := node.client(t, "8", base, apiKey("team", secretTeam))
	team.refused(t, 400, bad("Can’t send to this recipient using a team-only API key"), "sendSms", textTemplate, "07723456789", object{"personalisation": object{"text": "x"}})
	assert.Empty(t, team.ok(t, http.StatusOK, "getNotifications")["notifications"], "none of its type")

	requests := map[string][]any{
		"sendSms": {smsTemplate, "07723456789"}, "sendEmail": {emailTemplate, "kim@example.org"}, "sendLetter": {smsTemplate, object{}},
		"sendPrecompiledLetter": {"x", "x"}, "getNotificationById": {nowhereID}, "getNotifications": nil, "getPdfForLetterNotification": {nowhereID},
		"getTemplateById": {smsTemplate}, "getTemplateByIdAndVersion": {smsTemplate, 1}, "getAllTemplates": nil,
		"previewTemplateById": {smsTemplate}, "getReceivedTexts": nil,
	}
	for wrong, message := range map[string]string{
		apiKey("live", nowhereID):             "Invalid token: API key not found",
		"live-" + nowhereID + "-" + secretOne: "Invalid token: service not found",
		"live-not-a-uuid-" + secretOne:        "Invalid token: service id is not the right data type",
	} {
		c := node.client(t, "8", base, wrong)
		for method, args := range requests {
			c.refused(t, 403, faults(403, "AuthError", message), method, args...)
		}
	}
}

// testProxies8 looks at how the client is put behind a proxy.
func testProxies8(t *testing.T, c *nodeClient) {
	proxy := newWebProxy(t, 0)
	works := func(through int32) {
		t.Helper()
		c.ok(t, http.StatusOK, "getTemplateById", smsTemplate)
		assert.Equal(t, through, proxy.forwards.Load())
	}
	assert.Empty(t, c.call(t, "setProxy", proxy.asOptions(t)).Thrown)
	works(1)
	assert.Empty(t, c.call(t, "setProxy", nil).Thrown)
	assert.Empty(t, c.call(t, "setClient", object{"$axios": object{"proxy": proxy.asOptions(t)}}).Thrown)
	works(2)
	assert.Empty(t, c.call(t, "setClient", object{"$axios": object{"proxy": false}}).Thrown)
	works(2)
}

// Without an address the clients call Notify's own. A proxy leads it to us, and
// nothing but the key is changed.
func TestNodeClientsUnmodified(t *testing.T) {
	t.Parallel()
	port, cards := freePort(t), newAuthority(t)
	st := newV2Stage(t, func(st *v2Stage, c *config) { c.sites = productionSite(t, st.server, cards, port) })
	proxy := newWebProxy(t, port)
	trust := "NODE_EXTRA_CA_CERTS=" + st.write(t, "authority.pem", cards.pem())
	for version, node := range map[string]*nodeProcess{
		"3": startNode(t, trust, "HTTPS_PROXY="+proxy.URL),
		"8": startNode(t, trust),
	} {
		for _, args := range [][]any{{apiKey("live", secretOne)}, {serviceID, secretOne}, {serviceID, apiKey("live", secretOne)}} {
			before := proxy.connects.Load()
			c := node.client(t, version, args...)
			assert.Equal(t, [3]string{productionAPI, serviceID, secretOne}, [3]string{c.base, c.service, c.secret})
			if version == "8" {
				assert.Empty(t, c.call(t, "setProxy", proxy.asOptions(t)).Thrown)
			}
			sent := c.ok(t, http.StatusCreated, "sendSms", map[string][]any{
				"3": {smsTemplate, "07723456789", object{"name": "Al"}},
				"8": {smsTemplate, "07723456789", object{"personalisation": object{"name": "Al"}}},
			}[version]...)
			assertObject(t, accepted(productionAPI, smsTemplate, nil, object{"body": "Hi Al", "from_number": "Bookings"}), sent)
			st.v2.await(t, sent["id"].(string), "delivered")
			assertObject(t, shown(productionAPI, sent["id"].(string), "sms", smsTemplate, object{"phone_number": "07723456789", "body": "Hi Al"}),
				c.ok(t, http.StatusOK, "getNotificationById", sent["id"]))
			assert.Greater(t, proxy.connects.Load(), before)
		}
	}
}
