package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/signpost-gateway/signpost/handlers/delivery"
	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const appID = "signpost"

// clock is the time that every module reads; tests replace it.
var clock = time.Now

// App is what Signpost's handlers share: the services that may sign requests,
// the key sets that verify tokens, the storage in which notifications are kept,
// and the providers that deliver them.
type App struct {
	// Where notifications, stored services and templates are kept. The default
	// is `sqlite` with `signpost.db` in Caddy's data directory. It is opened
	// only when something needs it: `notify_api`, `notify_auth` with `replay
	// reject` or with services that this configuration does not have, or a
	// management command.
	StorageRaw json.RawMessage `json:"storage,omitempty" caddy:"namespace=signpost.storage inline_key=module"`

	// The services of this configuration. More may be kept in storage and
	// managed with `caddy signpost service`.
	Services []*Service `json:"services,omitempty"`

	// The key sets to which handlers refer by name.
	KeySets []*KeySet `json:"key_sets,omitempty"`

	// The signing clients of this configuration. More may be kept in storage and
	// managed with `caddy signpost client`.
	Clients []*Client `json:"clients,omitempty"`

	// How notifications are delivered: the providers of each channel, in the
	// order in which they are called. A channel without an entry is delivered by
	// `log`, which writes a line and sends nothing.
	Delivery []*Delivery `json:"delivery,omitempty"`

	// How many deliveries run at once, and how long they are retried.
	Dispatch Dispatch `json:"dispatch,omitzero"`

	logger     *zap.Logger
	slogger    *slog.Logger
	storage    storageModule
	handle     *storage.Handle
	poolKey    string
	needs      []string // who needs the storage
	configured []string // ids of the configuration's services
	directory  *directory.Directory
	keySets    map[string]*KeySet // by name, those of handlers too
	clients    *directory.Clients
	hubs       []*pooledHub
	outlets    outlets
	callbacks  *delivery.Callbacks
	dispatcher *delivery.Dispatcher
	running    *running // nil unless started
	health     *healthCheck
}

// CaddyModule returns the Caddy module information.
func (App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: appID, New: func() caddy.Module { return new(App) }}
}

// Provision reads the configuration. It opens nothing, so that `caddy
// validate` may run beside a server.
func (a *App) Provision(ctx caddy.Context) error {
	a.logger, a.slogger = ctx.Logger(), moduleLogger(ctx)
	a.health = new(healthCheck)
	if err := registerMetrics(ctx.GetMetricsRegistry()); err != nil {
		return err
	}
	if a.StorageRaw == nil {
		a.StorageRaw = json.RawMessage(`{"module":"sqlite"}`)
	}
	v, err := ctx.LoadModule(a, "StorageRaw")
	if err != nil {
		return fmt.Errorf("loading the storage module: %w", err)
	}
	module, ok := v.(storageModule)
	if !ok {
		return fmt.Errorf("module %T is not a storage of signpost", v)
	}
	a.storage = module
	if a.handle, a.poolKey, err = acquireHandle(module); err != nil {
		return err
	}
	if err := a.provisionServices(); err != nil {
		return err
	}
	if err := a.provisionKeySets(ctx); err != nil {
		return err
	}
	if err := a.provisionClients(ctx); err != nil {
		return err
	}
	if a.callbacks, err = a.newCallbacks(); err != nil {
		return err
	}
	if a.outlets, err = a.provisionDelivery(ctx); err != nil {
		return err
	}
	a.dispatcher, err = a.newDispatcher()
	return err
}

// configuredAt is when the templates of the configuration were made, as far as
// clients are told: the process's first load, so that a reload doesn't change it.
var configuredAt = sync.OnceValue(func() time.Time { return clock() })

func (a *App) provisionServices() error {
	configured := make([]directory.Configured, 0, len(a.Services))
	seen := make(map[string]string)
	for _, s := range a.Services {
		c, err := s.provision(a.logger, seen)
		if err != nil {
			return err
		}
		configured = append(configured, c)
		a.configured = append(a.configured, s.ID)
	}
	slices.Sort(a.configured)
	var err error
	a.directory, err = directory.New(directory.Config{
		Configured:   configured,
		ConfiguredAt: configuredAt(),
		Store:        a.handle.Backend(),
		Logger:       a.slogger,
		Now:          clock,
	})
	return err
}

