package caddymodule

import (
	"crypto/tls"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/jwks"
)

// caCertFlag adds --cacert, for key servers.
func caCertFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("cacert", "", "A PEM file with the authority to trust (default: the system's and Caddy's local one)")
}

// keysTimeout bounds how long a command waits for a key server.
const keysTimeout = jwks.FetchTimeout + time.Second

// readKeys reads a document of public keys: from a URL with the limits of url
// sources, from a file, or from standard input for "-".
func readKeys(cmd *cobra.Command, where, caCert string) ([]byte, error) {
	if lower := strings.ToLower(where); !strings.HasPrefix(lower, "https://") && !strings.HasPrefix(lower, "http://") {
		return readInput(cmd, where)
	}
	roots, err := trustedRoots(caCert)
	if err != nil {
		return nil, err
	}
	ctx, cancel := commandContext(cmd, keysTimeout)
	defer cancel()
	return jwks.Fetch(ctx, jwks.URLConfig{URL: where, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
}

// readInput reads a file, or standard input for "-", of at most 4 MiB.
func readInput(cmd *cobra.Command, path string) ([]byte, error) {
	if path == "-" {
		return readLimited(cmd.InOrStdin(), "standard input")
	}
	f, err := os.Open(path) //nolint:gosec // the user names their own file
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, path)
}

func readLimited(r io.Reader, name string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, jwks.DefaultMaxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	if len(text) > jwks.DefaultMaxBytes {
		return nil, fmt.Errorf("%s is longer than %d MiB", name, jwks.DefaultMaxBytes>>20)
	}
	return text, nil
}
