//go:build unix

package copy_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// life uses a back end as a gateway does: every kind of row is made, changed and
// swept. It remembers what there may be.
type life struct {
	t       *testing.T
	s       storage.Backend
	random  *rand.Rand
	now     time.Time
	steps   int
	sealer  *storage.Sealer
	keys    int // made
	uuids   map[uuid.UUID]string
	idems   [][]byte
	tokens  []storage.Digest
	replays [][]byte
	clients int
	late    []storage.Claim // that a receipt was faster than
	sending []storage.Receipt
}

func newLife(t *testing.T, s storage.Backend, key []byte) *life {
	t.Helper()
	sealer, err := storage.NewSealer(key)
	require.NoError(t, err)
	l := &life{
		t: t, s: s, random: rand.New(rand.NewPCG(1, 2)), //nolint:gosec // G404: repeatable
		now: start, sealer: sealer, uuids: map[uuid.UUID]string{},
	}
	require.NoError(t, s.PutService(t.Context(), storage.Service{ID: tenantA, Name: "Äpfel", CreatedAt: start}))
	require.NoError(t, s.PutService(t.Context(), storage.Service{ID: "plain", CreatedAt: start}))
	return l
}

// again goes on with the same data, opened anew.
func (l *life) again(s storage.Backend) *life {
	next := *l
	next.s, next.late = s, nil // their leases have gone
	return &next
}

func (l *life) step() {
	l.steps++
	l.now = l.now.Add(20 * time.Second)
	l.create()
	l.claim()
	l.report()
	l.call()
	l.manage()
	l.receive()
	l.sign()
	_, err := l.s.Sweep(l.t.Context(), storage.SweepRequest{Now: l.now, ReceiptsSince: l.now.Add(-10 * time.Minute), Callback: everybody})
	require.NoError(l.t, err)
}

func everybody(string) bool { return true }

func number(n int) []byte { return binary.BigEndian.AppendUint64([]byte("number "), uint64(n)) } //nolint:gosec // positive

// creation is one of tenantA's, kept for a day.
func creation(at time.Time) storage.Creation {
	return storage.Creation{Notification: storage.Notification{
		UUID: uuid.Must(uuid.NewV7()), ServiceID: tenantA, KeyName: "live", KeyType: storage.KeyNormal, Channel: storage.SMS,
		TemplateID: "1", TemplateVersion: 1, To: "+447700900123", Subject: "On \x00 Monday", Body: "x",
		Status: storage.StatusCreated, Sender: "acme", CreatedAt: at, UpdatedAt: at, ExpiresAt: at.Add(24 * time.Hour),
	}}
}

func (l *life) create() {
	for i := range 4 {
		service, channel := tenantA, storage.SMS
		if i%2 == 0 {
			service, channel = tenantB, storage.Email
		}
		// Some are swept soon after their end.
		kept := []time.Duration{time.Minute, 5 * time.Minute, 24 * time.Hour}[l.random.IntN(3)]
		c := creation(l.now)
		n := &c.Notification
		n.ServiceID, n.Channel, n.ExpiresAt = service, channel, l.now.Add(kept)
		n.KeyType = append(allTypes, "of old")[l.random.IntN(4)]
		if l.random.IntN(3) == 0 {
			n.Details = storage.Details{Supplied: "07700 \x00", International: true}
		}
		if l.random.IntN(6) == 0 {
			n.Details.ScheduledFor = l.now.Add(time.Hour)
		}
		n.Reference, n.Body = fmt.Sprintf("ref %d", l.steps), fmt.Sprintf("Your \xff code is %d", l.steps)
		c.Limits = []storage.Limit{{Key: "day/" + service, Max: 1 << 40, ExpiresAt: l.now.Add(time.Hour)}}
		if i > 1 {
			key := number(len(l.idems))
			if i == 3 && l.steps%5 == 0 { // an old one again
				key = l.idems[l.random.IntN(len(l.idems))]
			} else {
				l.idems = append(l.idems, key)
			}
			c.Idempotency = &storage.Idempotency{Key: key, ExpiresAt: l.now.Add(kept / 2)}
		}
		made, err := l.s.Create(l.t.Context(), c)
		require.NoError(l.t, err)
		l.uuids[made.Notification.UUID] = service
	}
}

