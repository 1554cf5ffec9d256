package caddymodule

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// keyCommand is `caddy signpost key`.
func keyCommand() *cobra.Command {
	return group("key", "Makes secrets", keyGenerateCommand())
}

func keyGenerateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "generate [--service] [--secrets-key]",
		Short: "Prints a new random secret for a service's key",
		Long: `Prints a new random secret: a version 4 UUID in lower case (122 random bits), as
GOV.UK Notify's own secrets are. Write it to a file that only Caddy can read
and name it in the Caddyfile as {file./path/to/it}.

With --service it prints a service id, a secret, and the combined key string
that GOV.UK Notify client libraries take. With --secrets-key it prints a key
(32 random bytes as base64) for the storage option of that name.`,
		Args: cobra.NoArgs,
	}
	service := cmd.Flags().Bool("service", false, "Make a service id too, and the combined key string")
	name := cmd.Flags().String("name", "key", "The key's name in the combined key string")
	secretsKey := cmd.Flags().Bool("secrets-key", false, "Make a key for the storage option secrets_key")
	asJSON := jsonFlag(cmd)
	cmd.MarkFlagsMutuallyExclusive("service", "secrets-key")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		out := map[string]string{}
		switch {
		case *secretsKey:
			b := make([]byte, storage.SecretsKeySize)
			_, _ = rand.Read(b) // never fails
			out["secrets_key"] = base64.StdEncoding.EncodeToString(b)
		case *service:
			id, secret := uuid.NewString(), uuid.NewString()
			out["service"], out["secret"], out["key"] = id, secret, keyName(*name)+"-"+id+"-"+secret
		default:
			out["secret"] = uuid.NewString()
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			return printJSON(w, out)
		}
		if len(out) == 1 {
			for _, v := range out {
				fmt.Fprintln(w, v)
			}
			return nil
		}
		fmt.Fprintf(w, "service  %s\nsecret   %s\nkey      %s\n", out["service"], out["secret"], out["key"])
		return nil
	}
	return cmd
}

// keyName makes a name fit for a key string: some clients refuse one with
// blanks.
func keyName(name string) string { return strings.Join(strings.Fields(name), "_") }
