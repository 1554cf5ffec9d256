package pkcs11

import (
	"context"
	"log/slog"

	ck "github.com/miekg/pkcs11"

	"github.com/signpost-gateway/signpost/handlers/hub"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
	"github.com/signpost-gateway/signpost/handlers/hub/internal/rsacert"
)

// Token is a token that a module sees.
type Token struct {
	Label, Serial, Manufacturer, Model string
	// PINBlocked tells that it takes no PIN any more, and PINFinalTry that the
	// next wrong one will block it.
	PINBlocked, PINFinalTry bool
	// PINPad tells that the PIN is typed on the reader.
	PINPad bool
	// Certificates are those to sign with, the best first.
	Certificates []hub.Certificate
	// Err is why there are none, when they could not be read.
	Err error
}

// Tokens lists the tokens that a module sees, for people who look for the name
// of theirs. It asks for no PIN.
func Tokens(ctx context.Context, module string, log *slog.Logger) ([]Token, error) {
	config := Config{Module: module, Logger: log}.withDefaults()
	m, err := cryptoki.Open(config.Module, config.Logger)
	if err != nil {
		return nil, err
	}
	found, err := list(ctx, m, config)
	if e := m.Close(); err == nil {
		err = e
	}
	return found, err
}

func list(ctx context.Context, m *cryptoki.Module, config Config) ([]Token, error) {
	var found []Token
	err := m.Do(ctx, config.CallTimeout, func(api cryptoki.API, alive func()) error {
		places, err := tokens(api)
		if err != nil {
			return err
		}
		list := make([]Token, len(places))
		for i, p := range places {
			t := p.token
			list[i] = Token{
				Label: t.Label, Serial: t.Serial, Manufacturer: t.Manufacturer, Model: t.Model,
				PINBlocked:  t.Flags&ck.CKF_USER_PIN_LOCKED != 0,
				PINFinalTry: t.Flags&ck.CKF_USER_PIN_FINAL_TRY != 0,
				PINPad:      t.Flags&ck.CKF_PROTECTED_AUTHENTICATION_PATH != 0,
			}
			list[i].Certificates, list[i].Err = inSession(api, alive, p, (*session).signing)
			rsacert.Sort(list[i].Certificates, config.Now())
		}
		found = list
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
