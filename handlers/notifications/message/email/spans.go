package email

import (
	"strconv"
	"strings"
)

// pieces hands over the parts of the body, those of the template and those of
// values in turn.
func (b Body) pieces(write func(text string, value bool)) {
	lengths, ok := b.lengths()
	if !ok {
		write(b.Text, true)
		return
	}
	rest, value := b.Text, false
	for _, n := range lengths {
		write(rest[:n], value)
		rest, value = rest[n:], !value
	}
	write(rest, false)
}

func (b Body) lengths() (lengths []int, ok bool) {
	if b.Values == "" {
		return nil, true
	}
	left := len(b.Text)
	for number := range strings.SplitSeq(b.Values, ",") {
		n, err := strconv.Atoi(number)
		if err != nil || n < 0 || n > left {
			return nil, false
		}
		left -= n
		lengths = append(lengths, n)
	}
	return lengths, len(lengths)%2 == 0
}
