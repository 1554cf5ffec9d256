package caddymodule

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/signpost-gateway/signpost/handlers/directory"
	"github.com/signpost-gateway/signpost/handlers/storage"
	"github.com/signpost-gateway/signpost/handlers/storage/copy"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
	"github.com/signpost-gateway/signpost/handlers/storage/sqlite"
)

const (
	secretsKeyEnv = "SIGNPOST_SECRETS_KEY" //nolint:gosec // G101: a name
	dsnEnv        = "SIGNPOST_DSN"
)

func storageCopyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy --from sqlite:<path> --to postgres:<dsn>",
		Short: "Moves the data of a SQLite database into a PostgreSQL database, or back",
		Long: `Copies everything of one database into another: ids, states, what is queued,
idempotency keys, counters. The secrets of API keys are sealed anew under the
target's secrets key.

The source may be in use. Copy it while it is; then stop its nodes and run the
same command again: it brings what has come, changed or gone since, which takes
seconds, and says that the target may be used. Until then nothing in the target
is due, and nodes refuse to start on it.

Each copy reads one moment of the source, compares the counts, and is one
transaction of the target: it is there as a whole or not at all, and can be
started again. A target is refused that holds other data, that was filled from
another source, or that nodes have used.

No admin API is called. The target is brought to this program's schema, and so is
a SQLite source that nobody uses.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	from := f.String("from", "", "The source: sqlite:<path>, or PostgreSQL as with --to")
	to := f.String("to", "", "The target: a postgres:// URL, postgres:<keywords>, postgres:@<file> with either, or sqlite:<path> (environment: "+dsnEnv+")")
	key := f.String("secrets-key", "", "The target's secrets key, 32 bytes as base64 or @<file> (environment, for PostgreSQL: "+secretsKeyEnv+"; default for SQLite: the file beside the database)")
	fromKey := f.String("from-secrets-key", "", "The source's secrets key, likewise")
	dryRun := f.Bool("dry-run", false, "Only show how many rows there are on both sides")
	verify := f.Bool("verify", false, "Only compare the rows of both sides")
	cmd.MarkFlagsMutuallyExclusive("dry-run", "verify")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := copyConfig(*from, *to, *fromKey, *key)
		if err != nil {
			return err
		}
		progress := newProgress(cmd.ErrOrStderr(), terminal(os.Stderr))
		cfg.Progress = progress.show
		parent := cmd.Context()
		if parent == nil {
			parent = context.Background()
		}
		ctx, stop := signal.NotifyContext(parent, syscall.SIGINT, syscall.SIGTERM)
		defer stop()
		if *dryRun || *verify {
			c, err := copy.Compare(ctx, cfg, *verify)
			progress.end()
			if err != nil {
				return err
			}
			return printComparison(cmd, c, *verify, *asJSON)
		}
		out, err := copy.Run(ctx, cfg)
		progress.end()
		if err != nil {
			return err
		}
		return printCopied(cmd, out, *asJSON)
	}
	return cmd
}

// copied is a copy's result for programs.
type copied struct {
	Live     bool                   `json:"live"`
	Complete bool                   `json:"complete"`
	Followed bool                   `json:"followed"`
	Anew     bool                   `json:"anew"`
	Tables   map[string]copiedTable `json:"tables"`
}

type copiedTable struct {
	Rows    int64 `json:"rows"`
	Written int64 `json:"written"`
}

func printCopied(cmd *cobra.Command, out copy.Result, asJSON bool) error {
	w := cmd.OutOrStdout()
	if asJSON {
		c := copied{out.Live, !out.Live, out.Followed, out.Anew, map[string]copiedTable{}}
		for _, t := range out.Counts {
			c.Tables[t.Table] = copiedTable{t.Rows, t.Written}
		}
		return printJSON(w, c)
	}
	rows := make([]string, len(out.Counts))
	for i, c := range out.Counts {
		rows[i] = fmt.Sprintf("%s\t%d\t%d", c.Table, c.Rows, c.Written)
	}
	if err := printTable(w, "TABLE\tROWS\tWRITTEN", rows); err != nil {
		return err
	}
	if out.Anew {
		fmt.Fprintln(w, "\nWhat had changed since the last copy didn't explain the counts: everything was copied again.")
	}
	if out.Live {
		fmt.Fprintln(w, `
The counts agree with the moment at which this copy began. The source is in use:
what changes in it since must follow. Stop its nodes and run the same command
again. Don't start nodes on the target before.`)
		return nil
	}
	fmt.Fprintln(w, `
The counts agree, and nobody uses the source: the target is complete. Start the
nodes on it, and none on the source any more.`)
	return nil
}

