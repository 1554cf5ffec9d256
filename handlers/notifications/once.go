package notifications

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

// repeat identifies a request that may be sent again and must send one
// notification.
type repeat struct {
	// key stands for the request, unique in the service.
	key [32]byte
	// request is a digest of what was asked for with the key, empty when the key
	// can't stand for anything else.
	request string
	expires time.Time
	// wait makes a twin of a request that is still running wait for its end;
	// otherwise it is refused.
	wait bool
}

// keyMargin is how long an idempotency key outlives its token's window. A
// request that was admitted in the window may still be sending its body, or
// waiting for the storage, when the window closes.
const keyMargin = 10 * time.Minute

// tokenRepeat makes the token stand for its request, which it signs as a whole.
func (a *API) tokenRepeat(id notifyauth.Identity) *repeat {
	return &repeat{key: id.TokenMAC, expires: id.IssuedAt.Add(a.config.Leeway + keyMargin), wait: true}
}

const (
	headerIdempotency = "Idempotency-Key"
	headerReplayed    = "Idempotent-Replayed"
	maxIdempotencyKey = 255
	// keepIdempotencyKey is how long a key of that header is remembered.
	keepIdempotencyKey = 24 * time.Hour
)

// headerRepeat makes the Idempotency-Key of a request stand for it; nil when
// there is none. Keys of the header are in a name space of their own, so that
// nobody can choose one that meets the signature of a token, and one of each
// service and key type, so that a test key never answers for a live one.
func (a *API) headerRepeat(r *http.Request, id notifyauth.Identity, rt route, body []byte) (*repeat, *refusal) {
	lines := r.Header[headerIdempotency]
	if a.config.NoIdempotency || len(lines) == 0 {
		return nil, nil
	}
	if len(lines) > 1 || !validIdempotencyKey(lines[0]) {
		return nil, &refusal{
			status: http.StatusBadRequest, code: codeBadKey, kind: errorIdempotency,
			text: fmt.Sprintf("%s must be 1 to %d visible ASCII characters, given once", headerIdempotency, maxIdempotencyKey),
		}
	}
	asked := sha256.New()
	asked.Write([]byte(string(rt) + "\n"))
	asked.Write(body)
	return &repeat{
		key:     sha256.Sum256([]byte("notify idempotency key\n" + id.ServiceID + "\n" + string(keyType(id)) + "\n" + lines[0])),
		request: base64.RawURLEncoding.EncodeToString(asked.Sum(nil)),
		expires: a.now().Add(keepIdempotencyKey),
	}, nil
}

func validIdempotencyKey(key string) bool {
	for i := range len(key) {
		if key[i] <= ' ' || key[i] > '~' {
			return false
		}
	}
	return key != "" && len(key) <= maxIdempotencyKey
}

// once takes the request from the rate limit and creates the notification, or
// finds what this request has created before. Limits count it once.
//
// A refusal is held back until it is clear that the request is new: what was
// accepted stays accepted when the template has changed or a limit is used up
// since.
func (a *API) once(ctx context.Context, r *http.Request, id notifyauth.Identity, rep *repeat, create func() (storage.Created, *refusal)) (created storage.Created, ref *refusal) {
	if rep != nil {
		first, done := a.twins.begin(rep.key)
		switch {
		case first:
			defer a.twins.end(rep.key, done)
		case !rep.wait:
			return created, &refusal{
				status: http.StatusConflict, code: codeKeyInUse, kind: errorIdempotency,
				text: "A request with this " + headerIdempotency + " is still being processed, try again",
			}
		default:
			select {
			case <-done:
			case <-ctx.Done():
				return created, technical(r, ctx.Err())
			}
			if n, ok := a.earlier(ctx, id, rep); ok {
				return storage.Created{Notification: n, Replayed: true}, nil
			}
		}
	}
	giveBack, ref := a.take(ctx, r, id)
	if ref == nil {
		created, ref = create()
	}
	if ref != nil && ref.cause == nil && rep != nil {
		if n, ok := a.earlier(ctx, id, rep); ok {
			created, ref = storage.Created{Notification: n, Replayed: true}, nil
		}
	}
	if created.Replayed {
		giveBack()
		if created.Notification.Details.Request != rep.request {
			return storage.Created{}, &refusal{
				status: http.StatusUnprocessableEntity, code: codeKeyUsed, kind: errorIdempotency,
				text: "This " + headerIdempotency + " was used with another request",
			}
		}
	}
	return created, ref
}

// earlier returns what this request has created before.
func (a *API) earlier(ctx context.Context, id notifyauth.Identity, rep *repeat) (storage.Notification, bool) {
	n, err := a.config.Store.Idempotent(ctx, id.ServiceID, rep.key[:])
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		a.config.Logger.ErrorContext(ctx, "could not look for an earlier notification of this request", "service_id", id.ServiceID, "error", err)
	}
	// A key is found until it is swept, which may be later than it is good for.
	expired := rep.request != "" && a.now().Sub(n.CreatedAt) > keepIdempotencyKey
	return n, err == nil && !expired
}
