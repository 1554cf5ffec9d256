package signing

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRefusedUploads(t *testing.T) {
	f := newFixture(t, nil)
	token := f.downloaded(t, nil)
	certificate := cardCertificate()
	a, b := cardSign(t, "RS256", documentText("a")), cardSign(t, "RS256", documentText("b"))
	one := `{"id":"a","signature":"` + a + `"}`
	two := one + `,{"id":"b","signature":"` + b + `"}`
	rest := `,"certificate":"` + certificate + `"}`
	many := strings.Repeat(one+",", 250) + one
	const prefix = "Invalid request payload: "
	for name, c := range map[string]struct{ body, want string }{
		"no certificate":       {`{"signatures":[` + two + `]}`, prefix + `"certificate" is required`},
		"no signatures":        {`{"certificate":"` + certificate + `"}`, prefix + `"signatures" is required`},
		"nothing":              {`{}`, prefix + `"signatures" is required`},
		"no body":              {``, `Invalid request payload JSON format`},
		"no JSON":              {`{"signatures":[`, `Invalid request payload JSON format`},
		"bytes after it":       {`{"signatures":[` + two + `]` + rest + `x`, `Invalid request payload JSON format`},
		"an array":             {`[]`, prefix + `"value" must be of type object`},
		"deep":                 {`{"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`, prefix + `"value" is nested too deeply`},
		"duplicate":            {`{"signatures":[` + two + `],"certificate":"x"` + "," + rest[1:], prefix + `"value" has two members of one name`},
		"nested duplicate":     {`{"signatures":[{"id":"a","id":"b"}]` + rest, prefix + `"value" has two members of one name`},
		"case twin":            {`{"signatures":[],"Signatures":[]` + rest, prefix + `"value" has two members whose names differ in case only`},
		"many members":         {`{"x":[` + strings.Repeat("1,", 100_000) + `1]}`, prefix + `"value" has too many members`},
		"no UTF-8":             {"{\"x\":\"\xff\"}", prefix + `"value" must be valid UTF-8`},
		"signatures null":      {`{"signatures":null` + rest, prefix + `"signatures" must be an array`},
		"signatures of text":   {`{"signatures":["x"]` + rest, prefix + `"signatures[0]" must be of type object`},
		"too many signatures":  {`{"signatures":[` + many + `]` + rest, prefix + `"signatures" must contain less than or equal to 250 items`},
		"no id":                {`{"signatures":[{"signature":"x"}]` + rest, prefix + `"signatures[0].id" is required`},
		"no signature":         {`{"signatures":[` + one + `,{"id":"b"}]` + rest, prefix + `"signatures[1].signature" is required`},
		"certificate a number": {`{"signatures":[` + two + `],"certificate":5}`, prefix + `"certificate" must be a string`},
		"certificate empty":    {`{"signatures":[` + two + `],"certificate":""}`, prefix + `"certificate" is not allowed to be empty`},
		"chain a text":         {`{"signatures":[` + two + `],"chain":"x"` + rest, prefix + `"chain" must be an array`},
		"chain too long":       {`{"signatures":[` + two + `],"chain":[` + strings.Repeat(`"x",`, 8) + `"x"]` + rest, prefix + `"chain" must contain less than or equal to 8 items`},
		"chain of numbers":     {`{"signatures":[` + two + `],"chain":[1]` + rest, prefix + `"chain[0]" must be a string`},
		"the other dialect":    {`{"signature":"` + a + `"` + rest, prefix + `"signatures" is required`},
	} {
		t.Run(name, func(t *testing.T) { requireRefusal(t, f.upload(t, token, c.body), 400, c.want) })
	}
	for name, body := range map[string]string{
		"one missing":       `{"signatures":[` + one + `]` + rest,
		"one twice":         `{"signatures":[` + two + `,` + one + `]` + rest,
		"a strange id":      `{"signatures":[` + two + `,{"id":"c","signature":"` + a + `"}]` + rest,
		"swapped":           `{"signatures":[{"id":"a","signature":"` + b + `"},{"id":"b","signature":"` + a + `"}]` + rest,
		"other algorithm":   goodUpload(t, "RS1", "a", "b"),
		"other certificate": strings.Replace(`{"signatures":[`+two+`]`+rest, certificate, "AAAA", 1),
	} {
		t.Run(name, func(t *testing.T) {
			w := f.upload(t, token, body)
			require.Equal(t, http.StatusBadRequest, w.Code, w.Body)
			require.Contains(t, w.Body.String(), `{"statusCode":400,"error":"Bad Request","message":"`)
		})
	}
	requireRefusal(t, f.result(t, token), 404, "Could not find the specified signature response")
	require.Equal(t, http.StatusOK, f.upload(t, token, `{"signatures":[`+two+`],"chain":[]`+rest).Code, "none of them did harm")
}

