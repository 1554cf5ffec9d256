// Package storagetest is the suite that every back end of the package storage
// passes.
package storagetest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// Run checks the whole contract. open returns a new, empty, opened back end
// and sees to its closing at the end of the test; closing it twice must be
// harmless.
func Run(t *testing.T, open func(t *testing.T) storage.Backend) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"Services", testServices},
		{"Keys", testKeys},
		{"Templates", testTemplates},
		{"TemplateArchive", testTemplateArchive},
		{"Create", testCreate},
		{"CreateInvalid", testCreateInvalid},
		{"CreateConcurrently", testCreateConcurrently},
		{"TenantIsolation", testTenantIsolation},
		{"Idempotency", testIdempotency},
		{"IdempotencyMismatch", testIdempotencyMismatch},
		{"IdempotencyExpiry", testIdempotencyExpiry},
		{"IdempotentTwins", testIdempotentTwins},
		{"Limits", testLimits},
		{"LimitsConcurrently", testLimitsConcurrently},
		{"LimitsAndReplays", testLimitsAndReplays},
		{"Buckets", testBuckets},
		{"ReplayKeys", testReplayKeys},
		{"ReplayKeysConcurrently", testReplayKeysConcurrently},
		{"Pages", testPages},
		{"PagesMatchModel", testPagesMatchModel},
		{"Details", testDetails},
		{"Scheduled", testScheduled},
		{"ScheduledTwins", testScheduledTwins},
		{"Pending", testPending},
		{"Sent", testSent},
		{"Inbound", testInbound},
		{"InboundConcurrently", testInboundConcurrently},
		{"Claim", testClaim},
		{"ClaimConcurrently", testClaimConcurrently},
		{"LeaseExpiry", testLeaseExpiry},
		{"Renew", testRenew},
		{"Outcomes", testOutcomes},
		{"Retry", testRetry},
		{"ReceiptByReference", testReceiptByReference},
		{"ReceiptBeforeComplete", testReceiptBeforeComplete},
		{"ReceiptBeatsDeadLetter", testReceiptBeatsDeadLetter},
		{"ReceiptsShuffled", testReceiptsShuffled},
		{"Machine", testMachine},
		{"Reassign", testReassign},
		{"DeadLetters", testDeadLetters},
		{"Requeue", testRequeue},
		{"RequeueReported", testRequeueReported},
		{"RequeueLimit", testRequeueLimit},
		{"Callbacks", testCallbacks},
		{"CallbacksOwed", testCallbacksOwed},
		{"CallbackLease", testCallbackLease},
		{"CallbacksConcurrently", testCallbacksConcurrently},
		{"Stats", testStats},
		{"SigningClients", testSigningClients},
		{"SigningRequest", testSigningRequest},
		{"SigningInvalid", testSigningInvalid},
		{"SigningTaken", testSigningTaken},
		{"SigningStates", testSigningStates},
		{"SigningConcurrently", testSigningConcurrently},
		{"SigningReplaysConcurrently", testSigningReplaysConcurrently},
		{"SigningMachine", testSigningMachine},
		{"SweepRetention", testSweepRetention},
		{"SweepReceipts", testSweepReceipts},
		{"SweepKeys", testSweepKeys},
		{"SweepSigning", testSweepSigning},
		{"SweepInbound", testSweepInbound},
		{"SweepLimit", testSweepLimit},
		{"IDsAfterSweep", testIDsAfterSweep},
		{"Wake", testWake},
		{"Cancelled", testCancelled},
		{"Closed", testClosed},
		{"SecretsKey", testSecretsKey},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, &suite{Backend: open(t), open: open}) })
	}
}

// Unopened checks that a back end which isn't open yet says so in every method
// and can be closed.
func Unopened(t *testing.T, b storage.Backend) {
	unavailable(t, b)
	require.NoError(t, b.Close())
	unavailable(t, b)
}

type suite struct {
	storage.Backend
	open func(t *testing.T) storage.Backend
}

// start is the suite's noon: all its times are relative to it.
var start = time.Date(2026, 11, 22, 12, 0, 0, 123456000, time.UTC)

func at(d time.Duration) time.Time { return start.Add(d) }

const (
	serviceA = "26785a09-ab16-4eb0-8407-a37497a57506"
	serviceB = "3d844edf-8d35-48ac-975b-e847b4f122b0"
	sender   = "webhook"
	week     = 168 * time.Hour
)

var serial atomic.Int64

// sample returns a creation with every field set.
func sample(serviceID string, created time.Time) storage.Creation {
	n := serial.Add(1)
	return storage.Creation{Notification: storage.Notification{
		UUID: uuid.Must(uuid.NewV7()), ServiceID: serviceID, KeyName: "live", KeyType: storage.KeyTeam,
		Channel: storage.SMS, To: "+447700900123", Subject: fmt.Sprintf("subject %d", n), Body: fmt.Sprintf("text %d: “é”", n),
		TemplateID: "1", TemplateVersion: 3, Reference: fmt.Sprintf("ref-%d", n), Sender: sender,
		CreatedAt: created, ExpiresAt: created.Add(week),
	}}
}

func withKey(c storage.Creation, key, hash string, expires time.Time) storage.Creation {
	c.Idempotency = &storage.Idempotency{Key: []byte(key), ExpiresAt: expires}
	if hash != "" {
		c.Idempotency.BodyHash = []byte(hash)
	}
	return c
}

func email(c storage.Creation) storage.Creation {
	c.Notification.Channel = storage.Email
	c.Notification.To = "someone@example.org"
	return c
}

// create stores a creation that must succeed.
func (s *suite) create(t require.TestingT, c storage.Creation) storage.Notification {
	got, err := s.Create(context.Background(), c)
	require.NoError(t, err)
	require.False(t, got.Replayed)
	return got.Notification
}

func (s *suite) claimOne(t require.TestingT, now time.Time) storage.Claim {
	claims, err := s.Claim(context.Background(), storage.ClaimRequest{Channel: storage.SMS, Limit: 1, Now: now, Lease: time.Minute})
	require.NoError(t, err)
	require.Len(t, claims, 1)
	return claims[0]
}

func (s *suite) get(t require.TestingT, n storage.Notification) storage.Notification {
	got, err := s.NotificationByID(context.Background(), n.ServiceID, n.ID)
	require.NoError(t, err)
	return got
}

func (s *suite) total(t require.TestingT, serviceID string, statuses ...storage.Status) int64 {
	p, err := s.Notifications(context.Background(), storage.Query{ServiceID: serviceID, Statuses: statuses})
	require.NoError(t, err)
	return p.Total
}
