package caddymodule

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

const deadLettersPath = "/signpost/dead-letters"

// deliveryCommand is `caddy signpost delivery`.
func deliveryCommand() *cobra.Command {
	return group("delivery", "Looks after notifications that were given up", deadLettersCommand(), retryCommand())
}

func deadLettersCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dead-letters",
		Short: "Lists the notifications that were given up, newest first, and why",
		Args:  cobra.NoArgs,
	}
	f := cmd.Flags()
	service := f.String("service", "", "Only those of this service")
	since := f.String("since", "", "Only those given up since then, such as 2026-11-22T12:00:00Z or 2h (ago)")
	until := f.String("until", "", "Only those given up before then")
	before := f.Int64("before", 0, "Only ids below this one: the next page")
	limit := f.Int("limit", defaultDeadLetters, "How many at most")
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		q := url.Values{"limit": {strconv.Itoa(*limit)}}
		if *service != "" {
			q.Set("service", *service)
		}
		if *before != 0 {
			q.Set("before", strconv.FormatInt(*before, 10))
		}
		for name, text := range map[string]string{"since": *since, "until": *until} {
			at, err := moment(name, text)
			if err != nil {
				return err
			}
			if at != nil {
				q.Set(name, at.Format(time.RFC3339Nano))
			}
		}
		var list deadLetterList
		if err := admin.call(http.MethodGet, deadLettersPath+"?"+q.Encode(), nil, &list); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), list)
		}
		rows := make([]string, len(list.DeadLetters))
		for i, n := range list.DeadLetters {
			rows[i] = fmt.Sprintf("%d\t%s\t%s\t%s\t%d\t%s\t%s", n.ID, n.Service, n.Channel, n.Sender, n.Attempts, when(n.CompletedAt), n.Reason)
		}
		if err := printTable(cmd.OutOrStdout(), "ID\tSERVICE\tCHANNEL\tSENDER\tATTEMPTS\tGIVEN UP\tREASON", rows); err != nil {
			return err
		}
		if list.Next != 0 {
			fmt.Fprintf(cmd.ErrOrStderr(), "There may be more: --before %d\n", list.Next)
		}
		return nil
	}
	return cmd
}

func retryCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "retry [<id>...]",
		Short: "Queues notifications that were given up again, and prints how many",
		Long: `Queues notifications that were given up again: those of the ids, those of
--service, --since and --until, or --all. They are sent at once, by the providers
that their channel has now and with the reference that they had, so that a
provider that has taken one after all can tell.`,
	}
	f := cmd.Flags()
	service := f.String("service", "", "Those of this service")
	since := f.String("since", "", "Those given up since then, such as 2026-11-22T12:00:00Z or 2h (ago)")
	until := f.String("until", "", "Those given up before then")
	all := f.Bool("all", false, "All that there are")
	admin, asJSON := adminFlags(cmd), jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := retryRequest{Service: *service, All: *all}
		for _, text := range args {
			id, err := strconv.ParseInt(text, 10, 64)
			if err != nil || id < 1 {
				return fmt.Errorf("%q is not a notification's id, which is a number", text)
			}
			in.IDs = append(in.IDs, id)
		}
		var err error
		if in.Since, err = moment("since", *since); err != nil {
			return err
		}
		if in.Until, err = moment("until", *until); err != nil {
			return err
		}
		if !in.meant() {
			return errors.New("name ids, --service, --since or --until, or else say --all")
		}
		var out retryAnswer
		if err := admin.call(http.MethodPost, deadLettersPath+"/retry", in, &out); err != nil {
			return err
		}
		if *asJSON {
			return printJSON(cmd.OutOrStdout(), out)
		}
		fmt.Fprintln(cmd.OutOrStdout(), out.Retried)
		return nil
	}
	return cmd
}

// moment reads a time, or how long ago it was; nil for an empty text.
func moment(name, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		at := clock().Add(-ago).UTC()
		return &at, nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return nil, fmt.Errorf("--%s %q: it must be a time such as 2026-11-22T12:00:00Z, or a duration such as 2h", name, text)
	}
	return &at, nil
}
