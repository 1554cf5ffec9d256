//go:build linux

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	secretTeam = "6a1f3c52-8d0e-4b7a-9c35-1e2f40516273"
	secretTest = "7b2e4d63-9e1f-4c8b-8d46-2f3051627384"

	smsTemplate   = "35836a9e-5a97-4d99-8309-0c5a2c3dbc72"
	emailTemplate = "1f83ce93-a8a8-4d01-b86c-52d4d8f1c0a5"
	textTemplate  = "9d1b3a0e-7c55-4f6e-8a1c-5b2f0e9d8c47" // any text

	nameSender   = "8e222534-7f05-4972-86e3-17c5d9f894e2" // the default
	numberSender = "0b6a7c2d-4e19-45b3-9f08-6d5c4b3a2910"
	deskReply    = "2c9f1a7e-3b64-4d8d-8e5a-7f6041b2c3d5" // the default
	otherReply   = "4d8e2b6f-5c73-4e9a-a16b-80715c2d3e4f"

	nowhereID     = "00000000-0000-4000-8000-000000000000" // nothing has it
	prefix        = "/api/endpoint"
	serviceNumber = "+447860000001"
	guestNumber   = "+447700900999"
	guestAddress  = "guest@example.org"
)

// v2Service are options of a service for the v2 dialect.
const v2Service = `key team ` + secretTeam + ` team
			key try ` + secretTest + ` test
			template ` + smsTemplate + ` sms {
				name "Greeting"
				body "Hi ((Name))"
			}
			template ` + emailTemplate + ` email {
				name "Welcome"
				subject "Welcome, ((name))"
				body "# Dear ((name))

Bring:
((things))

See [our page](https://booking.example.org/)."
			}
			template ` + textTemplate + ` sms {
				name "Text"
				body "((text))"
			}
			sms_sender ` + numberSender + ` +447700900001
			sms_sender ` + nameSender + ` Bookings default
			reply_to ` + otherReply + ` other@booking.example.org
			reply_to ` + deskReply + ` desk@booking.example.org default
			email_from bookings@booking.example.org
			guest_list ` + guestNumber + ` ` + guestAddress + `
			inbound_number ` + serviceNumber

// carrier is a webhook provider of text messages whose receipts and received
// messages come with receiptsSecret.
func carrier(url, more string) string {
	return fmt.Sprintf(`delivery sms webhook {
			name carrier
			url %s/send
			receipts {
				secret {env.RECEIPTS_SECRET}
				status lost technical-failure
			}
			inbound {
				secret {env.RECEIPTS_SECRET}
			}
			%s
		}`, url, more)
}

// v2Stage is a server with the v2 API, at the root and below a prefix.
type v2Stage struct {
	*server

	base  string
	stand *provider // of text messages
	v2    *v2Client // with the normal key
}

// newV2Stage starts a server; more changes its configuration.
func newV2Stage(t testing.TB, more func(st *v2Stage, c *config)) *v2Stage {
	t.Helper()
	st := &v2Stage{server: newServer(t), stand: newProvider(t, nil)}
	port := freePort(t)
	st.base = plainURL(port)
	c := config{
		port: port, service: v2Service, signpost: carrier(st.stand.URL, "delivered_on_accept"),
		api: noLimits + "\n\t\tbase_path " + prefix,
	}
	if more != nil {
		more(st, &c)
	}
	st.env = append(st.env, "RECEIPTS_SECRET="+receiptsSecret, "BEARER="+bearer)
	st.start(t, c.String())
	st.v2 = newV2Client(t, st.base)
	st.v2.describe(t)
	return st
}

// callback posts to a route of the provider, such as receipts or inbound.
func (st *v2Stage) callback(t testing.TB, route string, body object) answer {
	t.Helper()
	a, err := newClient(t, st.base).doAs("Bearer "+receiptsSecret, http.MethodPost, "/"+route+"/carrier", marshal(t, body))
	require.NoError(t, err)
	return a
}

// object is a JSON object.
type object = map[string]any

// v2Client calls an API with tokens of the v2 dialect.
type v2Client struct{ client }

func newV2Client(t testing.TB, base string) *v2Client {
	t.Helper()
	return &v2Client{*newClient(t, base)}
}

// as is the client with another key of the service.
func (c *v2Client) as(secret string) *v2Client {
	other := *c
	other.secret = secret
	return &other
}

func (id identity) v2Token() (string, error) {
	token, err := notifyauth.Mint(notifyauth.MintRequest{Service: id.service, Secret: id.secret, Dialect: notifyauth.V2})
	return "Bearer " + token, err
}

// do sends a request; header holds names and values in turn.
func (c *v2Client) do(method, path string, body []byte, header ...string) (answer, error) {
	authorization, err := c.v2Token()
	if err != nil {
		return answer{}, err
	}
	return c.doAs(authorization, method, path, body, header...)
}

// must sends a request that is answered by a status, and returns the JSON.
func (c *v2Client) must(t testing.TB, status int, method, path string, body any, header ...string) object {
	t.Helper()
	var b []byte
	if body != nil {
		b = marshal(t, body)
	}
	a, err := c.do(method, path, b, header...)
	require.NoError(t, err)
	require.Equal(t, status, a.status, "%s %s: %s", method, path, a.body)
	return a.object(t)
}

