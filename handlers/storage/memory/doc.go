// Package memory is a back end without a file: everything is gone with the
// process. It serves trials and tests, and keeps the whole contract of
// storage.Backend but durability.
package memory
