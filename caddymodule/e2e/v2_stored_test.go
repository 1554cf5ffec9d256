//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A service that an operator makes while the server runs: the key goes into the
// public client as it was printed, and all else follows without a reload.
func TestV2StoredService(t *testing.T) {
	t.Parallel()
	st := newV2Stage(t, nil)
	service := newReceipts(t)
	id := strings.TrimSpace(st.ok(t, "signpost", "service", "add", "Pharmacy"))
	key := printed(t, st.ok(t, "signpost", "service", "key", "add", id, "live"), "key")
	assert.Regexp(t, `^live-`+uuidPattern+`-`+uuidPattern+`$`, key)
	team := printed(t, st.ok(t, "signpost", "service", "key", "add", id, "team", "--type", "team"), "key")
	line := st.ok(t, "signpost", "template", "put", id, "Your medicine is ready, ((name))", "--name", "Ready")
	require.Regexp(t, `^template `+uuidPattern+` version 1\n$`, line)
	template := strings.Fields(line)[1]

	// Settings by file; what they hold in secrets isn't shown again.
	settings := object{
		"sms_senders": []any{object{"id": nameSender, "text": "Pharmacy", "default": true}},
		"reply_to":    []any{object{"id": deskReply, "address": "desk@pharmacy.example.org", "default": true}},
		"guest_list":  []any{guestNumber}, "inbound_numbers": []any{"60006"},
		"callback": object{"url": service.URL + "/told", "bearer": bearer},
	}
	st.write(t, "settings.json", string(marshal(t, settings)))
	for _, args := range [][]string{{"--file", "settings.json"}, {"--show"}} {
		out := st.ok(t, append([]string{"signpost", "service", "settings", id}, args...)...)
		assert.Contains(t, out, service.URL+"/told")
		assert.NotContains(t, out, bearer)
	}

	node := startNode(t)
	c := node.client(t, "8", st.base, key)
	sent := c.ok(t, http.StatusCreated, "sendSms", template, "07723456789", object{"personalisation": object{"name": "Al"}, "reference": "r"})
	assert.Equal(t, object{"body": "Your medicine is ready, Al", "from_number": "Pharmacy"}, sent["content"])
	var n object
	eventually(t, patience, func() (bool, string) {
		n = c.ok(t, http.StatusOK, "getNotificationById", sent["id"])
		return n["status"] == "delivered", fmt.Sprint(n["status"])
	})
	assert.Equal(t, object{
		"id": sent["id"], "reference": "r", "to": "07723456789", "status": "delivered", "created_at": n["created_at"], "completed_at": n["completed_at"],
		"sent_at": n["sent_at"], "notification_type": "sms", "template_id": template, "template_version": 1.0,
	}, service.await(t, sent["id"].(string)))
	assert.Equal(t, "Bearer "+bearer, service.raw[0].Get("Authorization"))

	guests := node.client(t, "8", st.base, team)
	guests.ok(t, http.StatusCreated, "sendSms", template, guestNumber, object{"personalisation": object{"name": "Al"}})
	guests.refused(t, 400, bad("Can’t send to this recipient using a team-only API key"), "sendSms", template, "07723456789", object{"personalisation": object{"name": "Al"}})

	a := st.callback(t, "inbound", object{"from": "+447723456789", "to": "60006", "message": "Thanks", "reference": "1"})
	require.Equal(t, http.StatusNoContent, a.status, string(a.body))
	assert.Equal(t, []any{"Thanks"}, column(objects(t, c.ok(t, http.StatusOK, "getReceivedTexts")["received_text_messages"]), "content"))
	assert.Empty(t, st.v2.get(t, "/v2/received-text-messages")["received_text_messages"], "another service's")
	assert.Equal(t, http.StatusNotFound, st.callback(t, "inbound", object{"from": "1", "to": "60007", "message": "x"}).status)

	// Nobody sees another service's, by any route.
	st.v2.must(t, http.StatusNotFound, http.MethodGet, "/v2/notifications/"+sent["id"].(string), nil)
	st.v2.must(t, http.StatusNotFound, http.MethodGet, "/v2/template/"+template, nil)
	st.v2.must(t, http.StatusNotFound, http.MethodPost, "/v2/template/"+template+"/preview", object{"personalisation": object{"name": "x"}})
	assert.Equal(t, bad("Template not found"), st.v2.must(t, http.StatusBadRequest, http.MethodPost, "/v2/notifications/sms",
		object{"phone_number": "07723456789", "template_id": template, "personalisation": object{"name": "x"}}))

	st.ok(t, "signpost", "template", "archive", id, template)
	c.refused(t, 400, bad("Template has been deleted"), "sendSms", template, "07723456789", object{"personalisation": object{"name": "Al"}})
	assert.Empty(t, c.ok(t, http.StatusOK, "getAllTemplates")["templates"])
	st.ok(t, "signpost", "service", "key", "revoke", id, "live")
	eventually(t, patience, func() (bool, string) {
		got := c.call(t, "getAllTemplates")
		return got.Status == http.StatusForbidden &&
			assert.ObjectsAreEqual(faults(403, "AuthError", "Invalid token: API key revoked"), got.Body), fmt.Sprint(got.Status, got.Body)
	})
}

// printed is the value on a line of a command's output.
func printed(t testing.TB, output, name string) string {
	t.Helper()
	for line := range strings.Lines(output) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == name {
			return fields[1]
		}
	}
	t.Fatalf("no %s in:\n%s", name, output)
	return ""
}
