// Package storage defines what Signpost keeps (services, API keys, templates,
// notifications, counters) and the contract that every back end fulfils. The
// back ends are the packages sqlite and memory below it; storagetest is the
// suite that all of them pass.
//
// Times are UTC with microsecond precision. Every query about tenants' data
// carries the service id, so that the object of another tenant is
// indistinguishable from no object.
package storage