func (l *life) claim() {
	for _, c := range l.late { // the worker, after the receipt
		err := l.s.Complete(l.t.Context(), c, storage.Outcome{Status: storage.StatusSending, At: l.now, ProviderReference: "late"})
		if !errors.Is(err, storage.ErrLeaseLost) { // swept meanwhile
			require.NoError(l.t, err)
		}
	}
	l.late = nil
	for _, channel := range []storage.Channel{storage.SMS, storage.Email} {
		claims, err := l.s.Claim(l.t.Context(), storage.ClaimRequest{Channel: channel, Limit: 3, Now: l.now, Lease: time.Minute})
		require.NoError(l.t, err)
		for _, c := range claims {
			l.outcome(c)
		}
	}
}

func (l *life) outcome(c storage.Claim) {
	o := storage.Outcome{At: l.now, Reason: "because", Callback: true}
	switch l.random.IntN(10) {
	case 0: // still at it
		return
	case 1:
		o.Status, o.NextAttempt = storage.StatusCreated, l.now.Add(time.Minute)
	case 2, 3:
		o.Status, o.Reason, o.ProviderReference = storage.StatusSending, "", fmt.Sprintf("SM%d", c.Notification.ID)
		l.sending = append(l.sending, storage.Receipt{Sender: "acme", Reference: o.ProviderReference, Status: storage.StatusDelivered, Callback: everybody})
	case 4:
		o.Status = storage.StatusTechnicalFailure
	case 8:
		o.Status, o.Reason = storage.StatusSent, ""
	case 9: // an interim receipt that was faster, or not
		r := storage.Receipt{Sender: "acme", Reference: c.Notification.UUID.String(), Status: storage.StatusPending, At: l.now}
		_, _, err := l.s.Receipt(l.t.Context(), r)
		require.NoError(l.t, err)
		if l.random.IntN(2) == 0 { // the final one never comes
			l.late = append(l.late, c)
			return
		}
		r.Status, r.Callback = storage.StatusDelivered, everybody
		l.sending = append([]storage.Receipt{r}, l.sending...)
		o.Status = storage.StatusSending
	case 5:
		_, _, err := l.s.Receipt(l.t.Context(), storage.Receipt{
			Sender: "acme", Reference: c.Notification.UUID.String(), Status: storage.StatusDelivered, At: l.now, Callback: everybody,
		})
		require.NoError(l.t, err)
		l.late = append(l.late, c)
		return
	default:
		o.Status, o.Reason = storage.StatusDelivered, ""
	}
	require.NoError(l.t, l.s.Complete(l.t.Context(), c, o))
}

// report brings receipts, and takes dead letters back.
func (l *life) report() {
	var later []storage.Receipt
	for i, r := range l.sending {
		if i == len(l.sending)-1 || l.random.IntN(2) == 0 {
			later = append(later, r)
			continue
		}
		r.At = l.now
		_, _, err := l.s.Receipt(l.t.Context(), r)
		if !errors.Is(err, storage.ErrNotFound) {
			require.NoError(l.t, err)
		}
	}
	l.sending = later
	if l.steps%4 == 0 {
		_, err := l.s.Requeue(l.t.Context(), storage.DeadLetterQuery{Limit: 1}, l.now)
		require.NoError(l.t, err)
	}
}

func (l *life) call() {
	for _, service := range []string{tenantA, tenantB} {
		due, err := l.s.ClaimCallbacks(l.t.Context(), storage.CallbackRequest{ServiceID: service, Limit: 3, Now: l.now, Lease: time.Minute})
		require.NoError(l.t, err)
		for i, c := range due {
			switch i {
			case 0: // still at it
			case 1:
				require.NoError(l.t, l.s.CompleteCallback(l.t.Context(), c, l.now.Add(time.Minute)))
			default:
				require.NoError(l.t, l.s.CompleteCallback(l.t.Context(), c, time.Time{}))
			}
		}
	}
}

