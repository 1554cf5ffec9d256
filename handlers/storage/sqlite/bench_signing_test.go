//go:build unix

package sqlite

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkCreateSigningRequest is what POST /signaturerequest costs the
// storage. Its floor is the raw log's.
func BenchmarkCreateSigningRequest(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("group-commit/callers=%d", callers), func(b *testing.B) {
			s := openBench(b)
			measure(b, callers, func() error {
				return s.CreateSigningRequest(b.Context(), benchRequest(time.Now()))
			})
		})
	}
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprintf("raw-log/callers=%d", callers), func(b *testing.B) {
			l := newRawLog(b)
			measure(b, callers, func() error { return l.append(benchRequest(time.Now()).JWT) })
		})
	}
}
