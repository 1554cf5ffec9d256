//go:build linux

package e2e

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/legacy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The description of the API is for everybody, and names the address at which
// it was asked for. (.ci/run gives it to a linter.)
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	st := newV2Stage(t, nil)
	c := newClient(t, st.base)
	for _, base := range []string{"", prefix} {
		a, err := c.doAs("", http.MethodGet, base+"/openapi.json", nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, a.status, string(a.body))
		assert.Equal(t, "application/json", a.header.Get("Content-Type"))
		doc := a.object(t)
		assert.Equal(t, st.base+base, objects(t, doc["servers"])[0]["url"])
		paths := doc["paths"].(object)
		assert.Equal(t, []string{
			"/openapi.json", "/v2/notifications", "/v2/notifications/email", "/v2/notifications/letter", "/v2/notifications/sms",
			"/v2/notifications/{notification_id}", "/v2/notifications/{notification_id}/pdf", "/v2/received-text-messages",
			"/v2/template/{template_id}", "/v2/template/{template_id}/preview", "/v2/template/{template_id}/version/{version}", "/v2/templates",
		}, slices.Sorted(maps.Keys(paths)))
		// Every route is served with the method that is described, and no other.
		for path, methods := range paths {
			for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete} {
				a, err := c.doAs("", method, base+path, nil)
				require.NoError(t, err)
				_, described := methods.(object)[map[string]string{http.MethodGet: "get", http.MethodPost: "post"}[method]]
				assert.Equal(t, !described, a.status == http.StatusMethodNotAllowed, "%s %s: %d", method, path, a.status)
			}
		}
	}
}

// described is a transport that holds each answer of the v2 dialect against
// what the server says of itself.
type described struct {
	t      testing.TB
	next   http.RoundTripper
	router routers.Router
}

// describe makes a client look at what it is answered. The description that the
// server at its address serves must be a valid one.
func (c *v2Client) describe(t testing.TB) {
	t.Helper()
	a, err := c.doAs("", http.MethodGet, "/openapi.json", nil)
	require.NoError(t, err)
	doc, err := openapi3.NewLoader().LoadFromData(a.body)
	require.NoError(t, err)
	require.NoError(t, doc.Validate(t.Context()))
	router, err := legacy.NewRouter(doc)
	require.NoError(t, err)
	c.http.Transport = &described{t, c.http.Transport, router}
}

func (d *described) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	route, params, err := d.router.FindRoute(r)
	if !assert.NoError(d.t, err, "%s %s is not described", r.Method, r.URL) {
		return resp, nil
	}
	out := &openapi3filter.ResponseValidationInput{
		RequestValidationInput: &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route},
		Status:                 resp.StatusCode, Header: resp.Header,
		Options: &openapi3filter.Options{MultiError: true, IncludeResponseStatus: true},
	}
	out.SetBodyBytes(body)
	assert.NoError(d.t, openapi3filter.ValidateResponse(r.Context(), out), "%s %s: %s", r.Method, r.URL, body)
	return resp, nil
}
