package postgres

import (
	"cmp"
	"maps"
	"slices"
)

// totalKey names a total: a tenant's notifications of a kind. That of sent ones
// has the negative tenant, see the schema.
type totalKey struct {
	tenant int32
	kind   int16
}

// totals is how a transaction changes totals.
type totals map[totalKey]int64

// totalsOf counts new notifications.
func totalsOf(all []*creation, tenants []int32) totals {
	t := totals{}
	for i, c := range all {
		t[totalOf(tenants[i], kindOf(&c.c.Notification))]++
	}
	return t
}

func (t totals) move(tenant int32, from, to int16) {
	if from != to {
		t[totalOf(tenant, from)]--
		t[totalOf(tenant, to)]++
	}
}

func totalOf(tenant int32, kind int16) totalKey {
	if kind%perChannel == codeSent {
		return totalKey{-tenant, kind}
	}
	kind, _ = stored(kind)
	return totalKey{tenant, kind}
}

// columns returns what has changed in the order in which all transactions lock
// rows, so that none waits for another in a circle.
func (t totals) columns() (tenants []int32, kinds []int16, n []int64) {
	maps.DeleteFunc(t, func(_ totalKey, n int64) bool { return n == 0 })
	for _, k := range slices.SortedFunc(maps.Keys(t), func(a, b totalKey) int {
		return cmp.Or(cmp.Compare(a.tenant, b.tenant), cmp.Compare(a.kind, b.kind))
	}) {
		tenants, kinds, n = append(tenants, k.tenant), append(kinds, k.kind), append(n, t[k])
	}
	return tenants, kinds, n
}

// intoTotals goes before the rows (tenant, kind, n) of a change, addTotals after
// them.
const (
	intoTotals = `INSERT INTO signpost.total AS t (tenant, kind, shard, n) SELECT tenant, kind, pg_backend_pid() & 15, n FROM `
	addTotals  = ` ORDER BY tenant, kind ON CONFLICT (tenant, kind, shard) DO UPDATE SET n = t.n + excluded.n`
)

const changeTotals = intoTotals + `unnest($1::int[], $2::smallint[], $3::bigint[]) AS u (tenant, kind, n)` + addTotals
