package pkcs11

import (
	"testing"

	ck "github.com/miekg/pkcs11"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/signpost-gateway/signpost/handlers/hub"
)

const pinPadFlag = ck.CKF_PROTECTED_AUTHENTICATION_PATH

func TestPINs(t *testing.T) {
	ask := func(retries int, wrong bool) hub.PINRequest {
		return hub.PINRequest{Token: "card", Retries: retries, Wrong: wrong}
	}
	tests := []struct {
		name       string
		configured string
		tries      int
		answers    []string
		presented  []string
		asked      []hub.PINRequest
		code       hub.Code // "": signed
		retries    int
	}{
		{"right at once", "", 3, []string{"1234"}, []string{"1234"}, []hub.PINRequest{ask(-1, false)}, "", 0},
		{"wrong, then right", "", 3, []string{"0000", "1234"}, []string{"0000", "1234"}, []hub.PINRequest{ask(-1, false), ask(-1, true)}, "", 0},
		{
			"the last try", "", 3,
			[]string{"0000", "1111", "1234"},
			[]string{"0000", "1111", "1234"},
			[]hub.PINRequest{ask(-1, false), ask(-1, true), ask(1, true)},
			"", 0,
		},
		{
			"blocked", "", 3,
			[]string{"0000", "1111", "2222", "1234"},
			[]string{"0000", "1111", "2222"},
			[]hub.PINRequest{ask(-1, false), ask(-1, true), ask(1, true)},
			hub.CodePINBlocked, 0,
		},
		{
			"the same wrong one again is not presented", "", 3,
			[]string{"0000", "0000"},
			[]string{"0000"},
			[]hub.PINRequest{ask(-1, false), ask(-1, true)},
			hub.CodePINIncorrect, -1,
		},
		{
			"the user gives up", "", 2,
			[]string{"0000"},
			[]string{"0000"},
			[]hub.PINRequest{ask(-1, false), ask(1, true)},
			hub.CodeUserCancelled, -1,
		},
		{"configured", "1234", 3, nil, []string{"1234"}, nil, "", 0},
		{"configured wrong, then asked", "9999", 3, []string{"1234"}, []string{"9999", "1234"}, []hub.PINRequest{ask(-1, true)}, "", 0},
		{
			"configured wrong, and so the user", "9999", 3,
			[]string{"9999"},
			[]string{"9999"},
			[]hub.PINRequest{ask(-1, true)},
			hub.CodePINIncorrect, -1,
		},
		{"configured is not the last try", "1234", 1, []string{"1234"}, []string{"1234"}, []hub.PINRequest{ask(1, false)}, "", 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			card := newCard(t)
			card.tries, card.serial = test.tries, t.Name()
			f := newFake(card)
			var log logs
			s := f.use(t, Config{PIN: test.configured, Logger: log.logger()})
			pins := pinsOf(test.answers...)
			_, err := s.Sign(t.Context(), request(t, s, 1, pins))
			assert.Equal(t, test.presented, f.pins)
			assert.Equal(t, test.asked, pins.asked)
			for _, pin := range append(test.answers, test.configured) {
				if pin != "" {
					assert.NotContains(t, log.String(), pin)
				}
			}
			if test.code == "" {
				require.NoError(t, err)
				return
			}
			assert.Equal(t, test.retries, requireCode(t, test.code, err).RetriesLeft)
		})
	}
}

// A wrong PIN of the configuration is presented once in a process, whatever is
// loaded again.
func TestConfiguredPINIsTriedOnce(t *testing.T) {
	card := newCard(t)
	card.serial = t.Name()
	f := newFake(card)
	for i := range 5 {
		s := f.use(t, Config{PIN: "9999"})
		for range 2 {
			r := request(t, s, 1, nil)
			r.PIN = nil
			_, err := s.Sign(t.Context(), r)
			requireCode(t, hub.CodePINIncorrect, err)
		}
		assert.Equal(t, []string{"9999"}, f.pins, "load %d", i)
		status, err := s.Status(t.Context())
		require.NoError(t, err)
		assert.NotNil(t, status.PIN, "from now on the user is asked")
	}
	corrected := f.use(t, Config{PIN: "1234"})
	r := request(t, corrected, 1, nil)
	r.PIN = nil
	_, err := corrected.Sign(t.Context(), r)
	require.NoError(t, err)
}

