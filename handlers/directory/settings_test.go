package directory

import (
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const (
	receipts = "https://service.example/receipts"
	bearer   = "a-bearer-token"
)

// someSettings sets everything.
func someSettings() storage.ServiceSettings {
	return storage.ServiceSettings{
		SMSSenders: []storage.SMSSender{
			{ID: uuid.NewString(), Text: "Booking"},
			{ID: uuid.NewString(), Text: "+447700900001", Default: true},
		},
		ReplyTo:        []storage.ReplyToAddress{{ID: uuid.NewString(), Address: "help@service.example"}},
		EmailFrom:      "booking@service.example",
		GuestList:      []string{"07700 900123", "+447700900124", "tester@service.example"},
		Trial:          true,
		InboundNumbers: []string{"+447700900002", "60010"},
		Callback:       &storage.ServiceCallback{URL: receipts, Bearer: []byte(bearer)},
	}
}

func TestSettings(t *testing.T) {
	ctx := t.Context()
	store := openMemory(t)
	d, other := newNode(t, store), newNode(t, store)
	_, err := d.Settings(ctx, unknownID)
	require.ErrorIs(t, err, storage.ErrNotFound)
	added, err := d.AddService(ctx, "", "Stored")
	require.NoError(t, err)
	for _, n := range []*node{d, other} {
		none, err := n.Settings(ctx, added.ID)
		require.NoError(t, err)
		require.Equal(t, storage.ServiceSettings{}, none)
		targets, err := n.CallbackTargets(ctx)
		require.NoError(t, err)
		require.Empty(t, targets)
		_, err = n.ServiceOfNumber(ctx, "60010")
		require.ErrorIs(t, err, storage.ErrNotFound)
	}

	want := someSettings()
	info, err := d.PutSettings(ctx, added.ID, want)
	require.NoError(t, err)
	again, err := d.SettingsInfo(ctx, added.ID)
	require.NoError(t, err)
	require.Equal(t, info, again)
	text, err := json.Marshal(info)
	require.NoError(t, err)
	require.Contains(t, string(text), `"callback":{"url":"`+receipts+`"}`)
	require.Contains(t, string(text), `"trial":true`)
	stored, err := store.Service(ctx, added.ID)
	require.NoError(t, err)
	for _, secretFree := range [][]byte{text, stored.Settings} {
		require.NotContains(t, string(secretFree), bearer)
		require.NotContains(t, string(secretFree), "YS1iZWFyZXItdG9rZW4") // as base64
	}

	check := func(n *node) {
		t.Helper()
		got, err := n.Settings(ctx, added.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		targets, err := n.CallbackTargets(ctx)
		require.NoError(t, err)
		require.Equal(t, map[string]storage.ServiceCallback{added.ID: *want.Callback}, targets)
		for _, number := range []string{"60010", "+447700900002", "447700900002"} {
			id, err := n.ServiceOfNumber(ctx, number)
			require.NoError(t, err, number)
			require.Equal(t, added.ID, id)
		}
	}
	check(d)
	none, err := other.Settings(ctx, added.ID)
	require.NoError(t, err)
	require.Empty(t, none, "the other has an answer that has not aged")
	other.now = other.now.Add(CacheFor)
	check(other)

	// Without a token, the callback keeps the one it has, as long as it is called
	// at the same address.
	kept := want
	kept.Callback = &storage.ServiceCallback{URL: receipts}
	_, err = d.PutSettings(ctx, added.ID, kept)
	require.NoError(t, err)
	check(d)
	kept.Callback = &storage.ServiceCallback{URL: receipts + "/2"}
	_, err = d.PutSettings(ctx, added.ID, kept)
	require.ErrorContains(t, err, "needs a bearer token")

	// A number is one service's, and the settings of the configuration are its own.
	rival, err := d.AddService(ctx, "", "Rival")
	require.NoError(t, err)
	_, err = d.PutSettings(ctx, rival.ID, storage.ServiceSettings{InboundNumbers: []string{"60010"}})
	require.ErrorContains(t, err, "belongs to one service")
	_, err = d.PutSettings(ctx, configuredID, want)
	require.ErrorContains(t, err, "in the configuration")
	_, err = d.PutSettings(ctx, unknownID, want)
	require.ErrorIs(t, err, storage.ErrNotFound)

	// The secret of a callback isn't that of another address.
	var raw storage.ServiceSettings
	require.NoError(t, json.Unmarshal(stored.Settings, &raw))
	raw.Callback.URL = "https://thief.example/"
	moved, err := json.Marshal(raw)
	require.NoError(t, err)
	require.NoError(t, store.PutServiceSettings(ctx, added.ID, moved))
	var log strings.Builder
	other.log = slog.New(slog.NewTextHandler(&log, nil))
	other.now = other.now.Add(CacheFor)
	got, err := other.Settings(ctx, added.ID)
	require.NoError(t, err)
	require.Nil(t, got.Callback)
	require.Equal(t, want.SMSSenders, got.SMSSenders)
	require.Contains(t, log.String(), "bearer token of a stored service's callback can't be read")

	// Damage takes nobody else along.
	require.NoError(t, store.PutServiceSettings(ctx, added.ID, []byte("{")))
	_, err = d.PutSettings(ctx, rival.ID, storage.ServiceSettings{InboundNumbers: []string{"70020"}})
	require.NoError(t, err)
	other.now = other.now.Add(CacheFor)
	_, err = other.Settings(ctx, added.ID)
	require.ErrorIs(t, err, storage.ErrUnavailable)
	id, err := other.ServiceOfNumber(ctx, "70020")
	require.NoError(t, err)
	require.Equal(t, rival.ID, id)
}

func TestSettingsRefusals(t *testing.T) {
	ctx := t.Context()
	d := newNode(t, openMemory(t))
	added, err := d.AddService(ctx, "", "Stored")
	require.NoError(t, err)
	for want, change := range map[string]func(s *storage.ServiceSettings){
		"SMS sender is not a UUID":             func(s *storage.ServiceSettings) { s.SMSSenders[0].ID = strings.ToUpper(s.SMSSenders[1].ID) },
		"is given twice":                       func(s *storage.ServiceSettings) { s.SMSSenders[0].ID = s.SMSSenders[1].ID },
		"only one SMS sender can be":           func(s *storage.ServiceSettings) { s.SMSSenders[0].Default = true },
		`the SMS sender "Twelve chars"`:        func(s *storage.ServiceSettings) { s.SMSSenders[0].Text = "Twelve chars" },
		`the SMS sender ""`:                    func(s *storage.ServiceSettings) { s.SMSSenders[0].Text = "" },
		`the SMS sender " a"`:                  func(s *storage.ServiceSettings) { s.SMSSenders[0].Text = " a" },
		`the reply-to address "nobody"`:        func(s *storage.ServiceSettings) { s.ReplyTo[0].Address = "nobody" },
		`the reply-to address "N <n@e.org>"`:   func(s *storage.ServiceSettings) { s.ReplyTo[0].Address = "N <n@e.org>" },
		`emails are from "x@"`:                 func(s *storage.ServiceSettings) { s.EmailFrom = "x@" },
		`the guest "friend"`:                   func(s *storage.ServiceSettings) { s.GuestList[0] = "friend" },
		`the guest "020" is neither`:           func(s *storage.ServiceSettings) { s.GuestList[0] = "020" },
		`the guest "07700.900123" is neither`:  func(s *storage.ServiceSettings) { s.GuestList[0] = "07700.900123" },
		`the guest "a@b@c" is not an`:          func(s *storage.ServiceSettings) { s.GuestList[0] = "a@b@c" },
		`messages to "07700900123"`:            func(s *storage.ServiceSettings) { s.InboundNumbers[0] = "07700900123" },
		"messages to 60010: the number is giv": func(s *storage.ServiceSettings) { s.InboundNumbers[0] = "60010" },
		"at most 1000 entries":                 func(s *storage.ServiceSettings) { s.GuestList = make([]string, 1001) },
		"must begin with https://; plain":      func(s *storage.ServiceSettings) { s.Callback.URL = "http://service.example/" },
		"must be a whole one":                  func(s *storage.ServiceSettings) { s.Callback.URL = "/receipts" },
		"must not have a user":                 func(s *storage.ServiceSettings) { s.Callback.URL = "https://u:p@service.example/" },
		"must not have a fragment":             func(s *storage.ServiceSettings) { s.Callback.URL = receipts + "#x" },
		"URL can't be parsed":                  func(s *storage.ServiceSettings) { s.Callback.URL = "https://%zz/" },
		"holds a blank":                        func(s *storage.ServiceSettings) { s.Callback.Bearer = []byte("a b") },
		"needs a bearer token":                 func(s *storage.ServiceSettings) { s.Callback.Bearer = nil },
	} {
		s := someSettings()
		change(&s)
		_, err := d.PutSettings(ctx, added.ID, s)
		var input *InputError
		require.ErrorAs(t, err, &input, want)
		require.ErrorContains(t, err, want)
		_, err = New(Config{Configured: []Configured{{Service: &notifyauth.Service{ID: configuredID}, Settings: s}}})
		require.ErrorContains(t, err, want)
	}
	got, err := d.Settings(ctx, added.ID)
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestConfiguredSettings(t *testing.T) {
	ctx := t.Context()
	want := someSettings()
	configured := []Configured{{Service: &notifyauth.Service{ID: configuredID}, Settings: want}, {Service: &notifyauth.Service{ID: "plain"}}}
	d, err := New(Config{Configured: configured})
	require.NoError(t, err)
	got, err := d.Settings(ctx, configuredID)
	require.NoError(t, err)
	require.Equal(t, want, got)
	got, err = d.Settings(ctx, "plain")
	require.NoError(t, err)
	require.Empty(t, got)
	id, err := d.ServiceOfNumber(ctx, "447700900002")
	require.NoError(t, err)
	require.Equal(t, configuredID, id)
	_, err = d.ServiceOfNumber(ctx, "1")
	require.ErrorIs(t, err, storage.ErrNotFound)
	info, err := d.SettingsInfo(ctx, configuredID)
	require.NoError(t, err)
	require.Equal(t, originConfiguration, info.Origin)
	require.Equal(t, receipts, info.Callback.URL)
	require.Nil(t, info.ServiceSettings.Callback)
	_, err = d.SettingsInfo(ctx, unknownID)
	require.ErrorIs(t, err, storage.ErrNotFound)
	_, err = d.PutSettings(ctx, unknownID, want)
	require.ErrorIs(t, err, ErrNoStorage)
	targets, err := d.CallbackTargets(ctx)
	require.NoError(t, err)
	require.Empty(t, targets, "those of the configuration are its own matter")

	configured[1].Settings.InboundNumbers = []string{"60010"}
	_, err = New(Config{Configured: configured})
	require.ErrorContains(t, err, "belongs to one service")
}

func TestResealSettings(t *testing.T) {
	from, err := storage.NewSealer(make([]byte, storage.SecretsKeySize))
	require.NoError(t, err)
	other := make([]byte, storage.SecretsKeySize)
	other[0] = 1
	to, err := storage.NewSealer(other)
	require.NoError(t, err)
	s := someSettings()
	s.Callback.Bearer = from.Seal([]byte(bearer), bearerContext(unknownID, receipts))
	text, err := json.Marshal(s)
	require.NoError(t, err)
	text = append([]byte(`{"newer":[1],`), text[1:]...)
	sealed, err := ResealSettings(unknownID, text, from, to)
	require.NoError(t, err)
	require.Contains(t, string(sealed), `"newer":[1]`)
	got, err := parseSettings(sealed)
	require.NoError(t, err)
	plain, err := to.Open(got.Callback.Bearer, bearerContext(unknownID, receipts))
	require.NoError(t, err)
	require.Equal(t, bearer, string(plain))
	_, err = ResealSettings(configuredID, text, from, to)
	require.ErrorContains(t, err, "bearer token")
	for _, none := range [][]byte{nil, []byte(`{"trial":true}`)} {
		got, err := ResealSettings(unknownID, none, from, to)
		require.NoError(t, err)
		require.Equal(t, none, got)
	}
	_, err = ResealSettings(unknownID, []byte("{"), from, to)
	require.Error(t, err)
}

func TestTemplateLookup(t *testing.T) {
	ctx := t.Context()
	at := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	store := openMemory(t)
	d, err := New(Config{
		Configured: []Configured{{
			Service: &notifyauth.Service{ID: configuredID}, Templates: []storage.Template{{ID: "1", Channel: storage.SMS, Body: "configured"}},
		}},
		ConfiguredAt: at, Store: store,
	})
	require.NoError(t, err)
	put := func(id, body string) storage.Template {
		got, err := d.PutTemplate(ctx, storage.Template{ServiceID: configuredID, ID: id, Channel: storage.SMS, Body: body})
		require.NoError(t, err)
		return got
	}
	derived := func(id string) string { return storage.TemplateUUID(configuredID, id).String() }
	unnamed := put("", "unnamed")
	u, err := uuid.Parse(unnamed.ID)
	require.NoError(t, err)
	require.EqualValues(t, 4, u.Version())
	require.Equal(t, unnamed.ID, derived(unnamed.ID))
	first := put("welcome", "one")
	second := put(derived("welcome"), "two")
	require.Equal(t, "welcome", second.ID, "named by its UUID, it is the same")
	require.Equal(t, 2, second.Version)

	for _, c := range []struct {
		id      string
		version int
		want    string
	}{
		{"1", 0, "configured"},
		{derived("1"), 0, "configured"},
		{derived("1"), 1, "configured"},
		{"1", 2, ""},
		{"1", -1, ""},
		{"welcome", 0, "two"},
		{derived("welcome"), 0, "two"},
		{derived("welcome"), 2, "two"},
		{derived("welcome"), 1, "one"},
		{"welcome", 1, "one"},
		{derived("welcome"), 3, ""},
		{derived("welcome"), -1, ""},
		{strings.ToUpper(derived("welcome")), 0, ""},
		{unnamed.ID, 0, "unnamed"},
		{derived("none"), 0, ""},
		{storage.TemplateUUID(unknownID, "welcome").String(), 0, ""},
	} {
		got, err := d.TemplateVersion(ctx, configuredID, c.id, c.version)
		if c.want == "" {
			require.ErrorIs(t, err, storage.ErrNotFound, c)
			continue
		}
		require.NoError(t, err, c)
		require.Equal(t, c.want, got.Body, c)
	}
	configured, err := d.Template(ctx, configuredID, "1")
	require.NoError(t, err)
	require.Equal(t, []time.Time{at, at}, []time.Time{configured.CreatedAt, configured.FirstAt})
	_, err = d.PutTemplate(ctx, storage.Template{ServiceID: configuredID, ID: derived("1"), Channel: storage.SMS})
	require.ErrorContains(t, err, "in the configuration")

	require.NoError(t, d.ArchiveTemplate(ctx, configuredID, derived("welcome")))
	require.ErrorContains(t, d.ArchiveTemplate(ctx, configuredID, derived("1")), "in the configuration")
	require.ErrorIs(t, d.ArchiveTemplate(ctx, configuredID, "none"), storage.ErrNotFound)
	list, err := d.Templates(ctx, configuredID)
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Equal(t, "1", list[0].ID)
	for _, tpl := range list {
		require.Equal(t, tpl.ID == "welcome", !tpl.ArchivedAt.IsZero(), tpl.ID)
		require.False(t, tpl.FirstAt.IsZero())
	}
	put("welcome", "three")
	got, err := d.Template(ctx, configuredID, derived("welcome"))
	require.NoError(t, err)
	require.Equal(t, "three", got.Body)
	require.Zero(t, got.ArchivedAt)
	require.Equal(t, first.CreatedAt, got.FirstAt)

	// What the configuration names hides what is stored under that name.
	_, err = store.PutTemplate(ctx, storage.Template{ServiceID: configuredID, ID: "1", Channel: storage.SMS, Body: "hidden", CreatedAt: at})
	require.NoError(t, err)
	d.forgetTemplates()
	list, err = d.Templates(ctx, configuredID)
	require.NoError(t, err)
	require.Len(t, list, 3)
	listed, err := d.ListTemplates(ctx, configuredID)
	require.NoError(t, err)
	require.Equal(t, list, listed)
}
