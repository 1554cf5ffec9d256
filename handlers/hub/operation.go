package hub

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// use keeps the signer in use until end is called. What it returns ends with the
// context or the hub.
func (h *Hub) use(ctx context.Context) (_ context.Context, end func(), err error) {
	h.using.RLock()
	if h.closing.Err() != nil {
		h.using.RUnlock()
		return nil, nil, stopping()
	}
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.closing, cancel)
	return ctx, func() {
		stop()
		cancel()
		h.using.RUnlock()
	}, nil
}

// begin takes the hub for one operation. end gives it back, and must be called
// before the answer is written: the next request may come as soon as a page has
// read it.
func (h *Hub) begin(ctx context.Context) (_ context.Context, end func(), err error) {
	ctx, release, err := h.use(ctx)
	if err != nil {
		return nil, nil, err
	}
	select {
	case h.slot <- struct{}{}:
	default:
		release()
		return nil, nil, &Error{Code: CodeBusy, RetriesLeft: -1}
	}
	return ctx, func() {
		<-h.slot
		release()
	}, nil
}

// certificates returns those that a web site may see, once the user has agreed
// to that.
func (h *Hub) certificates(ctx context.Context, origin string) ([]*Certificate, error) {
	ctx, end, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	certificates, err := h.usable(ctx)
	if err != nil {
		return nil, err
	}
	if h.shown.has(origin, certificates) {
		return certificates, nil
	}
	dialog, err := h.config.Consent.Begin(ctx, Question{
		Kind: AskCertificates, Hub: h.config.Name, Origin: origin,
		Certificates: certificates, Now: h.config.Now(), Timeout: h.config.UserTimeout,
	})
	if err != nil {
		return nil, err
	}
	_, err = h.confirm(ctx, dialog)
	dialog.Done(err)
	if err != nil {
		return nil, err
	}
	h.remember(origin, certificates)
	return certificates, nil
}

// usable returns the certificates that may sign, those that are valid now
// first.
func (h *Hub) usable(ctx context.Context) ([]*Certificate, error) {
	all, err := h.config.Signer.Certificates(ctx)
	h.shown.endWithCard(err)
	if err != nil {
		return nil, err
	}
	usable := make([]*Certificate, 0, len(all))
	for i := range all {
		if all[i].NonRepudiation || h.config.AllCertificates {
			usable = append(usable, &all[i])
		}
	}
	if len(usable) == 0 {
		return nil, &Error{Code: CodeNoCertificate, RetriesLeft: -1}
	}
	now := h.config.Now()
	slices.SortStableFunc(usable, func(a, b *Certificate) int {
		return cmp.Compare(validity(a, now), validity(b, now))
	})
	return usable, nil
}

// validity is 0 for a certificate that is valid now, and 1 for others.
func validity(c *Certificate, now time.Time) int {
	if now.Before(c.Leaf.NotBefore) || now.After(c.Leaf.NotAfter) {
		return 1
	}
	return 0
}

// confirm waits for the user's consent, but not for ever.
func (h *Hub) confirm(ctx context.Context, dialog Dialog) (Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, h.config.UserTimeout)
	defer cancel()
	return dialog.Confirm(ctx)
}

// outcome is what came of signing: all signatures, or the first of them and why
// the others are missing.
type outcome struct {
	request     *request
	certificate *Certificate
	made        [][]byte
	fault       *Error
}

func (o *outcome) signatures() []signatureAnswer {
	all := make([]signatureAnswer, len(o.made))
	for i, signature := range o.made {
		all[i] = signatureAnswer{o.id(i), base64.StdEncoding.EncodeToString(signature)}
	}
	return all
}

func (o *outcome) failedIDs() []string {
	var all []string
	for i := len(o.made); i < len(o.request.documents); i++ {
		all = append(all, o.id(i))
	}
	return all
}

// id names a document in the answer. The only one of its request has no id of
// its own.
func (o *outcome) id(i int) string {
	if id := o.request.documents[i].ID; id != "" {
		return id
	}
	return "1"
}

// sign asks the user and signs. Its outcome has one signature at least.
func (h *Hub) sign(ctx context.Context, origin string, r *request, certificateID string) (*outcome, error) {
	ctx, end, err := h.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	before, err := h.replays.find(r)
	if err != nil {
		return nil, err
	}
	o, err := h.consentAndSign(ctx, origin, r, certificateID, before)
	switch {
	case err != nil:
		return nil, err
	case o.fault != nil && ctx.Err() != nil:
		// Nobody waits for the part any more, so it doesn't leave, and need not bind
		// the next attempt.
		return nil, ctx.Err()
	}
	again := before.complete(r)
	if !again {
		h.replays.keep(o)
	}
	sum := sha256.Sum256(o.certificate.Leaf.Raw)
	log := h.config.Logger.With("origin", origin, "iss", r.issuer, "algorithm", r.algorithm,
		"documents", len(r.documents), "signed", len(o.made), "certificate", hex.EncodeToString(sum[:]))
	switch {
	case o.fault != nil:
		log.ErrorContext(ctx, "signed in part", "code", string(o.fault.Code), "error", causeOf(o.fault))
	case again:
		log.InfoContext(ctx, "signatures given again")
	default:
		log.InfoContext(ctx, "signed")
	}
	return o, nil
}

