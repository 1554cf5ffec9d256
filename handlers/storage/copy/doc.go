// Package copy moves the data of one back end into another: of a SQLite
// database into a PostgreSQL one, or back. Everything keeps its id, so that what
// clients have stored stays valid, and what is queued is sent by the nodes on
// the new database.
//
// A source may be in use. It is read in one transaction, at one moment, and the
// target then follows it: the same copy, made again, brings only what has come,
// changed or gone since. The last copy is made when nobody uses the source any
// more; it is short, and the target may be used after it. Until then nodes refuse
// the target, and nothing in it is due, so that one which was faster than the
// first copy sends nothing twice.
//
// Each copy is one transaction of the target: it is there as a whole, its counts
// verified, or not at all. A mark in the target says which source it follows and
// what it looked like; one that anybody has used since is refused.
package copy
