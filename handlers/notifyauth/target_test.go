package notifyauth

import (
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTargets(t *testing.T) {
	for _, c := range []struct {
		name   string
		config Config
		uri    string
		want   []string // canonical requests
		code   Code
	}{
		{"plain", Config{}, "/a/b-c_d.e~f", []string{"GET /a/b-c_d.e~f"}, ""},
		{"root", Config{}, "/", []string{"GET /"}, ""},
		{"trailing slash", Config{}, "/a/", []string{"GET /a/"}, ""},
		{"sub-delims", Config{}, "/a!$&'()*+,;=:@", []string{"GET /a!$&'()*+,;=:@"}, ""},
		{"blank", Config{}, "/a%20b", []string{"GET /a%20b", "GET /a b"}, ""},
		{"escaped sub-delims, both cases", Config{}, "/%3a%3A%40%2b", []string{"GET /%3a%3A%40%2b", "GET /::@+"}, ""},
		{"not ASCII", Config{}, "/caf%C3%A9", []string{"GET /caf%C3%A9", "GET /café"}, ""},
		{"raw UTF-8", Config{}, "/café", []string{"GET /café"}, ""},
		{"percent", Config{}, "/100%25", []string{"GET /100%25"}, ""},
		{"dots in names", Config{}, "/.well-known/..a/a../...", []string{"GET /.well-known/..a/a../..."}, ""},
		{"unreserved letter", Config{}, "/n%6Ftifications", nil, CodePath},
		{"unreserved hyphen", Config{}, "/a%2Db", nil, CodePath},
		{"escaped dot", Config{}, "/%2e%2e/c", nil, CodePath},
		{"escaped slash", Config{}, "/a%2Fb", nil, CodePath},
		{"escaped slash, lower case", Config{}, "/a%2fb", nil, CodePath},
		{"escaped backslash", Config{}, "/a%5Cb", nil, CodePath},
		{"NUL", Config{}, "/a%00", nil, CodePath},
		{"line break", Config{}, "/a%0Ab", nil, CodePath},
		{"DEL", Config{}, "/a%7F", nil, CodePath},
		{"cut off", Config{}, "/a%2", nil, CodePath},
		{"not hex", Config{}, "/a%zz", nil, CodePath},
		{"dot", Config{}, "/a/./b", nil, CodePath},
		{"dot dot", Config{}, "/a/../b", nil, CodePath},
		{"last dot dot", Config{}, "/a/..", nil, CodePath},
		{"dot dot with parameters", Config{}, "/a/..;x=1/b", nil, CodePath},
		{"dot dot with escaped parameters", Config{}, "/a/..%3Bx/b", nil, CodePath},
		{"two slashes", Config{}, "/a//b", nil, CodePath},
		{"two slashes first", Config{}, "//a", nil, CodePath},
		{"two slashes last", Config{}, "/a//", nil, CodePath},
		{"backslash", Config{}, `/a\b`, nil, CodePath},
		{"fragment", Config{}, "/a#b", nil, CodePath},
		{"control byte", Config{}, "/a\x01", nil, CodePath},
		{"raw blank", Config{}, "/a b", nil, CodePath},
		{"absolute form", Config{}, "http://host/a", nil, CodeTarget},
		{"authority form", Config{}, "host:443", nil, CodeTarget},
		{"asterisk form", Config{}, "*", nil, CodeTarget},
		{"query refused", Config{}, "/a?b", nil, CodeQuery},
		{"empty query refused", Config{}, "/a?", nil, CodeQuery},
		{"query unsigned", Config{Query: QueryUnsigned}, "/a?b=%2F//..", []string{"GET /a"}, ""},
		{"query signed", Config{Query: QuerySigned}, "/a?b=%2f", []string{"GET /a?b=%2f"}, ""},
		{"query signed, decoded path", Config{Query: QuerySigned}, "/a%20?b=%2f", []string{"GET /a%20?b=%2f", "GET /a ?b=%2f"}, ""},
		{"no query to sign", Config{Query: QuerySigned}, "/a", []string{"GET /a"}, ""},
		{"control byte in the query", Config{Query: QueryUnsigned}, "/a?\x7f", nil, CodePath},
		{"base path", Config{BasePath: "/api/endpoint"}, "/api/endpoint/n/1", []string{"GET /n/1"}, ""},
		{"base path with a slash", Config{BasePath: "/api/"}, "/api/n", []string{"GET /n"}, ""},
		{"half a segment", Config{BasePath: "/api"}, "/apix/n", nil, CodeBasePath},
		{"base path alone", Config{BasePath: "/api"}, "/api", nil, CodeBasePath},
		{"base path in another case", Config{BasePath: "/api"}, "/API/n", nil, CodeBasePath},
		{"no base path", Config{BasePath: "/api"}, "/n", nil, CodeBasePath},
		{"base path, then ambiguous", Config{BasePath: "/api"}, "/api//n", nil, CodePath},
		{"base path, or root", Config{BasePath: "/api", ServeRoot: true}, "/n", []string{"GET /n"}, ""},
		{"root, base path", Config{BasePath: "/api", ServeRoot: true}, "/api/n", []string{"GET /n"}, ""},
		{"root, half a segment", Config{BasePath: "/api", ServeRoot: true}, "/apix", []string{"GET /apix"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := verifier(t, c.config)
			got, code := v.target(Original{Method: "GET", RequestURI: c.uri})
			require.Equal(t, c.code, code)
			var lines []string
			for _, decoded := range []bool{false, true} {
				if code != "" {
					break
				}
				if line, ok := got.appendCanonical(nil, v.query, decoded); ok {
					lines = append(lines, string(line))
				}
			}
			assert.Equal(t, c.want, lines)
			for _, line := range c.want {
				method, path, _ := strings.Cut(line, " ")
				token := mint(t, MintRequest{Method: method, Path: path})
				assert.NoError(t, v.verifyOnly(background(), token, Original{Method: "GET", RequestURI: c.uri}, nil))
			}
		})
	}
}

func TestTargetWithoutRequestURI(t *testing.T) {
	u, err := url.Parse("/a%20b?c")
	require.NoError(t, err)
	v := verifier(t, Config{Query: QuerySigned})
	got, code := v.target(Original{Method: "GET", URL: u})
	assert.Empty(t, code)
	assert.Equal(t, "/a%20b", got.path)
	assert.Equal(t, "c", got.query)
	_, code = v.target(Original{Method: "GET"})
	assert.Equal(t, CodeTarget, code)
}

// FuzzTarget: an accepted path is what net/url makes of it, has no other
// reading, and decodes to one path.
func FuzzTarget(f *testing.F) {
	for _, seed := range []string{"/a/b", "/%2e%2e/", "/a%20b?c", "//", "/..;/", "/caf%C3%A9", "/%25", "*", "/a#b", "/\\", "/api/x"} {
		f.Add(seed)
	}
	v, err := New(Config{Services: StaticServices(), Query: QueryUnsigned, BasePath: "/api", ServeRoot: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		got, code := v.target(Original{Method: "GET", RequestURI: uri})
		if code != "" {
			return
		}
		u, err := url.ParseRequestURI(uri)
		if err != nil {
			t.Fatalf("accepted what net/url refuses: %v", err)
		}
		if u.Host != "" || u.Fragment != "" {
			t.Fatalf("another reading: %q", u)
		}
		if clean := u.JoinPath().Path; strings.TrimSuffix(clean, "/") != strings.TrimSuffix(u.Path, "/") {
			t.Fatalf("%q is not clean: %q", u.Path, clean)
		}
		full := u.Path
		if strings.HasPrefix(full, "/api/") {
			full = strings.TrimPrefix(full, "/api")
		}
		if line, ok := got.appendCanonical(nil, QueryUnsigned, true); ok && string(line) != "GET "+full {
			t.Fatalf("decoded to %q, not %q", line, full)
		}
		if !canonicalPath(got.path) || !strings.HasPrefix(got.path, "/") {
			t.Fatalf("path below the base: %q", got.path)
		}
	})
}
