package notifications

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

const textMethodV2 = "The method is not allowed for the requested URL."

// Below /v2, routing comes before authentication.
func TestV2Routes(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BasePath = "/api" })
	anonymous := func(r *http.Request) { r.Header.Del("Authorization") }
	for _, c := range []struct {
		method, path, allow string // allow: of a 405, "-" for 404, empty for a route
	}{
		{"POST", "/v2/notifications/sms", ""},
		{"POST", "/v2/notifications/email", ""},
		{"POST", "/v2/notifications/letter", ""},
		{"GET", "/v2/notifications", ""},
		{"GET", "/v2/notifications/x", ""},
		{"HEAD", "/v2/notifications/x", ""},
		{"GET", "/v2/notifications/x/pdf", ""},
		{"GET", "/v2/templates", ""},
		{"GET", "/v2/template/x", ""},
		{"GET", "/v2/template/x/version/1", ""},
		{"POST", "/v2/template/x/preview", ""},
		{"GET", "/v2/received-text-messages", ""},

		{"GET", "/v2", "-"},
		{"GET", "/v2/", "-"},
		{"GET", "/v2/notifications/", "-"},
		{"POST", "/v2/notifications/sms/", "-"},
		{"GET", "/v2//notifications", "-"},
		{"GET", "//v2/notifications", "-"},
		{"GET", "/v2/Notifications", "-"},
		{"GET", "/v2/notifications/x/y", "-"},
		{"GET", "/v2/template", "-"},
		{"GET", "/v2/template/x/version", "-"},
		{"GET", "/v2/template/x/version/1/2", "-"},
		{"POST", "/v2/notifications/push/x", "-"},
		{"GET", "/v2/../notifications", "-"},

		{"GET", "/v2/notifications/sms", "POST"},
		{"DELETE", "/v2/notifications", "GET, HEAD"},
		{"POST", "/v2/notifications", "GET, HEAD"},
		{"PUT", "/v2/notifications/x", "GET, HEAD"},
		{"OPTIONS", "/v2/notifications/email", "POST"},
		{"get", "/v2/templates", "GET, HEAD"},
		{"GET", "/v2/template/x/preview", "POST"},
	} {
		for _, base := range []string{"", "/api"} {
			w := s.v2(c.method, base+c.path, "", anonymous)
			switch c.allow {
			case "":
				assert.Equal(t, 401, w.Code, c.path)
				if c.method != http.MethodHead {
					assertV2Error(t, w, 401, "AuthError", "Unauthorized: authentication token must be provided")
				}
				assert.NotEqual(t, 401, s.v2(c.method, base+c.path, "").Code)
			case "-":
				assertV2Error(t, w, 404, errorNotFound, textUnknownRoute)
			default:
				assertV2Error(t, w, 405, errorMethod, textMethodV2)
				assert.Equal(t, c.allow, w.Header().Get("Allow"))
			}
		}
	}
	assert.Equal(t, 401, s.v2("GET", "/other/v2/notifications", "", anonymous).Code, "the signed dialect's")
}

func TestWithoutV2(t *testing.T) {
	s := newServer(t)
	signed, err := notifyauth.New(notifyauth.Config{
		Services: notifyauth.StaticServices(s.serviceA()), ServeRoot: true, Query: notifyauth.QueryUnsigned, Now: s.clock.now,
	})
	require.NoError(t, err)
	s.handler = s.api.Handler(signed, nil, nil)
	assertAnswer(t, s.get("/v2/notifications"), 404, noRouteBody)
	assert.Equal(t, 401, s.do(request{method: "GET", target: "/openapi.json", token: "-"}).Code)
}

// A token of one dialect is none of the other's.
func TestV2Tokens(t *testing.T) {
	s := newServer(t)
	w := s.v2("POST", "/notifications/sms", plainSMS)
	assertAnswer(t, w, 403, `{"error":"Invalid token: request"}`)
	signed := s.mint(request{method: "POST", target: "/v2/notifications/sms", service: serviceA, secret: secretA, body: v2SMS()})
	w = s.v2SMS(v2SMS(), func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+signed) })
	assert.Equal(t, 201, w.Code, "req and pay are ignored")
	assertV2Error(t, s.v2SMS(v2SMS(), s.withKey(serviceA, secretB)), 403, "AuthError", "Invalid token: API key not found")
	assertV2Error(t, s.v2SMS(v2SMS(), s.withKey("99999999-2222-4333-8444-555555555555", secretB)), 403, "AuthError", "Invalid token: service not found")
	w = s.v2SMS(v2SMS(), func(r *http.Request) { r.Header.Set("Authorization", "Basic x") })
	assertV2Error(t, w, 401, "AuthError", "Unauthorized: authentication bearer scheme must be used")
}

