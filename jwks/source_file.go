package jwks

import (
	"context"
	"fmt"
	"time"
)

// fileAskEvery is how often at most an unknown key id has the file looked at.
const fileAskEvery = 100 * time.Millisecond

// File is a [Source] of keys in a file, which is watched: a changed file is
// read within a second, also when it was replaced through a symbolic link. A
// file that is missing, half written or without any usable key (unless its list
// is empty) is reported, and the keys from before stay in use, without end.
type File struct {
	*poller

	file watchedFile // used by the poller's goroutine only
}

// NewFile makes a source of the file's keys: a JWK, a JWKS, PEM public keys or
// certificates, at most 1000 keys and 4 MiB. It doesn't open the file: see
// [Set.Start].
func NewFile(path string) (*File, error) {
	file, err := newWatchedFile(path, DefaultMaxBytes)
	if err != nil {
		return nil, fmt.Errorf("jwks: file of keys: %w", err)
	}
	f := &File{file: file}
	f.poller = newPoller(pollerConfig{
		kind: "file", location: file.path, load: f.load, clock: time.Now,
		askEvery: fileAskEvery, maxWaiters: maxWaiters,
		retryMin: filePoll, retryMax: filePoll,
	})
	return f, nil
}

// load reads the file if it has changed.
func (f *File) load(context.Context) (document, error) {
	text, changed, err := f.file.read()
	switch {
	case err != nil:
		return document{}, fmt.Errorf("jwks: file of keys: %w", err)
	case !changed:
		return document{unchanged: true, next: filePoll}, nil
	}
	keys, skipped, err := parseUsable(text, Limits{MaxKeys: DefaultMaxKeys})
	if err != nil {
		// It is read again even when it comes back as it was before.
		f.file.forget()
		return document{}, fmt.Errorf("jwks: file of keys %s: %w", f.file.path, err)
	}
	return document{keys: keys, skipped: skipped, next: filePoll}, nil
}

// Start implements [Source].
func (f *File) Start(ctx context.Context, changed func()) error { return f.start(ctx, changed) }

// Snapshot implements [Source].
func (f *File) Snapshot() Snapshot { return f.snapshot() }

// Status implements [Source].
func (f *File) Status() SourceStatus { return f.describe() }

// Refresh implements [Refresher].
func (f *File) Refresh() (<-chan struct{}, func(), Verdict) { return f.refresh() }

// Close implements [Source].
func (f *File) Close() error {
	f.close()
	return nil
}
