package directory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// allSettings is what the settings of the stored services say together.
type allSettings struct {
	numbers   map[string]string // the services by the numbers that are theirs
	callbacks map[string]storage.ServiceCallback
}

// configureSettings checks and adds the settings of a service of the
// configuration.
func (d *Directory) configureSettings(id string, s storage.ServiceSettings) error {
	if err := checkSettings(&s); err != nil {
		return fmt.Errorf("service %s: %w", id, err)
	}
	if s.Callback != nil {
		if err := checkBearer(s.Callback.Bearer); err != nil {
			return fmt.Errorf("service %s: %w", id, err)
		}
	}
	for _, n := range s.InboundNumbers {
		if other, taken := d.numbers[n]; taken {
			return fmt.Errorf("service %s: messages to %s are those of service %s: a number belongs to one service", id, n, other)
		}
		d.numbers[n] = id
	}
	d.settings[id] = s
	return nil
}

// Settings returns what is set for a service, nothing for one without settings,
// storage.ErrNotFound for an unknown one, or a technical error. The bearer token
// of the callback is in plain text; a stored one that can't be read is logged,
// and there is no callback then. Callers don't change what the slices hold.
func (d *Directory) Settings(ctx context.Context, serviceID string) (storage.ServiceSettings, error) {
	if s, ok := d.settings[serviceID]; ok {
		return s, nil
	}
	if d.store == nil || !CanBeStored(serviceID) {
		return storage.ServiceSettings{}, storage.ErrNotFound
	}
	return d.storedSettings.get(ctx, serviceID)
}

// ServiceOfNumber returns the service whose messages are those to a number: one
// of its InboundNumbers, with or without the "+". The error is storage.ErrNotFound
// when there is none.
func (d *Directory) ServiceOfNumber(ctx context.Context, number string) (serviceID string, err error) {
	number = strings.TrimSpace(number)
	spellings := []string{number, "+" + number}
	for _, n := range spellings {
		if id, ok := d.numbers[n]; ok {
			return id, nil
		}
	}
	if d.store == nil {
		return "", storage.ErrNotFound
	}
	all, err := d.storedAll.get(ctx, struct{}{})
	if err != nil {
		return "", err
	}
	for _, n := range spellings {
		if id, ok := all.numbers[n]; ok {
			return id, nil
		}
	}
	return "", storage.ErrNotFound
}

// CallbackTargets returns where the stored services want to be told what became
// of their notifications, by service, with bearer tokens in plain text. Callers
// don't change the map.
func (d *Directory) CallbackTargets(ctx context.Context) (map[string]storage.ServiceCallback, error) {
	if d.store == nil {
		return nil, nil
	}
	all, err := d.storedAll.get(ctx, struct{}{})
	if err != nil {
		return nil, err
	}
	return all.callbacks, nil
}

func (d *Directory) loadSettings(ctx context.Context, id string) (storage.ServiceSettings, error) {
	s, err := d.store.Service(ctx, id)
	if err != nil {
		return storage.ServiceSettings{}, err
	}
	return d.readSettings(ctx, &s)
}

func (d *Directory) loadAllSettings(ctx context.Context, _ struct{}) (*allSettings, error) {
	services, err := d.store.Services(ctx)
	if err != nil {
		return nil, err
	}
	all := &allSettings{numbers: map[string]string{}, callbacks: map[string]storage.ServiceCallback{}}
	for i := range services {
		id := services[i].ID
		if _, hidden := d.services[id]; hidden {
			continue
		}
		s, err := d.readSettings(ctx, &services[i])
		if errors.Is(err, errSettings) { // the other services go on
			d.log.ErrorContext(ctx, "the settings of a stored service can't be read", slog.String("service_id", id), slog.Any("error", err))
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, n := range s.InboundNumbers {
			if _, taken := all.numbers[n]; !taken {
				all.numbers[n] = id
			}
		}
		if s.Callback != nil {
			all.callbacks[id] = *s.Callback
		}
	}
	return all, nil
}

// errSettings says that what is stored of one service is damaged.
var errSettings = errors.New("the stored settings can't be read")

// readSettings opens the settings of a stored service.
func (d *Directory) readSettings(ctx context.Context, service *storage.Service) (storage.ServiceSettings, error) {
	s, err := parseSettings(service.Settings)
	if err != nil {
		return s, storage.Unavailable("reading the settings of service "+service.ID, err)
	}
	if s.Callback == nil {
		return s, nil
	}
	sealer, err := d.sealer(ctx)
	if err != nil {
		return storage.ServiceSettings{}, err
	}
	bearer, err := sealer.Open(s.Callback.Bearer, bearerContext(service.ID, s.Callback.URL))
	if err != nil {
		d.log.ErrorContext(ctx, "the bearer token of a stored service's callback can't be read",
			slog.String("service_id", service.ID), slog.Any("error", err))
		s.Callback = nil
		return s, nil
	}
	s.Callback.Bearer = bearer
	return s, nil
}

func parseSettings(text []byte) (s storage.ServiceSettings, err error) {
	if len(text) == 0 {
		return s, nil
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return storage.ServiceSettings{}, fmt.Errorf("%w: %w", errSettings, err)
	}
	return s, nil
}

// bearerContext binds the sealed token of a callback to its service and address.
func bearerContext(serviceID, address string) string {
	return "callback-bearer/" + serviceID + "/" + address
}

func (d *Directory) forgetSettings() {
	d.storedSettings.forget()
	d.storedAll.forget()
}