func (a answer) object(t testing.TB) (o object) {
	t.Helper()
	require.NoError(t, json.Unmarshal(a.body, &o), "%d %s", a.status, a.body)
	return o
}

func (c *v2Client) get(t testing.TB, path string) object {
	t.Helper()
	return c.must(t, http.StatusOK, http.MethodGet, path, nil)
}

// send sends a text message to a number and returns the id.
func (c *v2Client) send(t testing.TB, to string, more object) (id string) {
	t.Helper()
	body := object{"phone_number": to, "template_id": smsTemplate, "personalisation": object{"name": "Al"}}
	for name, value := range more {
		body[name] = value
	}
	return c.must(t, http.StatusCreated, http.MethodPost, "/v2/notifications/sms", body)["id"].(string)
}

// await polls until a notification has a status.
func (c *v2Client) await(t testing.TB, id, status string) (n object) {
	t.Helper()
	eventually(t, patience, func() (bool, string) {
		n = c.get(t, "/v2/notifications/"+id)
		return n["status"] == status, fmt.Sprintf("notification %s is %q, not %q", id, n["status"], status)
	})
	return n
}

// faults is the body of a refusal: a type and a message for each error.
func faults(status int, pairs ...string) object {
	errors := []any{}
	for i := 0; i < len(pairs); i += 2 {
		errors = append(errors, object{"error": pairs[i], "message": pairs[i+1]})
	}
	return object{"status_code": float64(status), "errors": errors}
}

func invalid(messages ...string) object {
	var pairs []string
	for _, m := range messages {
		pairs = append(pairs, "ValidationError", m)
	}
	return faults(http.StatusBadRequest, pairs...)
}

func bad(message string) object { return faults(http.StatusBadRequest, "BadRequestError", message) }

func noResult() object { return faults(http.StatusNotFound, "NoResultFound", "No result found") }

var (
	aTime = regexp.MustCompile(`^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$`)
	aUUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
)

// assertObject compares objects member by member. In want, a regular expression
// stands for the texts that it matches.
func assertObject(t testing.TB, want, got object) bool {
	t.Helper()
	return assert.Equal(t, likeObject(want, got), got)
}

// likeObject replaces the expressions of want by what they match in got.
func likeObject(want, got object) object {
	out := make(object, len(want))
	for name, w := range want {
		out[name] = w
		switch w := w.(type) {
		case *regexp.Regexp:
			text, ok := got[name].(string)
			if ok && w.MatchString(text) {
				out[name] = text
			}
		case object:
			if g, ok := got[name].(object); ok {
				out[name] = likeObject(w, g)
			}
		}
	}
	return out
}

// shown is a notification as GET shows it, with every member and those that
// change set.
func shown(base, id, kind, template string, change object) object {
	o := object{
		"id": id, "reference": nil, "email_address": nil, "phone_number": nil,
		"line_1": nil, "line_2": nil, "line_3": nil, "line_4": nil, "line_5": nil, "line_6": nil, "postcode": nil,
		"type": kind, "status": "delivered", "body": "", "subject": nil,
		"template":   object{"id": template, "version": 1.0, "uri": base + "/v2/template/" + template + "/version/1"},
		"created_at": aTime, "created_by_name": nil, "sent_at": aTime, "completed_at": aTime, "scheduled_for": nil,
		"postage": nil, "one_click_unsubscribe_url": nil,
		"is_cost_data_ready": false, "cost_in_pounds": nil, "cost_details": object{},
	}
	for name, value := range change {
		o[name] = value
	}
	return o
}

// accepted is the answer to a request to send.
func accepted(base, template string, reference any, content object) object {
	o := object{
		"id": aUUID, "reference": reference, "uri": regexp.MustCompile("^" + regexp.QuoteMeta(base) + "/v2/notifications/" + aUUID.String()[1:]),
		"template":      object{"id": template, "version": 1.0, "uri": base + "/services/" + serviceID + "/templates/" + template},
		"scheduled_for": nil, "content": content,
	}
	if _, email := content["subject"]; email {
		o["sanitised_content"] = object{}
	}
	return o
}

// derivedTemplate is the UUID of the Caddyfile's template with a number.
func derivedTemplate(id string) string { return storage.TemplateUUID(serviceID, id).String() }

// apiKey is a key as people copy it from the command line.
func apiKey(name, secret string) string { return strings.Join([]string{name, serviceID, secret}, "-") }

// anyUUID is how clients find the cursor in a link: the first one is it.
var anyUUID = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}`)

// objects is a list of objects.
func objects(t testing.TB, list any) (out []object) {
	t.Helper()
	items, ok := list.([]any)
	require.True(t, ok, "%v", list)
	for _, item := range items {
		out = append(out, item.(object))
	}
	return out
}

// column is one member of each.
func column(all []object, name string) (out []any) {
	for _, o := range all {
		out = append(out, o[name])
	}
	return out
}

// readCaddyfile is what the server was started with.
func (s *server) readCaddyfile(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "Caddyfile"))
	require.NoError(t, err)
	return string(b)
}
