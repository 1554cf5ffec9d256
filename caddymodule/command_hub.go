package caddymodule

import (
	"cmp"
	"context"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

const (
	cardPINEnv         = "SIGNPOST_CARD_PIN"
	keyfilePasswordEnv = "SIGNPOST_KEYFILE_PASSWORD" //nolint:gosec // the name of a variable
)

// hubFlags say what the hub signs with, and for whom.
type hubFlags struct {
	origins, requestsFrom                      *[]string
	trust, module, token, keyfile, certificate *string
	consent, listen                            *string
	prs, unsigned, allCertificates             *bool
}

// hubCommand is `caddy signpost hub`, which runs the hub by itself.
func hubCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hub --requests-from <base> (--module <path> | --keyfile <file>)",
		Short: "Runs the signing hub between this computer's browser and its smartcard",
		Long: `Runs the signing hub, the program between the browser and the smartcard, on this
computer and for it only, until Ctrl-C. It signs what a signing API's clients
have asked for, after the user has read it and agreed.

--requests-from is the base URL of the signing API, which publishes its clients'
keys (publish_keys on). --module is the PKCS #11 module that came with the card's
software; cards need a binary that was built by ./xcaddy.sh hub. --keyfile is a
private key in a file instead, for computers without a card.

The card's PIN is asked for with the consent, unless $` + cardPINEnv + ` has it.
$` + keyfilePasswordEnv + ` is the password of a PKCS #12 file.

'hub cards' shows what cards a module sees. 'hub testcard' makes one for trials.
The same as a Caddyfile: see the directive signing_hub.`,
		Example: `  caddy signpost hub --requests-from https://sign.example.org/signing-service \
    --module /usr/lib/x86_64-linux-gnu/opensc-pkcs11.so`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	h := hubFlags{
		origins:         f.StringArray("origin", nil, "A web site that may ask for signatures (repeatable; default: those of --requests-from)"),
		requestsFrom:    f.StringArray("requests-from", nil, "The base URL of a signing API whose clients may ask (repeatable)"),
		trust:           f.String("trust", "", "A PEM file with the authorities of --requests-from (default: the system's, and\nCaddy's own one for servers on this computer)"),
		module:          f.String("module", "", "The PKCS #11 module of the card"),
		token:           f.String("token", "", "The label or the serial number of the card (default: the only one)"),
		keyfile:         f.String("keyfile", "", "A file with a private key, instead of a card: PEM or PKCS #12, mode 0600"),
		certificate:     f.String("certificate", "", "The PEM file with the certificate (default: in the file of the key)"),
		allCertificates: f.Bool("all-certificates", false, "Offer certificates too that are not for signing documents"),
		consent:         f.String("consent", "page", "Where the user is asked: page, in the browser, or terminal, here"),
		listen:          f.String("listen", hub.DefaultAddress, "The address, on 127.0.0.1 and [::1] both"),
		prs:             f.Bool("prs", false, "Answer also web sites that were made for NHS Credential Management, at\nthose of its five ports that are free"),
		unsigned:        f.Bool("unsigned-requests", false, "With --prs: sign also what no client vouches for but the web site that asks"),
	}
	cmd.MarkFlagsOneRequired("module", "keyfile")
	cmd.MarkFlagsMutuallyExclusive("module", "keyfile")
	cmd.MarkFlagsOneRequired("requests-from", "unsigned-requests")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return h.run(cmd) }
	cmd.AddCommand(hubCardsCommand(), hubTestcardCommand())
	return cmd
}

func (h hubFlags) run(cmd *cobra.Command) error {
	cfg, places, err := h.config()
	if err != nil {
		return err
	}
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := caddy.Run(cfg); err != nil {
		return explainHub(err)
	}
	if err := h.report(ctx, cmd.OutOrStdout(), places); err != nil {
		return errors.Join(err, caddy.Stop())
	}
	<-ctx.Done()
	stop() // another Ctrl-C ends it at once
	return caddy.Stop()
}

