package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// Console is where a user reads and writes: a terminal.
type Console interface {
	io.Writer
	// ReadLine shows a prompt and reads one line, without its end. What was typed
	// before the prompt doesn't count. A secret isn't shown as it is typed. It
	// returns the context's error when that ends first, and io.EOF when the user
	// ends the input.
	ReadLine(ctx context.Context, prompt string, secret bool) (string, error)
}

// TerminalConsent asks the user at a terminal.
type TerminalConsent struct{ console Console }

// NewTerminalConsent makes a Consenter of a terminal: see [OpenConsole].
func NewTerminalConsent(console Console) (*TerminalConsent, error) {
	if console == nil {
		return nil, errors.New("hub: the terminal consent needs a terminal")
	}
	return &TerminalConsent{console}, nil
}

// Begin implements Consenter.
func (t *TerminalConsent) Begin(_ context.Context, q Question) (Dialog, error) {
	d := &terminalDialog{console: t.console, question: q}
	d.show()
	return d, nil
}

// terminalDialog is the Dialog of one operation. It is used by one goroutine.
type terminalDialog struct {
	console  Console
	question Question
}

func (d *terminalDialog) print(format string, arguments ...any) {
	fmt.Fprintf(d.console, format+"\n", arguments...)
}

// show tells who asks for what.
func (d *terminalDialog) show() {
	q := &d.question
	d.print("\n%s", q.Hub)
	switch {
	case q.Kind == AskCertificates:
		d.print("%s asks to see your certificates, which hold your name and number.", q.Origin)
		d.print("It may see them for %s, until the card is taken out or the hub is stopped.", plural(int(shownFor/time.Hour), "hour"))
		d.certificates(false)
		return
	case q.Unsigned:
		d.print("%s asks for your signature on %s (%s).", q.Origin, plural(len(q.Documents), "document"), q.Algorithm)
		d.print("Nobody but this web site vouches for the request: sign only if you expected it.")
	default:
		d.print("%s asks for your signature on %s (%s).", q.Origin, plural(len(q.Documents), "document"), q.Algorithm)
		d.print("  Application:     %s", flat(line(q.Issuer)))
		d.print("  To be signed by: %s", flat(line(q.Subject)))
	}
	if again := againText(q); again != "" {
		d.print("%s", again)
	}
	d.documents(len(q.Documents) <= openUpTo)
	d.certificates(len(q.Certificates) > 1)
}

// documents lists the documents, with their content if that is wanted.
func (d *terminalDialog) documents(content bool) {
	for _, v := range viewDocuments(d.question.Documents) {
		d.print("  %d. %s (%s, SHA-256 %s)", v.Number, flat(v.ID), v.Size, v.Digest)
		if !content {
			continue
		}
		if len(v.Display) > 0 {
			d.print("     The application says: %s", indent(flat(v.Display)))
		}
		d.print("     %s", indent(flat(v.Content)))
	}
}

func indent(text string) string {
	return strings.ReplaceAll(strings.TrimRight(strings.ReplaceAll(text, "\r\n", "\n"), "\n"), "\n", "\n     ")
}

func (d *terminalDialog) certificates(numbered bool) {
	for i, v := range viewCertificates(d.question.Certificates, d.question.Now) {
		label := "Certificate"
		if numbered {
			label = fmt.Sprintf("Certificate %d", i+1)
		}
		note := ""
		if v.Invalid {
			note = ", NOT VALID NOW"
		}
		d.print("  %s: %s, issued by %s, valid until %s%s", label, flat(v.Name), flat(v.Issuer), v.Expires, note)
	}
}

// Confirm implements Dialog.
func (d *terminalDialog) Confirm(ctx context.Context) (Answer, error) {
	prompt := "Sign? [y]es, [n]o, [s]how the documents: "
	switch q := &d.question; {
	case q.Kind != AskSignatures:
		prompt = "Show them? [y]es, [n]o: "
	case q.Signed == len(q.Documents):
		prompt = "Hand over your signatures again? [y]es, [n]o, [s]how the documents: "
	}
	for {
		text, err := d.read(ctx, prompt, false)
		if err != nil {
			return Answer{}, err
		}
		switch strings.ToLower(strings.TrimSpace(text)) {
		case "y", "yes":
			return d.choose(ctx)
		case "n", "no":
			return Answer{}, refused()
		case "s", "show":
			d.documents(true)
		}
	}
}

// choose asks for one of several certificates.
func (d *terminalDialog) choose(ctx context.Context) (Answer, error) {
	all := d.question.Certificates
	if d.question.Kind != AskSignatures || len(all) == 1 {
		return Answer{}, nil
	}
	for {
		text, err := d.read(ctx, fmt.Sprintf("With which certificate? 1 to %d, or [n]one: ", len(all)), false)
		if err != nil {
			return Answer{}, err
		}
		text = strings.ToLower(strings.TrimSpace(text))
		if text == "n" || text == "none" {
			return Answer{}, refused()
		}
		if number, err := strconv.Atoi(text); err == nil && number >= 1 && number <= len(all) {
			return Answer{CertificateID: all[number-1].ID}, nil
		}
	}
}

// PIN implements Dialog.
func (d *terminalDialog) PIN(ctx context.Context, r PINRequest) (string, error) {
	if r.Wrong {
		d.print("The PIN was wrong.")
	}
	if text := retriesText(r); text != "" {
		d.print("%s", text)
	}
	pin, err := d.read(ctx, fmt.Sprintf("PIN of %s (nothing to refuse): ", flat(line(r.Token))), true)
	switch {
	case err != nil:
		return "", err
	case pin == "":
		return "", refused()
	case len(pin) > maxPIN:
		return "", &Error{Code: CodePINIncorrect, Message: "The PIN is too long.", RetriesLeft: r.Retries}
	}
	return pin, nil
}

func (d *terminalDialog) read(ctx context.Context, prompt string, secret bool) (string, error) {
	text, err := d.console.ReadLine(ctx, prompt, secret)
	switch {
	case errors.Is(err, io.EOF):
		return "", refused()
	case err != nil && ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("hub: reading from the terminal: %w", err)
	}
	return text, nil
}

// Progress implements Dialog. A terminal gets a line now and then.
func (d *terminalDialog) Progress(done int) {
	const every = 25
	if total := len(d.question.Documents); done%every == 0 && done < total {
		d.print("%d of %d signed.", done, total)
	}
}

// Done implements Dialog.
func (d *terminalDialog) Done(err error) {
	title, text, _ := ending(err, d.question.Kind == AskSignatures)
	d.print("%s. %s", title, text)
}
