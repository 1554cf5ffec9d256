package testcard

import (
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func options(t *testing.T) Options {
	t.Helper()
	dir := t.TempDir()
	return Options{
		TokenDir: filepath.Join(dir, "cards"), CADir: filepath.Join(dir, "ca"), Label: "prescriber", PIN: "123456",
		UserID: "555086689106", Name: "Prescriber Test", Now: func() time.Time { return testNow },
	}
}

func TestOptionsAreChecked(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Options)
		text   string
	}{
		{"no directory", func(o *Options) { o.TokenDir = "" }, "the directory of the tokens is missing"},
		{"a directory that would be two lines", func(o *Options) { o.TokenDir = "a\nb" }, "line break"},
		{"no directory of the authority", func(o *Options) { o.CADir = "" }, "the directory of the test authority is missing"},
		{"no label", func(o *Options) { o.Label = "" }, "label"},
		{"long label", func(o *Options) { o.Label = strings.Repeat("x", 33) }, "1 to 32 bytes"},
		{"unprintable label", func(o *Options) { o.Label = "a\x00" }, "printable"},
		{"short PIN", func(o *Options) { o.PIN = "123" }, "the PIN must have 4 to 255 bytes"},
		{"long PIN", func(o *Options) { o.PIN = strings.Repeat("1", 256) }, "the PIN must have 4 to 255 bytes"},
		{"short SO PIN", func(o *Options) { o.SOPIN = "123" }, "the SO PIN must have"},
		{"no user", func(o *Options) { o.UserID = "" }, "the user id"},
		{"a user id that would end early", func(o *Options) { o.UserID = "1_2" }, `have no "_"`},
		{"no name", func(o *Options) { o.Name = "" }, "the name"},
		{"long name", func(o *Options) { o.Name = strings.Repeat("x", 52) }, "more than 63 characters"},
		{"small key", func(o *Options) { o.Bits = 1024 }, "a key of 1024 bits"},
		{"odd key", func(o *Options) { o.Bits = 2049 }, "a key of 2049 bits"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o := options(t)
			test.change(&o)
			_, err := Make(context.Background(), o)
			require.ErrorContains(t, err, test.text)
			if o.PIN != "" {
				assert.NotContains(t, err.Error(), o.PIN)
			}
			assert.NoDirExists(t, o.CADir, "nothing is made")
		})
	}
}

func TestAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	made, err := openAuthority(dir, testNow)
	require.NoError(t, err)
	again, err := openAuthority(dir, testNow.AddDate(1, 0, 0))
	require.NoError(t, err)
	assert.Equal(t, made.certificate.Raw, again.certificate.Raw)
	for _, name := range []string{"test-ca.pem", "test-ca-key.pem"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	}
	card, err := again.card("1_A", made.key.Public(), testNow)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(made.certificate)
	_, err = card.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: testNow, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	require.NoError(t, err)
	late, err := made.card("1_A", made.key.Public(), testNow.AddDate(9, 0, 0))
	require.NoError(t, err)
	assert.Equal(t, made.certificate.NotAfter, late.NotAfter, "not longer than its authority")
}

func TestAuthorityThatIsNone(t *testing.T) {
	write := func(t *testing.T, dir, name, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	tests := []struct {
		name   string
		change func(t *testing.T, dir string)
		at     time.Time
		text   string
	}{
		{"no certificate", func(t *testing.T, dir string) { t.Helper(); write(t, dir, "test-ca.pem", "x") }, testNow, "holds no certificate in PEM"},
		{"no key", func(t *testing.T, dir string) {
			t.Helper()
			require.NoError(t, os.Remove(filepath.Join(dir, "test-ca-key.pem")))
		}, testNow, "the key of the test authority"},
		{"a broken key", func(t *testing.T, dir string) { t.Helper(); write(t, dir, "test-ca-key.pem", "x") }, testNow, "private key"},
		{"another key", func(t *testing.T, dir string) {
			t.Helper()
			other := t.TempDir()
			_, err := openAuthority(other, testNow)
			require.NoError(t, err)
			text, err := os.ReadFile(filepath.Join(other, "test-ca-key.pem"))
			require.NoError(t, err)
			write(t, dir, "test-ca-key.pem", string(text))
		}, testNow, "is not the key of"},
		{"expired", func(*testing.T, string) {}, testNow.AddDate(11, 0, 0), "has expired"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := openAuthority(dir, testNow)
			require.NoError(t, err)
			test.change(t, dir)
			_, err = openAuthority(dir, test.at)
			require.ErrorContains(t, err, test.text)
		})
	}
}

func TestWriteConfig(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cards")
	config, err := WriteConfig(dir)
	require.NoError(t, err)
	text, err := os.ReadFile(config)
	require.NoError(t, err)
	assert.Contains(t, string(text), "directories.tokendir = "+filepath.Join(dir, "tokens")+"\n")
	info, err := os.Stat(filepath.Join(dir, "tokens"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o700), info.Mode().Perm())
	require.NoError(t, os.WriteFile(config, []byte("changed"), 0o600))
	again, err := WriteConfig(dir)
	require.NoError(t, err)
	assert.Equal(t, config, again)
	text, err = os.ReadFile(config)
	require.NoError(t, err)
	assert.Equal(t, "changed", string(text), "what the user changed stays")
}
