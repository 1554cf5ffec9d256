// Package storage defines what Signpost keeps (services, API keys, templates,
// notifications, counters, signature requests) and the contract that every back
// end fulfils. The back ends are the packages sqlite, postgres and memory below
// it; storagetest is the suite that all of them pass, and copy moves data from
// one to another.
//
// Times are UTC with microsecond precision. Every query about tenants' data
// carries the service id, so that the object of another tenant is
// indistinguishable from no object.
package storage
