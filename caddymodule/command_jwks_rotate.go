package caddymodule

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/jwks"
)

func jwksRotateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rotate <jwks-file> [--kid <kid>] [--alg RS512] [--bits 4096] [--private <file>] | --retire <kid>",
		Short: "Adds a new key to a key set, or removes an old one",
		Long: `Makes a new key pair, adds the public key to the JWK set in the file, beside
those that are there, and writes the private key to a file of its own (mode
0600), by default beside the key set. With --retire it removes a public key
instead.

The file is replaced at once and keeps its mode and owner; what is in it and is
not known here stays. Nothing is published or signed by this command: it prints
what to do next.`,
		Example: `  caddy signpost jwks rotate /etc/signpost/platform.jwks.json --kid 2026-12
  caddy signpost jwks rotate /etc/signpost/platform.jwks.json --retire 2026-11`,
		Args: cobra.ExactArgs(1),
	}
	what := addPairFlags(cmd)
	f := cmd.Flags()
	privateFile := f.String("private", "", "The file of the new private key (default <kid>.key.pem beside the key set)")
	retire := f.String("retire", "", "Remove the public key with this id; no key is added")
	asJSON := jsonFlag(cmd)
	for _, other := range []string{"kid", "alg", "bits", "private"} {
		cmd.MarkFlagsMutuallyExclusive("retire", other)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r := rotation{path: args[0], private: *privateFile}
		if err := r.read(cmd); err != nil {
			return err
		}
		if f.Changed("retire") {
			if err := r.retire(*retire); err != nil {
				return err
			}
		} else if err := r.add(what); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), r.result())
		}
		r.print(cmd.OutOrStdout(), *retire)
		return nil
	}
	return cmd
}

// rotation changes the key set in a file.
type rotation struct {
	path, private string

	before []byte
	doc    keyDocument
	pair   keyPair
	keys   jwks.Keys // those that can be used
	rest   []jwks.Skipped
}

func (r *rotation) read(cmd *cobra.Command) (err error) {
	if r.path == "-" {
		return errors.New("the key set must be in a file, which is replaced")
	}
	if r.before, err = readInput(cmd, r.path); err != nil {
		return fmt.Errorf("%w (jwks generate makes the first key of a set)", err)
	}
	if r.doc, err = parseKeyDocument(r.before); err == nil {
		r.keys, r.rest, err = jwks.Parse(r.before, jwks.Limits{})
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.path, err)
	}
	return nil
}

func (r *rotation) add(what pairFlags) error {
	if *what.kid != "" {
		// Before the key is made, which may take long.
		if err := r.doc.lacks(*what.kid); err != nil {
			return err
		}
		if err := r.namePrivate(*what.kid); err != nil {
			return err
		}
	}
	var err error
	if r.pair, err = what.generate(); err != nil {
		return err
	}
	if err := r.namePrivate(r.pair.public.Kid); err != nil {
		return err
	}
	if r.doc, err = r.doc.with(r.pair.public); err != nil {
		return err
	}
	text, err := r.encode(len(r.keys) + 1)
	if err != nil {
		return err
	}
	// The private key first: a public one without it would be of no use.
	if err := r.pair.writePrivate(r.private); err != nil {
		return err
	}
	if err := replaceFile(r.path, r.before, text); err != nil {
		return errors.Join(err, os.Remove(r.private))
	}
	return nil
}

func (r *rotation) namePrivate(kid string) error {
	if r.private == "" {
		name, err := keyFileName(kid)
		if err != nil {
			return err
		}
		r.private = filepath.Join(filepath.Dir(r.path), name+".key.pem")
	}
	return absent(r.private)
}

func (r *rotation) retire(kid string) error {
	var err error
	if r.doc, err = r.doc.without(kid); err != nil {
		return err
	}
	left := len(r.keys)
	if slices.ContainsFunc(r.keys, func(k *jwks.Key) bool { return k.Kid == kid }) {
		if left--; left == 0 {
			return fmt.Errorf("without the key %q no usable key would be left: add the next one first", kid)
		}
	}
	text, err := r.encode(left)
	if err != nil {
		return err
	}
	return replaceFile(r.path, r.before, text)
}

// encode writes the new document, if as many keys of it as expected can be
// used: a key without kid, for one, can't be told from a second one.
func (r *rotation) encode(usable int) ([]byte, error) {
	text, err := r.doc.encode()
	if err != nil {
		return nil, err
	}
	if r.keys, r.rest, err = jwks.Parse(text, jwks.Limits{}); err != nil {
		return nil, err
	}
	if len(r.keys) == usable {
		return text, nil
	}
	reason := ""
	if len(r.rest) > 0 {
		reason = ": " + printable(r.rest[len(r.rest)-1].Reason)
	}
	return nil, fmt.Errorf("%d keys of the new set could be used, not %d%s; nothing was written", len(r.keys), usable, reason)
}

func (r *rotation) result() any {
	all := shown(r.keys, r.rest)
	if r.pair.public == nil {
		return map[string]any{"public_file": r.path, "keys": all}
	}
	return generated{
		Kid: r.pair.public.Kid, Alg: r.pair.public.Alg, Bits: r.pair.public.Bits,
		PrivateFile: r.private, PublicFile: r.path, JWK: r.pair.public, Keys: all,
	}
}

func (r *rotation) print(w io.Writer, retired string) {
	if r.pair.public == nil {
		fmt.Fprintf(w, `removed  %s from %s, which has: %s

Tokens that it signed are refused as soon as consumers have the new set. Its
private key can be destroyed.
`, printable(retired), r.path, r.doc.kids())
		return
	}
	fmt.Fprintf(w, `added    %s to %s, which has: %s
private  %s (only for whoever signs)

Next:
1. Publish %[2]s, if it isn't served from where it is.
2. Wait until all consumers have fetched it: their refresh interval, or the
   max-age that it is published with (10 minutes each, where nothing else is set).
3. Sign with the new private key and the kid %[1]s.
`, r.pair.public.Kid, r.path, r.doc.kids(), r.private)
	switch before := r.doc.keys[:len(r.doc.keys)-1]; len(before) {
	case 0:
	case 1:
		r.printRetire(w, shellWord(kidOf(before[0])))
	default:
		r.printRetire(w, "<its kid>")
	}
}

func (r *rotation) printRetire(w io.Writer, kid string) {
	fmt.Fprintf(w, `4. When the last token that the old key signed has ended:
   caddy signpost jwks rotate %s --retire %s
`, shellWord(r.path), kid)
}

// shellWord quotes a text for a shell where it must be.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-_./:@%+,", r)
	}
	switch {
	case s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0:
		return s
	case strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) >= 0:
		return strconv.Quote(s) // for no shell, but fit for a terminal
	default:
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
}
