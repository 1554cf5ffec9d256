package notifications

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

var (
	templateKeys = []string{
		"id", "type", "name", "created_at", "updated_at", "created_by", "version", "body", "subject", "personalisation",
		"postage", "letter_contact_block",
	}
	previewKeys = []string{"id", "type", "version", "body", "html", "subject", "postage"}
)

func TestV2Template(t *testing.T) {
	s := newServer(t)
	id := templateID("3")
	want := `{"id":"` + id + `","type":"email","name":"Template 3","created_at":"2016-01-25T00:00:00.000000Z","updated_at":null,"created_by":null,` +
		`"version":1,"body":"Dear ((name)),\nbring:((things))","subject":"For ((name))",` +
		`"personalisation":{"name":{"required":true},"things":{"required":true}},"postage":null,"letter_contact_block":null}` + "\n"
	for _, path := range []string{id, strings.ToUpper(id), id + "/version/1"} {
		w := s.v2("GET", "/v2/template/"+path, "")
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, want, w.Body.String())
	}
	// A template whose id is a UUID has that one.
	const own = "f5a9a2d6-7a3b-4a53-9d3a-3f5c5c1f0c11"
	o := object(t, s.v2("GET", "/v2/template/"+own, ""))
	assertKeys(t, templateKeys, o)
	assert.Equal(t, own, o["id"])
	assert.Nil(t, o["subject"])
	assert.Equal(t, map[string]any{}, o["personalisation"])
	// One placeholder in several spellings, and one that is a condition.
	s.directory.put(serviceA, "7", storage.Email, "((First Name))", "((first_name)) ((b??yes)) ((b))")
	o = object(t, s.v2("GET", "/v2/template/"+templateID("7"), ""))
	required := map[string]any{"required": true}
	assert.Equal(t, map[string]any{"First Name": required, "b": required}, o["personalisation"])
}

func TestV2TemplateVersions(t *testing.T) {
	s := newServer(t)
	s.directory.put(serviceA, "1", storage.SMS, "", "Second")
	s.directory.put(serviceA, "1", storage.SMS, "", "Third")
	id := templateID("1")
	for path, want := range map[string]struct {
		version int
		body    string
		updated any
	}{
		"":           {3, "Third", "2016-01-25T00:02:00.000000Z"},
		"/version/3": {3, "Third", "2016-01-25T00:02:00.000000Z"},
		"/version/2": {2, "Second", "2016-01-25T00:01:00.000000Z"},
		"/version/1": {1, "Hello from the booking service", nil},
	} {
		o := object(t, s.v2("GET", "/v2/template/"+id+path, ""))
		assertKeys(t, templateKeys, o)
		assert.EqualValues(t, want.version, o["version"], path)
		assert.Equal(t, want.body, o["body"], path)
		assert.Equal(t, want.updated, o["updated_at"], path)
		assert.Equal(t, "2016-01-25T00:00:00.000000Z", o["created_at"], path)
	}
	// The address in a notification leads to the version that it was made of.
	n := s.v2Get(s.v2SMS(v2SMS()))
	s.directory.put(serviceA, "1", storage.SMS, "", "Fourth")
	assert.Equal(t, "Third", object(t, s.v2("GET", below(t, n["template"].(map[string]any)["uri"].(string)), ""))["body"])
}

