package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// conn is what statements run on: a connection of the pool.
type conn interface {
	Exec(ctx context.Context, text string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, text string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, text string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	Conn() *pgx.Conn
}

// call runs f with a connection. When ctx ends while the server works, the
// answer is waited for all the same: it is near, unlike an interruption it
// costs no connection, and it says what has happened. A deadline of ctx counts.
func (s *Store) call(ctx context.Context, doing string, f work) error {
	if err := s.enter(ctx, doing); err != nil {
		return err
	}
	defer s.leave()
	return s.attempt(ctx, doing, s.cfg.Timeout, f, again)
}

// read is call for what may be done twice: it is tried again when the
// connection turns out to be dead.
func (s *Store) read(ctx context.Context, doing string, f work) error {
	if err := s.enter(ctx, doing); err != nil {
		return err
	}
	defer s.leave()
	return s.attempt(ctx, doing, s.cfg.Timeout, f, readAgain)
}

func readAgain(err error) bool { return again(err) || lostConnection(err) }

// work is done on a connection. It may be called more than once.
type work func(ctx context.Context, c conn) error

// attempt is called between enter and leave.
func (s *Store) attempt(ctx context.Context, doing string, timeout time.Duration, f work, retry func(error) bool) error {
	if err := s.health.away(); err != nil {
		return storage.Unavailable(doing, err)
	}
	deadline := time.Now().Add(timeout)
	own := true
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline, own = d, false
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for tries := 1; ; tries++ {
		err := s.once(ctx, f)
		if err == nil {
			return nil
		}
		if faulty(err) && (ctx.Err() == nil || own) {
			if lostConnection(err) {
				s.pool.Reset() // what has ended this connection has ended the others too
			}
			s.health.failed(err)
		}
		if ctx.Err() != nil || tries == maxTries || !retry(err) {
			return classify(ctx, doing, err)
		}
	}
}

// maxTries bounds how often a transaction is tried that the server has given up
// in favour of another, or that hasn't reached it.
const maxTries = 3

func (s *Store) once(ctx context.Context, f work) error {
	c, err := s.pool.Acquire(ctx)
	if err != nil {
		return &connectError{err}
	}
	defer c.Release()
	deadline, _ := ctx.Deadline()
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
	defer cancel()
	return f(ctx, c)
}

// connectError is the failure to get a connection.
type connectError struct{ err error }

func (e *connectError) Error() string { return "connecting: " + e.err.Error() }
func (e *connectError) Unwrap() error { return e.err }

// SQLSTATE codes; see appendix A of the PostgreSQL manual.
const (
	codeUniqueViolation       = "23505"
	codeLimitReached          = "SP001" // of store_3
	codeReadOnly              = "25006"
	codeSerialization         = "40001"
	codeDeadlock              = "40P01"
	codeTooManyConnections    = "53300"
	codeLockNotAvailable      = "55P03"
	classConnection           = "08"
	classData                 = "22"
	classConstraint           = "23"
	classLimit                = "54"
	classOperatorIntervention = "57P"
)

func codeOf(err error) string {
	if e, ok := errors.AsType[*pgconn.PgError](err); ok {
		return e.Code
	}
	return ""
}

// again reports whether a transaction has certainly not happened, and may if it
// is tried anew.
func again(err error) bool {
	switch codeOf(err) {
	case codeSerialization, codeDeadlock:
		return true
	}
	if _, ok := errors.AsType[*connectError](err); ok {
		return false
	}
	return pgconn.SafeToRetry(err)
}

// ownFault reports whether the server has refused a value.
func ownFault(err error) bool {
	switch code := codeOf(err); {
	case strings.HasPrefix(code, classData), strings.HasPrefix(code, classConstraint), strings.HasPrefix(code, classLimit):
		return true
	}
	return false
}

// lostConnection reports whether a connection has ended under a call.
func lostConnection(err error) bool {
	code := codeOf(err)
	if strings.HasPrefix(code, classOperatorIntervention) || strings.HasPrefix(code, classConnection) {
		return true
	}
	if code != "" || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	_, connecting := errors.AsType[*connectError](err)
	return !connecting && broken(err)
}

func broken(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || pgconn.SafeToRetry(err) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}

// faulty reports whether a failure lies with the server or the way to it, and
// not with the statement.
func faulty(err error) bool {
	if _, ok := errors.AsType[*connectError](err); ok {
		return !errors.Is(err, context.Canceled)
	}
	switch code := codeOf(err); {
	case code == codeReadOnly, code == codeTooManyConnections:
		return true
	case code != "":
		return lostConnection(err)
	}
	return errors.Is(err, context.DeadlineExceeded) || broken(err)
}

// classify makes a technical failure of everything that isn't one of the
// contract's own errors.
func classify(ctx context.Context, doing string, err error) error {
	for _, own := range []error{
		storage.ErrNotFound, storage.ErrExists, storage.ErrLeaseLost, storage.ErrIdempotencyMismatch,
		storage.ErrInvalid, storage.ErrUnavailable,
	} {
		if errors.Is(err, own) {
			return err
		}
	}
	if _, ok := errors.AsType[*storage.LimitError](err); ok {
		return err
	}
	if cause := ctx.Err(); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	return storage.Unavailable(doing, err)
}
