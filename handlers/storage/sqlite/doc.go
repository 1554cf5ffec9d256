// Package sqlite is the embedded back end: one SQLite database file in WAL
// mode with synchronous=FULL, so that what a method has stored survives a loss
// of power.
//
// There is one writer, which runs whatever waits in one transaction with one
// sync (group commit) and then answers all of it; a caller who is alone takes
// the writer's turn itself. Reads have connections of their own and never wait for the writer. One process
// owns the file, which a lock beside it enforces; so ids, counters and the
// look-up of idempotency and replay keys are kept in memory and only stored.
// That takes some 40 bytes of memory for each key that hasn't expired.
//
// Beside the database at path lie path-wal and path-shm (SQLite's), path.lock
// and, unless a secrets key is configured, path.key. All are readable by their
// owner alone. To copy a database that is in use, call Backup.
package sqlite