// The same holds for a PIN that only the key refuses, before each signature.
func TestConfiguredPINIsTriedOnceForAKey(t *testing.T) {
	card := newCard(t)
	card.serial, card.keyPIN, card.pairs[0].always = t.Name(), "5678", true
	f := newFake(card)
	s := f.use(t, Config{PIN: "1234"})
	for range 3 {
		r := request(t, s, 1, nil)
		r.PIN = nil
		_, err := s.Sign(t.Context(), r)
		requireCode(t, hub.CodePINIncorrect, err)
	}
	assert.Equal(t, []string{"1234", "1234"}, f.pins, "once to the token and once to the key")
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	assert.NotNil(t, status.PIN, "from now on the user is asked")
}

// With one try left and nobody to ask, the card is left alone.
func TestConfiguredPINSparesTheLastTry(t *testing.T) {
	card := newCard(t)
	card.tries = 1
	f := newFake(card)
	s := f.use(t, Config{PIN: "1234"})
	r := request(t, s, 1, nil)
	r.PIN = nil
	_, err := s.Sign(t.Context(), r)
	assert.Equal(t, 1, requireCode(t, hub.CodePINIncorrect, err).RetriesLeft)
	assert.Empty(t, f.pins)
}

func TestPINPad(t *testing.T) {
	card := newCard(t)
	card.flags |= pinPadFlag
	f := newFake(card)
	s := f.use(t, Config{PIN: "1234"})
	pins := pinsOf("1234")
	_, err := s.Sign(t.Context(), request(t, s, 1, pins))
	requireCode(t, hub.CodePINIncorrect, err)
	assert.Empty(t, pins.asked)
	assert.Equal(t, []string{""}, f.pins, "once: a new try is the user's decision")
}

// A login that another session left behind doesn't stand for this batch's PIN.
func TestAlreadyLoggedIn(t *testing.T) {
	card := newCard(t)
	f := newFake(card)
	s := f.use(t, Config{})
	other, err := f.OpenSession(0, ck.CKF_SERIAL_SESSION)
	require.NoError(t, err)
	r := request(t, s, 1, pinsOf("0000"))
	card.loggedIn = true
	_, err = s.Sign(t.Context(), r)
	requireCode(t, hub.CodeUserCancelled, err)
	assert.Equal(t, []string{"0000"}, f.pins)

	card.loggedIn = true
	r.PIN = pinsOf("1234").ask
	_, err = s.Sign(t.Context(), r)
	require.NoError(t, err)
	assert.False(t, card.loggedIn, "nor is this batch's PIN left for the next")
	require.NoError(t, f.CloseSession(other))
}

// What holds for a card whatever is done with it.
func TestCardModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		card := newCard(t)
		card.serial = rapid.StringMatching("[0-9]{16}").Draw(rt, "serial")
		card.pairs[0].always = rapid.Bool().Draw(rt, "always")
		f := newFake(card)
		configured := rapid.SampledFrom([]string{"", "1234", "9999"}).Draw(rt, "configured")
		s := f.use(t, Config{PIN: configured})
		defer func() { _ = s.Close() }()
		r := request(t, s, 0, nil)
		present := true
		rt.Repeat(map[string]func(*rapid.T){
			"remove": func(*rapid.T) {
				if present {
					f.remove(0)
					present = false
				}
			},
			"insert": func(*rapid.T) {
				f.insert(0, card)
				present = true
			},
			"unblock": func(*rapid.T) { card.tries = 3 },
			"reload": func(*rapid.T) {
				next := f.use(t, Config{PIN: configured})
				_ = s.Close()
				s = next
			},
			"sign": func(rt *rapid.T) {
				pins := pinsOf(rapid.SliceOfN(rapid.SampledFrom([]string{"1234", "0000", "1111"}), 0, 3).Draw(rt, "pins")...)
				r.PIN, r.Documents = pins.ask, documents(rapid.IntRange(1, 3).Draw(rt, "documents"))
				before := card.tries
				signatures, err := s.Sign(t.Context(), r)
				switch {
				case err == nil:
					requireVerified(rt, &card.pairs[0].key.PublicKey, r.Algorithm, r.Documents, signatures)
					if !present || before == 0 {
						rt.Fatalf("signed without a card, or with a blocked one")
					}
				case !present:
					requireCode(rt, hub.CodeNoCard, err)
				case before == 0:
					requireCode(rt, hub.CodePINBlocked, err)
				}
				if before > 1 && card.tries == 0 && len(pins.asked) == 0 {
					rt.Fatalf("the hub blocked the card by itself")
				}
			},
			"": func(rt *rapid.T) {
				wrong := 0
				for _, pin := range f.pins {
					if pin == "9999" {
						wrong++
					}
				}
				if wrong > 1 {
					rt.Fatalf("the wrong configured PIN was presented %d times", wrong)
				}
				if card.loggedIn || len(f.sessions) != 0 {
					rt.Fatalf("something was left open")
				}
			},
		})
	})
}
