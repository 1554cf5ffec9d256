//go:build unix

package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/signpost-gateway/signpost/handlers/storage/postgres"
	"github.com/signpost-gateway/signpost/handlers/storage/postgres/pgtest"
)

// An attachment sees the nodes of its own database, whatever they are called, and
// no other connections.
func TestAttach(t *testing.T) {
	ctx := t.Context()
	server := pgtest.Shared(t)
	name, err := server.Create(ctx, "")
	require.NoError(t, err)
	cfg := postgres.Config{DSN: server.DSN(name), SecretsKey: make([]byte, 32)}
	a, err := postgres.Attach(ctx, cfg)
	require.NoError(t, err)
	assert.Zero(t, a.Schema, "nothing is made")
	assert.Positive(t, a.Known)
	require.NoError(t, a.Close())

	for _, dsn := range []string{cfg.DSN, cfg.DSN + " application_name=gateway"} {
		cfg.DSN = dsn
		node := postgres.New(cfg)
		require.NoError(t, node.Open(ctx))
		require.NoError(t, node.Ping(ctx))
		a, err := postgres.Attach(ctx, cfg)
		require.NoError(t, err)
		assert.Equal(t, a.Known, a.Schema)
		nodes, err := a.Nodes(ctx)
		require.NoError(t, err)
		assert.Positive(t, nodes)
		require.NoError(t, node.Close())
		nodes, err = a.Nodes(ctx)
		require.NoError(t, err)
		assert.Zero(t, nodes)

		require.NoError(t, a.CheckKey(ctx, cfg.SecretsKey))
		other := make([]byte, 32)
		other[0] = 1
		require.ErrorContains(t, a.CheckKey(ctx, other), "is not that of the nodes")
		require.NoError(t, a.Close())
	}
}

// A node is seen by an attachment whose DSN doesn't have the name that the node's
// has, and one of another database isn't.
func TestAttachBesideNamedNode(t *testing.T) {
	ctx := t.Context()
	server := pgtest.Shared(t)
	var dsn [2]string
	for i := range dsn {
		name, err := server.Create(ctx, "")
		require.NoError(t, err)
		dsn[i] = server.DSN(name)
	}
	open := func(dsn string) *postgres.Store {
		node := postgres.New(postgres.Config{DSN: dsn + " application_name=gateway", SecretsKey: make([]byte, 32)})
		require.NoError(t, node.Open(ctx))
		return node
	}
	other := open(dsn[1])
	defer func() { assert.NoError(t, other.Close()) }()
	node := open(dsn[0])
	var attached [2]*postgres.Attachment
	for i := range attached {
		var err error
		attached[i], err = postgres.Attach(ctx, postgres.Config{DSN: dsn[i], SecretsKey: make([]byte, 32)})
		require.NoError(t, err)
		defer func() { assert.NoError(t, attached[i].Close()) }()
		require.Eventually(t, func() bool { // once the node listens
			nodes, err := attached[i].Nodes(ctx)
			return assert.NoError(t, err) && nodes == 1
		}, time.Minute, 10*time.Millisecond)
	}
	require.NoError(t, node.Close())
	for i, want := range []int{0, 1} {
		nodes, err := attached[i].Nodes(ctx)
		require.NoError(t, err)
		assert.Equal(t, want, nodes)
	}
}

func TestText(t *testing.T) {
	for _, s := range []string{"", "plain", "a\x00b", "\xff\xfe", "\ufdd0"} {
		assert.Equal(t, s, postgres.DecodeText(postgres.EncodeText(s)))
	}
}