// consentAndSign asks the user, also for what was signed before and is only
// handed over again: it is another request of the web site.
func (h *Hub) consentAndSign(ctx context.Context, origin string, r *request, certificateID string, before *signedBefore) (o *outcome, err error) {
	choice, err := h.choiceAfter(ctx, r, certificateID, before)
	if err != nil {
		return nil, err
	}
	question := Question{
		Kind: AskSignatures, Hub: h.config.Name, Origin: origin, Issuer: r.issuer, Subject: r.subject,
		Unsigned: r.digest == nil, Algorithm: r.algorithm, Documents: r.documents, Certificates: choice,
		Signed: before.count(), Now: h.config.Now(), Timeout: h.config.UserTimeout,
	}
	if !before.complete(r) {
		if status, err := h.config.Signer.Status(ctx); err == nil {
			question.PIN = status.PIN
		}
	}
	dialog, err := h.config.Consent.Begin(ctx, question)
	if err != nil {
		return nil, err
	}
	defer func() {
		if o != nil && o.fault != nil {
			dialog.Done(o.fault)
			return
		}
		dialog.Done(err)
	}()
	answer, err := h.confirm(ctx, dialog)
	if err != nil {
		return nil, err
	}
	certificate := choice[0]
	if answer.CertificateID != "" {
		i := slices.IndexFunc(choice, func(c *Certificate) bool { return c.ID == answer.CertificateID })
		if i < 0 {
			return nil, fmt.Errorf("hub: the consent names a certificate that was not offered")
		}
		certificate = choice[i]
	}
	if !r.expires.IsZero() && !r.expires.After(h.config.Now()) {
		return nil, invalid("The request has run out while the hub waited for the user.")
	}
	if before.complete(r) {
		return &outcome{r, certificate, before.made, nil}, nil
	}
	return h.run(ctx, r, certificate, before, dialog, answer.PIN)
}

// choiceAfter is choice for a request of which documents may have been signed
// before. The others are signed with the same certificate, so that there is one
// set of signatures for one JWT, whatever became of the first part.
func (h *Hub) choiceAfter(ctx context.Context, r *request, certificateID string, before *signedBefore) ([]*Certificate, error) {
	switch {
	case before == nil:
		return h.choice(ctx, r, certificateID)
	case certificateID != "" && certificateID != before.certificate.ID:
		return nil, invalid("This JWT has been signed with another certificate. The application must make a new request.")
	case before.complete(r):
		return []*Certificate{before.certificate}, nil
	}
	all, err := h.choice(ctx, r, certificateID)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(c *Certificate) bool { return !c.Leaf.Equal(before.certificate.Leaf) })
	if len(all) == 0 {
		return nil, &Error{Code: CodeNoCertificate, Message: "The first of these documents were signed with another smartcard. Insert that one, or have the application make a new request.", RetriesLeft: -1}
	}
	return all, nil
}

// choice returns the certificates that can sign the request, the likeliest
// first.
func (h *Hub) choice(ctx context.Context, r *request, certificateID string) ([]*Certificate, error) {
	all, err := h.usable(ctx)
	if err != nil {
		return nil, err
	}
	if certificateID != "" {
		all = slices.DeleteFunc(all, func(c *Certificate) bool { return c.ID != certificateID })
		if len(all) == 0 {
			return nil, &Error{Code: CodeNoCertificate, Message: "The smartcard doesn't have the certificate that the web site chose. Is it another card?", RetriesLeft: -1}
		}
	}
	all = slices.DeleteFunc(all, func(c *Certificate) bool { return !slices.Contains(c.Algorithms, r.algorithm) })
	if len(all) == 0 {
		return nil, &Error{Code: CodeUnsupportedAlgorithm, RetriesLeft: -1}
	}
	now := h.config.Now()
	slices.SortStableFunc(all, func(a, b *Certificate) int {
		return cmp.Or(cmp.Compare(validity(a, now), validity(b, now)), cmp.Compare(foreign(a, r.subject), foreign(b, r.subject)))
	})
	return all, nil
}

// foreign is 0 for a certificate of the subject, whose number stands before the
// name (the wire reference, section 4.2), and 1 for others.
func foreign(c *Certificate, subject string) int {
	number, _, _ := strings.Cut(c.Leaf.Subject.CommonName, "_")
	if subject != "" && number == subject {
		return 0
	}
	return 1
}

// run has the signer sign what wasn't signed before. The PIN that the user gave
// with their consent is used for the first question only: a wrong one must not be
// tried again.
func (h *Hub) run(ctx context.Context, r *request, certificate *Certificate, before *signedBefore, dialog Dialog, pin string) (*outcome, error) {
	signed := before.count()
	documents := make([][]byte, 0, len(r.documents)-signed)
	for _, d := range r.documents[signed:] {
		documents = append(documents, d.Content)
	}
	dialog.Progress(signed)
	made, err := h.config.Signer.Sign(ctx, SignRequest{
		CertificateID: certificate.ID,
		Algorithm:     r.algorithm,
		Documents:     documents,
		PIN: func(ctx context.Context, q PINRequest) (string, error) {
			if given := pin; given != "" && !q.Wrong {
				pin = ""
				return given, nil
			}
			pin = ""
			ctx, cancel := context.WithTimeout(ctx, h.config.UserTimeout)
			defer cancel()
			return dialog.PIN(ctx, q)
		},
		Progress: func(done int) { dialog.Progress(signed + done) },
	})
	h.shown.endWithCard(err)
	switch {
	case len(made) > len(documents), err == nil && len(made) < len(documents):
		return nil, fmt.Errorf("hub: the signer returned %d signatures of %d documents: %w", len(made), len(documents), cmp.Or(err, errCount))
	case err != nil && len(made) == 0:
		return nil, err
	}
	if before != nil {
		made = slices.Concat(before.made, made)
	}
	o := &outcome{request: r, certificate: certificate, made: made}
	if err != nil {
		o.fault = asError(err)
	}
	return o, nil
}

var errCount = errors.New("that is the wrong number")
