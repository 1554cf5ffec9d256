package sqlite

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql/driver"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// countSealed counts the rows that may hold sealed secrets.
const countSealed = `SELECT (SELECT count(*) FROM api_key) + (SELECT count(*) FROM service WHERE settings <> x'')`

// secretsKey returns the configured secrets key or that of the key file, which
// it makes for a database without sealed secrets. A key other than that which
// sealed them is refused.
func secretsKey(ctx context.Context, cfg Config, c *conn) ([]byte, error) {
	sealed, _, err := c.one(ctx, countSealed)
	if err != nil {
		return nil, err
	}
	file := cfg.Path + ".key"
	key, from := cfg.SecretsKey, "the configured secrets key"
	if key == nil {
		from = "the secrets key in " + file
		key, err = readKey(file)
		if errors.Is(err, fs.ErrNotExist) {
			if sealed > 0 {
				return nil, fmt.Errorf("the secrets key %s is gone, but the database holds %d API keys and settings sealed under it: "+
					"restore that file from a backup, or configure the key", file, sealed)
			}
			key, err = makeKey(file)
		}
		if err != nil {
			return nil, err
		}
	}
	return bytes.Clone(key), checkKey(ctx, c, key, from, sealed > 0)
}

// checkCopied refuses the target of a copy that isn't complete.
func checkCopied(ctx context.Context, c *conn) error {
	var mark []byte
	if err := c.query(ctx, func(row []driver.Value) error {
		mark = asBytes(row[0])
		return nil
	}, `SELECT value FROM meta WHERE name = ?`, storage.CopyMark); err != nil {
		return err
	}
	return storage.CheckCopied(mark)
}

// checkContext is what the secret that proves the key is sealed for.
const checkContext = "signpost secrets key check"

func checkKey(ctx context.Context, c *conn, key []byte, from string, sealed bool) error {
	sealer, err := storage.NewSealer(key)
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	var proof []byte
	if err := c.query(ctx, func(row []driver.Value) error {
		proof = asBytes(row[0])
		return nil
	}, `SELECT value FROM meta WHERE name = 'secrets_check'`); err != nil {
		return err
	}
	if proof != nil {
		if _, err := sealer.Open(proof, checkContext); err == nil {
			return nil
		}
		if sealed {
			return fmt.Errorf("%s is not the one under which this database's API keys are sealed: use that one again", from)
		}
	}
	_, err = c.exec(ctx, `INSERT INTO meta (name, value) VALUES ('secrets_check', ?)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, sealer.Seal(nil, checkContext))
	return err
}

// readKey reads a key file. It refuses one that others could have read.
func readKey(file string) ([]byte, error) {
	f, err := os.Open(file) //nolint:gosec // beside the operator's own path
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("the secrets key %s may be read by others (mode %04o): run chmod 600 on it, and consider its secrets known", file, info.Mode().Perm())
	}
	text, err := io.ReadAll(io.LimitReader(f, 1024))
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(string(bytes.TrimSpace(text)))
	if err != nil || len(key) != storage.SecretsKeySize {
		return nil, fmt.Errorf("the secrets key %s is damaged: it must hold %d bytes as base64; restore it from a backup, "+
			"or remove it when no API keys are stored", file, storage.SecretsKeySize)
	}
	return key, nil
}

// makeKey writes a new key file, durably: secrets sealed under a key that a
// loss of power takes away would be lost with it.
func makeKey(file string) (key []byte, err error) {
	key = make([]byte, storage.SecretsKeySize)
	_, _ = rand.Read(key) // never fails (Go 1.24)
	tmp := file + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, ownerOnly) //nolint:gosec // beside the operator's own path
	if err != nil {
		return nil, explain("the secrets key", file, err)
	}
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, file)
	}
	if err == nil {
		err = syncFolder(filepath.Dir(file))
	}
	if err != nil {
		return nil, fmt.Errorf("writing the secrets key %s: %w", file, err)
	}
	return key, nil
}

func syncFolder(folder string) error {
	d, err := os.Open(folder) //nolint:gosec // the operator's own path
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
