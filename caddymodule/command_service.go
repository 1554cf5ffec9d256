package caddymodule

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/storage"
)

const servicesPath = "/signpost/services"

// servicePath is the admin path of something that belongs to a service.
func servicePath(service string, parts ...string) string {
	var p strings.Builder
	p.WriteString(servicesPath + "/" + url.PathEscape(service))
	for _, part := range parts {
		p.WriteString("/" + url.PathEscape(part))
	}
	return p.String()
}

// serviceCommand is `caddy signpost service`.
func serviceCommand() *cobra.Command {
	return group("service", "Manages the services that are kept in storage",
		serviceAddCommand(), serviceListCommand(), serviceSettingsCommand(), serviceNotificationCommand(),
		group("key", "Manages the keys of stored services", keyAddCommand(), keyListCommand(), keyRevokeCommand()))
}

func serviceAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add <name>",
		Short: "Adds a service and prints its id",
		Args:  cobra.ExactArgs(1),
	}
	id := cmd.Flags().String("id", "", "The service's id, a UUID in lower case (default: a new one)")
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var s directory.ServiceInfo
		if err := admin.call(http.MethodPost, servicesPath, serviceRequest{ID: *id, Name: args[0]}, &s); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), s)
		}
		fmt.Fprintln(cmd.OutOrStdout(), s.ID)
		return nil
	}
	return cmd
}

func serviceListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "Lists the services of the configuration and of the storage", Args: cobra.NoArgs}
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var list []directory.ServiceInfo
		if err := admin.call(http.MethodGet, servicesPath, nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		rows := make([]string, len(list))
		for i, s := range list {
			rows[i] = fmt.Sprintf("%s\t%s\t%s\t%s", s.ID, s.Name, s.Origin, when(s.CreatedAt))
		}
		return printTable(cmd.OutOrStdout(), "ID\tNAME\tKEPT IN\tCREATED", rows)
	}
	return cmd
}

func serviceNotificationCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notification <service> <id>",
		Short: "Prints how far a notification has come, and why it failed",
		Args:  cobra.ExactArgs(2),
	}
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var n deliveryInfo
		if err := admin.call(http.MethodGet, servicePath(args[0], "notifications", args[1]), nil, &n); err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			return printJSON(w, n)
		}
		fmt.Fprintf(w, "notification %d (%s) by %s\n%s\n", n.ID, n.UUID, n.Sender, n.Status)
		if n.Reason != "" {
			fmt.Fprintf(w, "reason    %s\n", n.Reason)
		}
		fmt.Fprintf(w, "attempts  %d\ncreated   %s\nsent      %s\ncompleted %s\n", n.Attempts, when(&n.CreatedAt), when(n.SentAt), when(n.CompletedAt))
		return nil
	}
	return cmd
}

func keyAddCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add <service> <name>",
		Short: "Adds a key to a service and prints its secret, once",
		Args:  cobra.ExactArgs(2),
	}
	typ := cmd.Flags().String("type", "normal", "What the key may do: normal, team or test")
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var k directory.NewKey
		in := keyRequest{Name: args[1], Type: storage.KeyType(*typ)}
		if err := admin.call(http.MethodPost, servicePath(args[0], "keys"), in, &k); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), k)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "service  %s\nsecret   %s\nkey      %s\n", k.Service, k.Secret, k.Combined)
		fmt.Fprintln(cmd.ErrOrStderr(), "The secret is not shown again.")
		return nil
	}
	return cmd
}

func keyListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list <service>", Short: "Lists the keys of a service, revoked ones too", Args: cobra.ExactArgs(1)}
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var list []directory.KeyInfo
		if err := admin.call(http.MethodGet, servicePath(args[0], "keys"), nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		rows := make([]string, len(list))
		for i, k := range list {
			rows[i] = fmt.Sprintf("%s\t%s\t%s\t%s\t%s", k.Name, k.Type, k.Origin, when(k.CreatedAt), when(k.RevokedAt))
		}
		return printTable(cmd.OutOrStdout(), "NAME\tTYPE\tKEPT IN\tCREATED\tREVOKED", rows)
	}
	return cmd
}

func keyRevokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "revoke <service> <name>",
		Short: "Ends a key for good",
		Long: `Ends a key for good: this server refuses it at once, others on the same storage
within five seconds.`,
		Args: cobra.ExactArgs(2),
	}
	admin := adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := admin.call(http.MethodDelete, servicePath(args[0], "keys", args[1]), nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "revoked %s\n", args[1])
		return nil
	}
	return cmd
}

// when prints a time for people.
func when(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}
