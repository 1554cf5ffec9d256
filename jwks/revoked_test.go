package jwks

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseRevocations(t *testing.T) {
	const both = revokesID | revokesSubject
	long := strings.Repeat("x", MaxRevocationLine)
	tests := map[string]struct {
		text string
		want revocations
		err  string
	}{
		"empty":              {"", revocations{}, ""},
		"blank":              {"\n \t \r\n\n", revocations{}, ""},
		"either":             {"a\nb", revocations{"a": both, "b": both}, ""},
		"one of them":        {"jti:a\nsub:b\n", revocations{"a": revokesID, "b": revokesSubject}, ""},
		"one, then other":    {"jti:a\nsub:a\n", revocations{"a": both}, ""},
		"twice":              {"a\na\njti:a\n", revocations{"a": both}, ""},
		"comments":           {"# a\n #b\na # c\nsub:#d\n#", revocations{"a # c": both, "#d": revokesSubject}, ""},
		"blanks at the ends": {" \ta b\t \n\tjti: c \n", revocations{"a b": both, "c": revokesID}, ""},
		"CR LF":              {"a\r\n# b\r\nb \r\n\r\nc\r", revocations{"a": both, "b": both, "c": both}, ""},
		"byte order mark":    {"\ufeffa\n", revocations{"a": both}, ""},
		"mark elsewhere":     {"a\n\ufeffb\n", revocations{"a": both, "\ufeffb": both}, ""},
		"other text":         {"jti:jti:a\nJTI:b\niss:c\nü\n", revocations{"jti:a": revokesID, "JTI:b": both, "iss:c": both, "ü": both}, ""},
		"longest line":       {long + "\r\n" + long, revocations{long: both}, ""},
		"too long":           {"a\n" + long + "x\n", nil, "line 2 has 1025 bytes, more than 1024"},
		"too long a comment": {"#" + long, nil, "line 1 has 1025 bytes"},
		"no id":              {"a\n\njti:\n", nil, `line 3 has nothing after "jti:"`},
		"no subject":         {"sub: \n", nil, `line 1 has nothing after "sub:"`},
		"NUL":                {"a\nb\x00\n", nil, "line 2 holds the control character U+0000"},
		"tab inside":         {"a\tb\n", nil, "line 1 holds the control character U+0009"},
		"tab in a comment":   {"#a\tb\n", revocations{}, ""},
		"DEL":                {"\x7f", nil, "line 1 holds the control character U+007F"},
		"C1":                 {"\u0085", nil, "line 1 holds the control character U+0085"},
		"old line ends":      {"# revoked\ra\rb\r", nil, "line 1 holds the control character U+000D"},
		"Latin-1":            {"a\n\xfc\n", nil, "line 2 is not valid UTF-8"},
		"UTF-16":             {"\xff\xfea\x00\n\x00", nil, "line 1 is not valid UTF-8"},
		"too many":           {strings.Repeat("a\n", MaxRevocations+1), nil, "line 1000001 is beyond the 1000000 entries"},
		"as many as may be":  {strings.Repeat("#\na\n", MaxRevocations), revocations{"a": both}, ""},
		"too much":           {strings.Repeat("\n", MaxRevocationBytes+1), nil, "longer than 16 MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := parseRevocations([]byte(tt.text))
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

// FuzzRevocations looks for panics, and for entries that are lost or that no
// line holds.
func FuzzRevocations(f *testing.F) {
	for _, seed := range []string{"", "a\nb", "\ufeffjti:a\r\nsub: b\n# c", "sub:#x", "\x00", "\xff\xfe", "a\rb", "jti:"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := parseRevocations(text)
		if err != nil {
			if entries != nil || !strings.Contains(err.Error(), "line ") {
				t.Fatal(entries, err)
			}
			return
		}
		var again strings.Builder
		for entry, kind := range entries {
			if !strings.Contains(string(text), entry) || entry == "" || kind == 0 {
				t.Fatalf("%q: %d", entry, kind)
			}
			for prefix, k := range map[string]revokes{"jti:": revokesID, "sub:": revokesSubject} {
				if kind&k != 0 {
					fmt.Fprintf(&again, "%s%s\n", prefix, entry)
				}
			}
		}
		back, err := parseRevocations([]byte(again.String()))
		if len(text) <= MaxRevocationLine-4 && (err != nil || fmt.Sprint(back) != fmt.Sprint(entries)) {
			t.Fatalf("%v comes back as %v: %v", entries, back, err)
		}
	})
}

// handClock is moved by hand.
type handClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *handClock) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *handClock) move(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

func revocationList(t testing.TB, path string, log *lines) (*RevocationList, *handClock) {
	t.Helper()
	clock := &handClock{now: vectorTime}
	l, err := newRevocationFile(path, log.logger(), clock.time)
	require.NoError(t, err)
	return l, clock
}

// tokenOf is a token with these claims.
func tokenOf(t testing.TB, claims string) *Token {
	t.Helper()
	c, err := parseClaims([]byte(claims))
	require.NoError(t, err)
	return &Token{Claims: c}
}

func TestRevocationListHas(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.txt")
	long := strings.Repeat("x", 300)
	writeFile(t, path, "either\njti:id\nsub:someone\nü\n"+long+"\n{}\n5\n")
	l, _ := revocationList(t, path, &lines{})
	assert.Equal(t, 7, l.Len())
	for claims, want := range map[string]bool{
		`{}`:                              false,
		`{"jti":"either"}`:                true,
		`{"sub":"either"}`:                true,
		`{"jti":"id"}`:                    true,
		`{"sub":"id"}`:                    false,
		`{"jti":"someone"}`:               false,
		`{"jti":"other","sub":"someone"}`: true,
		`{"jti":"other","sub":"other"}`:   false,
		`{"jti":"Either"}`:                false,
		`{"jti":"either "}`:               false,
		`{"sub":"\u00fc"}`:                true,
		`{"sub":"u\u0308"}`:               false, // looks the same, is another
		`{"iss":"either"}`:                false,
		`{"sub":"` + long + `"}`:          true,
		`{"sub":{}}`:                      false,
		`{"jti":5}`:                       false,
		`{"sub":""}`:                      false,
	} {
		assert.Equal(t, want, l.Has(tokenOf(t, claims)), claims)
	}
	assert.False(t, l.Has(&Token{}))
}

func TestNewRevocationFileRefuses(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/bad", "a\nb\x00\n")
	for path, want := range map[string]string{
		"":             "a path is needed",
		dir:            "found a folder, expected a regular file",
		dir + "/bad":   "bad: line 2 holds the control character U+0000",
		dir + "/there": "no such file",
	} {
		l, err := NewRevocationFile(path, nil)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "jwks: revocation list")
		assert.Nil(t, l)
	}
	_, err := NewRevocationFile(dir+"/there", nil)
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func TestRevocationListIsWatched(t *testing.T) {
	dir := t.TempDir()
	// As Kubernetes mounts: list -> ..data/list, ..data -> one version.
	version := func(name, text string) {
		require.NoError(t, os.Mkdir(dir+"/"+name, 0o700))
		writeFile(t, dir+"/"+name+"/list", text)
		require.NoError(t, os.Symlink(name, dir+"/..tmp"))
		require.NoError(t, os.Rename(dir+"/..tmp", dir+"/..data"))
	}
	version("v1", "a\n")
	path := dir + "/list"
	require.NoError(t, os.Symlink("..data/list", path))
	log := &lines{}
	l, clock := revocationList(t, path, log)
	has := func(id string) bool { return l.Has(tokenOf(t, `{"jti":"`+id+`"}`)) }
	require.True(t, has("a"))

	version("v2", "b\n")
	assert.True(t, has("a"), "a look at most once a second")
	clock.move(revokedEvery)
	assert.False(t, has("a"))
	assert.True(t, has("b"))
	assert.Equal(t, 1, log.count("has changed"))

	// Written over with as many bytes.
	writeFile(t, path, "c\n")
	clock.move(revokedEvery)
	assert.True(t, has("c"))
	assert.Equal(t, 2, log.count("has changed"))
	clock.move(revokedEvery)
	assert.True(t, has("c"))
	assert.Equal(t, 2, log.count("has changed"))

	writeFile(t, path, "")
	clock.move(revokedEvery)
	assert.False(t, has("c"), "empty on purpose")
}

func TestRevocationListKeepsItsEntriesThroughTrouble(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.txt")
	const good = "a\n"
	writeFile(t, path, good)
	log := &lines{}
	l, clock := revocationList(t, path, log)
	for name, trouble := range map[string]func(){
		"missing":  func() {},
		"folder":   func() { require.NoError(t, os.Mkdir(path, 0o700)) },
		"faulty":   func() { writeFile(t, path, "b\nc\x00\n") },
		"too long": func() { writeFile(t, path, ""); require.NoError(t, os.Truncate(path, 1<<40)) },
	} {
		require.NoError(t, os.RemoveAll(path))
		trouble()
		for range 5 {
			clock.move(revokedEvery)
			assert.True(t, l.Has(tokenOf(t, `{"jti":"a"}`)), name)
			assert.False(t, l.Has(tokenOf(t, `{"jti":"b"}`)), name)
		}
	}
	assert.Equal(t, 1, log.count("can't be read"), "one change of state, one line")

	require.NoError(t, os.RemoveAll(path))
	writeFile(t, path, good)
	clock.move(revokedEvery)
	assert.True(t, l.Has(tokenOf(t, `{"jti":"a"}`)))
	assert.Equal(t, 1, log.count("can be read again"))
	assert.Equal(t, 0, log.count("has changed"))

	require.NoError(t, os.Remove(path))
	clock.move(revokedEvery)
	assert.True(t, l.Has(tokenOf(t, `{"jti":"a"}`)))
	assert.Equal(t, 2, log.count("can't be read"))
}

// One request looks at the file; the others use the list at hand while it is
// young, and wait for that one when nobody has looked for long.
func TestRevocationListWhileAnotherLooks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.txt")
	writeFile(t, path, "a\n")
	synctest.Test(t, func(t *testing.T) {
		l, clock := revocationList(t, path, &lines{})
		old, fresh := tokenOf(t, `{"jti":"a"}`), tokenOf(t, `{"jti":"b"}`)
		begin := time.Now()
		l.look <- struct{}{} // somebody is at it
		writeFile(t, path, "b\n")

		clock.move(revokedEvery)
		assert.True(t, l.Has(old), "no waiting")

		clock.move(revokedEvery)
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() { assert.True(t, l.Has(fresh)) })
		}
		synctest.Wait()
		<-l.look // and has ended
		wg.Wait()
		assert.False(t, l.Has(old))
		assert.Equal(t, begin, time.Now())

		l.look <- struct{}{} // and never ends
		writeFile(t, path, "c\n")
		clock.move(time.Hour)
		assert.True(t, l.Has(fresh), "storage that hangs doesn't hold requests up for long")
		assert.Equal(t, revokedWait, time.Since(begin))
	})
}

