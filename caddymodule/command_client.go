package caddymodule

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/signing"
	"github.com/signpost-gateway/signpost/jwks"
)

const clientsPath = "/signpost/clients"

// clientCommand is `caddy signpost client`.
func clientCommand() *cobra.Command {
	return group("client", "Manages the signing clients that are kept in storage",
		clientAddCommand(), clientListCommand(), clientRemoveCommand())
}

func clientAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add --keys <file> --callback <url> [--name <name>]",
		Short: "Adds a signing client and prints its id and the ids of its keys",
		Long: `Adds an application that may ask for signatures, and prints what it needs: its
id, which is the iss of its requests, and the id (kid) of each of its keys.

The keys are public ones: PEM, a JWK or a JWK set. One without an id gets its
RFC 7638 thumbprint as one, or the id that --kid says. The browser returns to
the callback when the user has signed: https, or http on a loopback address,
such as the one that sign request listens on.`,
		Example: `  caddy signpost jwks generate --kid pharmacy-1
  caddy signpost client add --name "The Pharmacy" --keys pharmacy-1.jwks.json --callback https://pharmacy.example.org/signed`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	keysFile := f.String("keys", "", "The file of the public keys (PEM, JWK or JWK set), or - for standard input")
	callback := f.String("callback", "", "Where the browser returns; token and state are added to the query")
	name := f.String("name", "", "The client's name, which the browser page shows (default: the id)")
	kid := f.String("kid", "", "The id of a key that has none")
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	_ = cmd.MarkFlagRequired("keys")
	_ = cmd.MarkFlagRequired("callback")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		text, err := readInput(cmd, *keysFile)
		if err != nil {
			return fmt.Errorf("--keys: %w", err)
		}
		keys, err := requestKeys(text, *kid)
		if err != nil {
			return fmt.Errorf("--keys: %w", err)
		}
		in := clientRequest{Name: *name, Callback: *callback}
		// Only what is public leaves this program, whatever else is in the file.
		if in.Keys, err = json.Marshal(jwks.JWKS{Keys: keys}); err != nil {
			return err
		}
		var c directory.ClientInfo
		if err := admin.call(http.MethodPost, clientsPath, in, &c); err != nil {
			return err
		}
		for _, k := range keys {
			if k.Bits < signing.DefaultMinKeyBits {
				fmt.Fprintf(cmd.ErrOrStderr(), "Note: signing_api refuses keys of less than %d bits, such as this one of %d, unless its min_key_bits says otherwise.\n", signing.DefaultMinKeyBits, k.Bits)
			}
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			return printJSON(w, c)
		}
		fmt.Fprintf(w, "client  %s\n", c.ID)
		for _, id := range c.KeyIDs {
			fmt.Fprintf(w, "kid     %s\n", printable(id))
		}
		return nil
	}
	return cmd
}

// requestKeys reads keys that can verify signature requests.
func requestKeys(text []byte, kid string) (jwks.Keys, error) {
	keys, skipped, err := jwks.Parse(text, jwks.Limits{})
	switch {
	case err != nil:
		return nil, err
	case len(skipped) > 0:
		return nil, fmt.Errorf("the key %s can't be used: %s", printable(skipped[0].Kid), printable(skipped[0].Reason))
	case len(keys) == 0:
		return nil, errors.New("there is no key")
	}
	if kid == "" {
		return keys, nil
	}
	if len(keys) != 1 || keys[0].Kid != "" && keys[0].Kid != kid {
		return nil, errors.New("--kid is for one key that has no id of its own")
	}
	key, err := jwks.NewKey(kid, keys[0].Alg, keys[0].Public)
	return jwks.Keys{key}, err
}

func clientListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists the signing clients of the configuration and of the storage", Args: cobra.NoArgs}
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list []directory.ClientInfo
		if err := admin.call(http.MethodGet, clientsPath, nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		rows := make([]string, len(list))
		for i, c := range list {
			kids := make([]string, len(c.KeyIDs))
			for i, id := range c.KeyIDs {
				kids[i] = printable(id)
			}
			rows[i] = fmt.Sprintf("%s\t%s\t%s\t%s\t%s\t%s", printable(c.ID), printable(c.Name), printable(strings.Join(kids, ",")), c.Callback, c.Origin, when(c.CreatedAt))
		}
		return printTable(cmd.OutOrStdout(), "ID\tNAME\tKEYS\tCALLBACK\tKEPT IN\tCREATED", rows)
	}
	return cmd
}

func clientRemoveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove <id>",
		Short: "Ends a signing client for good",
		Long: `Ends a signing client for good: this server refuses its requests at once, others
on the same storage within five seconds. Signatures that are waiting to be read
stay readable until their retention ends.`,
		Args: cobra.ExactArgs(1),
	}
	admin := adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := admin.call(http.MethodDelete, clientsPath+"/"+url.PathEscape(args[0]), nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "removed %s\n", args[0])
		return nil
	}
	return cmd
}
