package caddymodule

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/notifyauth"
)

func notifyExplainCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "explain <token> --path <path> [--method <method>] [--body <body>]",
		Short: "Says which check of a token fails and why",
		Long: `Checks a token against a request as the server does and says in plain words what
each check finds: the token's form, its signature, how far its time is off, the
method and path that were signed, and the body. The token may be the whole
value of the Authorization header.

Nothing is sent: the service and its secret are needed to check signatures.
Exit status 1 means that the server would refuse the request.`,
		Args: cobra.ExactArgs(1),
	}
	who, what := credentialFlags(cmd), addRequestFlags(cmd)
	f := cmd.Flags()
	at := f.String("at", "", "The server's time, as seconds since 1970 or RFC 3339 (default: now)")
	leeway := f.Duration("leeway", notifyauth.DefaultLeeway, "The server's leeway")
	basePath := f.String("base-path", "", "The server's base_path; --path then starts with it")
	serveRoot := f.Bool("serve-root", false, "The server takes paths without the base path too, as notify_api does")
	query := f.String("query", "refuse", "The server's query policy: refuse, signed or unsigned")
	encoding := f.String("content-encoding", "", "The request's Content-Encoding")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := notifyauth.ExplainRequest{
			Authorization: args[0], Method: *what.method, Target: *what.path,
			Leeway: *leeway, BasePath: *basePath, ContentEncoding: *encoding, ServeRoot: *serveRoot,
		}
		var err error
		if req.Dialect, err = notifyauth.ParseDialect(*what.dialect); err != nil {
			return err
		}
		if req.Query, err = notifyauth.ParseQueryPolicy(*query); err != nil {
			return err
		}
		if req.Dialect == notifyauth.V2 && !cmd.Flags().Changed("query") {
			req.Query = notifyauth.QueryUnsigned
		}
		if req.Body, err = bodyFlag(cmd, *what.body); err != nil {
			return err
		}
		if req.Now, err = atFlag(*at); err != nil {
			return err
		}
		if who.given() {
			service, secret, err := who.get()
			if err != nil {
				return err
			}
			key, err := notifyauth.NewKey("given", secret)
			if err != nil {
				return err
			}
			req.Services = notifyauth.StaticServices(&notifyauth.Service{ID: service, Name: service, Keys: []*notifyauth.Key{key}})
		}
		report, err := notifyauth.Explain(context.Background(), req)
		if err != nil {
			return err
		}
		w := cmd.OutOrStdout()
		if *asJSON {
			if err := printJSON(w, report); err != nil {
				return err
			}
		} else {
			fmt.Fprint(w, report)
		}
		if report.Code != "" {
			cmd.SilenceUsage, cmd.SilenceErrors = true, true
			return errors.New("refused")
		}
		return nil
	}
	return cmd
}
