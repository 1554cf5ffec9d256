package smtp

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A hundred messages go by one connection, each with its own recipient and text,
// and the refused ones between them leave no trace.
func TestOneConnection(t *testing.T) {
	box := newMailbox(t, setup{})
	box.refuse["user50@example.net"] = errNoSuchUser
	p := newProvider(t, box.config())
	for i := range 100 {
		m := message
		m.To, m.Body = fmt.Sprintf("user%d@example.net", i), fmt.Sprintf("message %d", i)
		failure := send(t, p, m)
		if i == 50 {
			require.NotNil(t, failure)
			assert.True(t, failure.Permanent)
			continue
		}
		require.Nil(t, failure)
	}
	got := box.all()
	require.Len(t, got, 99)
	for i, r := range got {
		n := i
		if i >= 50 {
			n++
		}
		assert.Equal(t, 1, r.session)
		assert.Equal(t, fmt.Sprintf("user%d@example.net", n), r.to)
		_, parts := read(t, r.body)
		assert.Equal(t, fmt.Sprintf("message %d", n), parts[0].text)
	}
}

// A connection that the server has closed meanwhile is replaced without anybody
// noticing, and the message goes once.
func TestReconnects(t *testing.T) {
	box := newMailbox(t, setup{})
	p := newProvider(t, box.config())
	require.Nil(t, send(t, p, message))
	box.hangUp()
	require.Nil(t, send(t, p, message))
	require.Nil(t, send(t, p, message))
	got := box.all()
	require.Len(t, got, 3)
	assert.Equal(t, []int{1, 2, 2}, []int{got[0].session, got[1].session, got[2].session})

	// The same when it says good-bye instead.
	s := newScripted(t, map[string]string{"RSET": "421 4.4.2 idle for too long"})
	p = newProvider(t, s.config())
	require.Nil(t, send(t, p, message))
	require.Nil(t, send(t, p, message))
	assert.Equal(t, 2, s.sessions)
}

// Of many connections, no more are kept than may be, and those not for long.
func TestKept(t *testing.T) {
	box := newMailbox(t, setup{})
	cfg := box.config()
	cfg.Keep, cfg.Idle = 2, time.Hour
	p := newProvider(t, cfg)
	crowd := func() {
		var sends sync.WaitGroup
		for range 6 {
			sends.Go(func() { assert.Nil(t, send(t, p, message)) })
		}
		sends.Wait()
	}
	crowd()
	assert.LessOrEqual(t, len(p.idle), 2)
	assert.Len(t, box.all(), 6)
	require.NotEmpty(t, p.idle)
	s := p.idle[0]
	p.expire(s) // its time is over
	assert.NotContains(t, p.idle, s)
	p.expire(s) // and again, as when somebody was faster
	crowd()
	assert.Len(t, box.all(), 12)

	cfg.Keep = -1
	p = newProvider(t, cfg)
	assert.Nil(t, send(t, p, message))
	assert.Empty(t, p.idle)

	cfg.Keep, cfg.Idle = 1, time.Millisecond
	p = newProvider(t, cfg)
	assert.Nil(t, send(t, p, message))
	require.Eventually(t, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.idle) == 0
	}, 5*time.Second, time.Millisecond)
}

func TestLettersBeyondASCII(t *testing.T) {
	m := message
	m.To = "jürgen@example.net"
	able, unable := newMailbox(t, setup{utf8: true}), newMailbox(t, setup{})
	p := newProvider(t, able.config())
	require.Nil(t, send(t, p, m))
	require.Nil(t, send(t, p, message))
	got := able.all()
	assert.Equal(t, []bool{true, false}, []bool{got[0].utf8, got[1].utf8}, "only where it is needed")
	assert.Equal(t, m.To, got[0].to)

	p = newProvider(t, unable.config())
	failure := send(t, p, m)
	require.NotNil(t, failure)
	assert.True(t, failure.Permanent)
	require.Nil(t, send(t, p, message))
	assert.Equal(t, 1, unable.all()[0].session, "the connection is as good as before")
}

// Many are sent at once, as the dispatcher does it.
func TestConcurrency(t *testing.T) {
	box := newMailbox(t, setup{})
	p := newProvider(t, box.config())
	var sends sync.WaitGroup
	for w := range 8 {
		sends.Go(func() {
			for i := range 20 {
				m := message
				m.To = fmt.Sprintf("user%d.%d@example.net", w, i)
				m.Body = m.To
				_, err := p.Send(t.Context(), m)
				assert.NoError(t, err)
			}
		})
	}
	sends.Wait()
	got := box.all()
	require.Len(t, got, 160)
	for _, r := range got {
		_, parts := read(t, r.body)
		assert.Equal(t, r.to, parts[0].text)
		assert.LessOrEqual(t, r.session, 8)
	}
}
