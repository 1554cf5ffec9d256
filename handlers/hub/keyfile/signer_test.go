package keyfile

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"software.sslmate.com/src/go-pkcs12"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

func TestForms(t *testing.T) {
	c := chains()[0]
	pkcs1 := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(c.key)})
	legacy, err := pkcs12.Legacy.Encode(c.key, c.leaf, nil, "secret")
	require.NoError(t, err)
	withoutPassword, err := pkcs12.Passwordless.Encode(c.key, c.leaf, []*x509.Certificate{c.sub}, "")
	require.NoError(t, err)
	tests := []struct {
		name        string
		key         []byte
		certificate []byte
		password    string
		chain       int
	}{
		{"PEM with a file of certificates", keyPEM(t, c.key), certPEM(c.leaf, c.sub, c.root), "", 1},
		{"certificates in another order", keyPEM(t, c.key), certPEM(c.root, c.sub, c.leaf), "", 1},
		{"all in one PEM file", slices.Concat(certPEM(c.leaf), keyPEM(t, c.key), certPEM(c.sub)), nil, "", 1},
		{"PKCS #1", pkcs1, certPEM(c.leaf), "", 0},
		{"PKCS #12", p12(t, c, "secret"), nil, "secret", 1},
		{"PKCS #12 in the old way", legacy, nil, "secret", 0},
		{"PKCS #12 without password", withoutPassword, nil, "", 1},
		{"PKCS #12 with a file of certificates", p12(t, c, "secret"), certPEM(c.leaf), "secret", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := Config{Key: write(t, "my.key", test.key, 0o600), Password: test.password}
			if test.certificate != nil {
				config.Certificate = write(t, "certificate.pem", test.certificate, 0o644)
			}
			s, err := New(config)
			require.NoError(t, err)
			defer func() { assert.NoError(t, s.Close()) }()
			status, err := s.Status(t.Context())
			require.NoError(t, err)
			assert.Equal(t, hub.Status{Card: hub.CardPresent, Token: "my.key", Algorithms: []string{hub.RS256, hub.RS1}}, status)
			certificates, err := s.Certificates(t.Context())
			require.NoError(t, err)
			require.Len(t, certificates, 1)
			assert.Equal(t, c.leaf, certificates[0].Leaf)
			assert.Len(t, certificates[0].Chain, test.chain, "without the root")
			assert.True(t, certificates[0].NonRepudiation)
		})
	}
}

func TestRefusedFiles(t *testing.T) {
	c, other := chains()[0], chains()[1]
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	ecCertificate := certify("ec", nil, ec.Public(), c.key, func(*x509.Certificate) {})
	ecP12, err := pkcs12.Modern.Encode(ec, ecCertificate, nil, "secret")
	require.NoError(t, err)
	smallP12, err := pkcs12.Modern.Encode(small, certify("small", nil, &small.PublicKey, small, func(*x509.Certificate) {}), nil, "secret")
	require.NoError(t, err)
	key := keyPEM(t, c.key)
	whole := slices.Concat(key, certPEM(c.leaf))
	tests := []struct {
		name        string
		key         []byte
		mode        os.FileMode
		certificate []byte
		password    string
		text        string
	}{
		{"others may read it", whole, 0o604, nil, "", "may be used by others (mode 0604): run chmod 600"},
		{"the group may read it", whole, 0o640, nil, "", "chmod 600"},
		{"the group may write it", whole, 0o620, nil, "", "chmod 600"},
		{"PKCS #12 that others may read", p12(t, c, "secret"), 0o644, nil, "secret", "chmod 600"},
		{"no certificate", key, 0o600, nil, "", "there is no certificate in"},
		{"no certificate in its file", key, 0o600, []byte("text"), "", "there is no certificate in PEM in"},
		{"a broken certificate", key, 0o600, bytes.Replace(certPEM(c.leaf), []byte("MII"), []byte("MIA"), 1), "", "certificate number 1 can't be read"},
		{"another key's certificate", key, 0o600, certPEM(other.leaf, other.sub), "", "belongs to the private key"},
		{"an EC key", keyPEM(t, ec), 0o600, certPEM(ecCertificate), "", "expected an RSA key"},
		{"an EC key in PKCS #12", ecP12, 0o600, nil, "secret", "expected an RSA key"},
		{"a small key", keyPEM(t, small), 0o600, certPEM(c.leaf), "", "1024"},
		{"a small key in PKCS #12", smallP12, 0o600, nil, "secret", "the RSA key has 1024 bits"},
		{"an encrypted key", pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), 0o600, nil, "", "encrypted private key"},
		{"a password for PEM", whole, 0o600, nil, "secret", "which is read unencrypted only"},
		{"the wrong password", p12(t, c, "secret"), 0o600, nil, "guess", "the password of the PKCS #12 file is wrong"},
		{"no password", p12(t, c, "secret"), 0o600, nil, "", "the PKCS #12 file needs a password"},
		{"neither", []byte("text"), 0o600, nil, "", "neither PEM nor PKCS #12"},
		{"nothing", nil, 0o600, nil, "", "neither PEM nor PKCS #12"},
		{"too much", make([]byte, maxBytes+1), 0o600, nil, "", "more than 1048576 bytes"},
		{"a public key", certPEM(c.leaf), 0o600, nil, "", "certificate"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config := Config{Key: write(t, "key", test.key, test.mode), Password: test.password}
			if test.certificate != nil {
				config.Certificate = write(t, "certificate.pem", test.certificate, 0o644)
			}
			_, err := New(config)
			require.ErrorContains(t, err, test.text)
			if test.password != "" {
				assert.NotContains(t, err.Error(), test.password)
			}
		})
	}
}

