package jwks

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"
)

// Revocations tell which tokens were withdrawn before their end. Has is asked
// for every token whose signature and claims are good, on every use of it, and
// must be safe for concurrent use.
type Revocations interface {
	Has(t *Token) bool
}

// Limits of a [RevocationList].
const (
	// MaxRevocationBytes is the size of the longest file.
	MaxRevocationBytes = 16 << 20
	// MaxRevocations is how many entries a file may have.
	MaxRevocations = 1_000_000
	// MaxRevocationLine is the longest line, in bytes, its end not counted.
	MaxRevocationLine = 1024

	// revokedEvery is the shortest time between two looks at the file.
	revokedEvery = filePoll
	// revokedWait is how long a look-up waits for the look of another.
	revokedWait = time.Second
)

// RevocationList is a list of token ids and subjects in a file, which is
// watched. It is safe for concurrent use, and has neither a goroutine nor an
// open file, so it needn't be closed.
//
// The file holds one entry a line. An entry is the id (jti) or the subject
// (sub) of tokens, whoever issued them; "jti:" or "sub:" before it restricts it
// to one of the two. It is compared exactly, in UTF-8. A line that begins with
// "#" is a comment (a subject that begins so can be written after "sub:");
// empty lines, blanks and tabs at both ends of an entry, and a byte order mark
// are ignored; lines may end with CR LF.
//
// A look-up looks at the file if none has done so for a second, and then reads
// it if it has changed. A file that is missing or faulty is logged, and the list
// from before stays in use. Replace the file by renaming another to its name:
// one that is written over is short for a moment.
type RevocationList struct {
	log   *slog.Logger
	clock func() time.Time
	made  time.Time

	entries atomic.Pointer[revocations]
	looked  atomic.Int64 // when the file was last looked at, in ns since made

	// look is held, by sending to it, by the one who looks at the file; file
	// and failing are theirs.
	look    chan struct{}
	file    watchedFile
	failing bool
}

// NewRevocationFile reads the list. A file that is missing or faulty is an
// error. The logger is told when the list changes, can't be read, and can be
// read again; nil means none.
func NewRevocationFile(path string, logger *slog.Logger) (*RevocationList, error) {
	return newRevocationFile(path, logger, time.Now)
}

func newRevocationFile(path string, logger *slog.Logger, clock func() time.Time) (*RevocationList, error) {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	l := &RevocationList{log: logger, clock: clock, made: clock(), look: make(chan struct{}, 1)}
	var err error
	if l.file, err = newWatchedFile(path, MaxRevocationBytes); err != nil {
		return nil, fmt.Errorf("jwks: revocation list: %w", err)
	}
	l.log = l.log.With("revocation_list", l.file.path)
	if _, err := l.read(); err != nil {
		return nil, err
	}
	return l, nil
}

// Has implements [Revocations]: it reports whether the token's id or subject is
// on the list.
func (l *RevocationList) Has(t *Token) bool {
	l.refresh()
	entries := *l.entries.Load()
	if len(entries) == 0 {
		return false
	}
	return entries.have(t.Claims, "jti", revokesID) || entries.have(t.Claims, "sub", revokesSubject)
}

// Len returns how many different entries the list has.
func (l *RevocationList) Len() int { return len(*l.entries.Load()) }

// refresh looks at the file when it is time. Those who come while another does
// so go on with the list at hand, which is a second old. Only after a time
// without any look-up is it older: then they wait.
func (l *RevocationList) refresh() {
	age := l.age()
	if age < revokedEvery {
		return
	}
	select {
	case l.look <- struct{}{}:
	default:
		if age < 2*revokedEvery || !l.wait() {
			return
		}
	}
	defer func() { <-l.look }()
	if l.age() < revokedEvery {
		return
	}
	changed, err := l.read()
	switch {
	case err != nil && !l.failing:
		l.log.Error("the revocation list can't be read; the one from before stays in use", "error", err)
	case err == nil && l.failing:
		l.log.Info("the revocation list can be read again", "entries", l.Len())
	case changed:
		l.log.Info("the revocation list has changed", "entries", l.Len())
	}
	l.failing = err != nil
}

// age is how long ago the file was last looked at, or its being looked at began.
func (l *RevocationList) age() time.Duration {
	return l.clock().Sub(l.made) - time.Duration(l.looked.Load())
}

// wait waits for another's look at the file, and reports whether it has ended:
// storage that hangs must not take all requests with it.
func (l *RevocationList) wait() bool {
	timer := time.NewTimer(revokedWait)
	defer timer.Stop()
	select {
	case l.look <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

// read takes the file's entries over if it has changed.
func (l *RevocationList) read() (changed bool, err error) {
	began := l.clock().Sub(l.made)
	defer func() { l.looked.Store(int64(began)) }()
	text, changed, err := l.file.read()
	if err != nil {
		return false, fmt.Errorf("jwks: revocation list: %w", err)
	}
	if !changed {
		return false, nil
	}
	entries, err := parseRevocations(text)
	if err != nil {
		l.file.forget()
		return false, fmt.Errorf("jwks: revocation list %s: %w", l.file.path, err)
	}
	l.entries.Store(&entries)
	return true, nil
}
