package storagetest

import (
	"cmp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func testPages(t *testing.T, s *suite) {
	ctx := t.Context()
	all := make([]storage.Notification, 0, 11) // newest first
	for i := range 11 {
		c := sample(serviceA, at(time.Duration(i)*time.Second))
		c.Notification.Reference = []string{"odd", "even"}[i%2]
		if i%3 == 0 {
			c = email(c)
		}
		all = append(all, s.create(t, c))
		s.create(t, sample(serviceB, at(0)))
	}
	slices.Reverse(all)
	for _, c := range []struct {
		name        string
		q           storage.Query
		from, until int
		total       int64
	}{
		{"first", storage.Query{Limit: 4}, 0, 4, 11},
		{"second", storage.Query{Limit: 4, Offset: 4}, 4, 8, 11},
		{"last", storage.Query{Limit: 4, Offset: 8}, 8, 11, 11},
		{"last row", storage.Query{Limit: 4, Offset: 10}, 10, 11, 11},
		{"past the end", storage.Query{Limit: 4, Offset: 11}, 0, 0, 11},
		{"far past the end", storage.Query{Limit: 4, Offset: 1 << 60}, 0, 0, 11},
		{"everything", storage.Query{Limit: 1000}, 0, 11, 11},
		{"too many", storage.Query{Limit: 1 << 30}, 0, 11, 11},
		{"no rows", storage.Query{}, 0, 0, 11},
		{"negative", storage.Query{Limit: -1, Offset: -1}, 0, 0, 11},
		{"before", storage.Query{Limit: 3, Before: all[2].ID}, 3, 6, -1},
		{"before, skipping", storage.Query{Limit: 3, Offset: 2, Before: all[2].ID}, 5, 8, -1},
		{"before the first", storage.Query{Limit: 3, Before: all[10].ID}, 0, 0, -1},
	} {
		c.q.ServiceID = serviceA
		p, err := s.Notifications(ctx, c.q)
		require.NoError(t, err, c.name)
		assert.Equal(t, c.total, p.Total, c.name)
		assert.Equal(t, all[c.from:c.until], append([]storage.Notification{}, p.Notifications...), c.name)
	}
	for _, c := range []struct {
		name  string
		q     storage.Query
		total int64
		want  func(n storage.Notification) bool
	}{
		{"channel", storage.Query{Channels: []storage.Channel{storage.Email}}, 4, func(n storage.Notification) bool { return n.Channel == storage.Email }},
		{"status", storage.Query{Statuses: []storage.Status{storage.StatusDelivered}}, 0, func(storage.Notification) bool { return false }},
		{"unknown status", storage.Query{Statuses: []storage.Status{"odd"}}, 0, func(storage.Notification) bool { return false }},
		{"reference", storage.Query{Reference: "even"}, -1, func(n storage.Notification) bool { return n.Reference == "even" }},
		{
			"reference and channel",
			storage.Query{Reference: "even", Channels: []storage.Channel{storage.SMS}, Before: all[0].ID},
			-1,
			func(n storage.Notification) bool {
				return n.Reference == "even" && n.Channel == storage.SMS && n.ID < all[0].ID
			},
		},
		{"unknown reference", storage.Query{Reference: "none"}, -1, func(storage.Notification) bool { return false }},
	} {
		c.q.ServiceID, c.q.Limit = serviceA, 100
		p, err := s.Notifications(ctx, c.q)
		require.NoError(t, err, c.name)
		want := []storage.Notification{}
		for _, n := range all {
			if c.want(n) {
				want = append(want, n)
			}
		}
		assert.Equal(t, c.total, p.Total, c.name)
		assert.Equal(t, want, append([]storage.Notification{}, p.Notifications...), c.name)
	}
}

var someStatuses = []storage.Status{
	storage.StatusCreated, storage.StatusSending, storage.StatusDelivered, storage.StatusTemporaryFailure,
	storage.StatusPermanentFailure, storage.StatusTechnicalFailure, storage.StatusPending, storage.StatusSent,
}

var someKeyTypes = []storage.KeyType{storage.KeyNormal, storage.KeyTeam, storage.KeyTest, "odd"}

// testPagesMatchModel compares pages under all filters with a plain selection
// from everything that was stored.
func testPagesMatchModel(t *testing.T, s *suite) {
	all := make([]storage.Notification, 0, 60)
	for i := range 60 {
		c := sample(serviceA, at(0))
		if i%4 == 0 {
			c = email(c)
		}
		if i%2 == 0 {
			c.Notification.Reference = "even"
		}
		c.Notification.KeyType = someKeyTypes[i*5%13%4]
		n := s.create(t, c)
		if status := someStatuses[i*7%11%8]; status != storage.StatusCreated {
			_, changed, err := s.Receipt(t.Context(), storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: status, At: at(time.Second)})
			require.NoError(t, err)
			require.True(t, changed)
		}
		all = append(all, s.get(t, n))
	}
	slices.SortFunc(all, func(a, b storage.Notification) int { return cmp.Compare(b.ID, a.ID) })
	rapid.Check(t, func(rt *rapid.T) {
		q := storage.Query{
			ServiceID: serviceA,
			Channels:  rapid.SliceOfNDistinct(rapid.SampledFrom([]storage.Channel{storage.SMS, storage.Email}), 0, 2, rapid.ID).Draw(rt, "channels"),
			Statuses:  rapid.SliceOfNDistinct(rapid.SampledFrom(someStatuses), 0, 8, rapid.ID).Draw(rt, "statuses"),
			KeyTypes:  rapid.SliceOfNDistinct(rapid.SampledFrom(someKeyTypes), 0, 3, rapid.ID).Draw(rt, "key types"),
			Offset:    rapid.Int64Range(0, 62).Draw(rt, "offset"),
			Limit:     rapid.IntRange(1, 25).Draw(rt, "limit"),
		}
		if rapid.Bool().Draw(rt, "keyset") {
			q.Before = rapid.SampledFrom(all).Draw(rt, "before").ID
		}
		if rapid.IntRange(0, 3).Draw(rt, "reference") == 0 {
			q.Reference = "even"
		}
		want := []storage.Notification{}
		for _, n := range all {
			if q.Before != 0 && n.ID >= q.Before || q.Reference != "" && n.Reference != q.Reference {
				continue
			}
			if len(q.KeyTypes) > 0 && (n.KeyType == "odd" || !slices.Contains(q.KeyTypes, n.KeyType)) {
				continue
			}
			if (len(q.Channels) == 0 || slices.Contains(q.Channels, n.Channel)) && (len(q.Statuses) == 0 || slices.Contains(q.Statuses, n.Status)) {
				want = append(want, n)
			}
		}
		p, err := s.Notifications(t.Context(), q)
		require.NoError(rt, err)
		total := int64(-1)
		if q.Before == 0 && q.Reference == "" && len(q.KeyTypes) == 0 {
			total = int64(len(want))
		}
		assert.Equal(rt, total, p.Total)
		want = want[min(q.Offset, int64(len(want))):]
		want = want[:min(q.Limit, len(want))]
		assert.Equal(rt, want, append([]storage.Notification{}, p.Notifications...))
	})
}
