package caddymodule

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/signpost-gateway/signpost/handlers/storage/copy"
)

const (
	barWidth  = 30
	barEvery  = 100 * time.Millisecond
	lineEvery = 10 * time.Second
)

// progress writes how far a copy has come: a bar on one line of a terminal, or
// lines for logs.
type progress struct {
	w       io.Writer
	every   time.Duration
	write   func(w io.Writer, p copy.Progress, elapsed time.Duration)
	began   time.Time
	shown   time.Time
	done    bool // all rows were shown
	unended bool // a bar stands on the line
}

func (b *progress) show(p copy.Progress) {
	now := time.Now()
	if b.began.IsZero() {
		b.began, b.shown = now, now.Add(-b.every)
	}
	last := p.AllDone >= p.AllTotal
	if now.Sub(b.shown) < b.every && !last || b.done && last {
		return
	}
	b.shown, b.done = now, last
	b.write(b.w, p, now.Sub(b.began))
	b.unended = b.every == barEvery
}

// end leaves the bar's line.
func (b *progress) end() {
	if b.unended {
		fmt.Fprintln(b.w)
		b.unended = false
	}
}

// share is how much of the copy is done, from 0 to 1.
func share(p copy.Progress) float64 {
	if p.AllTotal <= 0 {
		return 1
	}
	return min(float64(p.AllDone)/float64(p.AllTotal), 1)
}

func writeBar(w io.Writer, p copy.Progress, elapsed time.Duration) {
	full := int(share(p) * barWidth)
	perSecond := float64(p.AllDone) / max(elapsed.Seconds(), 0.001)
	fmt.Fprintf(w, "\r[%s%s] %3.0f %%  %s of %s rows  %s/s  %s\033[K",
		strings.Repeat("#", full), strings.Repeat(".", barWidth-full), 100*share(p),
		humanize.Comma(p.AllDone), humanize.Comma(p.AllTotal), humanize.Comma(int64(perSecond)), p.Table)
}

func writeLine(w io.Writer, p copy.Progress, _ time.Duration) {
	fmt.Fprintf(w, "%3.0f %%  %s of %s rows  %s\n", 100*share(p), humanize.Comma(p.AllDone), humanize.Comma(p.AllTotal), p.Table)
}