func (l *life) manage() {
	ctx := l.t.Context()
	name := fmt.Sprintf("key %d", l.keys)
	l.keys++
	require.NoError(l.t, l.s.AddKey(ctx, storage.APIKey{
		ServiceID: tenantA, Name: name, Type: storage.KeyNormal, Secret: l.sealer.Seal([]byte("secret of "+name), name), CreatedAt: l.now,
	}))
	require.NoError(l.t, l.s.RevokeKey(ctx, tenantA, fmt.Sprintf("key %d", l.random.IntN(l.keys)), l.now))
	_, err := l.s.PutTemplate(ctx, storage.Template{ServiceID: tenantB, ID: "1", Channel: storage.SMS, Body: fmt.Sprintf("((code)) %d", l.steps), CreatedAt: l.now})
	require.NoError(l.t, err)
	template, err := l.s.PutTemplate(ctx, storage.Template{ServiceID: tenantB, ID: fmt.Sprintf("%d", l.steps), Channel: storage.Email, CreatedAt: l.now})
	require.NoError(l.t, err)
	if l.steps%2 == 0 {
		require.NoError(l.t, l.s.ArchiveTemplate(ctx, tenantB, template.ID, l.now))
	}
	require.NoError(l.t, l.s.PutServiceSettings(ctx, tenantA, settings(l.t, l.sealer, fmt.Sprintf("bearer of %d", l.steps), l.steps)))
	used := number(len(l.replays))
	l.replays = append(l.replays, used)
	_, err = l.s.Remember(ctx, storage.ReplayKey{ServiceID: tenantA, Key: used, ExpiresAt: l.now.Add(2 * time.Minute)}, l.now)
	require.NoError(l.t, err)
	l.clients++
	require.NoError(l.t, l.s.PutSigningClient(ctx, storage.SigningClient{
		ID: fmt.Sprintf("client %d", l.clients), Name: "P", Keys: []byte(`{"keys":[]}`), Callback: "https://x.example", CreatedAt: l.now,
	}))
	if l.clients%3 == 0 {
		require.NoError(l.t, l.s.DeleteSigningClient(ctx, fmt.Sprintf("client %d", l.clients-1)))
	}
}

// receive stores a message that was received; some are swept soon.
func (l *life) receive() {
	require.NoError(l.t, l.s.PutInbound(l.t.Context(), storage.InboundMessage{
		ID: uuid.Must(uuid.NewV7()), ServiceID: tenantA, Provider: "acme", Reference: fmt.Sprintf("in %d", l.steps),
		UserNumber: "+447700900123", NotifyNumber: "60123", Content: "Yes \x00 \xff", CreatedAt: l.now,
		ExpiresAt: l.now.Add([]time.Duration{time.Minute, 24 * time.Hour}[l.steps%2]),
	}))
}

func (l *life) sign() {
	ctx := l.t.Context()
	for i := range 2 {
		token := storage.Digest(append(make([]byte, 24), number(len(l.tokens))[7:]...))
		token[0] = 1
		r := storage.SigningRequest{
			Token: token, Client: "client 1", State: []string{"", "s"}[i], HasState: i > 0, Replay: &token,
			CreatedAt: l.now, Deadline: l.now.Add(time.Minute), ExpiresAt: l.now.Add(3 * time.Minute), JWT: []byte("a.b.c"),
		}
		require.NoError(l.t, l.s.CreateSigningRequest(ctx, r))
		l.tokens = append(l.tokens, token)
	}
	for range 3 {
		token := l.tokens[len(l.tokens)-1-l.random.IntN(min(len(l.tokens), 8))]
		r, err := l.s.SigningRequest(ctx, token)
		if errors.Is(err, storage.ErrNotFound) {
			continue
		}
		require.NoError(l.t, err)
		switch r.Status {
		case storage.SigningRequested:
			_, _, err = l.s.DownloadSigningRequest(ctx, token, &storage.Digest{9})
		case storage.SigningDownloaded:
			_, _, err = l.s.SignSigningRequest(ctx, token, []byte("response"), l.now.Add(3*time.Minute))
		case storage.SigningSigned:
			_, _, err = l.s.RetrieveSigningRequest(ctx, token)
		case storage.SigningRetrieved:
		}
		require.NoError(l.t, err)
	}
}

// view is all that a back end says.
type view struct {
	Services      []storage.Service
	Keys          []storage.APIKey
	Settings      []string // opened
	Templates     []storage.Template
	Inbound       []storage.InboundMessage
	Notifications map[uuid.UUID]storage.Notification
	Totals        []int64
	ByType        []int
	ByKey         []int64
	Counters      []int64
	Stats         storage.Stats
	Due           []time.Time
	Callbacks     map[string]time.Time
	DeadLetters   []storage.Notification
	Clients       []storage.SigningClient
	Requests      []storage.SigningRequest
}

