//go:build linux

package e2e

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
	"github.com/signpost-gateway/signpost/jwks"
)

// BenchmarkSigning measures CPU per request of the server process and requests
// per second of POST /signaturerequest with two documents, interleaved with
// what it can't do without: a bare `respond` of Caddy's for the same body, and
// the floor, one verification with a key of 4096 bits and one durable row, in
// this process.
//
//	go test -run '^$' -bench Signing -benchtime 5x ./caddymodule/e2e
//
// Requests come from 64 connections; response is the reading of a signature.
// Only the ratios hold on another machine; gaps below 6 us are noise.
func BenchmarkSigning(b *testing.B) {
	cards := newAuthority(b)
	s, a := newServer(b), plainApplication(b)
	s.write(b, "cards.pem", cards.pem())
	// The log costs as much as all the rest: it is off, as for every kind.
	site := strings.Replace(signingSite(strings.TrimSuffix(a.base, signingPath), "trust_pool file cards.pem\nprofile documented"), "\n log\n", "\n", 1)
	s.start(b, config{signpost: a.block(b), sites: site}.String())
	documents := twoDocuments()
	jwt := a.mint(b, a.claims(documents, nil))
	done := a.downloaded(b, documents, nil)
	require.Equal(b, http.StatusOK, a.upload(b, done.Token, cards.issue(b, nil).signAll(b, "RS256", documents).json(b)).status)

	floor := newFloor(b, a, jwt)
	send := func(method, url, body string) func() string {
		return func() string { return benchCall(a.http, method, url, body) }
	}
	own := func(testing.TB) time.Duration { return usedByThis(b) }
	kinds := []struct {
		name string
		cpu  func(testing.TB) time.Duration
		one  func() string
	}{
		{"respond", serverTime(s, b), send(http.MethodPost, strings.TrimSuffix(a.base, signingPath)+"/", jwt)},
		{"request", serverTime(s, b), send(http.MethodPost, a.base+"/signaturerequest?state=s", jwt)},
		{"response", serverTime(s, b), send(http.MethodGet, a.base+"/signatureresponse/"+done.Token, "")},
		{"floor", own, floor.both},
		{"verification", own, floor.verify},
		{"row", own, floor.row},
	}
	cpu, wall := make(map[string]time.Duration), make(map[string]time.Duration)
	for b.Loop() {
		for _, k := range kinds {
			begin, start := k.cpu(b), time.Now()
			inParallel(b, k.name, k.one)
			wall[k.name] += time.Since(start)
			cpu[k.name] += k.cpu(b) - begin
		}
	}
	requests := float64(b.N * perRound)
	for _, k := range kinds {
		b.ReportMetric(float64(cpu[k.name].Microseconds())/requests, k.name+"-us/req")
		b.ReportMetric(requests/wall[k.name].Seconds(), k.name+"-req/s")
	}
	b.ReportMetric(float64(cpu["request"])/float64(cpu["respond"]+cpu["floor"]), "request/(respond+floor)")
	b.ReportMetric(float64(cpu["request"]-cpu["respond"])/float64(cpu["floor"]), "(request-respond)/floor")
	b.ReportMetric(0, "ns/op")
}

func serverTime(s *server, b *testing.B) func(testing.TB) time.Duration {
	return func(testing.TB) time.Duration { return s.cpuTime(b) }
}

// usedByThis is the processor time that this process has used.
func usedByThis(b *testing.B) time.Duration {
	b.Helper()
	var used syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// inParallel does perRound of a thing from benchClients goroutines.
func inParallel(b *testing.B, name string, one func() string) {
	b.Helper()
	var failed atomic.Pointer[string]
	var wg sync.WaitGroup
	for range benchClients {
		wg.Go(func() {
			for range perRound / benchClients {
				if why := one(); why != "" {
					failed.Store(&why)
					return
				}
			}
		})
	}
	wg.Wait()
	if why := failed.Load(); why != nil {
		b.Fatalf("%s: %s", name, *why)
	}
}

// benchCall returns what went wrong.
func benchCall(client *http.Client, method, url, body string) string {
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return err.Error()
	}
	if body != "" {
		req.Header.Set("Content-Type", "text/plain")
	}
	resp, err := client.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Sprintf("%d %s", resp.StatusCode, answer)
	}
	return ""
}

// floor is what a signature request can't do without.
type floor struct {
	b         *testing.B
	store     *sqlite.Store
	key       *jwks.Key
	jwt       string
	signed    []byte
	signature []byte
}

func newFloor(b *testing.B, a *application, jwt string) *floor {
	b.Helper()
	f := &floor{b: b, jwt: jwt, store: sqlite.New(sqlite.Config{Path: filepath.Join(b.TempDir(), "floor.db")})}
	require.NoError(b, f.store.Open(b.Context()))
	b.Cleanup(func() { _ = f.store.Close() })
	keys, _, err := jwks.Parse([]byte(a.keySet(b)), jwks.Limits{})
	require.NoError(b, err)
	f.key = keys[0]
	at := strings.LastIndexByte(jwt, '.')
	f.signed = []byte(jwt[:at])
	f.signature, err = base64.RawURLEncoding.DecodeString(jwt[at+1:])
	require.NoError(b, err)
	return f
}

func (f *floor) verify() string {
	if !f.key.Verify("RS512", f.signed, f.signature) {
		return "the signature does not verify"
	}
	return ""
}

func (f *floor) row() string {
	id := uuid.New()
	var token storage.Digest
	copy(token[:], id[:])
	now := time.Now()
	err := f.store.CreateSigningRequest(f.b.Context(), storage.SigningRequest{
		Token: token, Client: applicationID, JWT: []byte(f.jwt), Status: storage.SigningRequested,
		CreatedAt: storage.Micro(now), Deadline: storage.Micro(now.Add(time.Minute)), ExpiresAt: storage.Micro(now.Add(time.Hour)),
	})
	if err != nil {
		return err.Error()
	}
	return ""
}

func (f *floor) both() string {
	if why := f.verify(); why != "" {
		return why
	}
	return f.row()
}
