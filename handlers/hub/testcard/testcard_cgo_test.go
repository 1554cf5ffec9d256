//go:build cgo

package testcard

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"log/slog"
	"os"
	"testing"

	ck "github.com/miekg/pkcs11"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

func makeCard(t *testing.T, o Options) *Card {
	t.Helper()
	card, err := Make(t.Context(), o)
	if errors.Is(err, ErrNoSoftHSM) {
		t.Fatal("apt-get install softhsm2")
	}
	require.NoError(t, err)
	return card
}

func TestMake(t *testing.T) {
	o := options(t)
	before := os.Getenv(configVariable)
	card := makeCard(t, o)
	assert.Equal(t, before, os.Getenv(configVariable), "the variable is as it was")
	assert.FileExists(t, card.Config)
	assert.NotEmpty(t, card.Serial)

	c := card.Certificate
	assert.Equal(t, "555086689106_Prescriber Test", c.Subject.CommonName)
	assert.Equal(t, x509.KeyUsageContentCommitment, c.KeyUsage)
	assert.Empty(t, c.ExtKeyUsage)
	assert.Empty(t, c.UnknownExtKeyUsage)
	assert.False(t, c.IsCA)
	assert.Equal(t, 2048, c.PublicKey.(*rsa.PublicKey).N.BitLen())
	critical := false
	for _, e := range c.Extensions {
		critical = critical || e.Id.String() == "2.5.29.15" && e.Critical
	}
	assert.True(t, critical, "keyUsage is critical")
	require.NoError(t, c.CheckSignatureFrom(card.CA))

	_, err := Make(t.Context(), o)
	require.ErrorContains(t, err, "label \"prescriber\" already")
	o.Label = "second"
	second := makeCard(t, o)
	assert.NotEqual(t, card.Serial, second.Serial)
	assert.Equal(t, card.CA.Raw, second.CA.Raw)
}

// What is on the card can't be read off it.
func TestKeyStaysOnTheCard(t *testing.T) {
	o := options(t)
	card := makeCard(t, o)
	err := withConfig(card.Module, card.Config, func() error {
		module, err := cryptoki.Open(card.Module, slog.Default())
		require.NoError(t, err)
		defer func() { assert.NoError(t, module.Close()) }()
		return module.Do(t.Context(), callLimit, func(api cryptoki.API, _ func()) error {
			slots, err := api.GetSlotList(true)
			require.NoError(t, err)
			s, err := api.OpenSession(slots[0], ck.CKF_SERIAL_SESSION)
			require.NoError(t, err)
			private := []cryptoki.Attribute{cryptoki.Number(ck.CKA_CLASS, ck.CKO_PRIVATE_KEY)}
			hidden, err := api.FindObjects(s, private, 10)
			require.NoError(t, err)
			assert.Empty(t, hidden, "without the PIN")
			require.NoError(t, api.Login(s, ck.CKU_USER, o.PIN))
			keys, err := api.FindObjects(s, private, 10)
			require.NoError(t, err)
			require.Len(t, keys, 1)
			_, err = api.GetAttribute(s, keys[0], ck.CKA_PRIVATE_EXPONENT)
			assert.EqualValues(t, ck.CKR_ATTRIBUTE_SENSITIVE, cryptoki.CodeOf(err))
			return api.CloseSession(s)
		})
	})
	require.NoError(t, err)
}

// A module that is in use would put the card where nobody looks for it.
func TestModuleInUse(t *testing.T) {
	card := makeCard(t, options(t))
	require.NoError(t, withConfig(card.Module, card.Config, func() error {
		module, err := cryptoki.Open(card.Module, slog.Default())
		if err == nil {
			t.Cleanup(func() { assert.NoError(t, module.Close()) })
		}
		return err
	}))
	_, err := Make(context.Background(), options(t))
	require.ErrorContains(t, err, "uses the module already")
}

// other is a module that isn't SoftHSM.
type other struct{ cryptoki.API }

func (other) GetInfo() (cryptoki.Library, error) {
	return cryptoki.Library{Manufacturer: "OpenSC Project", Description: "OpenSC smartcard framework"}, nil
}

func TestRealCardsAreLeftAlone(t *testing.T) {
	_, err := options(t).blank(other{})
	require.ErrorContains(t, err, "is not SoftHSM")
}
