package notifications

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func (s *server) v2List(query string, with ...func(*http.Request)) v2Page {
	s.t.Helper()
	return decode[v2Page](s.t, s.v2("GET", "/v2/notifications"+query, "", with...))
}

// ids are those of a page.
func (p v2Page) ids() []string {
	ids := []string{}
	for _, n := range p.Notifications {
		ids = append(ids, n.ID)
	}
	return ids
}

const statusList = "[cancelled, created, sending, sent, delivered, pending, failed, technical-failure, temporary-failure, " +
	"permanent-failure, pending-virus-check, validation-failed, virus-scan-failed, returned-letter, accepted, received]"

func TestV2ListRefusals(t *testing.T) {
	s := newServer(t)
	for query, want := range map[string][]string{
		"?page=2":                        {"Additional properties are not allowed (page was unexpected)"},
		"?b=1&a=2&a=3":                   {"Additional properties are not allowed (a, b were unexpected)"},
		"?Status=sent":                   {"Additional properties are not allowed (Status was unexpected)"},
		"?status=elephant":               {"status elephant is not one of " + statusList},
		"?status=":                       {"status  is not one of " + statusList},
		"?status=sent,failed":            {"status sent,failed is not one of " + statusList},
		"?status=x&status=sent&status=x": {"status x is not one of " + statusList},
		"?template_type=it's":            {`template_type "its" is not one of [sms, email, letter]`},
		"?template_type=%00":             {`template_type \x00 is not one of [sms, email, letter]`},
		"?include_jobs=false":            {"include_jobs false is not one of [true, True]"},
		"?older_than=1":                  {"older_than is not a valid UUID"},
		"?older_than=":                   {"older_than is not a valid UUID"},
		"?x=1&older_than=2&include_jobs=3&template_type=4&status=5&status=6": {
			"status 5 is not one of " + statusList, "status 6 is not one of " + statusList,
			"template_type 4 is not one of [sms, email, letter]", "include_jobs 3 is not one of [true, True]",
			"older_than is not a valid UUID", "Additional properties are not allowed (x was unexpected)",
		},
	} {
		t.Run(query, func(t *testing.T) {
			assertV2Error(t, s.v2("GET", "/v2/notifications"+query, ""), 400, errorValidation, want...)
		})
	}
	assertV2Error(t, s.v2("GET", "/v2/notifications?status=%zz", ""), 400, errorBadRequest, "The query string is malformed")

	// However many words are wrong, the answer stays in bounds.
	var many strings.Builder
	for i := range 4_000 {
		fmt.Fprintf(&many, "&status=x%d&p%d=1", i, i)
	}
	w := s.v2("GET", "/v2/notifications?"+many.String()[1:], "")
	assert.Equal(t, 400, w.Code)
	assert.Less(t, w.Body.Len(), 20_000)
}

func TestV2ListEmpty(t *testing.T) {
	s := newServer(t)
	w := s.v2("GET", "/v2/notifications", "")
	assert.Equal(t, `{"notifications":[],"links":{"current":"http://example.com/v2/notifications"}}`+"\n", w.Body.String())
}

// mixed makes notifications of many kinds, by name.
func (s *server) mixed() map[string]string {
	s.t.Helper()
	ids := map[string]string{}
	id := func(n storage.Notification) string { return n.UUID.String() }
	for i, status := range []storage.Status{
		storage.StatusSending, storage.StatusPending, storage.StatusSent, storage.StatusDelivered,
		storage.StatusTemporaryFailure, storage.StatusPermanentFailure, storage.StatusTechnicalFailure,
	} {
		ids[string(status)] = id(s.stored(s.v2SMS(v2SMS())))
		s.deliver(status, t1.Add(time.Duration(i+1)*time.Second))
	}
	ids["created"] = id(s.stored(s.v2SMS(v2SMS("reference", "a&b=c d"))))
	ids["email"] = id(s.stored(s.v2Email(v2Email("reference", unknownID))))
	ids["test"] = id(s.stored(s.v2SMS(v2SMS(), s.withKey(serviceA, secretT))))
	require.Equal(s.t, 201, s.v2SMS(v2Body("phone_number", "07700900123", "template_id", storage.TemplateUUID(serviceB, "9").String()), s.withKey(serviceB, secretB)).Code)
	return ids
}