func TestV2TemplateRefusals(t *testing.T) {
	s := newServer(t)
	id := templateID("1")
	const huge = "99999999999999999999"
	for path, want := range map[string][]string{
		"1":                      {"id is not a valid UUID"},
		"1/version/1":            {"id is not a valid UUID"},
		"1/version/x":            {"id is not a valid UUID", "version x is not of type integer, null"},
		id + "/version/x":        {"version x is not of type integer, null"},
		id + "/version/1.0":      {"version 1.0 is not of type integer, null"},
		id + "/version/0x1":      {"version 0x1 is not of type integer, null"},
		id + "/version/1'":       {`version "1" is not of type integer, null`},
		id + "/version/0":        {"version 0 is less than the minimum of 1"},
		id + "/version/-1":       {"version -1 is less than the minimum of 1"},
		id + "/version/-" + huge: {"version -" + huge + " is less than the minimum of 1"},
	} {
		assertV2Error(t, s.v2("GET", "/v2/template/"+path, ""), 400, errorValidation, want...)
	}
	for _, path := range []string{unknownID, unknownID + "/version/1", id + "/version/2", id + "/version/" + huge, storage.TemplateUUID(serviceB, "9").String()} {
		assertV2Error(t, s.v2("GET", "/v2/template/"+path, ""), 404, errorNoResult, "No result found")
	}
	assert.Equal(t, 200, s.v2("GET", "/v2/template/"+storage.TemplateUUID(serviceB, "9").String(), "", s.withKey(serviceB, secretB)).Code)
}

func TestV2Templates(t *testing.T) {
	s := newServer(t)
	s.directory.put(serviceA, "1", storage.SMS, "", "Second")
	s.directory.put(serviceA, "0", storage.Email, "Gone", "Gone")
	s.directory.archive(serviceA, "0")
	for query, want := range map[string][]string{
		"":             {"Template 1", "Template 2", "Template 3", "Template 4", "Template f5a9a2d6-7a3b-4a53-9d3a-3f5c5c1f0c11"},
		"?type=sms":    {"Template 1", "Template 2", "Template 4", "Template f5a9a2d6-7a3b-4a53-9d3a-3f5c5c1f0c11"},
		"?type=email":  {"Template 3"},
		"?type=letter": {},
	} {
		w := s.v2("GET", "/v2/templates"+query, "")
		require.Equal(t, 200, w.Code)
		names := []string{}
		for _, item := range object(t, w)["templates"].([]any) {
			o := item.(map[string]any)
			assertKeys(t, templateKeys, o)
			assert.Equal(t, o, object(t, s.v2("GET", "/v2/template/"+o["id"].(string), "")))
			names = append(names, o["name"].(string))
		}
		assert.Equal(t, want, names, query)
	}
	assert.Equal(t, `{"templates":[]}`+"\n", s.v2("GET", "/v2/templates?type=email", "", s.withKey(serviceB, secretB)).Body.String())
	assertV2Error(t, s.v2("GET", "/v2/templates?type=fax", ""), 400, errorValidation, "type fax is not one of [sms, email, letter]")
	assertV2Error(t, s.v2("GET", "/v2/templates?type=", ""), 400, errorValidation, "type  is not one of [sms, email, letter]")
	assertV2Error(t, s.v2("GET", "/v2/templates?template_type=sms", ""), 400, errorValidation, "Additional properties are not allowed (template_type was unexpected)")
	assertV2Error(t, s.v2("GET", "/v2/templates?%", ""), 400, errorBadRequest, "The query string is malformed")
	// An archived one isn't listed, but its notifications still lead to it.
	assert.Equal(t, 200, s.v2("GET", "/v2/template/"+templateID("0"), "").Code)
}

func TestV2TemplatesOrder(t *testing.T) {
	s := newServer(t)
	for _, name := range []string{"b", "a", "a"} {
		s.directory.put(serviceB, name+time.Now().String(), storage.SMS, "", "x")
	}
	for _, versions := range s.directory.versions[serviceB] {
		versions[0].Name = "same"
	}
	list := decode[v2TemplateList](t, s.v2("GET", "/v2/templates", "", s.withKey(serviceB, secretB)))
	again := decode[v2TemplateList](t, s.v2("GET", "/v2/templates", "", s.withKey(serviceB, secretB)))
	assert.Len(t, list.Templates, 4)
	assert.Equal(t, list, again)
}

