package testcard

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/signpost-gateway/signpost/handlers/hub/internal/cryptoki"
)

// configVariable is the environment variable that names SoftHSM's
// configuration.
const configVariable = "SOFTHSM2_CONF"

// WriteConfig makes SoftHSM keep its tokens in a directory: it writes a
// configuration there, if there is none yet, and returns its path, which is what
// SOFTHSM2_CONF must be. Only the user can read the directory's files.
func WriteConfig(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("testcard: %w", err)
	}
	tokens, config := filepath.Join(dir, "tokens"), filepath.Join(dir, "softhsm2.conf")
	if err := os.MkdirAll(tokens, 0o700); err != nil {
		return "", fmt.Errorf("testcard: %w", err)
	}
	if _, err := os.Stat(config); err == nil {
		return config, nil
	}
	return config, create(config, fmt.Appendf(nil, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", tokens))
}

// environment guards the variable, which is the whole process's.
var environment sync.Mutex

// withConfig runs a function while SOFTHSM2_CONF names a configuration. A module
// that is in use has read its own already, so that must be the same one.
func withConfig(module, config string, run func() error) (err error) {
	environment.Lock()
	defer environment.Unlock()
	before, was := os.LookupEnv(configVariable)
	if before == config {
		return run()
	}
	if cryptoki.InUse(module) {
		return errors.New("testcard: this process uses the module already, with another " + configVariable +
			": set it to " + config + " before the process starts")
	}
	if err := os.Setenv(configVariable, config); err != nil {
		return fmt.Errorf("testcard: %w", err)
	}
	defer func() {
		if was {
			err = errors.Join(err, os.Setenv(configVariable, before))
		} else {
			err = errors.Join(err, os.Unsetenv(configVariable))
		}
	}()
	return run()
}
