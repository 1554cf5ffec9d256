package caddymodule

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/hub/pkcs11"
)

// cardsTimeout is how long all cards together may take to answer.
const cardsTimeout = time.Minute

// cardShown is a token, and what can be signed with it.
type cardShown struct {
	Label        string             `json:"label"`
	Serial       string             `json:"serial"`
	Manufacturer string             `json:"manufacturer"`
	Model        string             `json:"model"`
	State        string             `json:"state"`
	Certificates []certificateShown `json:"certificates"`
	Error        string             `json:"error,omitempty"` // why they can't be read
}

type certificateShown struct {
	Name       string    `json:"name"`
	Subject    string    `json:"subject"`
	Issuer     string    `json:"issuer"`
	NotAfter   time.Time `json:"not_after"`
	Algorithms []string  `json:"algorithms"`
	Usable     bool      `json:"usable"`
	Reason     string    `json:"reason,omitempty"` // why it isn't
}

func hubCardsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cards --module <path>",
		Short: "Shows the cards that a PKCS #11 module sees",
		Long: `Shows the cards and other tokens that a PKCS #11 module sees, with the
certificates whose private keys they have, and whether these can be used, or why
not. No PIN is asked for. TOKEN or SERIAL is what --token of hub takes.

Exit status 1 means that there is no card with a certificate to sign with.`,
		Args: cobra.NoArgs,
	}
	module := moduleFlag(cmd)
	_ = cmd.MarkFlagRequired("module")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path, err := filepath.Abs(*module)
		if err != nil {
			return err
		}
		ctx, cancel := commandContext(cmd, cardsTimeout)
		defer cancel()
		tokens, err := pkcs11.Tokens(ctx, path, slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)))
		if err != nil {
			return err
		}
		cards := showCards(tokens, clock())
		w := cmd.OutOrStdout()
		if *asJSON {
			err = printJSON(w, map[string]any{"cards": cards})
		} else {
			err = printTable(w, "TOKEN\tSERIAL\tSTATE\tCERTIFICATE\tUSABLE", cardRows(cards))
		}
		if err != nil {
			return err
		}
		return anyUsable(cards)
	}
	return cmd
}

func moduleFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("module", "", "The PKCS #11 module that came with the card's software, such as\n"+
		"/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so")
}

func showCards(tokens []pkcs11.Token, now time.Time) []cardShown {
	cards := make([]cardShown, len(tokens))
	for i, t := range tokens {
		cards[i] = cardShown{
			Label: t.Label, Serial: t.Serial, Manufacturer: t.Manufacturer, Model: t.Model, State: stateOf(t),
			Certificates: make([]certificateShown, len(t.Certificates)),
		}
		if t.Err != nil {
			cards[i].Error = t.Err.Error()
		}
		for j, c := range t.Certificates {
			why := unusable(c, false, now)
			cards[i].Certificates[j] = certificateShown{
				Name: nameOf(c.Leaf.Subject), Subject: c.Leaf.Subject.String(), Issuer: c.Leaf.Issuer.String(), NotAfter: c.Leaf.NotAfter.UTC(),
				Algorithms: c.Algorithms, Usable: why == "", Reason: why,
			}
		}
	}
	return cards
}

func stateOf(t pkcs11.Token) string {
	state := "ready"
	switch {
	case t.PINBlocked:
		state = "PIN blocked"
	case t.PINFinalTry:
		state = "one PIN try left"
	}
	if t.PINPad {
		state += ", PIN at the reader"
	}
	return state
}

func cardRows(cards []cardShown) []string {
	var rows []string
	for _, c := range cards {
		head := fmt.Sprintf("%s\t%s\t%s\t", printable(c.Label), printable(c.Serial), c.State)
		if len(c.Certificates) == 0 {
			why := "no: no certificate with a private key"
			if c.Error != "" {
				why = "no: " + printable(c.Error)
			}
			rows = append(rows, head+"-\t"+why)
		}
		for _, v := range c.Certificates {
			usable := "yes: " + strings.Join(v.Algorithms, ", ") + ", until " + v.NotAfter.Format(time.DateOnly)
			if !v.Usable {
				usable = "no: " + v.Reason
			}
			rows = append(rows, head+v.Name+"\t"+usable)
			head = "\t\t\t"
		}
	}
	return rows
}

func anyUsable(cards []cardShown) error {
	if len(cards) == 0 {
		return errors.New("there is no card: is it in the reader, and is this the module of this kind of card?")
	}
	for _, c := range cards {
		for _, v := range c.Certificates {
			if v.Usable {
				return nil
			}
		}
	}
	return errors.New("there is no certificate to sign with")
}
