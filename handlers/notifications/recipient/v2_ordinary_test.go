package recipient

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOrdinaryUK compares the short way with libphonenumber over all ranges.
func TestOrdinaryUK(t *testing.T) {
	p, err := NewPhones("GB", false)
	require.NoError(t, err)
	short := 0
	for n := 7_000_000_000; n < 8_000_000_000; n += 99_991 {
		text := fmt.Sprintf("0%d", n)
		number := p.ordinaryUK(text)
		if number == "" {
			continue
		}
		short++
		phone, err := p.read(text)
		require.NoError(t, err, text)
		require.Equal(t, Phone{Number: number, SameCode: true}, phone, text)
	}
	require.Greater(t, short, 6000)
}
