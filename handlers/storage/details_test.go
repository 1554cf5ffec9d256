package storage

import (
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDetails(t *testing.T) {
	for _, d := range []Details{
		{},
		{Supplied: "07700 900123"},
		{From: "Booking", International: true},
		{ReplyTo: "a@example.org", UnsubscribeURL: "https://example.org/?a=1&b=<2>"},
		{ScheduledFor: time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)},
	} {
		text, err := d.Encode()
		require.NoError(t, err)
		assert.Equal(t, d == (Details{}), text == "")
		got, err := DecodeDetails(text)
		require.NoError(t, err)
		assert.Equal(t, d, got)
	}
	got, err := DecodeDetails(`{"newer":{"a":[1]},"from":"Booking","scheduled_for":"2026-11-22T13:00:00.1234567+01:00"}`)
	require.NoError(t, err, "what a newer version has written")
	assert.Equal(t, Details{From: "Booking", ScheduledFor: time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)}, got)
	_, err = DecodeDetails(`{"from":1}`)
	require.Error(t, err)
	_, err = Details{ScheduledFor: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}.Encode()
	require.ErrorIs(t, err, ErrInvalid)
}

func TestTemplateUUID(t *testing.T) {
	const service = "26785a09-ab16-4eb0-8407-a37497a57506"
	own := "3d844edf-8d35-48ac-975b-e847b4f122b0"
	assert.Equal(t, own, TemplateUUID(service, own).String())
	derived := TemplateUUID(service, "1")
	assert.Equal(t, uuid.Version(5), derived.Version())
	assert.Equal(t, "f3214ceb-54c9-5f9a-b951-592200a1da16", derived.String(), "for good: clients keep it")
	seen := map[uuid.UUID]string{}
	for _, c := range [][2]string{{service, "1"}, {service, "2"}, {service, ""}, {own, "1"}, {service, strings.ToUpper(own)}, {service, "1/1"}} {
		u := TemplateUUID(c[0], c[1])
		assert.Empty(t, seen[u])
		seen[u] = c[1]
	}
}

func TestStatusOrder(t *testing.T) {
	ranks := map[Status]int{
		StatusCreated: 0, StatusSending: 1, StatusPending: 2, StatusSent: 3, StatusDelivered: 3, StatusTemporaryFailure: 3,
		StatusPermanentFailure: 3, StatusTechnicalFailure: 3, "odd": -1,
	}
	for s, rank := range ranks {
		assert.Equal(t, rank, s.Rank(), s)
		assert.Equal(t, rank == 3, s.Final(), s)
	}
}