// compared is a comparison for programs.
type compared struct {
	Live    bool                     `json:"live"`
	Follows bool                     `json:"follows"`
	Waits   bool                     `json:"waits"`
	Same    bool                     `json:"same"`
	Tables  map[string]comparedTable `json:"tables"`
}

type comparedTable struct {
	Source int64 `json:"source"`
	Target int64 `json:"target"`
	Same   bool  `json:"same"`
}

// printComparison fails after a comparison of rows that found differences.
func printComparison(cmd *cobra.Command, c copy.Comparison, rows, asJSON bool) error {
	var err error
	if rows && !c.Same() {
		err = errors.New("source and target differ")
		if c.Live {
			err = errors.New("source and target differ; the source is in use, and may have changed since it was copied")
		}
	}
	w := cmd.OutOrStdout()
	if asJSON {
		out := compared{c.Live, c.Follows, c.Waits, c.Same(), map[string]comparedTable{}}
		for _, t := range c.Tables {
			out.Tables[t.Table] = comparedTable{t.From, t.To, !t.Differ}
		}
		return errors.Join(printJSON(w, out), err)
	}
	lines := make([]string, len(c.Tables))
	for i, t := range c.Tables {
		lines[i] = fmt.Sprintf("%s\t%d\t%d", t.Table, t.From, t.To)
		if t.Differ {
			lines[i] += "\tdiffers"
		}
	}
	if e := printTable(w, "TABLE\tSOURCE\tTARGET", lines); e != nil || err != nil {
		return errors.Join(e, err)
	}
	if rows {
		fmt.Fprintln(w, "\nSource and target are the same.")
		return nil
	}
	source, target := "Nobody uses the source.", "The target holds no copy of it."
	if c.Live {
		source = "The source is in use."
	}
	switch {
	case c.Waits:
		target = "The target holds a copy of it, and waits for the last one."
	case c.Follows:
		target = "The target holds a complete copy of it."
	}
	fmt.Fprintf(w, "\n%s %s Nothing was copied.\n", source, target)
	return nil
}

func copyConfig(from, to, fromKey, key string) (cfg copy.Config, err error) {
	cfg.Reseal, cfg.ResealSettings = directory.Reseal, directory.ResealSettings
	if cfg.From, err = copyPlace("--from", from, "--from-secrets-key", fromKey, ""); err != nil {
		return cfg, err
	}
	if to == "" {
		to = os.Getenv(dsnEnv)
	}
	cfg.To, err = copyPlace("--to", to, "--secrets-key", key, secretsKeyEnv)
	return cfg, err
}

// copyPlace reads the names of a database and of its key. Only PostgreSQL's has
// a variable of the environment, since SQLite's has a file of its own.
func copyPlace(name, value, keyName, key, keyEnv string) (p copy.Place, err error) {
	if path, ok := strings.CutPrefix(value, "sqlite:"); ok && path != "" {
		p.SQLite = &sqlite.Config{Path: path, Logger: slog.New(slog.DiscardHandler)}
		if key != "" {
			p.SQLite.SecretsKey, err = keyFlag(keyName, key, "")
		}
		return p, err
	}
	dsn, err := copyDSN(name, value)
	if err != nil {
		return p, err
	}
	p.Postgres = &postgres.Config{DSN: dsn}
	p.Postgres.SecretsKey, err = keyFlag(keyName, key, keyEnv)
	return p, err
}

func copyDSN(name, value string) (string, error) {
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if strings.HasPrefix(value, scheme) {
			return value, nil
		}
	}
	dsn, ok := strings.CutPrefix(value, "postgres:")
	if !ok || dsn == "" {
		return "", fmt.Errorf("%s: write sqlite:<path>, a postgres:// URL, postgres:<keywords> or postgres:@<file>", name)
	}
	return secretFlag(dsn, "")
}

func keyFlag(name, value, env string) ([]byte, error) {
	text, err := secretFlag(value, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if text == "" {
		return nil, fmt.Errorf("%s is required: that of the database's configuration; `caddy signpost key generate --secrets-key` makes one", name)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != storage.SecretsKeySize {
		return nil, fmt.Errorf("%s must be %d bytes as base64", name, storage.SecretsKeySize)
	}
	return b, nil
}

// terminal reports whether somebody sees what is written.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// newProgress returns what tells w how far a copy has come.
func newProgress(w io.Writer, isTerminal bool) *progress {
	if isTerminal {
		return &progress{w: w, every: barEvery, write: writeBar}
	}
	return &progress{w: w, every: lineEvery, write: writeLine}
}
