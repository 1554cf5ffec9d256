package storagetest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

func testReceiptByReference(t *testing.T, s *suite) {
	ctx := t.Context()
	sendAs := func(reference string) storage.Notification {
		n := s.create(t, sample(serviceA, at(0)))
		require.NoError(t, s.Complete(ctx, s.claimOne(t, at(0)), storage.Outcome{
			Status: storage.StatusSending, ProviderReference: reference, At: at(time.Second),
		}))
		return s.get(t, n)
	}
	n := sendAs("p-1")
	for _, r := range []storage.Receipt{
		{Sender: sender, Reference: "p-2"},
		{Sender: "other", Reference: "p-1"},
		{Sender: "other", Reference: n.UUID.String()},
		{Sender: sender, Reference: ""},
		{Sender: sender, Reference: "ffffffff-ffff-7fff-bfff-ffffffffffff"},
	} {
		r.Status, r.At = storage.StatusDelivered, at(time.Minute)
		_, _, err := s.Receipt(ctx, r)
		require.ErrorIs(t, err, storage.ErrNotFound, "%+v", r)
	}
	for _, r := range []storage.Receipt{
		{Sender: sender, Reference: "p-1", Status: storage.StatusCreated, At: at(0)},
		{Sender: sender, Reference: "p-1", Status: "odd", At: at(0)},
		{Sender: sender, Reference: "p-1", Status: storage.StatusDelivered},
	} {
		_, _, err := s.Receipt(ctx, r)
		require.ErrorIs(t, err, storage.ErrInvalid)
	}

	got, changed, err := s.Receipt(ctx, storage.Receipt{
		Sender: sender, Reference: "p-1", Status: storage.StatusPermanentFailure, Reason: "no such number", At: at(time.Minute),
	})
	require.NoError(t, err)
	assert.True(t, changed)
	want := n
	want.Status, want.Reason = storage.StatusPermanentFailure, "no such number"
	want.CompletedAt, want.UpdatedAt = at(time.Minute), at(time.Minute)
	assert.Equal(t, want, got)
	assert.Equal(t, want, s.get(t, n))

	got, changed, err = s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: "p-1", Status: storage.StatusDelivered, At: at(time.Hour)})
	require.NoError(t, err)
	assert.False(t, changed, "final is final")
	assert.Equal(t, want, got)

	byUUID := sendAs("")
	_, changed, err = s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: byUUID.UUID.String(), Status: storage.StatusDelivered, At: at(time.Minute)})
	require.NoError(t, err)
	assert.True(t, changed)
	assert.Equal(t, storage.StatusDelivered, s.get(t, byUUID).Status)

	// A provider that uses a reference again means the newest.
	old, young := sendAs("again"), sendAs("again")
	_, _, err = s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: "again", Status: storage.StatusDelivered, At: at(time.Minute)})
	require.NoError(t, err)
	assert.Equal(t, storage.StatusSending, s.get(t, old).Status)
	assert.Equal(t, storage.StatusDelivered, s.get(t, young).Status)
}

func testReceiptBeforeComplete(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.create(t, sample(serviceA, at(0)))
	claim := s.claimOne(t, at(0))
	_, changed, err := s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: storage.StatusDelivered, At: at(time.Second)})
	require.NoError(t, err)
	assert.True(t, changed)
	assert.Empty(t, s.claims(t, storage.SMS, 1, at(time.Hour)), "nobody sends it again")
	require.NoError(t, s.Complete(ctx, claim, storage.Outcome{Status: storage.StatusSending, ProviderReference: "p", At: at(2 * time.Second)}))
	got := s.get(t, n)
	assert.Equal(t, storage.StatusDelivered, got.Status)
	assert.Equal(t, at(time.Second), got.SentAt)
	assert.Equal(t, at(time.Second), got.CompletedAt)
	assert.Equal(t, "p", got.ProviderReference)
	assert.Equal(t, 1, got.Attempts)
	assert.EqualValues(t, 1, s.total(t, serviceA, storage.StatusDelivered))
	assert.EqualValues(t, 1, s.total(t, serviceA))
}

func testReceiptBeatsDeadLetter(t *testing.T, s *suite) {
	ctx := t.Context()
	n := s.create(t, sample(serviceA, at(0)))
	claim := s.claimOne(t, at(0))
	_, _, err := s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: storage.StatusSending, At: at(time.Second)})
	require.NoError(t, err)
	// The worker's own view, a time-out, is that nobody took it.
	require.NoError(t, s.Complete(ctx, claim, storage.Outcome{Status: storage.StatusTechnicalFailure, Reason: "time-out", At: at(2 * time.Second)}))
	assert.Equal(t, storage.StatusSending, s.get(t, n).Status)
	_, changed, err := s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: storage.StatusDelivered, At: at(3 * time.Second)})
	require.NoError(t, err)
	assert.True(t, changed)
}

// testReceiptsShuffled lets receipts come in any order, twice, before and
// after the outcome: the notification ends in the state of the first final
// one.
func testReceiptsShuffled(t *testing.T, s *suite) {
	ctx := t.Context()
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's shuffle
	for range 100 {
		n := s.create(t, sample(serviceA, at(0)))
		claim := s.claimOne(t, at(0))
		steps := append([]storage.Status{"complete"}, storage.StatusSending, storage.StatusSending,
			storage.StatusDelivered, storage.StatusDelivered, storage.StatusTemporaryFailure)
		random.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		want := storage.StatusCreated
		for i, step := range steps {
			if step == "complete" {
				require.NoError(t, s.Complete(ctx, claim, storage.Outcome{Status: storage.StatusSending, At: at(time.Second)}))
				step = storage.StatusSending
			} else {
				_, changed, err := s.Receipt(ctx, storage.Receipt{Sender: sender, Reference: n.UUID.String(), Status: step, At: at(time.Duration(i) * time.Second)})
				require.NoError(t, err)
				require.Equal(t, !want.Final() && step != want, changed, "%v", steps)
			}
			if !want.Final() {
				want = step
			}
			require.Equal(t, want, s.get(t, n).Status, "%v", steps)
		}
	}
}
