package delivery

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/outgoing"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// rebinding resolves every name to first when it is asked for the first time,
// and to later from then on.
type rebinding struct {
	first, later netip.Addr
	asked        atomic.Int64
	running      sync.WaitGroup
}

// resolver asks in DNS's own format (RFC 1035, 4.2.2), without a network.
func (r *rebinding) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		r.running.Go(func() { r.serve(server) })
		return client, nil
	}}
}

func (r *rebinding) serve(c net.Conn) {
	defer c.Close()
	var size [2]byte
	for {
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		query := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, query); err != nil {
			return
		}
		answer := r.answer(query)
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(answer))), answer...)); err != nil { //nolint:gosec // short
			return
		}
	}
}

func (r *rebinding) answer(query []byte) []byte {
	const header = 12
	end := header
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // its end, the type and the class
	reply := append([]byte{}, query[:end]...)
	reply[2], reply[3] = 0x84, 0 // an authoritative answer
	clear(reply[6:header])       // drops EDNS
	if binary.BigEndian.Uint16(query[end-4:]) != 1 {
		return reply // only A has an answer
	}
	a := r.later
	if r.asked.Add(1) == 1 {
		a = r.first
	}
	reply[7] = 1
	reply = append(reply, 0xc0, header, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
	return append(reply, a.AsSlice()...)
}

// The owner of a callback's name has it resolve to a public address while
// somebody looks, and to ours when it is called (DNS rebinding): the address
// that is connected to is the one that is judged.
func TestCallbackRebinding(t *testing.T) {
	var connections, calls atomic.Int64
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	defer s.Close()
	_, port, err := net.SplitHostPort(s.Listener.Addr().String())
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())

	for name, tc := range map[string]struct {
		allowed []string
		want    string
	}{
		"refused":                 {nil, "the service's host resolves to an address that is not public; allow_private permits it"},
		"unless that is intended": {[]string{"example.com"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			names := &rebinding{first: netip.MustParseAddr("8.8.8.8"), later: netip.MustParseAddr("127.0.0.1")}
			defer names.running.Wait()
			resolver := names.resolver()
			looked, err := resolver.LookupNetIP(t.Context(), "ip4", "example.com")
			require.NoError(t, err)
			require.Equal(t, []netip.Addr{names.first}, looked)
			require.True(t, outgoing.Public(looked[0]))

			c, err := NewCallbacks(CallbacksConfig{
				Outbox: newBench(t).store,
				Targets: map[string]CallbackTarget{testService: {
					URL: "https://example.com:" + port + "/receipts", Bearer: "s3cret",
					Outgoing: outgoing.Policy{Resolver: resolver, AllowPrivate: tc.allowed, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
				}},
			})
			require.NoError(t, err)
			before := connections.Load()
			failure := c.call(c.targets.of(testService), &storage.Notification{
				UUID: uuid.New(), Status: storage.StatusDelivered, Channel: storage.SMS, To: testNumber, CreatedAt: time.Now(),
			})
			require.NoError(t, c.Close())
			if tc.want == "" {
				require.Nil(t, failure)
				assert.Equal(t, int64(1), calls.Load())
				return
			}
			require.NotNil(t, failure)
			assert.Equal(t, tc.want, failure.Reason)
			var refused *outgoing.RefusedError
			require.ErrorAs(t, failure.Err, &refused)
			assert.Equal(t, names.later, refused.Address)
			assert.Equal(t, before, connections.Load(), "no connection may be made")
		})
	}
}