func TestSinglePayloadRefusals(t *testing.T) {
	f := newFixture(t, nil)
	token := f.downloaded(t, map[string]any{"payloads": nil, "payload": b64("x")})
	for body, want := range map[string]string{
		`{}`:                                    `"signature" is required`,
		`{"certificate":"x"}`:                   `"signature" is required`,
		`{"signature":"x"}`:                     `"certificate" is required`,
		`{"signature":"x","signatures":[]}`:     `"value" contains a conflict between exclusive peers [signature, signatures]`,
		`{"signature":5,"certificate":"x"}`:     `"signature" must be a string`,
		`{"signatures":[{}],"certificate":"x"}`: `"signatures[0].signature" is required`,
	} {
		requireRefusal(t, f.upload(t, token, body), 400, "Invalid request payload: "+want)
	}
}

func TestTheAuditLine(t *testing.T) {
	f := newFixture(t, nil)
	token := f.downloaded(t, nil)
	f.upload(t, token, "{}")
	f.upload(t, token, goodUpload(t, "RS256", "a", "b"))
	digest, _ := f.digest(token)
	var lines []string
	for line := range strings.Lines(f.log.String()) {
		if strings.Contains(line, `msg="signature upload"`) {
			lines = append(lines, line)
		}
	}
	require.Len(t, lines, 2)
	for i, want := range []string{"result=upload_form", "result=ok"} {
		for _, text := range []string{"level=INFO", "token_hash=" + tokenName(digest), "iss=client-1", "kid=test-4096", "documents=2", want} {
			assert.Contains(t, lines[i], text)
		}
	}
	assert.Regexp(t, `certificate_sha256=[0-9a-f]{64} `, lines[1])
	for _, secret := range []string{token, b64(documentText("a")), documentText("a")} {
		assert.NotContains(t, f.log.String(), secret)
	}
}

func TestCallbackURL(t *testing.T) {
	for callback, want := range map[string]string{
		"https://a.example":           "https://a.example?token=T&state=S",
		"https://a.example/cb":        "https://a.example/cb?token=T&state=S",
		"https://a.example/cb?":       "https://a.example/cb?token=T&state=S",
		"https://a.example/cb?x=1":    "https://a.example/cb?x=1&token=T&state=S",
		"https://a.example/cb?x=1&":   "https://a.example/cb?x=1&token=T&state=S",
		"https://a.example/c?u=a%20b": "https://a.example/c?u=a%20b&token=T&state=S",
	} {
		assert.Equal(t, want, callbackURL(callback, "T", "S", true))
	}
}

func TestCheckCallback(t *testing.T) {
	for _, good := range []string{
		"https://app.example/cb?x=1", "https://app.example:8443", "http://localhost:3000/cb", "http://127.0.0.1/", "http://[::1]:1/",
	} {
		require.NoError(t, CheckCallback(good), good)
	}
	for _, bad := range []string{
		"", "app.example", "/cb", "//evil.example", `https:\\evil.example`, "javascript:alert(1)", "http://app.example/", "data:text/html,x",
		"https://", "https:///cb", "https://user@app.example/", "https://user:pw@app.example/", "https://app.example/#x", "https://app.example/#",
		"https://app.example/a b", "https://app.example/\r\nSet-Cookie: a", "https://app.example/é", "https:app.example", "https://:443/", "https://a\u202eb/",
	} {
		require.Error(t, CheckCallback(bad), bad)
	}
}