// Start fetches the keys of the key sets, opens the signers of hubs, opens and
// migrates the storage when something needs it, and begins to deliver. Its
// failure leaves the previous configuration running.
func (a *App) Start() error {
	if err := a.startKeySets(context.Background()); err != nil {
		return err
	}
	if err := a.openSigners(); err != nil {
		return err
	}
	if len(a.needs) == 0 {
		return nil
	}
	if err := a.openStorage(context.Background()); err != nil {
		return err
	}
	a.logger.Debug("storage is open", zap.String("storage", a.poolKey), zap.Strings("needed_by", a.needs))
	var err error
	a.running, err = a.runDispatcher()
	return err
}

// Stop ends claiming at once. Sends in flight are finished: in the background
// after a reload, while the process waits when it exits.
func (a *App) Stop() error {
	if a.running == nil {
		return nil
	}
	return a.running.stop(caddy.Exiting())
}

// Cleanup gives up the hubs, the key sets and the storage, which closes when the
// last request and the last send have released it. It may follow a Provision
// that failed half-way.
func (a *App) Cleanup() error {
	errs := a.releaseHubs()
	for _, k := range a.keySets {
		errs = append(errs, k.pooled.release())
	}
	if a.poolKey != "" {
		_, err := storages.Delete(a.poolKey)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// appOf returns the configuration's app; a configuration without one gets the
// defaults.
func appOf(ctx caddy.Context) (*App, error) {
	v, err := ctx.App(appID)
	if err != nil {
		return nil, err
	}
	return v.(*App), nil
}

// parseGlobalOption reads the global option:
//
//	signpost {
//		storage  <module> ...
//		service  <id> { ... }
//		key_set  <name> { ... }
//		client   <id> { ... }
//		delivery <sms|email> <module> ...
//		dispatch { ... }
//	}
func parseGlobalOption(d *caddyfile.Dispenser, prev any) (any, error) {
	if prev != nil {
		d.Next() // so that the error has a line
		return nil, d.Err("the global option signpost is given twice")
	}
	a := new(App)
	if err := a.UnmarshalCaddyfile(d); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: appID, Value: caddyconfig.JSON(a, nil)}, nil
}

// UnmarshalCaddyfile sets up the app, see parseGlobalOption.
func (a *App) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the option's name
	if d.NextArg() {
		return d.ArgErr()
	}
	names := make(senderNames)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "storage":
			if a.StorageRaw != nil {
				return d.Err("storage is given twice")
			}
			name, v, err := unmarshalGuest(d, "signpost.storage")
			if err != nil {
				return err
			}
			a.StorageRaw = caddyconfig.JSONModuleObject(v, "module", name, nil)
		case "service":
			s, err := unmarshalService(d)
			if err != nil {
				return err
			}
			a.Services = append(a.Services, s)
		case "key_set":
			k, err := unmarshalKeySet(d)
			if err != nil {
				return err
			}
			a.KeySets = append(a.KeySets, k)
		case "client":
			c, err := unmarshalClient(d)
			if err != nil {
				return err
			}
			a.Clients = append(a.Clients, c)
		case "delivery":
			v, err := unmarshalDelivery(d, names)
			if err != nil {
				return err
			}
			a.Delivery = append(a.Delivery, v)
		case "dispatch":
			if err := a.Dispatch.unmarshal(d); err != nil {
				return err
			}
		default:
			return unknownOption(d, "signpost", "storage", "service", "key_set", "client", "delivery", "dispatch")
		}
	}
	return nil
}

// unmarshalGuest reads the name of a guest module and lets it read the rest.
func unmarshalGuest(d *caddyfile.Dispenser, namespace string) (string, any, error) {
	if !d.NextArg() {
		return "", nil, d.ArgErr()
	}
	name := d.Val()
	v, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	return name, v, err
}

// Interface guards
var (
	_ caddy.App             = (*App)(nil)
	_ caddy.Provisioner     = (*App)(nil)
	_ caddy.CleanerUpper    = (*App)(nil)
	_ caddyfile.Unmarshaler = (*App)(nil)
)