func TestVerifyRevoked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.txt")
	writeFile(t, path, "# none yet\n")
	l, clock := revocationList(t, path, &lines{})
	v := newVerifier(t, Config{Revoked: l})
	token := mint4096(t, map[string]any{"jti": "token-1"})
	verify := func(want Code, entry string) {
		t.Helper()
		writeFile(t, path, entry)
		clock.move(revokedEvery)
		got, err := v.Verify(t.Context(), token)
		if want == "" {
			require.NoError(t, err, entry)
			assert.Equal(t, "token-1", must(got.Claims.Text("jti")))
			return
		}
		require.Equal(t, want, CodeOf(err), "%s: %v", entry, err)
		assert.Nil(t, got)
	}
	verify(CodeRevoked, "token-1\n") // not cached
	verify(CodeRevoked, "someone\n") // the subject; cached
	verify("", "sub:token-1\n")
	verify("", "token-2\n")
	got, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	assert.True(t, got.Cached)
	verify(CodeRevoked, "jti:token-1\n")

	// What is wrong with the token itself comes first.
	token = mint4096(t, map[string]any{"jti": "token-1", "exp": vectorTime.Unix() - 1})
	verify(CodeExpired, "token-1\n")
}

func must(s string, _ bool) string { return s }

// A list is safe for concurrent use while its file changes.
func TestConcurrentRevocations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "revoked.txt")
	writeFile(t, path, "always\n")
	l, clock := revocationList(t, path, &lines{})
	always := tokenOf(t, `{"sub":"always"}`)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 500 {
				clock.move(revokedEvery / 4)
				if !l.Has(always) {
					t.Error("lost")
				}
			}
		})
	}
	for n := range 50 {
		writeFile(t, path+".new", fmt.Sprintf("always\nother-%d\n", n))
		require.NoError(t, os.Rename(path+".new", path))
	}
	wg.Wait()
}

func BenchmarkRevocationList(b *testing.B) {
	var text strings.Builder
	for n := range 100_000 {
		fmt.Fprintf(&text, "token-%d\n", n)
	}
	path := filepath.Join(b.TempDir(), "revoked.txt")
	require.NoError(b, os.WriteFile(path, []byte(text.String()), 0o600))
	l, err := NewRevocationFile(path, nil)
	require.NoError(b, err)
	token := tokenOf(b, `{"iss":"client-1","jti":"another-token","sub":"someone"}`)
	b.Run("has", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if l.Has(token) {
				b.Fatal("revoked")
			}
		}
	})
	b.Run("read 100,000", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := parseRevocations([]byte(text.String())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
