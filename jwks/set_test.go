package jwks

import (
	"context"
	"encoding/json"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stubSource has what a test gives it.
type stubSource struct {
	snap    Snapshot
	changed func()
}

func (s *stubSource) Start(_ context.Context, changed func()) error {
	s.changed = changed
	return nil
}
func (s *stubSource) Snapshot() Snapshot   { return s.snap }
func (s *stubSource) Status() SourceStatus { return sourceStatus("stub", "", s.snap) }
func (s *stubSource) Close() error         { return nil }

func TestSetUnitesItsSources(t *testing.T) {
	k1, k2, other := jwkOf(t, "k1", 0), jwkOf(t, "k2", 1), jwkOf(t, "k1", 2)
	tests := []struct {
		name      string
		sources   []string
		ids       []string
		conflicts int
	}{
		{"one", []string{k1}, []string{"k1"}, 0},
		{"two", []string{k2, jwksOf(k1)}, []string{"k1", "k2"}, 0},
		{"a key twice", []string{k1, jwksOf(k1, k2)}, []string{"k1", "k2"}, 0},
		{"one id, two keys", []string{jwksOf(k1, k2), other}, []string{"k2"}, 2},
		{"one id, two keys, three times", []string{jwksOf(k1, k2), other, k1}, []string{"k2"}, 3},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var sources []Source
			for _, text := range tt.sources {
				sources = append(sources, inlineOf(t, text))
			}
			set := setOf(t, sources...)
			st := set.Status()
			assert.Equal(t, tt.ids, st.KeyIDs)
			assert.Len(t, st.Conflicts, tt.conflicts)
			assert.True(t, st.Ready)
			for _, kid := range tt.ids {
				assert.Equal(t, kid, requireKey(t, set, kid).Kid)
			}
			requireNoKey(t, set, "k9", ErrUnknownKid)
			if len(tt.ids) == 1 {
				assert.Equal(t, tt.ids[0], requireKey(t, set, "").Kid)
			} else {
				requireNoKey(t, set, "", ErrUnknownKid)
			}
		})
	}
}

func TestSetNeedsNameAndSource(t *testing.T) {
	_, err := NewSet(SetConfig{Sources: []Source{&stubSource{}}})
	require.ErrorContains(t, err, "needs a name")
	_, err = NewSet(SetConfig{Name: "x"})
	require.ErrorContains(t, err, `"x" has no source`)
}

func TestInlineSaysWhatIsWrong(t *testing.T) {
	tests := map[string]string{
		"":             "found nothing",
		`{"keys":[]}`:  "the key set is empty",
		"/etc/key.pem": "looks like a path",
		`{"keys":[{"kty":"oct","kid":"s","k":"c2VjcmV0"}]}`: `kid "s", kty "oct"`,
	}
	for text, want := range tests {
		_, err := NewInline([]byte(text))
		require.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, "jwks: inline keys: ")
	}
}

func TestKeyOfAgeingSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := func(kid string, n int) Keys { return inlineOf(t, jwkOf(t, kid, n)).snap.Keys }
		in := func(d time.Duration) time.Time { return time.Now().Add(d) }
		short := &stubSource{snap: Snapshot{Keys: key("k1", 0), Loaded: true, Until: in(time.Minute)}}
		long := &stubSource{snap: Snapshot{Keys: append(key("k1", 0), key("k2", 1)...), Loaded: true, Until: in(time.Hour)}}
		set := setOf(t, short, long)
		require.NoError(t, set.Start(t.Context()))
		requireNoKey(t, set, "k9", ErrUnknownKid)

		time.Sleep(time.Minute)
		requireKey(t, set, "k1") // long has it too
		requireNoKey(t, set, "k9", ErrUnavailable)

		time.Sleep(time.Hour)
		requireNoKey(t, set, "k1", ErrUnavailable)
		requireNoKey(t, set, "k2", ErrUnavailable)
		assert.False(t, set.Status().Ready)

		long.snap.Until = in(time.Hour)
		long.changed()
		requireKey(t, set, "k2")

		// A set that is empty on purpose has no key to refuse a token with.
		*short, *long = stubSource{snap: Snapshot{Loaded: true}}, stubSource{snap: Snapshot{Loaded: true}}
		set.update(0)
		requireNoKey(t, set, "k2", ErrUnavailable)
	})
}

func TestAKeyIsGoodWhileAnySourceHasIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, inlineFirst := range []bool{true, false} {
			inline := inlineOf(t, jwkOf(t, "k1", 0))
			ageing := &stubSource{snap: Snapshot{Keys: inlineOf(t, jwkOf(t, "k1", 0)).snap.Keys, Loaded: true, Until: time.Now().Add(time.Minute)}}
			sources := []Source{inline, ageing}
			if !inlineFirst {
				sources = []Source{ageing, inline}
			}
			set := setOf(t, sources...)
			time.Sleep(time.Hour)
			requireKey(t, set, "k1")
		}
	})
}

func TestStatusIsJSON(t *testing.T) {
	set := setOf(t, inlineOf(t, jwksOf(jwkOf(t, "k1", 0), `{"kty":"oct","kid":"s","k":"c2VjcmV0"}`)))
	text, err := json.Marshal(set.Status())
	require.NoError(t, err)
	assert.NotContains(t, string(text), "c2VjcmV0")
	var got map[string]any
	require.NoError(t, json.Unmarshal(text, &got))
	assert.Equal(t, []any{"k1"}, got["key_ids"])
	source := got["sources"].([]any)[0].(map[string]any)
	assert.Equal(t, "inline", source["kind"])
	assert.Equal(t, "ok", source["state"])
	assert.Equal(t, "s", source["skipped"].([]any)[0].(map[string]any)["kid"])
}