func TestRefusedPaths(t *testing.T) {
	_, err := New(Config{})
	require.ErrorContains(t, err, "there is no file for the private key")
	_, err = New(Config{Key: filepath.Join(t.TempDir(), "none")})
	require.ErrorContains(t, err, "can't be opened")
	_, err = New(Config{Key: t.TempDir()})
	require.ErrorContains(t, err, "is not a file")
	c := chains()[0]
	key := write(t, "key", slices.Concat(keyPEM(t, c.key), certPEM(c.leaf)), 0o600)
	_, err = New(Config{Key: key, Certificate: filepath.Join(t.TempDir(), "none")})
	require.ErrorContains(t, err, "can't be opened")
	_, err = New(Config{Key: key, Name: "mine"})
	require.NoError(t, err)
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(key, link))
	_, err = New(Config{Key: link})
	require.NoError(t, err, "the mode of the file counts, not the link's")
}

func TestForeignOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	c := chains()[0]
	file := write(t, "key", slices.Concat(keyPEM(t, c.key), certPEM(c.leaf)), 0o600)
	require.NoError(t, os.Chown(file, 65534, -1))
	_, err := New(Config{Key: file})
	require.ErrorContains(t, err, "belongs to the user with the number 65534")
}

func newSigner(t *testing.T) *Signer {
	t.Helper()
	c := chains()[0]
	s, err := New(Config{Key: write(t, "key", slices.Concat(keyPEM(t, c.key), certPEM(c.leaf)), 0o600), Now: func() time.Time { return testNow }})
	require.NoError(t, err)
	return s
}

func TestSign(t *testing.T) {
	s := newSigner(t)
	certificates, err := s.Certificates(t.Context())
	require.NoError(t, err)
	dir := t.TempDir()
	public := filepath.Join(dir, "public.pem")
	der, err := x509.MarshalPKIXPublicKey(certificates[0].Leaf.PublicKey)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600))
	openssl, err := exec.LookPath("openssl")
	require.NoError(t, err, "apt-get install openssl")
	for algorithm, digest := range map[string]string{hub.RS256: "-sha256", hub.RS1: "-sha1"} {
		documents := [][]byte{[]byte("one"), []byte("two"), {}}
		var progress []int
		signatures, err := s.Sign(t.Context(), hub.SignRequest{
			CertificateID: certificates[0].ID, Algorithm: algorithm, Documents: documents,
			Progress: func(done int) { progress = append(progress, done) },
		})
		require.NoError(t, err)
		require.Len(t, signatures, len(documents))
		assert.Equal(t, []int{1, 2, 3}, progress)
		for i, d := range documents {
			file, signature := filepath.Join(dir, "document"), filepath.Join(dir, "signature")
			require.NoError(t, os.WriteFile(file, d, 0o600))
			require.NoError(t, os.WriteFile(signature, signatures[i], 0o600))
			out, err := exec.CommandContext(t.Context(), openssl, "dgst", digest, "-verify", public, "-signature", signature, file).CombinedOutput()
			require.NoError(t, err, "%s", out)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	s := newSigner(t)
	certificates, err := s.Certificates(t.Context())
	require.NoError(t, err)
	r := hub.SignRequest{CertificateID: certificates[0].ID, Algorithm: hub.RS256, Documents: [][]byte{{1}, {2}, {3}}}

	wrong := r
	wrong.Algorithm = "PS256"
	_, err = s.Sign(t.Context(), wrong)
	requireCode(t, hub.CodeUnsupportedAlgorithm, err)
	wrong = r
	wrong.CertificateID = "00"
	_, err = s.Sign(t.Context(), wrong)
	requireCode(t, hub.CodeNoCertificate, err)

	ctx, cancel := context.WithCancel(t.Context())
	r.Progress = func(done int) {
		if done == 2 {
			cancel()
		}
	}
	signatures, err := s.Sign(ctx, r)
	require.ErrorIs(t, err, context.Canceled)
	assert.Len(t, signatures, 2)
}

func requireCode(t *testing.T, code hub.Code, err error) {
	t.Helper()
	var e *hub.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, code, e.Code)
}

// What callers do with the list is theirs.
func TestCertificatesAreACopy(t *testing.T) {
	s := newSigner(t)
	first, err := s.Certificates(t.Context())
	require.NoError(t, err)
	first[0] = hub.Certificate{}
	second, err := s.Certificates(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, second[0].ID)
}

// PKCS #12 is left to its library: a file says how often its password is
// hashed, so that most mutations of one take hours.
func FuzzParsePEM(f *testing.F) {
	c := chains()[0]
	f.Add(slices.Concat(keyPEM(f, c.key), certPEM(c.leaf, c.sub)), "")
	f.Add(certPEM(c.leaf), "")
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n"), "")
	f.Add(keyPEM(f, c.key), "x")
	f.Fuzz(func(t *testing.T, text []byte, password string) {
		m, err := parsePEM(text, password)
		if err != nil {
			return
		}
		if m.key == nil {
			t.Fatal("neither a key nor an error")
		}
		if bits := m.key.N.BitLen(); bits < minBits {
			t.Fatalf("a key of %d bits", bits)
		}
		if _, err := rsa.SignPKCS1v15(nil, m.key, crypto.SHA256, make([]byte, 32)); err != nil {
			t.Fatalf("a key that can't sign: %v", err)
		}
		for _, c := range m.own() {
			if !m.key.PublicKey.Equal(c.Leaf.PublicKey) {
				t.Fatal("another key's certificate")
			}
		}
	})
}
