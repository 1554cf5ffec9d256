package transition

import (
	"fmt"
	"time"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// CheckSigned refuses a result that no signature request can have.
func CheckSigned(response []byte, expires time.Time) error {
	switch {
	case len(response) == 0:
		return fmt.Errorf("%w: a signed request needs its response", storage.ErrInvalid)
	case expires.IsZero():
		return fmt.Errorf("%w: a signed request needs its time of expiry", storage.ErrInvalid)
	}
	return nil
}
