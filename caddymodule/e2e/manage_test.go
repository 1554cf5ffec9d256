//go:build linux

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func TestStoredServices(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := startServer(t, config{port: port, global: "log {\n\t\tlevel DEBUG\n\t}"}.String())
	id := strings.TrimSpace(s.ok(t, "signpost", "service", "add", "Pharmacy", "--address", s.admin))
	assert.Regexp(t, `^`+uuidPattern+`$`, id)

	var key struct{ Service, Name, Type, Secret, Key string }
	require.NoError(t, json.Unmarshal([]byte(s.ok(t, "signpost", "service", "key", "add", id, "live", "--json")), &key))
	assert.Equal(t, "live-"+id+"-"+key.Secret, key.Key)

	c := newClient(t, plainURL(port))
	c.identity = identity{id, key.Secret}
	var sent notification

	t.Run("templates", func(t *testing.T) {
		assert.Equal(t, "template 7 version 1\n", s.ok(t, "signpost", "template", "put", id, "Old ((code))", "--id", "7"))
		assert.Equal(t, "template 7 version 2\n", s.ok(t, "signpost", "template", "put", id, "New ((code))", "--id", "7", "--name", "Greeting"))
		out := execute(t, s.dir, s.env, "Dear ((name))\nbye\n", binary, "signpost", "template", "put", id,
			"--id", "8", "--type", "email", "--subject", "Hello")
		require.Zero(t, out.code, out.all())
		list := s.ok(t, "signpost", "template", "list", id)
		assert.Regexp(t, `(?m)^7 +`+storage.TemplateUUID(id, "7").String()+` +2 +sms +- +Greeting +New \(\(code\)\)$`, list)
		assert.Regexp(t, `(?m)^8 +`+storage.TemplateUUID(id, "8").String()+` +1 +email +- +Dear \(\(name\)\)…$`, list)
		out = s.run(t, "signpost", "template", "put", id, "no end ((", "--id", "9", "--type", "letter")
		assert.NotZero(t, out.code)
	})
	t.Run("the key works at once", func(t *testing.T) {
		body := []byte(`{"to":"07723456789","template":7,"personalisation":{"code":"1"}}`)
		sent = c.must(t, http.StatusCreated, http.MethodPost, "/notifications/sms", body).notification(t)
		assert.Equal(t, "New 1", sent.Message)
		c.await(t, sent.ID, "delivered")
		out := s.ok(t, "signpost", "service", "notification", id, fmt.Sprint(sent.ID))
		assert.Contains(t, out, "by log\ndelivered\n")
		assert.NotContains(t, out, "7723456789")
	})
	t.Run("services see their own notifications only", func(t *testing.T) {
		a, err := newClient(t, plainURL(port)).do(http.MethodGet, fmt.Sprintf("/notifications/%d", sent.ID), nil)
		require.NoError(t, err)
		assert.Equal(t, http.StatusNotFound, a.status)
		assert.JSONEq(t, `{"result":"error","message":"No result found"}`, string(a.body))
	})
	t.Run("lists", func(t *testing.T) {
		list := s.ok(t, "signpost", "service", "list")
		assert.Regexp(t, `(?m)^`+serviceID+` +Booking reminders +configuration +-$`, list)
		assert.Regexp(t, `(?m)^`+id+` +Pharmacy +storage +20\d\d-`, list)
		keys := s.ok(t, "signpost", "service", "key", "list", id)
		assert.Regexp(t, `(?m)^live +normal +storage +20\S+ +-$`, keys)
		assert.NotContains(t, keys, key.Secret)
	})
	t.Run("wrong input", func(t *testing.T) {
		for _, tc := range []struct{ args, want string }{
			{"service add Twin --id " + id, "exists already"},
			{"service add Twin --id " + strings.ToUpper(id), "not a UUID in lower case"},
			{"service key add " + id + " live", "has or had a key named"},
			{"service key add " + id + " other --type admin", "it must be normal, team or test"},
			{"service key list 00000000-0000-4000-8000-000000000000", "404"},
			{"service key revoke " + id + " other", "no key named"},
			{"service key revoke " + serviceID + " live", "configuration"},
			{"template put " + serviceID + " text --id 1", "is in the configuration"},
			{"template list 00000000-0000-4000-8000-000000000000", "404"},
		} {
			out := s.run(t, append([]string{"signpost"}, strings.Fields(tc.args)...)...)
			assert.NotZero(t, out.code, tc.args)
			assert.Contains(t, out.all(), tc.want, tc.args)
		}
	})
	t.Run("keys survive a restart", func(t *testing.T) {
		s.stop(t)
		s.start(t, config{port: port, global: "log {\n\t\tlevel DEBUG\n\t}"}.String())
		assert.Equal(t, sent.ID, c.get(t, sent.ID).ID)
	})
	t.Run("revoked within a second", func(t *testing.T) {
		assert.Equal(t, "revoked live\n", s.ok(t, "signpost", "service", "key", "revoke", id, "live"))
		revoked := time.Now()
		var a answer
		eventually(t, patience, func() (bool, string) {
			var err error
			a, err = c.do(http.MethodGet, fmt.Sprintf("/notifications/%d", sent.ID), nil)
			require.NoError(t, err)
			return a.status == http.StatusForbidden, fmt.Sprint("the key still works: ", a.status)
		})
		assert.Less(t, time.Since(revoked), time.Second)
		assert.JSONEq(t, `{"error":"Invalid token: signature"}`, string(a.body))
		assert.Regexp(t, `(?m)^live +normal +storage +20\S+ +20\S+$`, s.ok(t, "signpost", "service", "key", "list", id))
	})
	t.Run("a new key beside the revoked one", func(t *testing.T) {
		out := s.ok(t, "signpost", "service", "key", "add", id, "second", "--type", "test")
		_, rest, ok := strings.Cut(out, "secret   ")
		require.True(t, ok, out)
		secret, _, _ := strings.Cut(rest, "\n")
		other := newClient(t, plainURL(port))
		other.identity = identity{id, secret}
		other.get(t, sent.ID)
	})
	t.Run("no secret is shown or kept plain", func(t *testing.T) {
		for _, path := range []string{
			"/config/", "/signpost/services", "/signpost/services/" + id + "/keys", "/signpost/status",
			"/signpost/services/" + id + "/templates", fmt.Sprintf("/signpost/services/%s/notifications/%d", id, sent.ID),
		} {
			a := s.request(t, http.MethodGet, path, "", "")
			assert.Equal(t, http.StatusOK, a.status, "%s: %s", path, a.body)
			assert.NotContains(t, a.body, key.Secret, path)
			assert.NotContains(t, a.body, "7723456789", path)
		}
		s.stop(t)
		requireNowhere(t, s.dir, key.Secret)
	})
}

