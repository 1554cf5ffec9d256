package evidence

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

type golden struct {
	Signature   string `json:"signature"`
	Certificate string `json:"certificate"`
	Reject      []byte `json:"rs1_reject_payload"`
	Accept      []byte `json:"rs1_accept_payload"`
}

func loadGolden(tb testing.TB) golden {
	tb.Helper()
	data, err := os.ReadFile("testdata/signing_golden.json")
	require.NoError(tb, err)
	var g golden
	require.NoError(tb, json.Unmarshal(data, &g))
	require.Len(tb, g.Accept, 517)
	require.Len(tb, g.Reject, 474)
	return g
}

func (g golden) upload(algorithm string, payload []byte) Upload {
	return Upload{
		Algorithm: algorithm, Documents: []Document{{Payload: payload}},
		Signatures: []Signature{{Value: g.Signature}}, Certificate: g.Certificate,
	}
}

// The sample of the API's page: its signature belongs to another payload than
// the one that it stands beside (N1 and P1 of the wire reference, section 4.2).
func TestGoldenVectors(t *testing.T) {
	g := loadGolden(t)
	c, err := CheckSignatures(t.Context(), g.upload(RS1, g.Accept), 0)
	require.NoError(t, err)
	require.Equal(t, "EMU", c.Subject.CommonName)

	for name, u := range map[string]Upload{
		"N1":       g.upload(RS1, g.Reject),
		"N1 RS256": g.upload(RS256, g.Reject),
		"P1 RS256": g.upload(RS256, g.Accept),
	} {
		_, err := CheckSignatures(t.Context(), u, 0)
		require.Error(t, err, name)
		refused(t, err, CodeSignature, "Signature is not valid")
	}

	_, err = CheckSignatures(t.Context(), g.upload(RS1, g.Accept), 4096)
	refused(t, err, CodeKey, "The certificate's RSA key has 2048 bits, at least 4096 are required")
}
