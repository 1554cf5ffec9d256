package directory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// SettingsInfo describes the settings of a service without secrets.
type SettingsInfo struct {
	Service string `json:"service"`
	Origin  string `json:"origin"` // "configuration" or "storage"
	storage.ServiceSettings

	// Callback stands for that of ServiceSettings, which is nil.
	Callback *CallbackInfo `json:"callback,omitempty"`
}

// CallbackInfo describes a callback without its bearer token.
type CallbackInfo struct {
	URL string `json:"url"`
}

func settingsInfo(id, origin string, s storage.ServiceSettings) SettingsInfo {
	info := SettingsInfo{Service: id, Origin: origin, ServiceSettings: s}
	if s.Callback != nil {
		info.Callback = &CallbackInfo{s.Callback.URL}
	}
	info.ServiceSettings.Callback = nil
	return info
}

// SettingsInfo returns what is set for a service.
func (d *Directory) SettingsInfo(ctx context.Context, serviceID string) (SettingsInfo, error) {
	if s, ok := d.settings[serviceID]; ok {
		return settingsInfo(serviceID, originConfiguration, s), nil
	}
	if d.store == nil {
		return SettingsInfo{}, fmt.Errorf("service %s: %w", serviceID, storage.ErrNotFound)
	}
	_, s, err := d.readStored(ctx, serviceID)
	if err != nil {
		return SettingsInfo{}, err
	}
	return settingsInfo(serviceID, originStorage, s), nil
}

// PutSettings replaces the settings of a stored service. The bearer token of the
// callback is in plain text; left empty, it stays that of a callback which has
// the same URL already. This node uses the settings from now on, others within
// CacheFor.
func (d *Directory) PutSettings(ctx context.Context, serviceID string, s storage.ServiceSettings) (SettingsInfo, error) {
	var none SettingsInfo
	if d.store == nil {
		return none, ErrNoStorage
	}
	if _, ok := d.services[serviceID]; ok {
		return none, inputErrorf("service %s is in the configuration: change its settings there and reload", serviceID)
	}
	if err := checkSettings(&s); err != nil {
		return none, err
	}
	_, before, err := d.readStored(ctx, serviceID)
	if err != nil {
		return none, err
	}
	if err := d.checkNumbers(ctx, serviceID, s.InboundNumbers); err != nil {
		return none, err
	}
	if s.Callback != nil {
		sealed, err := d.sealCallback(ctx, serviceID, *s.Callback, before.Callback)
		if err != nil {
			return none, err
		}
		s.Callback = &sealed
	}
	text, err := json.Marshal(s)
	if err != nil {
		return none, err
	}
	err = d.store.PutServiceSettings(ctx, serviceID, text)
	d.forgetSettings()
	if err != nil {
		return none, err
	}
	return settingsInfo(serviceID, originStorage, s), nil
}

// readStored reads a stored service past the caches, with its settings as they
// are stored.
func (d *Directory) readStored(ctx context.Context, id string) (storage.Service, storage.ServiceSettings, error) {
	service, err := d.store.Service(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		err = fmt.Errorf("service %s: %w", id, err)
	}
	if err != nil {
		return service, storage.ServiceSettings{}, err
	}
	s, err := parseSettings(service.Settings)
	return service, s, storage.Unavailable("reading the settings of service "+id, err)
}

// checkNumbers refuses numbers that are another service's.
func (d *Directory) checkNumbers(ctx context.Context, serviceID string, numbers []string) error {
	if len(numbers) == 0 {
		return nil
	}
	d.storedAll.forget()
	for _, n := range numbers {
		switch other, err := d.ServiceOfNumber(ctx, n); {
		case errors.Is(err, storage.ErrNotFound):
		case err != nil:
			return err
		case other != serviceID:
			return inputErrorf("messages to %s are those of service %s: a number belongs to one service", n, other)
		}
	}
	return nil
}

func (d *Directory) sealCallback(ctx context.Context, serviceID string, c storage.ServiceCallback, before *storage.ServiceCallback) (storage.ServiceCallback, error) {
	if len(c.Bearer) == 0 && before != nil && before.URL == c.URL {
		c.Bearer = bytes.Clone(before.Bearer)
		return c, nil
	}
	if err := checkBearer(c.Bearer); err != nil {
		return c, err
	}
	sealer, err := d.sealer(ctx)
	if err != nil {
		return c, err
	}
	c.Bearer = sealer.Seal(c.Bearer, bearerContext(serviceID, c.URL))
	return c, nil
}
