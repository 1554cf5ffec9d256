package caddymodule

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sort"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/delivery"
)

// storageCommand is `caddy signpost storage`.
func storageCommand() *cobra.Command {
	return group("storage", "Looks after the storage", storageStatusCommand(), storageBackupCommand(), storageCopyCommand())
}

func storageStatusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Prints the state of storage and queue", Args: cobra.NoArgs}
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var s statusInfo
		if err := admin.call(http.MethodGet, "/signpost/status", nil, &s); err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			return printJSON(w, s)
		}
		fmt.Fprintf(w, "storage      %s\nqueued       %d (oldest %s)\noutstanding  %d\ndead letters %d\ncallbacks    %d\n",
			s.Storage, s.Queued, when(s.OldestQueued), s.Outstanding, s.DeadLettered, s.Callbacks)
		channels := make([]string, 0, len(s.Senders))
		for c := range s.Senders {
			channels = append(channels, c)
		}
		sort.Strings(channels)
		for _, c := range channels {
			fmt.Fprintf(w, "%-12s by %s\n", c, strings.Join(s.Routes[c], ", then "))
		}
		for _, p := range s.Providers {
			if p.Breaker != delivery.BreakerClosed {
				fmt.Fprintf(w, "%-12s passed over: breaker %s since %s, after %d failures\n", p.Name, p.Breaker, when(&p.Since), p.Failures)
			}
		}
		return nil
	}
	return cmd
}

func storageBackupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup <file>",
		Short: "Copies the database while it is in use",
		Long: `Copies the SQLite database into a new file while the server goes on; the server
writes it, so it must be able to. The copy holds everything up to one moment.
Keep the secrets key (the file beside the database that ends in .key) with it:
without that key the stored secrets can't be read.`,
		Args: cobra.ExactArgs(1),
	}
	admin := adminFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		path, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		if err := admin.call(http.MethodPost, "/signpost/storage/backup", backupRequest{Path: path}, nil); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), path)
		return nil
	}
	return cmd
}