func TestV2ListFilters(t *testing.T) {
	s := newServer(t)
	ids := s.mixed()
	all := []string{"email", "created", "technical-failure", "permanent-failure", "temporary-failure", "delivered", "sent", "pending", "sending"}
	for query, want := range map[string][]string{
		"":                      all,
		"?include_jobs=true":    all,
		"?include_jobs=True":    all,
		"?reference=":           all,
		"?template_type=sms":    all[1:],
		"?template_type=email":  {"email"},
		"?template_type=letter": {},
		"?template_type=letter&template_type=email":           {"email"},
		"?template_type=sms&template_type=email":              all,
		"?status=created":                                     {"email", "created"},
		"?status=created&template_type=sms":                   {"created"},
		"?status=failed":                                      {"technical-failure", "permanent-failure", "temporary-failure"},
		"?status=failed&status=permanent-failure&status=sent": {"technical-failure", "permanent-failure", "temporary-failure", "sent"},
		"?status=sending":                                     {"sending"},
		"?status=pending":                                     {"pending"},
		"?status=sent":                                        {"sent"},
		"?status=delivered&status=cancelled":                  {"delivered"},
		"?status=cancelled":                                   {},
		"?status=accepted&status=received":                    {},
		"?status=pending-virus-check":                         {},
		"?status=validation-failed&status=virus-scan-failed&status=returned-letter": {},
		"?reference=a%26b%3Dc+d":                           {"created"},
		"?reference=" + unknownID:                          {"email"},
		"?reference=a%26b%3Dc+d&template_type=email":       {},
		"?reference=nobody":                                {},
		"?reference=%00":                                   {},
		"?reference=%ff":                                   {},
		"?reference=" + strings.Repeat("x", 1001):          {},
		"?older_than=" + ids["created"]:                    all[2:],
		"?older_than=" + strings.ToUpper(ids["created"]):   all[2:],
		"?older_than=" + ids["created"] + "&status=failed": {"technical-failure", "permanent-failure", "temporary-failure"},
		"?older_than=" + ids["sending"]:                    {},
		"?older_than=" + ids["test"]:                       all,
		"?older_than=" + unknownID:                         {},
		"?older_than=" + nilID:                             {},
	} {
		t.Run(query, func(t *testing.T) {
			page := s.v2List(query)
			wanted := []string{}
			for _, name := range want {
				wanted = append(wanted, ids[name])
			}
			assert.Equal(t, wanted, page.ids())
			assert.Equal(t, len(want) > 0, page.Links.Next != "")
		})
	}
	for secret, want := range map[string][]string{secretT: {ids["test"]}, secretM: {}} {
		assert.Equal(t, want, s.v2List("", s.withKey(serviceA, secret)).ids(), "a list is of the key's own type")
	}
	b := s.withKey(serviceB, secretB)
	assert.Len(t, s.v2List("", b).Notifications, 1)
	assert.Empty(t, s.v2List("?older_than="+ids["email"], b).Notifications, "another service's cursor is none")
}

// A list holds what reading by id shows.
func TestV2ListObjects(t *testing.T) {
	s := newServer(t)
	s.mixed()
	w := s.v2("GET", "/v2/notifications", "")
	for _, item := range object(t, w)["notifications"].([]any) {
		o := item.(map[string]any)
		assertKeys(t, notificationKeys, o)
		assert.Equal(t, o, object(t, s.v2("GET", "/v2/notifications/"+o["id"].(string), "")))
	}
}

