package caddymodule

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/signing/client"
	"github.com/signpost-gateway/signpost/handlers/signing/evidence"
	"github.com/signpost-gateway/signpost/jwks"
)

// signCommand is `caddy signpost sign`.
func signCommand() *cobra.Command {
	return group("sign", "Asks users for signatures, verifies signatures", signRequestCommand(), signVerifyCommand())
}

const accessTokenEnv = "SIGNPOST_ACCESS_TOKEN" //nolint:gosec // the name of a variable

// signFlags say whom sign request asks for what.
type signFlags struct {
	url, aud, client, key, kid, sub, algorithm, state *string
	accessToken, caCert, listen                       *string
	expiresIn                                         *time.Duration
	single, mock, open                                *bool
}

func addSignFlags(cmd *cobra.Command) signFlags {
	f := cmd.Flags()
	s := signFlags{
		url:       f.String("url", "", "The signing API's base URL, such as https://sign.example.org/signing-service"),
		aud:       f.String("aud", "", "The API's own base_url, where it is another than the one to call"),
		client:    f.String("client", "", "The client's id, as client add prints it"),
		key:       f.String("key", "", "The file of the client's private key (PEM or JWK)"),
		kid:       f.String("kid", "", "The key's id (default: that of the JWK, or the thumbprint)"),
		sub:       f.String("sub", "", "The id of the user who is to sign"),
		algorithm: algorithmFlag(cmd),
		state:     f.String("state", "", "What comes back to the callback beside the token (default with --listen: a random text)"),
		expiresIn: f.Duration("expires-in", client.MaxLifetime, "How long the user may take, at most "+client.MaxLifetime.String()),
		single:    f.Bool("single", false, "Ask in the form for one document, without ids"),
		mock:      f.Bool("mock", false, "Ask the page for a fake signature; only for servers with mock on"),
		accessToken: f.String("access-token", "", "The bearer token, or @file to read it from ($"+accessTokenEnv+")\n"+
			"(others on this machine may see arguments of commands; prefer the file or the variable)"),
		caCert: caCertFlag(cmd),
		open:   f.Bool("open", false, "Open the page in this machine's browser"),
		listen: f.String("listen", "", "Wait for the browser at this loopback address, such as 127.0.0.1:8085; the\n"+
			"client's callback must point to it (default: ask the server every few seconds)"),
	}
	for _, name := range []string{"url", "client", "key", "sub"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return s
}

func algorithmFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("algorithm", evidence.RS256, "The algorithm of the signatures: RS256 or RS1")
}

// newClient makes the client of the API. end closes its connections.
func (s signFlags) newClient(cmd *cobra.Command) (c *client.Client, end func(), err error) {
	text, err := readInput(cmd, *s.key)
	if err != nil {
		return nil, nil, fmt.Errorf("--key: %w", err)
	}
	key, err := jwks.ParsePrivateKey(text)
	if err != nil {
		return nil, nil, fmt.Errorf("--key: %w", err)
	}
	public, err := jwks.NewKey("", "", key.Public())
	if err != nil {
		return nil, nil, fmt.Errorf("--key: %w", err)
	}
	// A token that is in a file is read whenever it is needed, as it may be
	// renewed while the user signs; that there is one is known at once.
	token, err := secretFlag(*s.accessToken, accessTokenEnv)
	if err != nil {
		return nil, nil, fmt.Errorf("--access-token: %w", err)
	}
	roots, err := trustedRoots(*s.caCert)
	if err != nil {
		return nil, nil, err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	cfg := client.Config{
		BaseURL:  strings.TrimSuffix(*s.url, "/"),
		Audience: *s.aud,
		ClientID: *s.client,
		Key:      key,
		KeyID:    cmp.Or(*s.kid, namesOf(text).Kid, public.Thumbprint),
		HTTP:     &http.Client{Transport: transport, Timeout: client.Timeout},
		Now:      clock,
	}
	if token != "" {
		cfg.AccessToken = func(context.Context) (string, error) { return secretFlag(*s.accessToken, accessTokenEnv) }
	}
	c, err = client.New(cfg)
	return c, transport.CloseIdleConnections, err
}

func signRequestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "request --url <base> --client <id> --key <file> --sub <user> <file>...",
		Short: "Asks a user to sign files, and writes the signatures",
		Long: `Asks a signing API for a user's signatures of files: prints the address of the
page where the user signs, waits until it is done, verifies each signature over
the exact bytes of its file, and writes it beside the file as <file>.sig (the
bytes of the signature) with the certificate of its key as <file>.cert.pem.
Nothing is written unless all is well, and no file is overwritten without --force.

The page can be opened in any browser that reaches the user's card. With
--listen this command is the callback to which the browser returns; what the
browser says is not believed, the signatures always come from the server.

Whether the certificate is to be trusted is for --trust to say: a file with the
authorities' certificates, as in the server's trust_pool. Without it the
signatures are verified, but not whose the key is.

At most 250 files, of together about 570 KiB. A file - is standard input.`,
		Example: `  caddy signpost sign request --url https://sign.example.org/signing-service \
    --client qvp7noqcovqkrxedtlv2b5j3p5vmjpdd --key pharmacy-1.key.pem --kid pharmacy-1 \
    --sub 555086689106 --trust smartcard-ca.pem --open --listen 127.0.0.1:8085 prescription.xml`,
		Args: cobra.MinimumNArgs(1),
	}
	s := addSignFlags(cmd)
	f := cmd.Flags()
	trust := addTrustFlags(cmd)
	out := f.String("out", "", "The folder of the signatures (default: beside the files)")
	force := f.Bool("force", false, "Overwrite files")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := oneStdin(append(args, *s.key)...); err != nil {
			return err
		}
		verification, err := trust.verification(*s.algorithm, "")
		if err != nil {
			return err
		}
		files, err := newSignFiles(args, *out, *force)
		if err != nil {
			return err
		}
		if verification.Documents, err = files.read(cmd); err != nil {
			return err
		}
		r := signRun{cmd: cmd, flags: s, files: files, verification: verification, asJSON: *asJSON}
		return r.run()
	}
	return cmd
}

