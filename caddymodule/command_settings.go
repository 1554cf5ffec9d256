package caddymodule

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/directory"
)

func serviceSettingsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settings <service> [--file <settings.json>]",
		Short: "Prints or replaces the settings of a service, as JSON",
		Long: `Prints the settings of a service as a JSON object: sms_senders, reply_to,
email_from, guest_list, trial, inbound_numbers and callback. With --file it
replaces those of a stored service by what the file says, and prints them.

The bearer token of the callback (callback.bearer) is never printed; left out, it
stays what it was, as long as the URL does.`,
		Example: `  caddy signpost service settings 26785a09-ab16-4eb0-8407-a37497a57506 > settings.json
  caddy signpost service settings 26785a09-ab16-4eb0-8407-a37497a57506 --file settings.json`,
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	file := f.String("file", "", "The file with the new settings, or - for standard input")
	_ = f.Bool("show", false, "Print the settings (the default)")
	cmd.MarkFlagsMutuallyExclusive("file", "show")
	admin := adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		method, in := http.MethodGet, any(nil)
		if *file != "" {
			text, err := settingsFile(cmd, *file)
			if err != nil {
				return err
			}
			method, in = http.MethodPut, text
		}
		var out directory.SettingsInfo
		if err := admin.call(method, servicePath(args[0], "settings"), in, &out); err != nil {
			return err
		}
		return printJSON(cmd.OutOrStdout(), out)
	}
	return cmd
}

// settingsFile reads a JSON document; what it holds is the server's affair.
func settingsFile(cmd *cobra.Command, name string) (json.RawMessage, error) {
	in, what := cmd.InOrStdin(), name
	if name == "-" {
		what = "standard input"
	} else {
		f, err := os.Open(name) //nolint:gosec // the user names their own file
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxAdminBody))
	if err != nil {
		return nil, fmt.Errorf("reading the settings: %w", err)
	}
	if !json.Valid(bytes.TrimSpace(text)) {
		return nil, fmt.Errorf("%s is not a JSON document", what)
	}
	return text, nil
}