// requireNowhere searches all files below a folder: databases, logs, autosaved
// configurations.
func requireNowhere(t testing.TB, dir, secret string) {
	t.Helper()
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		assert.False(t, bytes.Contains(b, []byte(secret)), "%s holds the secret", path)
		return nil
	}))
	require.Greater(t, files, 2)
}

func TestStorageCommands(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	s := startServer(t, config{port: port, api: noLimits}.String())
	c := newClient(t, plainURL(port))
	for i := range 20 {
		c.send(t, fmt.Sprint("backup", i))
	}
	c.awaitDelivered(t, patience)

	out := s.ok(t, "signpost", "storage", "status")
	assert.Regexp(t, `(?m)^storage +ok$`, out)
	assert.Regexp(t, `(?m)^queued +0 `, out)
	assert.Regexp(t, `(?m)^sms +by log$`, out)
	var status struct {
		Storage string
		Queued  *int
		Senders map[string]string
	}
	require.NoError(t, json.Unmarshal([]byte(s.ok(t, "signpost", "storage", "status", "--json")), &status))
	assert.Equal(t, "ok", status.Storage)
	assert.Equal(t, map[string]string{"sms": "log", "email": "log"}, status.Senders)

	file := filepath.Join(s.dir, "copy.db")
	assert.Equal(t, file+"\n", s.ok(t, "signpost", "storage", "backup", "copy.db"))
	requireIntact(t, file)
	info, err := os.Stat(file)
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	before, err := os.ReadFile(file)
	require.NoError(t, err)

	t.Run("backup under load", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var posting sync.WaitGroup
		sent := 0
		posting.Go(func() {
			for ; ctx.Err() == nil; sent++ {
				a, err := c.do(http.MethodPost, "/notifications/sms", smsBody(fmt.Sprint("load", sent)))
				if err != nil || a.status != http.StatusCreated {
					t.Errorf("%d %s (%v)", a.status, a.body, err)
					return
				}
			}
		})
		for i := range 3 {
			name := fmt.Sprintf("load%d.db", i)
			s.ok(t, "signpost", "storage", "backup", name)
			requireIntact(t, filepath.Join(s.dir, name))
		}
		cancel()
		posting.Wait()
		assert.Positive(t, sent)
	})

	again := s.run(t, "signpost", "storage", "backup", "copy.db")
	assert.NotZero(t, again.code)
	assert.Contains(t, again.all(), "exists")
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, before, after)
	missing := s.run(t, "signpost", "storage", "backup", "nowhere/copy.db")
	assert.NotZero(t, missing.code)
	relative := s.request(t, http.MethodPost, "/signpost/storage/backup", "application/json", `{"path":"copy2.db"}`)
	assert.Equal(t, http.StatusBadRequest, relative.status, relative.body)

	// The copy is a database that a server takes up where the other was.
	s.stop(t)
	s.start(t, config{port: port, storage: "copy.db"}.String())
	assert.Equal(t, 20, c.list(t, "/notifications").Total)
}
