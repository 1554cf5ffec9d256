package hub

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"
)

// lingering is how long a page tells how its operation ended, and maxPages how
// many do.
const (
	lingering = 2 * time.Minute
	maxPages  = 16
)

// PageConsent asks the user on a page that the hub itself serves, to be opened
// in the user's browser. Its address is unguessable, and good for one operation.
// It belongs to one hub.
type PageConsent struct {
	open func(ctx context.Context, url string) error

	mu    sync.Mutex
	base  string // such as http://127.0.0.1:43480
	now   func() time.Time
	pages map[string]*consentPage
}

// NewPageConsent makes a Consenter whose pages are opened by open, which is
// called once for every operation and doesn't block: it starts a browser, or
// tells the user the address. Its context ends when the question does. The
// address is a secret between the hub and the user: whoever has it can agree in
// the user's name, though not without the PIN, where there is one. So it must
// not become an argument of a program, which other users can read: see
// [Doorway]. An error ends the operation.
func NewPageConsent(open func(ctx context.Context, url string) error) (*PageConsent, error) {
	if open == nil {
		return nil, errors.New("hub: the consent pages need a function that opens them")
	}
	return &PageConsent{open: open, pages: make(map[string]*consentPage)}, nil
}

func (p *PageConsent) attach(base string, now func() time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.base, p.now = base, now
}

// Begin implements Consenter.
func (p *PageConsent) Begin(_ context.Context, q Question) (Dialog, error) {
	id := rand.Text() + rand.Text()
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &consentPage{
		question: q, now: p.now, state: stateWorking, answers: make(chan pageAnswer, 1), certificate: q.Certificates[0].ID,
		open: func(ctx context.Context) error { return p.open(ctx, p.base+pathConsent+id) },
	}
	p.sweep(maxPages - 1)
	p.pages[id] = d
	return d, nil
}

// sweep forgets pages that have told their end for long enough, and of more
// than limit the one that has done so longest.
func (p *PageConsent) sweep(limit int) {
	now := p.now()
	oldest, first := "", time.Time{}
	for id, d := range p.pages {
		at, ended := d.endedAt()
		switch {
		case !ended:
		case now.Sub(at) > lingering:
			delete(p.pages, id)
		case oldest == "" || at.Before(first):
			oldest, first = id, at
		}
	}
	if len(p.pages) > limit {
		delete(p.pages, oldest)
	}
}

func (p *PageConsent) find(id string) *consentPage {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sweep(maxPages)
	return p.pages[id]
}

type pageState int

const (
	stateAsking  pageState = iota // for consent
	statePIN                      // for the PIN, after consent
	stateWorking                  // waiting for the signer
	stateEnded
)

// consentPage is the Dialog of one operation.
type consentPage struct {
	question Question
	now      func() time.Time
	open     func(context.Context) error
	answers  chan pageAnswer

	mu    sync.Mutex
	state pageState
	// step counts what the page has asked, so that no answer is taken for that
	// to another question.
	step        int
	certificate string // that was chosen
	hint        string // what was wrong with the last answer
	pin         PINRequest
	done        int // documents
	until       time.Time
	ended       time.Time
	err         error // how it ended
}

// pageAnswer is what the user sent.
type pageAnswer struct {
	agreed bool
	Answer
}

// Confirm implements Dialog.
func (d *consentPage) Confirm(ctx context.Context) (Answer, error) {
	d.ask(ctx, stateAsking, PINRequest{})
	if err := d.open(ctx); err != nil {
		return Answer{}, &Error{
			Code: CodeInternal, Message: "The hub could not open its window.", RetriesLeft: -1,
			Err: fmt.Errorf("opening the consent page: %w", err),
		}
	}
	return d.answer(ctx)
}

// PIN implements Dialog.
func (d *consentPage) PIN(ctx context.Context, r PINRequest) (string, error) {
	d.ask(ctx, statePIN, r)
	answer, err := d.answer(ctx)
	return answer.PIN, err
}

// ask shows a form.
func (d *consentPage) ask(ctx context.Context, state pageState, pin PINRequest) {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.answers: // to a question that is over
	default:
	}
	d.state, d.pin, d.hint = state, pin, ""
	d.step++
	d.until = time.Time{}
	if deadline, ok := ctx.Deadline(); ok {
		d.until = d.now().Add(time.Until(deadline))
	}
}

// answer waits for the form.
func (d *consentPage) answer(ctx context.Context) (Answer, error) {
	select {
	case a := <-d.answers:
		if !a.agreed {
			return Answer{}, refused()
		}
		return a.Answer, nil
	case <-ctx.Done():
		d.mu.Lock()
		defer d.mu.Unlock()
		d.state = stateWorking // takes no answers, until Done
		return Answer{}, ctx.Err()
	}
}

// Progress implements Dialog.
func (d *consentPage) Progress(done int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.done = done
}

// Done implements Dialog.
func (d *consentPage) Done(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state, d.err, d.ended = stateEnded, err, d.now()
	// What was shown is of no use any more; it needn't stay in memory.
	d.question.Documents = nil
}

func (d *consentPage) endedAt() (time.Time, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ended, d.state == stateEnded
}

// take takes what the user sent, if that is what the page asks for.
func (d *consentPage) take(step int, agreed bool, a Answer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	asked := d.state == stateAsking && d.question.Kind == AskSignatures && d.question.PIN != nil || d.state == statePIN
	switch {
	case d.state != stateAsking && d.state != statePIN, step != d.step:
		return
	case agreed && asked && a.PIN == "":
		d.hint = "Enter the PIN."
		d.certificate = cmp.Or(a.CertificateID, d.certificate)
		return
	}
	d.state, d.hint = stateWorking, ""
	d.answers <- pageAnswer{agreed, a} // has room: there is one answer to a step
}
