package notifications

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifications/openapi"
)

// description is the API's own description, and a router by it.
type description struct {
	doc    *openapi3.T
	router routers.Router
}

var loadDescription = sync.OnceValues(func() (description, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapi.Document(""))
	if err != nil {
		return description{}, err
	}
	doc.Servers = nil // paths alone are looked up
	router, err := legacy.NewRouter(doc)
	return description{doc, router}, err
})

// described puts a check around the API: every answer of the v2 dialect must be
// as the description says, and every request that is accepted too.
func (s *server) described(next http.Handler) http.Handler {
	d, err := loadDescription()
	require.NoError(s.t, err)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, s.api.config.BasePath)
		rec, ok := w.(*httptest.ResponseRecorder)
		if !ok || path != openAPIPath && !isV2(path) {
			next.ServeHTTP(w, r)
			return
		}
		asked := r.Clone(context.Background())
		asked.URL = &url.URL{Path: path, RawQuery: r.URL.RawQuery}
		if s.api.config.NoIdempotency {
			asked.Header.Del(headerIdempotency)
		}
		body, err := io.ReadAll(r.Body)
		assert.NoError(s.t, err)
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
		if rec.Code != statusClientGone { // which nobody reads
			d.check(s.t, asked, body, rec)
		}
	})
}

// errorsSchema is the name of the schema of all errors.
const errorsSchema = "Errors"

func (d description) check(t testing.TB, r *http.Request, body []byte, w *httptest.ResponseRecorder) {
	t.Helper()
	if w.Code == http.StatusMethodNotAllowed || w.Code == http.StatusNotFound && strings.Contains(w.Body.String(), `"`+errorNotFound+`"`) {
		assert.NoError(t, d.doc.Components.Schemas[errorsSchema].Value.VisitJSON(map[string]any(object(t, w))), "%s %s", r.Method, r.URL)
		return
	}
	head := r.Method == http.MethodHead
	if head {
		r.Method = http.MethodGet
	}
	route, params, err := d.router.FindRoute(r)
	if !assert.NoError(t, err, "%s %s is not described", r.Method, r.URL) {
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if v, err := readJSON(body); w.Code < 300 && (len(body) == 0 || err == nil && !v.falsy()) {
		r.Header.Set("Content-Type", "application/json")
		r.Body = io.NopCloser(bytes.NewReader(body))
		assert.NoError(t, openapi3filter.ValidateRequest(r.Context(), in), "%s %s %s", r.Method, r.URL, body)
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: w.Code, Header: w.Header(),
		Options: &openapi3filter.Options{MultiError: true, IncludeResponseStatus: true, ExcludeResponseBody: head},
	}
	out.SetBodyBytes(w.Body.Bytes())
	assert.NoError(t, openapi3filter.ValidateResponse(r.Context(), out), "%s %s", r.Method, r.URL)
}

// Every route is described, and nothing else.
func TestDescribedRoutes(t *testing.T) {
	d, err := loadDescription()
	require.NoError(t, err)
	described := map[string]bool{}
	for path, item := range d.doc.Paths.Map() {
		for method := range item.Operations() {
			described[method+" "+path] = true
		}
	}
	want := map[string]bool{"GET " + openAPIPath: true}
	names := map[string][]string{
		"notifications": {"{notification_id}"},
		"template":      {"{template_id}", "{version}"},
	}
	for _, rt := range v2Routes {
		segments := append([]string(nil), rt.pattern...)
		next := 0
		for i, segment := range segments {
			if segment == "*" {
				segments[i] = names[segments[0]][next]
				next++
			}
		}
		method, _, _ := strings.Cut(rt.allow, ",")
		want[method+" "+v2Prefix+"/"+strings.Join(segments, "/")] = true
	}
	assert.Equal(t, want, described)
}

// Statuses and kinds of templates in the description are those of the filter.
func TestDescribedWords(t *testing.T) {
	d, err := loadDescription()
	require.NoError(t, err)
	for name, words := range map[string][]string{"StatusWord": v2Statuses, "TypeWord": v2Types} {
		var want []any
		for _, w := range words {
			want = append(want, w)
		}
		assert.Equal(t, want, d.doc.Components.Schemas[name].Value.Enum)
	}
}
