package caddymodule

import (
	"encoding/base64"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestUnknownServiceWithoutStorage: a token that names a service which could
// be a stored one is refused like any other where only the configuration's
// services may pass.
func TestUnknownServiceWithoutStorage(t *testing.T) {
	addr, _ := site(t, "", "")
	for _, id := range []string{"nobody", "00000000-0000-4000-8000-000000000000"} {
		token := handMint(id, secretOne, clock().Unix(), "GET /a", "")
		got := raw(t, addr, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\n\r\n")
		require.Equal(t, 403, got.StatusCode, got.text)
		require.JSONEq(t, `{"error":"Invalid token: signature"}`, got.text)
	}
}

// TestReplayOfOriginalMethod: what another directive makes of the method does
// not make an unsafe request a safe one.
func TestReplayOfOriginalMethod(t *testing.T) {
	setClock(t, time.Now().Unix())
	up := newUpstream(t)
	port := freePort(t)
	load(t, globals("storage memory replay\n"+oneService())+
		fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n method GET\n notify_auth {\n replay reject\n }\n reverse_proxy %s\n}\n", port, up.Listener.Addr()))
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	request := head(t, "POST", "/a", "", "Connection: close")
	require.Equal(t, 200, raw(t, addr, request).StatusCode)
	require.Equal(t, 403, raw(t, addr, request).StatusCode)
}

// TestReturnToStorageInUse: a configuration that comes back to a storage which
// a request of an older one still holds open goes on with it.
func TestReturnToStorageInUse(t *testing.T) {
	port := freePort(t)
	dir := t.TempDir()
	config := func(db string) string {
		return globals("storage sqlite "+filepath.Join(dir, db)+"\n"+oneService()) +
			fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api\n}\n", port)
	}
	load(t, config("a.db"))
	const body = `{"to":"07700900111","template":3}`
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = fmt.Fprintf(conn, "POST /notifications/sms HTTP/1.1\r\nHost: x\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s",
		mint(t, "POST", "/notifications/sms", body), len(body), body[:10])
	require.NoError(t, err)
	// The request is in its handler once it holds the storage.
	require.Eventually(t, func() bool { return appRunning(t).handle.InUse() > 1 }, 10*time.Second, time.Millisecond)

	require.NoError(t, tryLoad(t, config("b.db")))
	require.NoError(t, tryLoad(t, config("a.db")))
	_, err = conn.Write([]byte(body[10:]))
	require.NoError(t, err)
	got := readAnswer(t, conn, false)
	require.Equal(t, 201, got.StatusCode, got.text)
	waitStatus(t, fmt.Sprintf("http://127.0.0.1:%d", port), "1", "delivered")
}

// TestSecretsKeyCannotChange: a storage that is in use keeps its key.
func TestSecretsKeyCannotChange(t *testing.T) {
	db := filepath.Join(t.TempDir(), "s.db")
	port := freePort(t)
	config := func(fill string) string {
		t.Setenv("SIGNPOST_TEST_KEY", base64.StdEncoding.EncodeToString([]byte(strings.Repeat(fill, 32))))
		return globals("storage sqlite "+db+" {\n secrets_key {env.SIGNPOST_TEST_KEY}\n}\n"+oneService()) +
			fmt.Sprintf("http://:%d {\n bind 127.0.0.1\n notify_api\n}\n", port)
	}
	load(t, config("a"))
	require.ErrorContains(t, tryLoad(t, config("b")), "secrets_key is not the key")
	resp, err := plainClient.Get(fmt.Sprintf("http://127.0.0.1:%d/_status", port))
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, 200, resp.StatusCode, "the old configuration goes on")
}