func TestV2ListLinks(t *testing.T) {
	s := newServer(t, func(c *Config) { c.BasePath = "/api" })
	id := s.stored(s.v2SMS(v2SMS("reference", "é &-"))).UUID.String()
	hidden := strings.ReplaceAll(unknownID, "-", "%2D")
	for query, want := range map[string]string{
		"":                   "",
		"?include_jobs=True": "?include_jobs=True",
		"?reference=%C3%A9+%26-&status=failed&template_type=sms&status=created&status=created": "?template_type=sms&status=failed&status=created&reference=%C3%A9+%26-",
		"?reference=" + unknownID:                          "?reference=" + hidden,
		"?reference=a" + strings.ToUpper(unknownID) + "-b": "?reference=a" + strings.ToUpper(hidden) + "%2Db",
		"?older_than=" + unknownID + "&reference=x-y":      "?reference=x-y&older_than=" + unknownID,
		"?older_than=" + strings.ToUpper(unknownID):        "?older_than=" + unknownID,
	} {
		for _, base := range []string{"", "/api"} {
			page := decode[v2Page](t, s.v2("GET", base+"/v2/notifications"+query, ""))
			root := "http://example.com" + base + "/v2/notifications"
			assert.Equal(t, root+want, page.Links.Current)
			if len(page.Notifications) == 0 {
				assert.Empty(t, page.Links.Next)
				continue
			}
			separator := "?"
			if want != "" {
				separator = "&"
			}
			assert.Equal(t, root+want+separator+"older_than="+id, page.Links.Next)
		}
	}
}

// below is what a client that follows a link asks the server of tests for.
func below(t testing.TB, link string) string {
	t.Helper()
	path, ok := strings.CutPrefix(link, "http://example.com")
	assert.True(t, ok, link)
	return path
}

// pythonCursor is the expression in get_all_notifications_iterator of Notify's
// Python client.
var pythonCursor = regexp.MustCompile("(?i)[0-F]{8}-[0-F]{4}-[0-F]{4}-[0-F]{4}-[0-F]{12}")

