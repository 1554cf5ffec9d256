package smtp

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestConfig(t *testing.T) {
	noCert := filepath.Join(t.TempDir(), "x.pem")
	require.NoError(t, os.WriteFile(noCert, []byte("nothing"), 0o600))
	for want, change := range map[string]func(*Config){
		"host of the mail server is missing": func(c *Config) { c.Host = "" },
		"the port is an option of its own":   func(c *Config) { c.Host = "mx.example.net:25" },
		"the port 70000 is not one":          func(c *Config) { c.Port = 70000 },
		`unknown way of TLS "ssl"`:           func(c *Config) { c.TLS = "ssl" },
		"off is for a server on this":        func(c *Config) { c.TLS = Off },
		"user and password need TLS":         func(c *Config) { c.Host, c.TLS, c.Username, c.Password = "localhost", Off, "u", "s3cret" },
		"belong together":                    func(c *Config) { c.Username = "u" },
		"one of them is missing":             func(c *Config) { c.Password = "s3cret" },
		"to introduce this machine by":       func(c *Config) { c.Hello = "a b" },
		"times must not be negative":         func(c *Config) { c.Timeout = -1 },
		"that emails are from is missing":    func(c *Config) { c.From = "" },
		"such as a line break":               func(c *Config) { c.FromName = "a\r\nb" },
		`from: "Name <a@b.example>" is not`:  func(c *Config) { c.From = "Name <a@b.example>" },
		`bounces: "nobody" is not`:           func(c *Config) { c.Bounces = "nobody" },
		"CA file can't be read":              func(c *Config) { c.CAFile = "/nowhere.pem" },
		"has no certificate in PEM form":     func(c *Config) { c.CAFile = noCert },
		"a CA file needs TLS":                func(c *Config) { c.Host, c.TLS, c.CAFile = "::1", Off, noCert },
	} {
		cfg := Config{Host: "mx.example.net", From: "noreply@booking.example.org"}
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "s3cret")
	}
}

func TestDefaults(t *testing.T) {
	for tls, port := range map[TLS]int{"": 587, StartTLS: 587, Implicit: 465, Off: 25} {
		p, err := New(Config{Host: "localhost", TLS: tls, From: "noreply@booking.example.org"})
		require.NoError(t, err)
		assert.Equal(t, port, p.cfg.Port)
		assert.Equal(t, 20*time.Second, p.Timeout())
	}
}

// The name localhost is no way around the check.
func TestOffIsLocal(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true,
		"localhost.example.org": false, "10.0.0.1": false, "0.0.0.0": false, "::": false, "mx": false,
	} {
		assert.Equal(t, want, loopbackName(host), host)
	}
}
