package email

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFewBrackets(t *testing.T) {
	link := "[a](https://example.com) "
	newsletter := strings.Repeat(link, 200)
	assert.Equal(t, newsletter, fewBrackets(newsletter))

	long := strings.Repeat("[a](", 50_000)
	few := fewBrackets(long)
	assert.Equal(t, maxBrackets, strings.Count(few, "["))
	assert.Equal(t, long, unprotect(few))
	// Without the limit this takes minutes.
	assert.Equal(t, long+"\n", Text(Body{Text: long}))
}

func TestNestingEnds(t *testing.T) {
	var text strings.Builder
	for i := range 1000 {
		text.WriteString(strings.Repeat("  ", i) + "* a\n")
	}
	h := Fragment(Body{Text: text.String()})
	depth, deepest := 0, 0
	for part := range strings.SplitAfterSeq(h, "<") {
		switch {
		case strings.HasPrefix(part, "ul "):
			depth++
			deepest = max(deepest, depth)
		case strings.HasPrefix(part, "/ul"):
			depth--
		}
	}
	assert.Equal(t, maxNesting, deepest)
	assert.Equal(t, 1000, strings.Count(h, "<li "))
}
