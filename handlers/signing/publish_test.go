package signing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/jwks"
)

// publishing is a KeyPublisher with a list that tests change.
type publishing struct {
	*KeyPublisher
	clients []ClientKeys
	err     error
	listed  int
	now     time.Time
	log     bytes.Buffer
}

func newPublishing(clients ...ClientKeys) *publishing {
	p := &publishing{clients: clients, now: time.Unix(1800000000, 0)}
	p.KeyPublisher = PublishKeys(PublishConfig{
		List: func(context.Context) ([]ClientKeys, error) {
			p.listed++
			return p.clients, p.err
		},
		Logger: slog.New(slog.NewTextHandler(&p.log, nil)),
		Now:    func() time.Time { return p.now },
	})
	return p
}

func (p *publishing) get(etag string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/.well-known/jwks.json", nil)
	if etag != "" {
		r.Header.Set("If-None-Match", etag)
	}
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w
}

func publicKey(t *testing.T, kid string) *jwks.Key {
	t.Helper()
	found, err := keySet(t).Key(t.Context(), "test-4096")
	require.NoError(t, err)
	key, err := jwks.NewKey(kid, "RS512", found.Public)
	require.NoError(t, err)
	return key
}

// TestPublishKeys: each key says whose it is, one kid may be that of two clients,
// and hubs as well as others can read the document.
func TestPublishKeys(t *testing.T) {
	same, nameless := publicKey(t, "key-1"), publicKey(t, "")
	p := newPublishing(ClientKeys{"client-1", jwks.Keys{same, same}}, ClientKeys{"client-2", jwks.Keys{same, nameless}})
	w := p.get("")
	require.Equal(t, http.StatusOK, w.Code)
	var set struct{ Keys []map[string]string }
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &set))
	var got []string
	for _, key := range set.Keys {
		got = append(got, key[jwks.IssuerMember]+" "+key["kid"])
	}
	assert.Equal(t, []string{"client-1 key-1", "client-2 key-1", "client-2 " + nameless.Thumbprint}, got)
	assert.Empty(t, same.Issuer, "the client's own key stays as it was")

	hubs, skipped, err := jwks.Parse(w.Body.Bytes(), jwks.Limits{Issuers: true})
	require.NoError(t, err)
	assert.Empty(t, skipped)
	assert.Len(t, hubs, 3)
	others, _, err := jwks.Parse(w.Body.Bytes(), jwks.Limits{})
	require.NoError(t, err)
	assert.Len(t, others, 2, "the same key twice counts once")
}

// TestPublishKeysAgain: the list is asked for now and then, and the document
// changes with the keys only.
func TestPublishKeysAgain(t *testing.T) {
	one := publicKey(t, "key-1")
	p := newPublishing(ClientKeys{"client-1", jwks.Keys{one}})
	first := p.get("")
	etag := first.Header().Get("ETag")
	p.get("")
	assert.Equal(t, 1, p.listed)
	p.now = p.now.Add(publishFor)
	assert.Equal(t, http.StatusNotModified, p.get(etag).Code)
	assert.Equal(t, 2, p.listed)

	p.err, p.now = errors.New("the storage is away"), p.now.Add(publishFor)
	assert.Equal(t, first.Body.String(), p.get("").Body.String(), "those from before")
	assert.Contains(t, p.log.String(), "the storage is away")
	p.get("")
	assert.Equal(t, 3, p.listed, "a list that can't be read isn't asked for by every request")

	p.err, p.now = nil, p.now.Add(publishRetry)
	p.clients = append(p.clients, ClientKeys{"client-2", jwks.Keys{publicKey(t, "key-2")}})
	assert.Contains(t, p.get(etag).Body.String(), "client-2")
}

func TestPublishKeysNever(t *testing.T) {
	p := newPublishing(ClientKeys{"client-1", jwks.Keys{publicKey(t, "key-1")}})
	p.err = errors.New("the storage is away")
	assert.Equal(t, http.StatusServiceUnavailable, p.get("").Code)
}

// TestPublishKeysMany: what hubs would not read is told, once.
func TestPublishKeysMany(t *testing.T) {
	key := publicKey(t, "")
	p := newPublishing()
	for i := range MaxPublishedKeys {
		p.clients = append(p.clients, ClientKeys{fmt.Sprint("client-", i), jwks.Keys{key}})
	}
	assert.Less(t, p.get("").Body.Len(), MaxPublishedBytes/2)
	assert.Empty(t, p.log.String())
	p.clients = append(p.clients, ClientKeys{"one-more", jwks.Keys{key}})
	for range 2 {
		p.now = p.now.Add(publishFor)
		require.Equal(t, http.StatusOK, p.get("").Code)
	}
	assert.Equal(t, 1, strings.Count(p.log.String(), "than hubs read"))
	assert.Contains(t, p.log.String(), "keys=1001")
}
