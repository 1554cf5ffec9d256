//go:build linux && cgo

package e2e

import (
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/require"
)

// The hub adds little to what the card takes itself. How much is measured by
// the benchmark of package pkcs11; here is all of it, with HTTP, the request's
// signature and the login, beside whatever else runs on this machine.
func TestHubSpeed(t *testing.T) {
	const own, rounds = "https://sign.example.org", 3
	h, a := trustingHub(t, "", own)
	documents := make([]document, 250)
	for i := range documents {
		documents[i] = document{id: strconv.Itoa(i), payload: signedInfo("3YlFQMOrw2Q0dUkytzs50JF7HUo=")}
	}
	token := newToken(t, h.card)
	var hub, alone time.Duration
	for i := range rounds {
		body := signBody(t, a.mint(t, a.claims(documents, nil)))
		began := time.Now()
		got := h.ask(t, http.MethodPost, "/hub/v1/sign", body, own)
		took := time.Since(began)
		h.requireSigned(t, got, "RS256", documents)
		without := token.sign(t, documents)
		if i == 0 || took < hub {
			hub = took
		}
		if i == 0 || without < alone {
			alone = without
		}
	}
	t.Logf("250 documents: %s by the hub, %s by the token itself: %.2f times", hub.Round(time.Millisecond), alone.Round(time.Millisecond), float64(hub)/float64(alone))
	require.Less(t, hub, 4*alone)
}

// token is the card, without a hub.
type token struct {
	ctx     *pkcs11.Ctx
	session pkcs11.SessionHandle
	key     pkcs11.ObjectHandle
}

func newToken(t *testing.T, card softCard) *token {
	t.Helper()
	t.Setenv("SOFTHSM2_CONF", card.Config)
	k := &token{ctx: pkcs11.New(card.Module)}
	require.NotNil(t, k.ctx, card.Module)
	require.NoError(t, k.ctx.Initialize())
	t.Cleanup(func() {
		_ = k.ctx.Finalize()
		k.ctx.Destroy()
	})
	slots, err := k.ctx.GetSlotList(true)
	require.NoError(t, err)
	for _, slot := range slots {
		about, err := k.ctx.GetTokenInfo(slot)
		require.NoError(t, err)
		if about.Label != cardLabel {
			continue
		}
		k.session, err = k.ctx.OpenSession(slot, pkcs11.CKF_SERIAL_SESSION)
		require.NoError(t, err)
		require.NoError(t, k.ctx.Login(k.session, pkcs11.CKU_USER, cardPIN))
		require.NoError(t, k.ctx.FindObjectsInit(k.session, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_CLASS, pkcs11.CKO_PRIVATE_KEY)}))
		keys, _, err := k.ctx.FindObjects(k.session, 2)
		require.NoError(t, err)
		require.Len(t, keys, 1)
		require.NoError(t, k.ctx.FindObjectsFinal(k.session))
		k.key = keys[0]
		return k
	}
	t.Fatalf("no token %q", cardLabel)
	return nil
}

func (k *token) sign(t *testing.T, documents []document) time.Duration {
	t.Helper()
	began := time.Now()
	for _, d := range documents {
		require.NoError(t, k.ctx.SignInit(k.session, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_SHA256_RSA_PKCS, nil)}, k.key))
		_, err := k.ctx.Sign(k.session, d.payload)
		require.NoError(t, err)
	}
	return time.Since(began)
}