// signRun is one run of sign request.
type signRun struct {
	cmd          *cobra.Command
	flags        signFlags
	files        *signFiles
	verification client.Verification
	asJSON       bool

	evidence *evidence.Evidence
}

func (r *signRun) run() error {
	c, end, err := r.flags.newClient(r.cmd)
	if err != nil {
		return err
	}
	defer end()
	// Before the request, so that the user doesn't sign in vain.
	l, err := r.listen()
	if err != nil {
		return err
	}
	defer l.close()
	ctx, cancel := commandContext(r.cmd, *r.flags.expiresIn+2*client.Timeout)
	defer cancel()
	p, err := c.Request(ctx, client.Request{
		Subject: *r.flags.sub, Algorithm: *r.flags.algorithm, Documents: r.verification.Documents,
		Single: *r.flags.single, State: r.state(), ExpiresIn: *r.flags.expiresIn,
	})
	if err != nil {
		return explainSigning(err)
	}
	r.invite(p)
	o := client.AwaitOptions{
		Callback: l.serve(p),
		Opened:   func() { r.say("The page has been opened.") },
		Check: func(response *client.Response) (err error) {
			r.evidence, err = response.Verify(ctx, r.verification)
			return err
		},
	}
	response, err := c.Await(ctx, p, o)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("stopped waiting for the signatures, nothing was written (%w)", err)
	case err != nil:
		return explainSigning(err)
	}
	if err := r.files.write(response, r.evidence.Certificate); err != nil {
		return err
	}
	return r.report()
}

// say tells people what happens; standard output is for results.
func (r *signRun) say(format string, a ...any) { fmt.Fprintf(r.cmd.ErrOrStderr(), format+"\n", a...) }

// invite prints where to sign, and opens it when asked.
func (r *signRun) invite(p *client.Pending) {
	address := p.RedirectURI
	if *r.flags.mock {
		address = withMock(address)
	}
	w := r.cmd.OutOrStdout()
	if r.asJSON {
		w = r.cmd.ErrOrStderr() // the document comes at the end
	}
	fmt.Fprintln(w, address)
	r.say("Open this page in the browser of user %s before %s.", printable(*r.flags.sub), when(&p.Deadline))
	if *r.flags.open {
		if err := openBrowser(address); err != nil {
			r.say("The browser could not be opened: %v", err)
		}
	}
}

func withMock(address string) string {
	if strings.Contains(address, "?") {
		return address + "&mock=true"
	}
	return address + "?mock=true"
}

// report says who signed, and what was written.
func (r *signRun) report() error {
	signer := signerOf(r.evidence)
	if r.asJSON {
		return printJSON(r.cmd.OutOrStdout(), struct {
			Signer signerShown `json:"signer"`
			Files  []fileShown `json:"files"`
		}{signer, r.files.shown()})
	}
	w := r.cmd.OutOrStdout()
	signer.print(w)
	for _, f := range r.files.shown() {
		fmt.Fprintf(w, "wrote       %s, %s\n", f.Signature, f.Certificate)
	}
	if !signer.names(*r.flags.sub) {
		r.say("Note: the certificate does not name the user %s as cards of the NHS do; whether it is theirs was for the server to tell.", printable(*r.flags.sub))
	}
	return nil
}

// explainSigning adds what to do about a refusal of the server.
func explainSigning(err error) error {
	// Not of the signer's certificate, which can be unknown in the same way.
	if errors.As(err, new(*tls.CertificateVerificationError)) && errors.As(err, new(x509.UnknownAuthorityError)) {
		return fmt.Errorf("%w (name the authority of the server's certificate with --cacert)", err)
	}
	answer, ok := errors.AsType[*client.Error](err)
	if !ok {
		return err
	}
	for text, hint := range signingHints {
		if strings.Contains(answer.Message, text) {
			return fmt.Errorf("%w\n%s", err, hint)
		}
	}
	if answer.RetryAfter > 0 {
		return fmt.Errorf("%w\nTry again in %s", err, answer.RetryAfter)
	}
	return err
}

// signingHints are what people can do about the dialect's refusals.
var signingHints = map[string]string{
	`"kid" is not known`:         "Are --client and --kid those of one client of this server (caddy signpost client list)? Is the key as large as its min_key_bits asks for?",
	"JWT signature is not valid": "The server has another public key under this --kid than that of --key",
	`"aud" must be`:              "--url must be the server's base_url to the letter, or --aud say what that is",
	`"iat" is in the future`:     "This machine's clock is ahead of the server's",
	`"exp" is in the past`:       "This machine's clock is behind the server's",
	`"exp" must be at most`:      "This machine's clock is ahead of the server's",
	"for this access token":      "The access token is another client's than --client",
	"Invalid Access Token":       "The server asks for an access token, and a valid one: --access-token @file or $" + accessTokenEnv,
	`"algorithm" must be`:        "The server does not take signatures by this --algorithm",
}