// look reads all that there may be, row by row, from another back end that
// should have it.
func (l *life) look(s storage.Backend, key []byte) (v view) {
	t := l.t
	t.Helper()
	ctx := t.Context()
	var err error
	must := func() { t.Helper(); require.NoError(t, err) }
	known := func() bool {
		if errors.Is(err, storage.ErrNotFound) {
			return false
		}
		must()
		return true
	}
	v.Services, err = s.Services(ctx)
	must()
	v.Keys, err = s.Keys(ctx, tenantA)
	must()
	sealer, err := storage.NewSealer(key)
	must()
	for i := range v.Services {
		v.Settings = append(v.Settings, openSettings(t, sealer, v.Services[i].Settings))
		v.Services[i].Settings = nil
	}
	for i, k := range v.Keys {
		v.Keys[i].Secret, err = sealer.Open(k.Secret, k.Name)
		must()
	}
	for version := range l.steps + 1 {
		template, e := s.Template(ctx, tenantB, "1", version)
		if err = e; known() {
			v.Templates = append(v.Templates, template)
		}
	}
	newest, err := s.Templates(ctx, tenantB)
	must()
	v.Templates = append(v.Templates, newest...)
	v.Inbound, err = s.Inbound(ctx, storage.InboundQuery{ServiceID: tenantA})
	must()
	v.Notifications = map[uuid.UUID]storage.Notification{}
	for id, service := range l.uuids {
		n, e := s.NotificationByUUID(ctx, service, id)
		if err = e; known() {
			v.Notifications[id] = n
		}
	}
	for _, service := range []string{tenantA, tenantB} {
		for status := range len(allStatuses) {
			p, e := s.Notifications(ctx, storage.Query{ServiceID: service, Statuses: allStatuses[status : status+1], Limit: 1000})
			err = e
			must()
			require.Len(t, p.Notifications, int(p.Total))
			v.Totals = append(v.Totals, p.Total)
		}
		for i := range allTypes {
			p, e := s.Notifications(ctx, storage.Query{ServiceID: service, KeyTypes: allTypes[i : i+1], Limit: 1000})
			err = e
			must()
			v.ByType = append(v.ByType, len(p.Notifications))
		}
		n, e := s.Counter(ctx, "day/"+service)
		err = e
		must()
		v.Counters = append(v.Counters, n)
		for _, k := range l.idems {
			n, e := s.Idempotent(ctx, service, k)
			if err = e; known() {
				v.ByKey = append(v.ByKey, n.ID)
			}
		}
	}
	for _, channel := range []storage.Channel{storage.SMS, storage.Email} {
		due, e := s.NextDue(ctx, channel)
		err = e
		must()
		v.Due = append(v.Due, due)
	}
	v.Stats, err = s.Stats(ctx)
	must()
	v.Callbacks, err = s.NextCallbacks(ctx, []string{tenantA, tenantB})
	must()
	v.DeadLetters, err = s.DeadLetters(ctx, storage.DeadLetterQuery{})
	must()
	v.Clients, err = s.SigningClients(ctx)
	must()
	for _, token := range l.tokens {
		r, e := s.SigningRequest(ctx, token)
		if err = e; known() {
			v.Requests = append(v.Requests, r)
		}
	}
	return v
}

// replayed says which tokens are known; asking makes them so.
func (l *life) replayed(s storage.Backend) (known []bool) {
	l.t.Helper()
	for _, k := range l.replays {
		first, err := s.Remember(l.t.Context(), storage.ReplayKey{ServiceID: tenantA, Key: k, ExpiresAt: l.now.Add(time.Minute)}, l.now)
		require.NoError(l.t, err)
		known = append(known, !first)
	}
	return known
}

var allStatuses = []storage.Status{
	storage.StatusCreated, storage.StatusSending, storage.StatusDelivered, storage.StatusTemporaryFailure,
	storage.StatusPermanentFailure, storage.StatusTechnicalFailure, storage.StatusPending, storage.StatusSent,
}

var allTypes = []storage.KeyType{storage.KeyNormal, storage.KeyTeam, storage.KeyTest}
