package caddymodule

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
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
		Short: "Moves the data of a SQLite database into an empty PostgreSQL database",
		Long: `Copies everything of a SQLite database into an empty PostgreSQL database: ids,
states, what is queued, idempotency keys, counters. The secrets of API keys are
sealed anew under the target's secrets key. The copy is one transaction; its
counts are compared before it is committed, so that it is there as a whole or not
at all, and can be started again.

The source is the database of a stopped Caddy, or a copy of a running one's that
'caddy signpost storage backup' has made; one that is in use is refused. What is
created after a backup isn't in the copy, and what a backup holds as queued may
have been sent meanwhile: to move, stop Caddy, copy, and start it with the new
storage.

No admin API is called. Both databases are brought to this program's schema.`,
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	from := f.String("from", "", "The source: sqlite:<path>")
	to := f.String("to", "", "The target: a postgres:// URL, postgres:<keywords>, or postgres:@<file> with either (environment: "+dsnEnv+")")
	key := f.String("secrets-key", "", "The target's secrets key, 32 bytes as base64 or @<file> (environment: "+secretsKeyEnv+")")
	fromKey := f.String("from-secrets-key", "", "The source's secrets key, likewise (default: the file beside the database)")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cfg, err := copyConfig(*from, *to, *fromKey, *key)
		if err != nil {
			return err
		}
		bar := &progressBar{w: cmd.ErrOrStderr(), began: time.Now()}
		if terminal(os.Stderr) {
			cfg.Progress = bar.show
		}
		counts, err := copy.Run(cmd.Context(), cfg)
		bar.end()
		if err != nil {
			return err
		}
		if *asJSON {
			out := make(map[string]int64, len(counts))
			for _, c := range counts {
				out[c.Table] = c.Rows
			}
			return printJSON(cmd.OutOrStdout(), out)
		}
		rows := make([]string, len(counts))
		for i, c := range counts {
			rows[i] = fmt.Sprintf("%s\t%d", c.Table, c.Rows)
		}
		return printTable(cmd.OutOrStdout(), "TABLE\tROWS", rows)
	}
	return cmd
}

func copyConfig(from, to, fromKey, key string) (cfg copy.Config, err error) {
	path, ok := strings.CutPrefix(from, "sqlite:")
	if !ok || path == "" {
		return cfg, fmt.Errorf("--from %q: write sqlite:<path>", from)
	}
	dsn, err := copyTarget(to)
	if err != nil {
		return cfg, err
	}
	cfg.Reseal = directory.Reseal
	cfg.From = sqlite.Config{Path: path, Logger: slog.New(slog.DiscardHandler)}
	if fromKey != "" {
		if cfg.From.SecretsKey, err = keyFlag("--from-secrets-key", fromKey, ""); err != nil {
			return cfg, err
		}
	}
	cfg.To = postgres.Config{DSN: dsn}
	cfg.To.SecretsKey, err = keyFlag("--secrets-key", key, secretsKeyEnv)
	return cfg, err
}

func copyTarget(to string) (string, error) {
	if to == "" {
		to = os.Getenv(dsnEnv)
	}
	for _, scheme := range []string{"postgres://", "postgresql://"} {
		if strings.HasPrefix(to, scheme) {
			return to, nil
		}
	}
	dsn, ok := strings.CutPrefix(to, "postgres:")
	if !ok || dsn == "" {
		return "", errors.New("--to: write a postgres:// URL, postgres:<keywords> or postgres:@<file>")
	}
	return secretFlag(dsn, "")
}

func keyFlag(name, value, env string) ([]byte, error) {
	text, err := secretFlag(value, env)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if text == "" {
		return nil, fmt.Errorf("%s is required: that of the new configuration; `caddy signpost key generate --secrets-key` makes one", name)
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(b) != storage.SecretsKeySize {
		return nil, fmt.Errorf("%s must be %d bytes as base64", name, storage.SecretsKeySize)
	}
	return b, nil
}

// progressBar keeps one line of a terminal up to date.
type progressBar struct {
	w     io.Writer
	began time.Time
	shown time.Time
}

const (
	barWidth = 30
	barEvery = 100 * time.Millisecond
)

func (b *progressBar) show(p copy.Progress) {
	now := time.Now()
	if now.Sub(b.shown) < barEvery && p.AllDone < p.AllTotal {
		return
	}
	b.shown = now
	part := 1.0
	if p.AllTotal > 0 {
		part = float64(p.AllDone) / float64(p.AllTotal)
	}
	full := int(part * barWidth)
	perSecond := float64(p.AllDone) / max(now.Sub(b.began).Seconds(), 0.001)
	fmt.Fprintf(b.w, "\r[%s%s] %3.0f %%  %s of %s rows  %s/s  %s\033[K",
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*part,
		humanize.Comma(p.AllDone), humanize.Comma(p.AllTotal), humanize.Comma(int64(perSecond)), p.Table)
}

func (b *progressBar) end() {
	if !b.shown.IsZero() {
		fmt.Fprintln(b.w)
	}
}

// terminal reports whether somebody sees what is written.
func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
