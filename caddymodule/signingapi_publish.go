package caddymodule

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/caddyserver/caddy/v2"

	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/jwks"
)

// publish makes what serves the clients' keys, and warns of what is known now to
// be more than hubs read. What is known later, of keys that are still to be
// loaded and of stored clients, the publisher itself tells.
func (s *SigningAPI) publish(ctx caddy.Context) *signing.KeyPublisher {
	configured := 0
	for _, c := range s.app.Clients {
		configured += max(1, len(c.Keys.pooled.Keys())) // keys that aren't loaded yet are one at least
	}
	if configured > signing.MaxPublishedKeys {
		ctx.Logger().Warn("publish_keys: the clients have more keys than hubs read: hubs will refuse the requests of the last clients",
			zap.Int("keys", configured), zap.Int("read", signing.MaxPublishedKeys))
	}
	return signing.PublishKeys(signing.PublishConfig{List: s.app.listClientKeys, Logger: moduleLogger(ctx), Now: clock})
}

// listClientKeys lists the keys of all clients, as the API finds them.
func (a *App) listClientKeys(ctx context.Context) ([]signing.ClientKeys, error) {
	all, err := a.clients.ListClients(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]signing.ClientKeys, 0, len(all))
	for _, info := range all {
		client, err := a.clients.Client(ctx, info.ID)
		switch {
		case errors.Is(err, signing.ErrUnknownClient): // removed just now
			continue
		case err != nil:
			return nil, err
		}
		if keys, ok := client.Keys.(jwks.KeyLister); ok {
			list = append(list, signing.ClientKeys{ID: info.ID, Keys: keys.Keys()})
		}
	}
	return list, nil
}
