package storagetest

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func testTemplates(t *testing.T, s *suite) {
	ctx := t.Context()
	put := func(service, id, body string) storage.Template {
		in := storage.Template{ServiceID: service, ID: id, Channel: storage.Email, Name: "n", Subject: "s", Body: body, CreatedAt: at(0)}
		got, err := s.PutTemplate(ctx, in)
		require.NoError(t, err)
		in.Version, in.FirstAt = got.Version, at(0)
		assert.Equal(t, in, got)
		return got
	}
	one := put(serviceA, "1", "first")
	two := put(serviceA, "1", "second")
	ten := put(serviceA, "10", "other id")
	put(serviceB, "1", "other service")
	assert.Equal(t, []int{1, 2, 1}, []int{one.Version, two.Version, ten.Version})

	for _, c := range []struct {
		service, id string
		version     int
		want        *storage.Template
	}{
		{serviceA, "1", 0, &two},
		{serviceA, "1", 1, &one},
		{serviceA, "1", 2, &two},
		{serviceA, "1", 3, nil},
		{serviceA, "1", -1, nil},
		{serviceA, "2", 0, nil},
		{serviceB, "10", 0, nil},
	} {
		got, err := s.Template(ctx, c.service, c.id, c.version)
		if c.want == nil {
			require.ErrorIs(t, err, storage.ErrNotFound, "%+v", c)
			continue
		}
		require.NoError(t, err)
		assert.Equal(t, *c.want, got)
	}
	all, err := s.Templates(ctx, serviceA)
	require.NoError(t, err)
	assert.Equal(t, []storage.Template{two, ten}, all)
	none, err := s.Templates(ctx, "unknown")
	require.NoError(t, err)
	assert.Empty(t, none)

	var versions sync.Map
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			got, err := s.PutTemplate(ctx, storage.Template{ServiceID: serviceA, ID: "busy", Channel: storage.SMS, CreatedAt: at(0)})
			assert.NoError(t, err)
			_, twice := versions.LoadOrStore(got.Version, true)
			assert.False(t, twice)
		})
	}
	wg.Wait()
	for v := 1; v <= 16; v++ {
		_, ok := versions.Load(v)
		assert.True(t, ok, "version "+strconv.Itoa(v))
	}
}

// testTemplateArchive: all versions end and come back together, and know when
// the first was made.
func testTemplateArchive(t *testing.T, s *suite) {
	ctx := t.Context()
	put := func(service, id string, when time.Time) storage.Template {
		got, err := s.PutTemplate(ctx, storage.Template{ServiceID: service, ID: id, Channel: storage.SMS, Body: "b", CreatedAt: when})
		require.NoError(t, err)
		return got
	}
	one := put(serviceA, "1", at(0).Add(7*time.Nanosecond))
	two := put(serviceA, "1", at(time.Hour))
	kept, other := put(serviceA, "2", at(0)), put(serviceB, "1", at(0))
	assert.Equal(t, []time.Time{at(0), at(0), at(0)}, []time.Time{one.CreatedAt, one.FirstAt, two.FirstAt})
	check := func(archived time.Time) {
		t.Helper()
		one.ArchivedAt, two.ArchivedAt = archived, archived
		for _, c := range []struct {
			service, id string
			version     int
			want        storage.Template
		}{
			{serviceA, "1", 1, one},
			{serviceA, "1", 2, two},
			{serviceA, "1", 0, two},
			{serviceA, "2", 0, kept},
			{serviceB, "1", 0, other},
		} {
			got, err := s.Template(ctx, c.service, c.id, c.version)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		}
		all, err := s.Templates(ctx, serviceA)
		require.NoError(t, err)
		assert.Equal(t, []storage.Template{two, kept}, all)
	}
	check(time.Time{})
	require.ErrorIs(t, s.ArchiveTemplate(ctx, serviceA, "3", at(0)), storage.ErrNotFound)
	require.ErrorIs(t, s.ArchiveTemplate(ctx, serviceB, "2", at(0)), storage.ErrNotFound)
	require.NoError(t, s.ArchiveTemplate(ctx, serviceA, "1", at(2*time.Hour).Add(7*time.Nanosecond)))
	check(at(2 * time.Hour))
	require.NoError(t, s.ArchiveTemplate(ctx, serviceA, "1", at(3*time.Hour)))
	check(at(2 * time.Hour))

	three := put(serviceA, "1", at(4*time.Hour))
	assert.Equal(t, 3, three.Version)
	assert.Equal(t, at(0), three.FirstAt)
	assert.Zero(t, three.ArchivedAt)
	one.ArchivedAt = time.Time{}
	got, err := s.Template(ctx, serviceA, "1", 1)
	require.NoError(t, err)
	assert.Equal(t, one, got, "back with the next version")
	require.NoError(t, s.ArchiveTemplate(ctx, serviceA, "1", at(5*time.Hour)))
	got, err = s.Template(ctx, serviceA, "1", 0)
	require.NoError(t, err)
	assert.Equal(t, at(5*time.Hour), got.ArchivedAt)
}
