package caddymodule

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// command returns `caddy signpost` with everything below it. Each subcommand
// is in a file of its own.
func command() caddycmd.Command {
	return caddycmd.Command{
		Name:  "signpost",
		Short: "Sends notifications, asks for signatures, manages services, clients, keys and key sets, signs and explains tokens, runs the signing hub",
		Long: `
Commands of Signpost, which signs and verifies requests.

'notify', 'key', 'jwks', 'jwt' and 'sign' need no configuration: they work with
any server that speaks the protocol. 'hub' runs on the computer of whoever
signs. 'service', 'template', 'client', 'storage' and 'delivery' talk to the
admin API of a running Caddy (--address, or --config to read the address from);
'storage copy' works on the databases themselves.`,
		CobraFunc: func(cmd *cobra.Command) {
			// Without these, cobra prints the help for an unknown subcommand
			// and reports success.
			cmd.Args, cmd.RunE = cobra.NoArgs, showHelp
			cmd.AddCommand(
				notifyCommand(),
				keyCommand(),
				jwksCommand(),
				jwtCommand(),
				signCommand(),
				hubCommand(),
				serviceCommand(),
				templateCommand(),
				clientCommand(),
				storageCommand(),
				deliveryCommand(),
			)
		},
	}
}

// group is a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: showHelp}
	cmd.AddCommand(subs...)
	return cmd
}

func showHelp(cmd *cobra.Command, _ []string) error { return cmd.Help() }

// jsonFlag adds --json to a command that prints for people by default.
func jsonFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("json", false, "Print JSON for programs")
}

// printJSON writes one indented JSON document.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printTable aligns rows of cells that are separated by tabs.
func printTable(w io.Writer, header string, rows []string) error {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, header)
	for _, r := range rows {
		fmt.Fprintln(t, r)
	}
	return t.Flush()
}
