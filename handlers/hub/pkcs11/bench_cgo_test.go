//go:build cgo

package pkcs11

import (
	"testing"
	"time"

	ck "github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

// BenchmarkBatch measures batches of 250 documents beside a loop that does
// nothing but C_SignInit and C_Sign: "overhead" is the one's time over the
// other's, both at their best, since the machine does other things too.
func BenchmarkBatch(b *testing.B) {
	card := softCard(b, b.Name())
	signer := softSigner(b, card, softPIN)
	r := request(b, signer, 250, nil)
	r.PIN, r.Algorithm = nil, hub.RS256
	token, batch := time.Hour, time.Hour
	for b.Loop() {
		start := time.Now()
		rawBatch(b, card.Module, card.Label, r.Documents)
		token = min(token, time.Since(start))
		start = time.Now()
		if _, err := signer.Sign(b.Context(), r); err != nil {
			b.Fatal(err)
		}
		batch = min(batch, time.Since(start))
	}
	b.ReportMetric(float64(batch)/float64(token), "overhead")
	b.ReportMetric(float64(token.Microseconds()), "token-µs")
	b.ReportMetric(float64(batch.Microseconds()), "signer-µs")
}

// rawBatch signs with miekg/pkcs11 alone, PIN included.
func rawBatch(b *testing.B, module, label string, documents [][]byte) {
	b.Helper()
	p := ck.New(module) // initialised by the signer
	slots, err := p.GetSlotList(true)
	require.NoError(b, err)
	for _, slot := range slots {
		info, err := p.GetTokenInfo(slot)
		require.NoError(b, err)
		if info.Label != label {
			continue
		}
		session, err := p.OpenSession(slot, ck.CKF_SERIAL_SESSION)
		require.NoError(b, err)
		require.NoError(b, p.Login(session, ck.CKU_USER, softPIN))
		require.NoError(b, p.FindObjectsInit(session, []*ck.Attribute{ck.NewAttribute(ck.CKA_CLASS, ck.CKO_PRIVATE_KEY)}))
		keys, _, err := p.FindObjects(session, 1)
		require.NoError(b, err)
		require.NoError(b, p.FindObjectsFinal(session))
		for _, d := range documents {
			require.NoError(b, p.SignInit(session, []*ck.Mechanism{ck.NewMechanism(ck.CKM_SHA256_RSA_PKCS, nil)}, keys[0]))
			_, err := p.Sign(session, d)
			require.NoError(b, err)
		}
		require.NoError(b, p.Logout(session))
		require.NoError(b, p.CloseSession(session))
		return
	}
	b.Fatal("no token")
}
