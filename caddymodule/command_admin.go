package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// adminClient calls Signpost's routes on the admin API of a running Caddy.
type adminClient struct {
	address, config, adapter *string
}

// adminFlags adds the flags that Caddy's own commands have.
func adminFlags(cmd *cobra.Command) adminClient {
	f := cmd.Flags()
	return adminClient{
		address: f.String("address", "", "Address of the administration API listener (if --config is not used)"),
		config:  f.StringP("config", "c", "", "Configuration file (if --address is not used)"),
		adapter: f.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)"),
	}
}

// call sends in as JSON (nothing when nil) and decodes the answer into out
// (nothing when nil).
func (c adminClient) call(method, path string, in, out any) error {
	addr, err := caddycmd.DetermineAdminAPIAddress(*c.address, nil, *c.config, *c.adapter)
	if err != nil {
		return fmt.Errorf("finding the admin API: %w", err)
	}
	var body io.Reader
	header := make(http.Header)
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
		header.Set("Content-Type", "application/json")
	}
	// AdminAPIRequest turns answers of 400 and above into errors with the
	// server's own words.
	resp, err := caddycmd.AdminAPIRequest(addr, method, path, header, body)
	if err != nil {
		return fmt.Errorf("calling the admin API at %s: %w", addr, err)
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("reading the admin API's answer: %w", err)
	}
	return nil
}
