package pkcs11

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// prepareModule makes the process ready for a real module, in builds with cgo.
var prepareModule = func() (cleanup func()) { return func() {} }

func TestMain(m *testing.M) {
	cleanup := prepareModule()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		cleanup()
		os.Exit(code)
	}))
}
