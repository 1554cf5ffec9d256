//go:build linux

package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The oldest client that the registry of npm has: the routes of the signed
// dialect, with tokens that sign nothing.
func TestNodeClient2(t *testing.T) {
	t.Parallel()
	var plain, dialect int
	st := newV2Stage(t, func(_ *v2Stage, c *config) {
		plain, dialect = c.port, freePort(t)
		c.sites = fmt.Sprintf("http://127.0.0.1:%d {\n\tnotify_api {\n\t\tdialect v2\n\t\tbase_path %s\n\t\t%s\n\t}\n}\n", dialect, prefix, noLimits)
	})
	node := startNode(t)
	for _, base := range []string{plainURL(dialect), plainURL(dialect) + prefix} {
		t.Run(base, func(t *testing.T) {
			c := node.client(t, "2", base, serviceID, secretOne)
			assert.Equal(t, [3]string{base, serviceID, secretOne}, [3]string{c.base, c.service, c.secret})
			testClient2(t, st, c)
			c.requireComplete(t)

			refuse := func(c *nodeClient, message string) {
				t.Helper()
				body := object{"result": "error", "message": object{"token": []any{message}}}
				c.refused(t, 403, body, "sendSms", 1, "07723456789", object{"code": "1"})
				c.refused(t, 403, body, "sendEmail", 2, "kim@example.org")
				c.refused(t, 403, body, "getNotificationById", 1)
			}
			refuse(node.client(t, "2", base, serviceID, nowhereID), "Invalid token: API key not found")
			refuse(node.client(t, "2", base, nowhereID, secretOne), "Invalid token: service not found")
		})
	}
	t.Run("where tokens sign the request", func(t *testing.T) {
		c := node.client(t, "2", plainURL(plain), serviceID, secretOne)
		c.refused(t, 403, object{"error": "Invalid token: request"}, "sendSms", 1, "07723456789", object{"code": "1"})
	})
	t.Run("the v2 routes of the same site", func(t *testing.T) {
		node.client(t, "8", plainURL(dialect), apiKey("live", secretOne)).ok(t, http.StatusOK, "getTemplateById", smsTemplate)
	})
}

func testClient2(t *testing.T, st *v2Stage, c *nodeClient) {
	for _, tc := range []struct {
		method         string
		args           []any
		to, text, kind string
		sender         string
	}{
		{"sendSms", []any{1, "07723 456789", object{"code": "314"}}, "+447723456789", messageStart + "314", "sms", "carrier"},
		{"sendSms", []any{smsTemplate, "+447723456789", object{"name": "Al"}}, "+447723456789", "Hi Al", "sms", "carrier"},
		{"sendEmail", []any{2, "kim@example.org", object{"name": "Kim", "day": "Monday"}}, "kim@example.org", "Dear Kim, we expect you on Monday.", "email", "log"},
	} {
		sent := c.ok(t, http.StatusCreated, tc.method, tc.args...)
		id := sent["notification"].(object)["id"]
		assertObject(t, object{"notification": object{
			"id": id, "jobId": id, "to": tc.to, "message": tc.text, "createdAt": aTime, "status": "created", "method": tc.kind, "sender": tc.sender,
		}}, sent)
		st.awaitStatus(t, id, "delivered")
		assertObject(t, object{"notification": object{
			"id": id, "jobId": id, "to": tc.to, "message": tc.text, "createdAt": aTime, "sentAt": aTime, "deliveredAt": aTime,
			"status": "delivered", "method": tc.kind, "sender": tc.sender,
		}}, c.ok(t, http.StatusOK, "getNotificationById", id))
	}
	fault := func(field, message string) object {
		return object{"result": "error", "message": object{field: []any{message}}}
	}
	c.refused(t, 400, fault("to", "Invalid phone number: Not enough digits"), "sendSms", 1, "077", object{"code": "1"})
	c.refused(t, 400, fault("template", "Missing personalisation: code"), "sendSms", 1, "07723456789")
	c.refused(t, 404, object{"result": "error", "message": "No result found"}, "sendSms", 99, "07723456789")
	c.refused(t, 400, fault("to", "Not a valid email address"), "sendEmail", 2, "kim", object{"name": "Kim", "day": "Monday"})
	c.refused(t, 404, object{"result": "error", "message": "No result found"}, "getNotificationById", 999999)
}

// awaitStatus is await for the number by which the signed dialect knows a
// notification.
func (st *v2Stage) awaitStatus(t *testing.T, id any, status string) {
	t.Helper()
	newClient(t, st.base).await(t, int64(id.(float64)), status)
}
