package caddymodule

import (
	"fmt"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/signing"
)

// Client is an application that may ask for signatures.
type Client struct {
	// The client's id: the `iss` of its signature requests.
	ID string `json:"id"`

	// The client's name, which the browser page shows to users. The default is
	// the id.
	Name string `json:"name,omitempty"`

	// The public keys that verify the client's requests, and nobody else's.
	Keys KeySet `json:"keys"`

	// Where the browser goes when it has signed; `token` and `state` are added
	// to the query. It must be https, or http on a loopback address.
	// Placeholders such as `{env.NAME}` are expanded.
	Callback string `json:"callback"`
}

// provision finds the client's keys.
func (c *Client) provision(ctx caddy.Context, app *App) (directory.ConfiguredClient, error) {
	var none directory.ConfiguredClient
	callback, err := Secret(c.Callback).expandQuietly("callback of client " + c.ID)
	if err != nil {
		return none, err
	}
	c.Keys.Name, c.Keys.Issuer = "client "+c.ID, c.ID
	if err := app.addKeySet(ctx, &c.Keys); err != nil {
		return none, err
	}
	return directory.ConfiguredClient{
		Client: signing.Client{ID: c.ID, Name: c.Name, Callback: callback, Keys: c.Keys.pooled},
		Public: c.Keys.pooled,
	}, nil
}

// provisionClients provisions the clients of the configuration.
func (a *App) provisionClients(ctx caddy.Context) error {
	configured := make([]directory.ConfiguredClient, 0, len(a.Clients))
	seen := make(map[string]bool)
	for _, c := range a.Clients {
		if seen[c.ID] {
			return fmt.Errorf("client %s is configured twice", c.ID)
		}
		seen[c.ID] = true
		client, err := c.provision(ctx, a)
		if err != nil {
			return err
		}
		configured = append(configured, client)
	}
	var err error
	a.clients, err = directory.NewClients(directory.ClientsConfig{
		Configured: configured,
		Store:      a.handle.Backend(),
		Logger:     a.slogger,
		Now:        clock,
	})
	return err
}

// unmarshalClient reads a block in the global option:
//
//	client <id> {
//		name     <text>
//		keys     <module> ...
//		callback <url>
//	}
func unmarshalClient(d *caddyfile.Dispenser) (*Client, error) {
	c := new(Client)
	if err := textOption(d, &c.ID); err != nil {
		return nil, err
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		var err error
		switch d.Val() {
		case "name":
			err = textOption(d, &c.Name)
		case "keys":
			err = c.Keys.unmarshalSource(d)
		case "fail_startup":
			err = flagOption(d, &c.Keys.FailStartup)
		case "callback":
			err = textOption(d, &c.Callback)
		default:
			err = unknownOption(d, "client", "name", "keys", "callback", "fail_startup")
		}
		if err != nil {
			return nil, err
		}
	}
	switch {
	case len(c.Keys.SourcesRaw) == 0:
		return nil, d.Errf("client %s has no keys: `keys file <path>`, `keys url <url>` or `keys inline <jwk, jwks or pem>`", c.ID)
	case c.Callback == "":
		return nil, d.Errf("client %s has no callback: where does the browser go when it has signed?", c.ID)
	}
	return c, nil
}