// /notifications of dialect v2: requests and answers of the signed dialect,
// tokens of v2, and errors of those in the shape of the years between.
func TestDialectV2(t *testing.T) {
	s := newServer(t, func(c *Config) { c.Dialect = notifyauth.V2 })
	w := s.v2("POST", "/notifications/sms", plainSMS)
	require.Equal(t, 201, w.Code, "%s", w.Body)
	assert.Equal(t, "+441234123123", notification(t, w)["to"])
	assert.Equal(t, 200, s.v2("GET", "/notifications/1", "").Code)
	assert.Equal(t, 200, s.v2("GET", "/notifications?page=1", "").Code)
	assertAnswer(t, s.v2("GET", "/notifications/2", "null"), 404, notFoundBody)
	assertAnswer(t, s.v2("POST", "/notifications/sms", "{}"), 400,
		`{"result":"error","message":{"to":["Missing data for required field."],"template":["Missing data for required field."]}}`)

	// One token serves many requests.
	token := s.mintV2(serviceA, secretA)
	again := func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
	for range 2 {
		w := s.v2("POST", "/notifications/sms", plainSMS, again)
		assert.Equal(t, 201, w.Code)
		assert.Empty(t, w.Header().Get(headerReplayed))
	}
	assert.EqualValues(t, 3, s.total())
	first := s.v2("POST", "/notifications/sms", plainSMS, withIdempotencyKey("k"))
	assertReplay(t, first, s.v2("POST", "/notifications/sms", plainSMS, withIdempotencyKey("k")))
	assertAnswer(t, s.v2("POST", "/notifications/sms", "{}", withIdempotencyKey("k")), 422,
		`{"result":"error","message":"This Idempotency-Key was used with another request"}`)

	w = s.v2("GET", "/notifications/1", "", func(r *http.Request) { r.Header.Del("Authorization") })
	assertAnswer(t, w, 401, `{"result":"error","message":{"token":["Unauthorized: authentication token must be provided"]}}`)
	assert.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
	w = s.v2("GET", "/notifications/1", "", s.withKey(serviceA, secretB))
	assertAnswer(t, w, 403, `{"result":"error","message":{"token":["Invalid token: API key not found"]}}`)
	assertAnswer(t, s.v2("POST", "/notifications/sms", plainSMS, withHeader("Content-Encoding", "gzip")), 415,
		`{"result":"error","message":"Unsupported media type: the body must be sent without Content-Encoding"}`)
	assert.Equal(t, 401, s.v2("GET", "/elsewhere", "", func(r *http.Request) { r.Header.Del("Authorization") }).Code)
	assertAnswer(t, s.v2("GET", "/elsewhere", ""), 404, noRouteBody)
}

// A body that is too long, announced or not, buffered by the verifier or not.
func TestV2BodyLimit(t *testing.T) {
	s := newServer(t)
	long := `{"a":"` + strings.Repeat("x", 1<<20) + `"}`
	for _, length := range []int64{int64(len(long)), -1} {
		w := s.v2SMS(long, func(r *http.Request) { r.ContentLength = length })
		assertV2Error(t, w, 413, errorTooLarge, "Request body is too large")
		assert.Equal(t, "close", w.Header().Get("Connection"))
	}
	r := httptest.NewRequest("POST", "/v2/notifications/sms", strings.NewReader("{}"))
	w := httptest.NewRecorder()
	r.Body = http.MaxBytesReader(w, r.Body, 1)
	s.api.v2SendSMS(&v2Call{w: w, r: r, id: identity(), route: routeV2SMS})
	assertV2Error(t, w, 413, errorTooLarge, "Request body is too large")
}

func TestOpenAPINeedsNoToken(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BasePath = "/api" })
	for _, path := range []string{"/openapi.json", "/api/openapi.json"} {
		w := s.v2("POST", path, "", func(r *http.Request) { r.Header.Del("Authorization") })
		assertV2Error(t, w, 405, errorMethod, textMethodV2)
		w = s.v2("GET", path, "", func(r *http.Request) { r.Header.Del("Authorization") })
		assert.NotEqual(t, 401, w.Code)
	}
}