// explainHub leaves out where in a configuration, that nobody wrote, a fault is.
func explainHub(err error) error {
	text := err.Error()
	for _, where := range []string{"the signer of signing_hub: ", "provision http.handlers.signing_hub: "} {
		if _, what, ok := strings.Cut(text, where); ok {
			return errors.New(what)
		}
	}
	return err
}

// report says what the hub does, from what it found.
func (h hubFlags) report(ctx context.Context, w io.Writer, places hubPlaces) error {
	v, err := caddy.ActiveContext().AppIfConfigured(appID)
	if err != nil {
		return err
	}
	app := v.(*App)
	fmt.Fprintf(w, "hub          http://%s\n", places.address)
	for _, origin := range places.origins {
		fmt.Fprintf(w, "answers      %s\n", printable(origin))
	}
	for _, base := range *h.requestsFrom {
		fmt.Fprintf(w, "requests     signed by the clients of %s\n", printable(base))
	}
	if *h.unsigned {
		fmt.Fprintf(w, "requests     also unsigned ones: each page of these web sites can ask for any signature\n")
	}
	if *h.prs {
		fmt.Fprintf(w, "NHS ports    %s\n", places.ports())
	}
	signer := app.hubs[0].signer
	status, err := signer.Status(ctx)
	switch {
	case err != nil:
		fmt.Fprintf(w, "card         %s\n", err)
	case status.Card == hub.CardAbsent:
		fmt.Fprintf(w, "card         none yet: insert it\n")
	default:
		fmt.Fprintf(w, "card         %s\n", printable(status.Token))
		certificates, err := signer.Certificates(ctx)
		if err != nil {
			fmt.Fprintf(w, "certificates %s\n", err)
		}
		if err == nil && len(certificates) == 0 {
			fmt.Fprintf(w, "certificate  none with a private key on the card\n")
		}
		for _, c := range certificates {
			fmt.Fprintf(w, "certificate  %s\n", describe(c, *h.allCertificates, clock()))
		}
	}
	fmt.Fprintf(w, "Each time the user is asked in %s. Stop with Ctrl-C.\n",
		map[string]string{"page": "the browser", "terminal": "this terminal"}[*h.consent])
	return nil
}

// describe says whose certificate it is, and what is wrong with it.
func describe(c hub.Certificate, all bool, now time.Time) string {
	text := fmt.Sprintf("%s, issued by %s, valid until %s", nameOf(c.Leaf.Subject), nameOf(c.Leaf.Issuer),
		c.Leaf.NotAfter.UTC().Format(time.DateOnly))
	if why := unusable(c, all, now); why != "" {
		text += " (NOT USABLE: " + why + ")"
	}
	return text
}

// nameOf is short: cards are made with the common name in mind.
func nameOf(n pkix.Name) string { return printable(cmp.Or(n.CommonName, n.String())) }

// unusable says why nothing should be signed with a certificate; empty when
// nothing is wrong with it.
func unusable(c hub.Certificate, all bool, now time.Time) string {
	switch {
	case len(c.Algorithms) == 0:
		return "the card can't make RSA signatures"
	case now.After(c.Leaf.NotAfter):
		return "it expired on " + c.Leaf.NotAfter.UTC().Format(time.DateOnly)
	case now.Before(c.Leaf.NotBefore):
		return "it is valid from " + c.Leaf.NotBefore.UTC().Format(time.DateOnly) + " on"
	case !c.NonRepudiation && !all:
		return "it is not for signing documents (key usage contentCommitment), unless with --all-certificates"
	}
	return ""
}

func (p hubPlaces) ports() string {
	text := "none is free: is another hub running?"
	if len(p.free) > 0 {
		text = joinInts(p.free)
	}
	if len(p.taken) > 0 {
		text += " (in use by another program: " + joinInts(p.taken) + ")"
	}
	return text
}

func joinInts(all []int) string {
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(all)), ", "), "[]")
}
