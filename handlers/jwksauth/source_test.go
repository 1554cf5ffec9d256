package jwksauth

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var allSources = []TokenSource{
	{Name: "Authorization", Scheme: "Bearer"},
	{Name: "X-Token"},
	{Kind: Cookie, Name: "token"},
	{Kind: Query, Name: "access_token"},
}

func TestFind(t *testing.T) {
	a := authenticator(t, Config{From: allSources})
	const auth, cookie, plain = "Authorization", "Cookie", "X-Token"
	for name, c := range map[string]struct {
		target  string
		headers []string
		count   int
		token   string
	}{
		"nothing":                    {"/", nil, 0, ""},
		"bearer":                     {"/", []string{auth, "Bearer abc"}, 1, "abc"},
		"any case":                   {"/", []string{auth, "bEARER abc"}, 1, "abc"},
		"several spaces":             {"/", []string{auth, "Bearer    abc"}, 1, "abc"},
		"tab is no space":            {"/", []string{auth, "Bearer\tabc"}, 1, "\tabc"},
		"scheme alone":               {"/", []string{auth, "Bearer"}, 1, ""},
		"scheme and spaces":          {"/", []string{auth, "Bearer  "}, 1, ""},
		"scheme and equals sign":     {"/", []string{auth, "Bearer=abc"}, 1, "=abc"},
		"longer scheme":              {"/", []string{auth, "BearerToken abc"}, 0, ""},
		"other scheme":               {"/", []string{auth, "Basic YTpi"}, 0, ""},
		"other scheme with list":     {"/", []string{auth, `Digest username="a", realm="b"`}, 0, ""},
		"empty line":                 {"/", []string{auth, ""}, 0, ""},
		"two lines":                  {"/", []string{auth, "Bearer abc", auth, "Bearer abc"}, 2, ""},
		"two lines, one other":       {"/", []string{auth, "Basic YTpi", auth, "Bearer abc"}, 2, ""},
		"joined lines":               {"/", []string{auth, "Bearer abc, Bearer def"}, 2, ""},
		"joined lines, other first":  {"/", []string{auth, "Basic YTpi,bearer def"}, 2, ""},
		"joined tokens":              {"/", []string{auth, "Bearer abc,def"}, 2, ""},
		"whole value":                {"/", []string{plain, "abc"}, 1, "abc"},
		"whole value, list":          {"/", []string{plain, "abc, def"}, 2, ""},
		"whole value, twice":         {"/", []string{plain, "abc", plain, "def"}, 2, ""},
		"whole value, empty":         {"/", []string{plain, ""}, 0, ""},
		"two headers":                {"/", []string{auth, "Bearer abc", plain, "abc"}, 2, ""},
		"cookie":                     {"/", []string{cookie, "a=b; token=abc; c=d"}, 1, "abc"},
		"cookie without blanks":      {"/", []string{cookie, "a=b;token=abc"}, 1, "abc"},
		"cookie with blanks in name": {"/", []string{cookie, "a=b;\ttoken =abc "}, 1, "abc"},
		"quoted cookie":              {"/", []string{cookie, `token="abc"`}, 1, "abc"},
		"half quoted cookie":         {"/", []string{cookie, `token="abc`}, 1, `"abc`},
		"cookie's blank":             {"/", []string{cookie, "token= abc"}, 1, " abc"},
		"empty cookie":               {"/", []string{cookie, "token="}, 1, ""},
		"cookie without value":       {"/", []string{cookie, "token"}, 1, ""},
		"cookies of other names":     {"/", []string{cookie, "Token=abc; tokens=abc; $token=abc; a=token=abc"}, 0, ""},
		"two cookies":                {"/", []string{cookie, "token=abc; token=abc"}, 2, ""},
		"cookies of two lines":       {"/", []string{cookie, "token=abc", cookie, "token=def"}, 2, ""},
		"header and cookie":          {"/", []string{auth, "Bearer abc", cookie, "token=abc"}, 2, ""},
		"basic and cookie":           {"/", []string{auth, "Basic YTpi", cookie, "token=abc"}, 1, "abc"},
		"query":                      {"/?a=b&access_token=abc&c", nil, 1, "abc"},
		"query with escapes":         {"/?access%5Ftoken=a%62c", nil, 1, "abc"},
		"query without value":        {"/?access_token", nil, 1, ""},
		"query with plus":            {"/?access_token=a+c", nil, 1, "a c"},
		"query with faulty escape":   {"/?access_token=a%zz", nil, 1, "a%zz"},
		"query with semicolon":       {"/?access_token=abc;x", nil, 1, "access_token=abc;x"},
		"query behind semicolon":     {"/?x=y;access_token=abc", nil, 1, "x=y;access_token=abc"},
		"query, other semicolon":     {"/?x=y;z&access_token=abc", nil, 1, "abc"},
		"query of other names":       {"/?Access_Token=a&access_token[]=a&xaccess_token=a&%zz=a&a=access_token=b", nil, 0, ""},
		"query twice":                {"/?access_token=abc&access%5ftoken=abc", nil, 2, ""},
		"query and cookie":           {"/?access_token=abc", []string{cookie, "token=abc"}, 2, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := a.find(get(c.target, c.headers...))
			require.Equal(t, c.count, f.count)
			if c.count == 1 {
				assert.Equal(t, c.token, f.token)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	token := mint(t, nil)
	for name, c := range map[string]struct {
		source      TokenSource
		uri         string
		headers     []string
		wantURI     string
		wantHeaders http.Header
	}{
		"header": {
			allSources[0], "/a?b=c", []string{"Authorization", "Bearer TOKEN", "X-Other", "Authorization"},
			"/a?b=c", http.Header{"X-Other": {"Authorization"}},
		},
		"whole header": {allSources[1], "/", []string{"X-Token", "TOKEN"}, "/", http.Header{}},
		"only cookie":  {allSources[2], "/", []string{"Cookie", "token=TOKEN"}, "/", http.Header{}},
		"cookie and semicolon": {
			allSources[2], "/", []string{"Cookie", "token=TOKEN; "}, "/", http.Header{},
		},
		"first cookie": {
			allSources[2], "/", []string{"Cookie", `token="TOKEN"; a="x y";b= c`},
			"/", http.Header{"Cookie": {`a="x y";b= c`}},
		},
		"middle cookie": {
			allSources[2], "/", []string{"Cookie", "a=1;  b; token=TOKEN;c=,"},
			"/", http.Header{"Cookie": {"a=1;  b;c=,"}},
		},
		"last cookie, other lines": {
			allSources[2], "/", []string{"Cookie", " x=y;", "Cookie", "a=1; token=TOKEN", "Cookie", "b=2"},
			"/", http.Header{"Cookie": {" x=y;", "a=1", "b=2"}},
		},
		"line of its own": {
			allSources[2], "/", []string{"Cookie", "a=1", "Cookie", "token=TOKEN"},
			"/", http.Header{"Cookie": {"a=1"}},
		},
		"only parameter":   {allSources[3], "/a%2Fb?access_token=TOKEN", nil, "/a%2Fb", http.Header{}},
		"first parameter":  {allSources[3], "/?access_token=TOKEN&%41=%62&&c;d", nil, "/?%41=%62&&c;d", http.Header{}},
		"middle parameter": {allSources[3], "/?z=1&access%5Ftoken=TOKEN&a=?&z=2", nil, "/?z=1&a=?&z=2", http.Header{}},
		"last parameter":   {allSources[3], "/?z=%zz+&access_token=TOKEN", nil, "/?z=%zz+", http.Header{}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, forward := range []bool{false, true} {
				headers := slices.Clone(c.headers)
				for i := range headers {
					headers[i] = strings.ReplaceAll(headers[i], "TOKEN", token)
				}
				uri := strings.ReplaceAll(c.uri, "TOKEN", token)
				r := get(uri, headers...)
				before := r.Clone(t.Context())
				a := authenticator(t, Config{From: []TokenSource{c.source}, ForwardToken: forward})
				require.Empty(t, code(t, a, r))
				wantURI, wantHeaders := c.wantURI, c.wantHeaders
				if forward {
					wantURI, wantHeaders = uri, before.Header
				}
				assert.Equal(t, wantURI, r.RequestURI)
				assert.Equal(t, wantURI, r.URL.RequestURI())
				assert.Equal(t, wantHeaders, r.Header)
			}
		})
	}
}

// TestRefusedTokensStay: another authenticator may know them.
func TestRefusedTokensStay(t *testing.T) {
	a := authenticator(t, Config{From: allSources, Optional: true})
	for name, r := range map[string]*http.Request{
		"header":       get("/", "Authorization", "Bearer x"),
		"other scheme": get("/", "Authorization", "Basic YTpi"),
		"cookie":       get("/", "Cookie", "token=x"),
		"query":        get("/?access_token=x"),
	} {
		before := r.Clone(t.Context())
		_, _ = a.Authenticate(r)
		assert.Equal(t, before.Header, r.Header, name)
		assert.Equal(t, before.RequestURI, r.RequestURI, name)
	}
}

// FuzzTokenPlaces compares with what net/http finds, and checks that removing
// the token removes nothing else.
func FuzzTokenPlaces(f *testing.F) {
	for _, seed := range []string{
		"", "token=a", "a=b; token=c; d", "token", "token=;token=", ";;token=\"x\";", "a&token=b&c", "token=%41&to%6ben=+", "a;token=b", "token=%zz&x",
		" token =\ta, token=b", "&&token=a&&", "=&=token&%=a", "\x00token=\xff", "toke%6E=a.b.c;",
	} {
		f.Add(seed)
	}
	cookie := TokenSource{Kind: Cookie, Name: "token"}
	query := TokenSource{Kind: Query, Name: "token"}
	f.Fuzz(func(t *testing.T, text string) {
		r := &http.Request{Header: http.Header{"Cookie": {text}}, URL: &url.URL{RawQuery: text}, RequestURI: "/?" + text}

		var inCookies found
		cookie.findInCookies(r.Header, &inCookies)
		known := r.CookiesNamed("token")
		if len(known) > inCookies.count {
			t.Fatalf("net/http finds %d cookies, not %d", len(known), inCookies.count)
		}
		if len(known) == 1 && inCookies.count == 1 && known[0].Value != inCookies.token {
			t.Fatalf("net/http finds %q, not %q", known[0].Value, inCookies.token)
		}
		others := otherCookies(r)
		cookie.remove(r)
		if got := otherCookies(r); !slices.Equal(others, got) {
			t.Fatalf("%q: cookies were %q and are %q", text, others, got)
		}
		if len(r.CookiesNamed("token")) > 0 {
			t.Fatalf("%q leaves %q", text, r.Header)
		}

		var inQuery found
		query.findInQuery(r.URL.RawQuery, &inQuery)
		values, _ := url.ParseQuery(text)
		if len(values["token"]) > inQuery.count {
			t.Fatalf("net/url finds %d parameters, not %d", len(values["token"]), inQuery.count)
		}
		if len(values["token"]) == 1 && inQuery.count == 1 && values["token"][0] != inQuery.token {
			t.Fatalf("net/url finds %q, not %q", values["token"], inQuery.token)
		}
		delete(values, "token")
		query.remove(r)
		if left, _ := url.ParseQuery(r.URL.RawQuery); left.Encode() != values.Encode() {
			t.Fatalf("%q: parameters were %v and are %v", text, values, left)
		}
		want := "/"
		if r.URL.RawQuery != "" {
			want += "?" + r.URL.RawQuery
		}
		if r.RequestURI != want {
			t.Fatalf("the request URI is %q, not %q", r.RequestURI, want)
		}
		var after found
		query.findInQuery(r.URL.RawQuery, &after)
		cookie.findInCookies(r.Header, &after)
		if after.count > 0 {
			t.Fatalf("%q leaves a token", text)
		}
	})
}

func otherCookies(r *http.Request) []string {
	var all []string
	for _, c := range r.Cookies() {
		if c.Name != "token" {
			all = append(all, c.Name+"="+c.Value)
		}
	}
	return all
}

// FuzzAuthorization: whatever the header holds, nothing but one token after the
// scheme is taken, and no two readers see different ones.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range []string{"", "Bearer x", "bearer  x.y.z ", "Bearer", "Basic x, Bearer y", "Bearer a,b", "Bearer\tx", "BearerX y", ",Bearer x"} {
		f.Add(seed)
	}
	s := TokenSource{Name: "Authorization", Scheme: "Bearer"}
	f.Fuzz(func(t *testing.T, value string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Authorization"] = []string{value}
		var got found
		s.findInHeader(r.Header, &got)
		scheme, token, _ := strings.Cut(value, " ")
		switch {
		case !strings.EqualFold(scheme, "Bearer"):
		case strings.Contains(value, ","):
			if got.count != 2 {
				t.Fatalf("%q: %d tokens", value, got.count)
			}
		case got.count != 1 || got.token != strings.TrimLeft(token, " "):
			t.Fatalf("%q: %d tokens, %q", value, got.count, got.token)
		}
		if got.count == 0 && strings.HasPrefix(value, "Bearer ") {
			t.Fatalf("%q has no token", value)
		}
	})
}
