package caddymodule

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/hub/testcard"
)

// testcardTimeout is for the keys: those of 4096 bits take a while.
const testcardTimeout = 5 * time.Minute

func hubTestcardCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "testcard",
		Short: "Makes a card in software, with a test authority, for trials",
		Long: `Makes a card in software, a token of SoftHSM 2 (apt-get install softhsm2), with a
key and a certificate for signing documents as smartcards of the NHS have it, by
a test authority that is made too. It prints what to do next. Nobody but you
trusts this authority.

The folder has the token, SoftHSM's configuration, which $SOFTHSM2_CONF must name
when the hub starts, and the authority: test-ca.pem is for the signing API's
trust_pool. A second card in the same folder (with another --label) is by the
same authority.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	module := f.String("module", "", "SoftHSM's module (default: where distributions put it)")
	label := f.String("label", "test", "The card's label")
	user := f.String("user-id", "555086689106", "The user's id: the sub of requests")
	name := f.String("name", "TEST", "The user's name")
	dir := f.String("dir", "testcard", "The folder")
	pin := f.String("pin", "", "The card's PIN, at least 4 characters ($"+cardPINEnv+"; default: 1234)")
	bits := f.Int("bits", testcard.DefaultBits, "The size of the key")
	always := f.Bool("always-authenticate", false, "Make a key that wants the PIN before each signature")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needCards(); err != nil {
			return err
		}
		ctx, cancel := commandContext(cmd, testcardTimeout)
		defer cancel()
		o := testcard.Options{
			Module: *module, TokenDir: *dir, CADir: *dir, Label: *label, UserID: *user, Name: *name,
			PIN: cmp.Or(*pin, os.Getenv(cardPINEnv), "1234"), Bits: *bits, AlwaysAuthenticate: *always,
			Now: clock, Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
		}
		card, err := testcard.Make(ctx, o)
		if err != nil {
			return err
		}
		ca, err := filepath.Abs(card.CAFile)
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			return printJSON(w, map[string]string{
				"module": card.Module, "softhsm2_conf": card.Config, "label": card.Label, "serial": card.Serial,
				"subject": card.Certificate.Subject.String(), "ca": ca,
			})
		}
		printCard(w, card, ca, o.PIN)
		return nil
	}
	return cmd
}

func printCard(w io.Writer, card *testcard.Card, ca, pin string) {
	shown := "as given"
	if pin == "1234" {
		shown = pin
	}
	program := shellWord(os.Args[0])
	fmt.Fprintf(w, `card         %s, serial number %s
PIN          %s
certificate  %s, issued by %s, valid until %s
authority    %s

The signing API must trust the authority: trust_pool file %s
Then start the hub with this card:

export SOFTHSM2_CONF=%s
%s signpost hub cards --module %s
%s signpost hub --module %s --token %s --requests-from https://sign.example.org/signing-service
`, printable(card.Label), card.Serial, shown,
		nameOf(card.Certificate.Subject), nameOf(card.Certificate.Issuer), card.Certificate.NotAfter.UTC().Format(time.DateOnly), ca,
		ca, shellWord(card.Config), program, shellWord(card.Module), program, shellWord(card.Module), shellWord(card.Label))
}
