package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/jwks"
)

// keyShown is a key of a set, and whether it can be used.
type keyShown struct {
	Kid        string `json:"kid,omitempty"`
	Kty        string `json:"kty,omitempty"`
	Alg        string `json:"alg,omitempty"`
	Bits       int    `json:"bits,omitempty"`
	Thumbprint string `json:"thumbprint,omitempty"`
	Usable     bool   `json:"usable"`
	Reason     string `json:"reason,omitempty"` // why it isn't
}

// shown lists the keys, those that can't be used after the others.
func shown(keys jwks.Keys, skipped []jwks.Skipped) []keyShown {
	all := make([]keyShown, 0, len(keys)+len(skipped))
	for _, k := range keys {
		all = append(all, keyShown{Kid: k.Kid, Kty: k.Kty, Alg: k.Alg, Bits: k.Bits, Thumbprint: k.Thumbprint, Usable: true})
	}
	for _, s := range skipped {
		all = append(all, keyShown{Kid: s.Kid, Kty: s.Kty, Reason: s.Reason})
	}
	return all
}

// printable makes text of a stranger fit for a terminal: as it is when that is
// plain, else in quotes with escapes. Nothing becomes a dash.
func printable(s string) string {
	if quoted := strconv.Quote(s); quoted != `"`+s+`"` {
		return quoted
	}
	return cmp.Or(s, "-")
}

func jwksShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show <url|file|->",
		Short: "Shows the keys of a key set, and which can be used",
		Long: `Shows the keys of a JWK set, a JWK, or PEM public keys and certificates, and
which of them verify tokens, or why not. A URL is fetched as Signpost does it:
by https (http for loopback addresses), 512 KiB and 5 s at most, redirects on
the same host only.

Exit status 1 means that there is no key to use.`,
		Args: cobra.ExactArgs(1),
	}
	minBits := minBitsFlag(cmd)
	caCert := caCertFlag(cmd)
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkMinBits(*minBits); err != nil {
			return err
		}
		text, err := readKeys(cmd, args[0], *caCert)
		if err != nil {
			return err
		}
		keys, skipped, err := jwks.Parse(text, jwks.Limits{MinKeyBits: *minBits})
		if err != nil {
			return err
		}
		all := shown(keys, skipped)
		w := cmd.OutOrStdout()
		if *asJSON {
			err = printJSON(w, map[string]any{"keys": all})
		} else {
			err = printTable(w, "KID\tKTY\tALG\tBITS\tUSABLE", keyRows(all))
		}
		if err == nil && len(keys) == 0 {
			err = errors.New("there is no key to use")
		}
		return err
	}
	return cmd
}

func keyRows(all []keyShown) []string {
	rows := make([]string, len(all))
	for i, k := range all {
		usable, alg, bits := "yes", cmp.Or(k.Alg, "any"), strconv.Itoa(k.Bits)
		if !k.Usable {
			usable, alg, bits = "no: "+printable(k.Reason), "-", "-"
		}
		rows[i] = fmt.Sprintf("%s\t%s\t%s\t%s\t%s", printable(k.Kid), printable(k.Kty), alg, bits, usable)
	}
	return rows
}

func minBitsFlag(cmd *cobra.Command) *int {
	return cmd.Flags().Int("min-bits", jwks.DefaultMinKeyBits, "The smallest RSA key that can be used")
}

func checkMinBits(bits int) error {
	if bits < jwks.DefaultMinKeyBits || bits > jwks.MaxKeyBits {
		return fmt.Errorf("--min-bits %d: it must be %d to %d", bits, jwks.DefaultMinKeyBits, jwks.MaxKeyBits)
	}
	return nil
}