// Whatever the filters are, clients find the cursor in the link, and whoever
// follows the link keeps the filters.
func TestV2ListLinksProperty(t *testing.T) {
	words := func(among []string) *rapid.Generator[[]string] {
		return rapid.SliceOfNDistinct(rapid.SampledFrom(among), 0, 4, rapid.ID[string])
	}
	rapid.Check(t, func(t *rapid.T) {
		f := v2Filter{
			statuses: words(v2Statuses).Draw(t, "statuses"), types: words(v2Types).Draw(t, "types"),
			reference: rapid.OneOf(
				rapid.String(), rapid.Just(""), rapid.Just(unknownID), rapid.StringMatching(`[0-9a-fA-F@;<:-]{0,8}[0-9A-F]{8}(-[0-9a-f@]{4}){3}-[0-9a-f]{12}.?`),
			).Draw(t, "reference"),
			includeJobs: rapid.SampledFrom([]string{"", "true", "True"}).Draw(t, "include_jobs"),
		}
		last := uuid.MustParse(rapid.StringMatching(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`).Draw(t, "id"))
		link := f.links("https://notify.example.org/api/v2/notifications", uuid.NullUUID{UUID: last, Valid: true}).Next
		if got := pythonCursor.FindString(link); got != last.String() {
			t.Fatalf("the cursor in %s is %q", link, got)
		}
		u, err := url.Parse(link)
		if err != nil {
			t.Fatal(err)
		}
		back, ref := parseV2Filter(u.RawQuery)
		if ref != nil {
			t.Fatal(ref.errors)
		}
		f.olderThan = uuid.NullUUID{UUID: last, Valid: true}
		if fmt.Sprint(back) != fmt.Sprint(f) {
			t.Fatalf("%v became %v", f, back)
		}
	})
}

// Whatever a query string is, it is a filter, whose link is the same filter, or
// has faults that can be shown.
func FuzzV2Filter(f *testing.F) {
	for _, seed := range []string{
		"", "status=sent&status=failed&template_type=sms", "reference=a%2Db&older_than=" + unknownID, "include_jobs=True&include_jobs=x",
		"status=it's&page=1&%E2%80%A8=2", "a;b", "%", "older_than=" + nilID, "&&=&=x", "reference=%ff%00",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		filter, ref := parseV2Filter(query)
		if ref != nil {
			w := httptest.NewRecorder()
			writeV2(w, ref)
			assert.Equal(t, 400, w.Code)
			assert.True(t, json.Valid(w.Body.Bytes()) && utf8.Valid(w.Body.Bytes()))
			assert.Less(t, w.Body.Len(), 200_000)
			return
		}
		again, ref := parseV2Filter(strings.TrimPrefix(filter.query(filter.olderThan), "?"))
		require.Nil(t, ref)
		assert.Equal(t, filter, again)
		_, _ = filter.storageQuery()
	})
}

// Iterators read three pages and an empty one.
func TestV2ListIterators(t *testing.T) {
	s := newServer(t, func(c *Config) { c.RateLimit = -1 })
	var want []string
	for i := range 2*v2PageSize + 7 {
		want = append([]string{s.stored(s.v2SMS(v2SMS("reference", unknownID))).UUID.String()}, want...)
		if i%50 == 0 {
			require.Equal(t, 201, s.v2SMS(v2SMS("reference", "another")).Code)
		}
	}
	filter := "?reference=" + unknownID + "&status=created"
	// As the Python client does it, which keeps the filters and searches the link.
	python := func(p v2Page) v2Page {
		return s.v2List(filter + "&older_than=" + pythonCursor.FindString(p.Links.Next))
	}
	// As those do that follow the link.
	follow := func(p v2Page) v2Page { return decode[v2Page](t, s.v2("GET", below(t, p.Links.Next), "")) }
	for name, next := range map[string]func(v2Page) v2Page{"python": python, "links": follow} {
		t.Run(name, func(t *testing.T) {
			var got []string
			var sizes []int
			p := s.v2List(filter)
			for len(p.Notifications) > 0 {
				got = append(got, p.ids()...)
				sizes = append(sizes, len(p.Notifications))
				require.NotEmpty(t, p.Links.Next)
				require.Less(t, len(sizes), 10, "it goes round and round")
				p = next(p)
			}
			assert.Empty(t, p.Links.Next)
			assert.Equal(t, []int{250, 250, 7}, sizes)
			assert.Equal(t, want, got)
		})
	}
}

// Pages of long emails are shorter, so that they fit into memory, and none is
// left out.
func TestV2ListOfLongTexts(t *testing.T) {
	s := newServer(t)
	for i := range 70 {
		n := storage.Notification{
			UUID: uuid.Must(uuid.NewV7()), ServiceID: serviceA, KeyName: "live", KeyType: storage.KeyNormal, Channel: storage.Email,
			To: "amala@example.org", Subject: "Subject", Body: "short", TemplateID: "3", TemplateVersion: 1, Sender: "log",
			CreatedAt: t1, ExpiresAt: t1.Add(time.Hour),
		}
		if i >= 50 {
			n.Body = strings.Repeat("x", 900_000)
		}
		_, err := s.store.Create(t.Context(), storage.Creation{Notification: n})
		require.NoError(t, err)
	}
	q := storage.Query{ServiceID: serviceA, Limit: v2PagePart}
	var got []int64
	var sizes []int
	for {
		page, err := s.api.v2Gather(t.Context(), q)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, n := range page {
			got = append(got, n.ID)
		}
		sizes = append(sizes, len(page))
		q.Before = got[len(got)-1]
	}
	assert.Equal(t, []int{9, 9, 52}, sizes)
	assert.Len(t, got, 70)
	assert.True(t, slices.IsSortedFunc(got, func(x, y int64) int { return cmp.Compare(y, x) }))
}

// A client that has gone.
func TestV2ListCancelled(t *testing.T) {
	s := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := s.v2("GET", "/v2/notifications", "", func(r *http.Request) { *r = *r.WithContext(ctx) })
	assert.Equal(t, statusClientGone, w.Code)
}
