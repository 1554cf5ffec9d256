package pkcs11

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

// A module that hangs takes neither its caller with it nor those after.
func TestHungModule(t *testing.T) {
	card := newCard(t)
	synctest.Test(t, func(t *testing.T) {
		var log logs
		f := newFake(card)
		s := f.use(t, Config{Logger: log.logger(), CallTimeout: 10 * time.Second})
		r := request(t, s, 3, pinsOf("1234"))
		release := make(chan struct{})
		f.on = func(function string) error {
			if function == "C_Sign" && f.count("C_Sign") == 2 {
				<-release
			}
			return nil
		}
		start := time.Now()
		signatures, err := s.Sign(t.Context(), r)
		requireCode(t, hub.CodeInternal, err)
		assert.Equal(t, 10*time.Second, time.Since(start))
		assert.Len(t, signatures, 1)
		assert.Contains(t, log.String(), "doesn't answer")

		start = time.Now()
		_, err = s.Sign(t.Context(), r)
		requireCode(t, hub.CodeBusy, err)
		_, err = s.Status(t.Context())
		requireCode(t, hub.CodeBusy, err)
		assert.Zero(t, time.Since(start), "nobody waits twice")

		close(release)
		synctest.Wait()
		assert.Contains(t, log.String(), "answers again")
		r.PIN = pinsOf("1234").ask
		signatures, err = s.Sign(t.Context(), r)
		require.NoError(t, err)
		assert.Len(t, signatures, 3)
		require.NoError(t, s.Close())
	})
}

// Slow is not hung: the timeout is a call's, not a batch's.
func TestSlowModule(t *testing.T) {
	card := newCard(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake(card)
		s := f.use(t, Config{CallTimeout: 10 * time.Second})
		r := request(t, s, 20, pinsOf("1234"))
		f.on = func(function string) error {
			if function == "C_Sign" {
				time.Sleep(9 * time.Second)
			}
			return nil
		}
		signatures, err := s.Sign(t.Context(), r)
		require.NoError(t, err)
		assert.Len(t, signatures, 20)
		require.NoError(t, s.Close())
	})
}

// A caller whose context ends during a call leaves at once; who comes next
// waits for that call, but not for ever.
func TestHungAfterTheCallerLeft(t *testing.T) {
	card := newCard(t)
	synctest.Test(t, func(t *testing.T) {
		f := newFake(card)
		s := f.use(t, Config{CallTimeout: 10 * time.Second})
		r := request(t, s, 1, pinsOf("1234"))
		release := make(chan struct{})
		f.on = func(function string) error {
			if function == "C_Login" {
				<-release
			}
			return nil
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
		defer cancel()
		_, err := s.Sign(ctx, r)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 4*time.Second, time.Since(start))
		_, err = s.Certificates(t.Context())
		requireCode(t, hub.CodeBusy, err)
		assert.Equal(t, 10*time.Second, time.Since(start))

		require.Error(t, s.Close(), "it tells that the module hangs")
		close(release)
	})
}

// The user may take a while to type a PIN on the reader.
func TestPINPadIsWaitedFor(t *testing.T) {
	card := newCard(t)
	synctest.Test(t, func(t *testing.T) {
		card.flags |= pinPadFlag
		card.pin = ""
		f := newFake(card)
		s := f.use(t, Config{CallTimeout: 10 * time.Second})
		r := request(t, s, 1, pinsOf("not asked"))
		f.on = func(function string) error {
			if function == "C_Login" {
				time.Sleep(time.Minute)
			}
			return nil
		}
		_, err := s.Sign(t.Context(), r)
		require.NoError(t, err)
		assert.Equal(t, []string{""}, f.pins)
		require.NoError(t, s.Close())
	})
}
