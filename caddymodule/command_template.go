package caddymodule

import (
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// templateCommand is `caddy signpost template`.
func templateCommand() *cobra.Command {
	return group("template", "Manages the templates that are kept in storage", templatePutCommand(), templateListCommand(), templateArchiveCommand())
}

func templatePutCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "put <service> [<body>]",
		Short: "Stores a template, or the next version of one",
		Long: `Stores a template, or the next version of one that has the same id. Without a
body it is read from standard input. Without --id it gets a new UUID, which both
dialects of the API take; an id such as 1 has a UUID beside it for v2, which
'template list' shows. An archived template is in use again.`,
		Args: cobra.RangeArgs(1, 2),
	}
	f := cmd.Flags()
	id := f.String("id", "", "The template's id, such as 1 (default: a new UUID)")
	typ := f.String("type", "sms", "The channel: sms or email")
	name := f.String("name", "", "The template's name, for people")
	subject := f.String("subject", "", "The subject, for emails")
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := templateRequest{ID: *id, Type: storage.Channel(*typ), Name: *name, Subject: *subject}
		if len(args) == 2 {
			in.Body = args[1]
		} else {
			b, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), maxAdminBody))
			if err != nil {
				return fmt.Errorf("reading the body: %w", err)
			}
			in.Body = strings.TrimSuffix(string(b), "\n")
		}
		var out templateInfo
		if err := admin.call(http.MethodPost, servicePath(args[0], "templates"), in, &out); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), out)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "template %s version %d\n", out.ID, out.Version)
		return nil
	}
	return cmd
}

func templateListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "list <service>", Short: "Lists the templates of a service", Args: cobra.ExactArgs(1)}
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var list []templateInfo
		if err := admin.call(http.MethodGet, servicePath(args[0], "templates"), nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		rows := make([]string, len(list))
		for i, t := range list {
			rows[i] = fmt.Sprintf("%s\t%s\t%d\t%s\t%s\t%s\t%s", t.ID, t.UUID, t.Version, t.Type, when(t.ArchivedAt), t.Name, firstLine(t.Body))
		}
		return printTable(cmd.OutOrStdout(), "ID\tV2 ID\tVERSION\tTYPE\tARCHIVED\tNAME\tBODY", rows)
	}
	return cmd
}

func templateArchiveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "archive <service> <id>",
		Short: "Ends a stored template: nothing can be sent with it any more",
		Args:  cobra.ExactArgs(2),
	}
	admin := adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := admin.call(http.MethodDelete, servicePath(args[0], "templates", args[1]), nil, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "archived %s\n", args[1])
		return nil
	}
	return cmd
}

// firstLine shortens a text to what fits into a table.
func firstLine(s string) string {
	line, rest, _ := strings.Cut(s, "\n")
	if r := []rune(line); len(r) > 50 {
		return string(r[:50]) + "…"
	}
	if rest != "" {
		return line + "…"
	}
	return line
}
