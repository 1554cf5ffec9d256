//go:build cgo

package pkcs11

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/testcard"
)

// softDir is where the tokens of this process are: SoftHSM reads where that is
// when it is initialised.
var softDir string

func init() {
	prepareModule = func() func() {
		var err error
		if softDir, err = os.MkdirTemp("", "signpost-pkcs11"); err != nil {
			panic(err)
		}
		config, err := testcard.WriteConfig(softDir)
		if err == nil {
			err = os.Setenv("SOFTHSM2_CONF", config)
		}
		if err != nil {
			panic(err)
		}
		return func() { _ = os.RemoveAll(softDir) }
	}
}

const softPIN = "123456"

// softCard makes a card of a test's own in SoftHSM.
func softCard(t testing.TB, label string, change ...func(*testcard.Options)) *testcard.Card {
	t.Helper()
	o := testcard.Options{
		TokenDir: softDir, CADir: filepath.Join(softDir, "ca"),
		Label: label, PIN: softPIN, UserID: "555086689106", Name: "Prescriber Test",
	}
	for _, c := range change {
		c(&o)
	}
	card, err := testcard.Make(t.Context(), o)
	if errors.Is(err, testcard.ErrNoSoftHSM) {
		t.Fatal("apt-get install softhsm2")
	}
	require.NoError(t, err)
	return card
}

func softSigner(t testing.TB, card *testcard.Card, pin string) *Signer {
	t.Helper()
	s, err := New(Config{Module: card.Module, Token: card.Label, PIN: pin, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, s.Close()) })
	return s
}

// openssl checks signatures outside of this program and of Go.
func openssl(t *testing.T, certificate *x509.Certificate, algorithm string, documents, signatures [][]byte) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	require.NoError(t, err, "apt-get install openssl")
	dir := t.TempDir()
	der, err := x509.MarshalPKIXPublicKey(certificate.PublicKey)
	require.NoError(t, err)
	public := filepath.Join(dir, "public.pem")
	require.NoError(t, os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	digest := map[string]string{hub.RS256: "-sha256", hub.RS1: "-sha1"}[algorithm]
	for i, document := range documents {
		file, signature := filepath.Join(dir, "document"), filepath.Join(dir, "signature")
		require.NoError(t, os.WriteFile(file, document, 0o600))
		require.NoError(t, os.WriteFile(signature, signatures[i], 0o600))
		out, err := exec.CommandContext(t.Context(), path, "dgst", digest, "-verify", public, "-signature", signature, file).CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, "Verified OK", strings.TrimSpace(string(out)))
	}
}

func TestSoftHSM(t *testing.T) {
	tests := []struct {
		name   string
		change func(*testcard.Options)
		n      int
	}{
		{"one", func(*testcard.Options) {}, 1},
		{"several", func(*testcard.Options) {}, 4},
		{"PIN before each", func(o *testcard.Options) { o.AlwaysAuthenticate = true }, 4},
		{"3072 bits", func(o *testcard.Options) { o.Bits = 3072 }, 2},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			card := softCard(t, test.name, test.change)
			s := softSigner(t, card, "")
			status, err := s.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, hub.Status{
				Card: hub.CardPresent, Token: test.name, Algorithms: []string{hub.RS256, hub.RS1},
				PIN: &hub.PINRequest{Token: test.name, Retries: -1},
			}, status)

			certificates, err := s.Certificates(t.Context())
			require.NoError(t, err)
			require.Len(t, certificates, 1)
			assert.True(t, certificates[0].NonRepudiation)
			assert.Equal(t, card.Certificate.Raw, certificates[0].Leaf.Raw)

			for _, algorithm := range []string{hub.RS256, hub.RS1} {
				r := hub.SignRequest{
					CertificateID: certificates[0].ID, Algorithm: algorithm, Documents: documents(test.n), PIN: pinsOf(softPIN).ask,
				}
				signatures, err := s.Sign(t.Context(), r)
				require.NoError(t, err)
				require.Len(t, signatures, test.n)
				openssl(t, card.Certificate, algorithm, r.Documents, signatures)
			}
		})
	}
}

func TestSoftHSMLargeBatch(t *testing.T) {
	card := softCard(t, "batch")
	s := softSigner(t, card, softPIN)
	r := request(t, s, 250, nil)
	r.PIN = nil
	var done []int
	r.Progress = func(n int) { done = append(done, n) }
	signatures, err := s.Sign(t.Context(), r)
	require.NoError(t, err)
	require.Len(t, signatures, 250)
	require.Len(t, done, 250)
	openssl(t, card.Certificate, hub.RS256, r.Documents[249:], signatures[249:])
}

func TestSoftHSMWrongPIN(t *testing.T) {
	card := softCard(t, "wrong")
	s := softSigner(t, card, "")
	pins := pinsOf("000000", softPIN)
	_, err := s.Sign(t.Context(), request(t, s, 1, pins))
	require.NoError(t, err)
	require.Len(t, pins.asked, 2)
	assert.Equal(t, hub.PINRequest{Token: "wrong", Retries: -1, Wrong: true}, pins.asked[1])

	configured := softSigner(t, card, "000000")
	r := request(t, configured, 1, nil)
	r.PIN = nil
	_, err = configured.Sign(t.Context(), r)
	requireCode(t, hub.CodePINIncorrect, err)
}

// Two signers share the module: neither's end is the other's.
func TestSoftHSMIsShared(t *testing.T) {
	first := softSigner(t, softCard(t, "first"), softPIN)
	second := softSigner(t, softCard(t, "second"), softPIN)
	batch := func(s *Signer) {
		r := request(t, s, 3, nil)
		r.PIN = nil
		_, err := s.Sign(context.Background(), r)
		assert.NoError(t, err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		batch(first)
	}()
	batch(second)
	<-done
	require.NoError(t, first.Close())
	batch(second)
}

func TestSoftHSMTokens(t *testing.T) {
	card := softCard(t, "listed")
	found, err := Tokens(t.Context(), card.Module, nil)
	require.NoError(t, err)
	for _, token := range found {
		require.NoError(t, token.Err)
		if token.Label != "listed" {
			continue
		}
		assert.Equal(t, card.Serial, token.Serial)
		require.Len(t, token.Certificates, 1)
		assert.Equal(t, "555086689106_Prescriber Test", token.Certificates[0].Leaf.Subject.CommonName)
		return
	}
	t.Fatalf("the card isn't listed: %v", found)
}

func TestSoftHSMNoToken(t *testing.T) {
	card := softCard(t, "there")
	s, err := New(Config{Module: card.Module, Token: "not there", Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer func() { assert.NoError(t, s.Close()) }()
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	assert.Equal(t, hub.CardAbsent, status.Card)
	_, err = s.Certificates(t.Context())
	e := requireCode(t, hub.CodeNoCard, err)
	require.ErrorContains(t, e.Err, `no token has the label or serial number "not there"`)
	require.ErrorContains(t, e.Err, card.Serial)
}

func TestModuleThatIsNone(t *testing.T) {
	noModule := filepath.Join(t.TempDir(), "module.so")
	require.NoError(t, os.WriteFile(noModule, []byte("text"), 0o600))
	for _, test := range []struct{ path, text string }{
		{"", "whole path"},
		{"libsofthsm2.so", "whole path"},
		{filepath.Join(t.TempDir(), "none.so"), "can't be found"},
		{t.TempDir(), "is not a file"},
		{noModule, "can't be loaded"},
	} {
		_, err := New(Config{Module: test.path})
		require.ErrorContains(t, err, test.text, "%q", test.path)
	}
}
