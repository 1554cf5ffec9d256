package notifyauth

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestExplain(t *testing.T) {
	good := ExplainRequest{
		Method: "POST", Target: "/api/p", Body: []byte(smallBody), BasePath: "/api",
		Services: StaticServices(oneService(t)), Now: time.Unix(testNow, 0),
		Authorization: mint(t, MintRequest{Method: "POST", Path: "/p", Body: []byte(smallBody)}),
	}
	token := func(method, path, body string) string {
		return "Bearer " + mint(t, MintRequest{Method: method, Path: path, Body: []byte(body)})
	}
	for _, c := range []struct {
		name   string
		change func(*ExplainRequest)
		want   Code
		says   string
	}{
		{"good", func(*ExplainRequest) {}, "", "The request is accepted."},
		{"no header", func(q *ExplainRequest) { q.Authorization = "" }, CodeNoToken, "send Authorization: Bearer"},
		{"scheme", func(q *ExplainRequest) { q.Authorization = "Basic x" }, CodeScheme, "scheme is not Bearer"},
		{"form", func(q *ExplainRequest) { q.Authorization += "=" }, "token_alphabet", "character other than"},
		{"slow clock", func(q *ExplainRequest) { q.Now = q.Now.Add(40 * time.Second) }, CodeIatOld, "issued 40 s before the server's clock"},
		{"fast clock", func(q *ExplainRequest) { q.Now = q.Now.Add(-40 * time.Second) }, CodeIatFuture, "issued 40 s after the server's clock"},
		{"secret", func(q *ExplainRequest) {
			q.Services = StaticServices(&Service{ID: testService, Keys: []*Key{key(t, "k", "x")}})
		}, CodeSignature, "none of the service's keys made it"},
		{"revoked", func(q *ExplainRequest) { q.Services = StaticServices(oneService(t, WithRevoked(true))) }, CodeSignature, "which is revoked"},
		{"unknown", func(q *ExplainRequest) { q.Services = StaticServices() }, CodeUnknownService, "no service of that id"},
		{"signed with the base path", func(q *ExplainRequest) { q.Authorization = token("POST", "/api/p", smallBody) }, CodeReq, "the path with the base path"},
		{"method", func(q *ExplainRequest) { q.Authorization = token("GET", "/p", smallBody) }, CodeReq, "the method GET"},
		{"lower case", func(q *ExplainRequest) { q.Authorization = token("post", "/p", smallBody) }, CodeReq, "method in lower case"},
		{"path", func(q *ExplainRequest) { q.Target = "/api//p" }, CodePath, "more than one reading"},
		{"base path", func(q *ExplainRequest) { q.Target = "/p" }, CodeBasePath, "does not begin with the base path /api"},
		{"query", func(q *ExplainRequest) { q.Target = "/api/p?x" }, CodeQuery, "query string"},
		{"query signed", func(q *ExplainRequest) { q.Target, q.Query = "/api/p?x", QuerySigned }, CodeReq, "the path without the query"},
		{"line break", func(q *ExplainRequest) { q.Body = append(q.Body[:len(q.Body):len(q.Body)], '\n') }, CodePay, "without the line break at its end"},
		{"no body", func(q *ExplainRequest) { q.Body = nil }, CodePayUnexpected, "leave it out"},
		{"no pay", func(q *ExplainRequest) { q.Authorization = token("POST", "/p", "") }, CodePayMissing, "pay is missing"},
		{"encoding", func(q *ExplainRequest) { q.ContentEncoding = "gzip" }, CodeContentEncoding, "Content-Encoding"},
		{"length", func(q *ExplainRequest) { q.MaxBody = 10 }, CodeTooLarge, "at most 10"},
		{"v2", func(q *ExplainRequest) { q.Dialect = V2; q.Now = q.Now.Add(time.Minute) }, CodeIatOld, "Your system clock must be accurate to within 30 seconds"},
	} {
		t.Run(c.name, func(t *testing.T) {
			q := good
			c.change(&q)
			report, err := Explain(background(), q)
			require.NoError(t, err)
			assert.Equal(t, c.want, report.Code, report.String())
			assert.Equal(t, c.want == "", report.Accepted)
			assert.Contains(t, report.String(), c.says)
			assert.NotContains(t, report.String(), testSecret)
			assert.NotContains(t, report.String(), macOf(t, smallBody))
		})
	}
}

func TestExplainWithoutKeys(t *testing.T) {
	q := ExplainRequest{Method: "GET", Target: "/p", Authorization: mint(t, MintRequest{Method: "GET", Path: "/p"}), Now: time.Unix(testNow+3, 0)}
	report, err := Explain(background(), q)
	require.NoError(t, err)
	assert.False(t, report.Accepted)
	assert.Empty(t, report.Code)
	assert.Equal(t, int64(-3), *report.ClockOffsetSeconds)
	assert.Equal(t, []string{"GET /p"}, report.CanonicalRequests)
	assert.Contains(t, report.String(), "without a key")

	q.Now = time.Unix(testNow+90, 0)
	report, err = Explain(background(), q)
	require.NoError(t, err)
	assert.Equal(t, CodeIatOld, report.Code)
	assert.True(t, strings.Contains(report.String(), "90 s before"))

	_, err = Explain(background(), ExplainRequest{BasePath: "x"})
	require.Error(t, err)
}
