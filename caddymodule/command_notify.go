package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

// notifyCommand is `caddy signpost notify`.
func notifyCommand() *cobra.Command {
	return group("notify", "Signs requests, sends notifications, explains tokens",
		notifyTokenCommand(), notifySendCommand(), notifyStatusCommand(), notifyExplainCommand())
}

// requestFlags describe the request that a token signs.
type requestFlags struct {
	method, path, body, dialect *string
}

func addRequestFlags(cmd *cobra.Command) requestFlags {
	f := cmd.Flags()
	return requestFlags{
		method:  f.String("method", http.MethodGet, "The request's method"),
		path:    f.String("path", "", "The request's path, below the base path"),
		body:    f.String("body", "", "The request's body, @file to read it from, or - for standard input"),
		dialect: f.String("dialect", "signed", "The kind of token: signed or v2"),
	}
}

// bodyFlag reads the body's exact bytes.
func bodyFlag(cmd *cobra.Command, value string) ([]byte, error) {
	if value == "-" {
		return io.ReadAll(cmd.InOrStdin())
	}
	if path, isFile := strings.CutPrefix(value, "@"); isFile {
		return os.ReadFile(path)
	}
	return []byte(value), nil
}

// atFlag reads a time as seconds since 1970 or as RFC 3339.
func atFlag(value string) (time.Time, error) {
	if value == "" {
		return clock(), nil
	}
	if s, err := strconv.ParseInt(value, 10, 64); err == nil {
		return time.Unix(s, 0), nil
	}
	t, err := time.Parse(time.RFC3339, value)
	if err != nil {
		return t, fmt.Errorf("--at %q: it must be seconds since 1970 or a time such as 2026-01-02T15:04:05Z", value)
	}
	return t, nil
}

func notifyTokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token --path <path> [--method <method>] [--body <body>]",
		Short: "Prints the token for a request",
		Long: `Prints the token that signs one request, for the header
"Authorization: Bearer <token>". It is valid for 30 seconds around its time.`,
		Example: `  curl -k https://localhost:8443/notifications/1 \
    -H "Authorization: Bearer $(caddy signpost notify token --path /notifications/1)"`,
		Args: cobra.NoArgs,
	}
	who, what := credentialFlags(cmd), addRequestFlags(cmd)
	at := cmd.Flags().String("at", "", "The token's time, as seconds since 1970 or RFC 3339 (default: now)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		m := notifyauth.MintRequest{Method: *what.method, Path: *what.path}
		var err error
		if m.Dialect, err = notifyauth.ParseDialect(*what.dialect); err != nil {
			return err
		}
		if m.Dialect == notifyauth.Signed && !strings.HasPrefix(m.Path, "/") {
			return errors.New("--path must start with a slash: it is signed")
		}
		if m.Service, m.Secret, err = who.get(); err != nil {
			return err
		}
		if m.Body, err = bodyFlag(cmd, *what.body); err != nil {
			return err
		}
		if m.IssuedAt, err = atFlag(*at); err != nil {
			return err
		}
		token, err := notifyauth.Mint(m)
		if err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), token)
		return nil
	}
	return cmd
}

func notifySendCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "send --to <recipient> --template <id> [--personalisation <name>=<value>]...",
		Short: "Sends a notification",
		Long: `Sends a text message, or an email when --to is an email address, and prints its
id and status. With --wait it waits until the status is final, and fails when
the notification could not be delivered. With --dialect v2 it calls the API of
today, whose template ids are UUIDs ('template list' shows them).`,
		Args: cobra.NoArgs,
	}
	client := notifyClientFlags(cmd)
	f := cmd.Flags()
	to := f.String("to", "", "The phone number or email address")
	template := f.String("template", "", "The template's id")
	personalisation := f.StringArrayP("personalisation", "p", nil, "A placeholder's value as name=value, repeatable, or all as one JSON object")
	wait := f.Bool("wait", false, "Wait for the final status")
	timeout := f.Duration("timeout", time.Minute, "How long to wait at most")
	asJSON := jsonFlag(cmd)
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.MarkFlagRequired("template")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := client.client()
		if err != nil {
			return err
		}
		values, err := personalisationFlag(*personalisation)
		if err != nil {
			return err
		}
		ctx, cancel := commandContext(cmd, *timeout)
		defer cancel()
		n, err := c.send(ctx, *to, *template, values)
		if err != nil {
			return err
		}
		return follow(ctx, cmd, c, n, *wait, *asJSON)
	}
	return cmd
}

func personalisationFlag(args []string) (map[string]any, error) {
	out := make(map[string]any)
	for _, a := range args {
		if strings.HasPrefix(strings.TrimSpace(a), "{") {
			if err := json.Unmarshal([]byte(a), &out); err != nil {
				return nil, fmt.Errorf("--personalisation: %w", err)
			}
			continue
		}
		name, value, ok := strings.Cut(a, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("--personalisation %q: write name=value or a JSON object", a)
		}
		out[name] = value
	}
	return out, nil
}

// follow prints the notification and, when asked, waits for its end.
func follow(ctx context.Context, cmd *cobra.Command, c *notifyClient, n *notification, wait, asJSON bool) error {
	w := cmd.OutOrStdout()
	tell := func(n *notification) {
		if !asJSON {
			fmt.Fprintln(w, n.status)
		}
	}
	if !asJSON {
		fmt.Fprintf(w, "notification %s to %s\n", n.id, n.to)
	}
	tell(n)
	var err error
	if wait {
		n, err = c.wait(ctx, n, tell)
	}
	if asJSON {
		if err := printJSON(w, n.answer); err != nil {
			return err
		}
	}
	if err == nil && wait && n.failed {
		err = fmt.Errorf("notification %s was not delivered", n.id)
	}
	return err
}

func notifyStatusCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "status <id>", Short: "Prints a notification and its status", Args: cobra.ExactArgs(1)}
	client := notifyClientFlags(cmd)
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c, err := client.client()
		if err != nil {
			return err
		}
		ctx, cancel := commandContext(cmd, clientTimeout)
		defer cancel()
		n, err := c.get(ctx, args[0])
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			return printJSON(w, n.answer)
		}
		fmt.Fprintf(w, "notification %s to %s\n%s\n", n.id, n.to, n.status)
		for _, t := range n.times {
			if t[1] != "" {
				fmt.Fprintf(w, "%-9s %s\n", t[0], t[1])
			}
		}
		return nil
	}
	return cmd
}

// commandContext ends on Ctrl-C and after the timeout.
func commandContext(cmd *cobra.Command, timeout time.Duration) (context.Context, context.CancelFunc) {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, stop := signal.NotifyContext(parent, os.Interrupt)
	ctx, cancel := context.WithTimeout(ctx, timeout)
	return ctx, func() { cancel(); stop() }
}
