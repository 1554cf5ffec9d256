// Package postgres keeps the storage in a PostgreSQL database (13 or newer;
// tested with 15), which several nodes may share. What one node has stored, all
// know: limits, token buckets, idempotency keys, used tokens and signature
// requests are rows, and what decides about them happens in the database.
//
// # Writes
//
// Creations that come at the same time are stored in one transaction, which is
// one call of a function of the schema; a caller who is alone leads a batch of
// one on its own goroutine. Outcomes, receipts, used tokens, token buckets and
// look-ups by id are grouped likewise. A creation that meets a key that is taken,
// or a limit that is reached, has its batch decided upon one by one, in a
// transaction with locks. Rows are locked in one order everywhere (keys or outbox,
// counters, totals), so that transactions don't wait in a circle.
//
// A commit waits for the disk: synchronous_commit=off is overruled, any stronger
// setting of the server (a synchronous standby) is left. Token buckets are the
// exception: they are in an unlogged table, so a crash of the server fills them.
//
// # Faults
//
// Every call has a deadline (Config.Timeout), with the wait for a connection.
// When the server can't be reached, one goroutine asks after it, at intervals
// with jitter up to a second, and until it answers all calls fail at once with
// storage.ErrUnavailable. A write that fails with a connection may have happened;
// only what has certainly not happened is tried again. Reads are tried again on
// another connection.
//
// A lease has a number that no other lease ever had, so the word of a worker
// that was slow, or stopped, or taken for dead counts no more once another holds
// the row. The steps of a notification are forward only by conditions of the
// statements themselves.
//
// # Layout
//
// The schema "signpost" holds the tables, so the database may be another
// program's too; one installation uses one database. Notifications have ids from
// a sequence, which ascend in time over all nodes, beside their UUIDv7; both fill
// an index at its right end and retention empties it at its left. As with any
// sequence, of two creations at the same instant the one with the lower id may be
// seen later.
//
// The table notification is written twice for each row: at creation and at its
// end. What happens between (leases, attempts, a provider's yes) is in outbox,
// which holds only those in flight and stays small; idempotency keys, callbacks
// and counters have tables of their own for the same reason. So the large table
// collects one dead row for a notification's life and one for its removal, and
// the many dead rows are where a vacuum takes milliseconds. Each table states its
// own autovacuum settings, since the server's defaults wait for a fifth of the
// table.
//
// Retention deletes in batches of storage.SweepRequest.Limit, oldest first, and
// skips what another node has locked. The freed pages are filled again by new
// rows, so the table keeps its size once retention has set in. The table isn't
// partitioned: a UUID couldn't be unique then, and a look-up by it would search
// all partitions. Who outgrows this can partition by ranges of id, which are
// ranges of time, since every query but that by UUID has the id or the tenant.
//
// # Migrations
//
// Open migrates under an advisory lock, or with MigrateCheck refuses to open
// while something is missing. A migration only adds what older nodes ignore
// (expand); what they used is removed by a migration of a later release
// (contract). A statement that would have to wait for a table is given up after a
// second and tried again, so that traffic doesn't queue behind it. A schema that
// is newer than the program is refused.
//
// # Poolers and relatives
//
// Behind PgBouncer in transaction mode set Config.Pooler: statements are then
// described once and not prepared, there are no session settings, and other
// nodes' creations are found by a poll instead of LISTEN. The suite passes, with
// two nodes and their migrations, through PgBouncer 1.18 with three connections
// to the server, which is the least that a migration needs. Without a pooler the
// connections set enable_seqscan, enable_hashjoin, enable_mergejoin and jit off
// and plan_cache_mode to force_generic_plan, unless the DSN sets them: see the
// comment there. CockroachDB has not been tried, and isn't supported: the
// creation is a PL/pgSQL function, and LISTEN and UNLOGGED are used.
package postgres