func TestV2Preview(t *testing.T) {
	s := newServer(t)
	preview := func(template, body string) map[string]any {
		w := s.v2("POST", "/v2/template/"+templateID(template)+"/preview", body)
		require.Equal(t, 200, w.Code, "%s", w.Body)
		o := object(t, w)
		assertKeys(t, previewKeys, o)
		assert.Equal(t, templateID(template), o["id"])
		assert.Nil(t, o["postage"])
		return o
	}
	for _, body := range []string{"", "{}", "null", "[]", `{"personalisation":{}}`, `{"id":"x","other":1}`} {
		o := preview("1", body)
		assert.Equal(t, "Hello from the booking service", o["body"])
		assert.Equal(t, "sms", o["type"])
		assert.EqualValues(t, 1, o["version"])
		assert.Nil(t, o["html"])
		assert.Nil(t, o["subject"])
	}
	o := preview("2", `{"personalisation":{"NAME":"Zoë — 日","code":1,"vip":true,"more":null}}`)
	assert.Equal(t, "Hi Zoë - ?, your code is 1 and you may skip the queue.", o["body"])
	o = preview("3", `{"personalisation":{"name":"# A & <b>","things":["a","* b"]}}`)
	assert.Equal(t, "Dear # A & <b>,\nbring:\n\n* a\n* * b", o["body"])
	assert.Equal(t, "For # A & <b>", o["subject"])
	html := o["html"].(string)
	assert.Contains(t, html, "# A &amp; &lt;b&gt;,")
	assert.Contains(t, html, "<ul")
	assert.NotContains(t, html, "<html", "the body alone")
	// However long, and even empty.
	assert.Len(t, preview("4", v2Body("personalisation", map[string]any{"text": strings.Repeat("x", 1000)}))["body"], 1000)
	assert.Empty(t, preview("4", `{"personalisation":{"text":""}}`)["body"])
	s.directory.archive(serviceA, "1")
	preview("1", "")
	assert.Zero(t, s.total())
}

func TestV2PreviewRefusals(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		template, body string
		status         int
		kind           string
		want           []string
	}{
		{"1", "", 400, errorValidation, []string{"id is not a valid UUID"}},
		{"1", `{"personalisation":"x"}`, 400, errorValidation, []string{"id is not a valid UUID", "personalisation x is not of type object"}},
		{"1", "{", 400, errorBadRequest, []string{"Invalid JSON supplied in POST data"}},
		{templateID("2"), " ", 400, errorBadRequest, []string{"Invalid JSON supplied in POST data"}},
		{templateID("2"), `"x"`, 400, errorValidation, []string{"x is not of type object"}},
		{templateID("2"), `{"personalisation":null}`, 400, errorValidation, []string{"personalisation None is not of type object"}},
		{templateID("2"), "", 400, errorBadRequest, []string{"Missing personalisation: Name, code, vip"}},
		{templateID("2"), `{"personalisation":{"name":null,"vip":""}}`, 400, errorBadRequest, []string{"Missing personalisation: Name, code"}},
		{templateID("3"), "", 400, errorBadRequest, []string{"Missing personalisation: name, things"}},
		{unknownID, "", 404, errorNoResult, []string{"No result found"}},
		{storage.TemplateUUID(serviceB, "9").String(), "", 404, errorNoResult, []string{"No result found"}},
	} {
		assertV2Error(t, s.v2("POST", "/v2/template/"+c.template+"/preview", c.body), c.status, c.kind, c.want...)
	}
	s.directory.put(serviceA, "8", storage.Email, "x", strings.Repeat("((text))", 3))
	w := s.v2("POST", "/v2/template/"+templateID("8")+"/preview", v2Body("personalisation", map[string]any{"text": strings.Repeat("x", 900_000)}))
	assertV2Error(t, w, 400, errorBadRequest, "Your message is too long. Emails cannot be longer than 2000000 bytes.")
	// What can't be parsed was stored by somebody else.
	s.directory.put(serviceA, "10", storage.SMS, "", "\x00")
	assertV2Error(t, s.v2("POST", "/v2/template/"+templateID("10")+"/preview", ""), 500, errorInternal, textInternalError)
	assertV2Error(t, s.v2("GET", "/v2/template/"+templateID("10"), ""), 500, errorInternal, textInternalError)
	assertV2Error(t, s.v2("GET", "/v2/templates", ""), 500, errorInternal, textInternalError)
}
