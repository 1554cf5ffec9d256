package postgres

import (
	"context"
	"maps"
	"slices"

	"github.com/signpost-gateway/signpost/handlers/storage"
)

// The functions of the schema that store a batch, and one; each returns NULL
// when it has stored nothing.
const (
	callStore = `SELECT signpost.store_3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
		$21, $22, $23, $24, $25, $26, $27)`
	callStoreOne = `SELECT signpost.store_one_3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
		$20, $21, $22, $23)`
)

// storeTogether reports whether it has stored all.
func (s *Store) storeTogether(ctx context.Context, c conn, all []*creation, tenants []int32) (done bool, err error) {
	p := newParams()
	defer p.free()
	ids := make([]int64, 0, len(all))
	if len(all) == 1 && len(all[0].c.Limits) <= 1 {
		p.creation(all[0], tenants[0])
		var id *int64
		if err = s.queryValue(ctx, c.Conn(), "signpost_store_one_3", callStoreOne, p, &id); id != nil {
			ids = append(ids, *id)
		}
	} else {
		p.creations(all, tenants)
		err = s.queryValue(ctx, c.Conn(), "signpost_store_3", callStore, p, &ids)
	}
	switch codeOf(err) {
	case codeUniqueViolation, codeLimitReached:
		return false, nil
	}
	if err != nil || len(ids) != len(all) {
		return false, err
	}
	for i, c := range all {
		c.stored(ids[i])
	}
	return true, nil
}

// creation adds the parameters of store_one_3.
func (p *params) creation(one *creation, tenant int32) {
	c, n := &one.c, &one.c.Notification
	p.value(typeUUID, func(b []byte) []byte { return append(b, n.UUID[:]...) })
	p.int8(asMicro(n.CreatedAt))
	p.int8(asMicro(n.ExpiresAt))
	if n.JobID == 0 {
		p.null(typeInt8)
	} else {
		p.int8(n.JobID)
	}
	p.int4(tenant)
	p.int4(int32(n.TemplateVersion)) //nolint:gosec // counted from 1
	for _, text := range []string{
		n.KeyName, string(n.KeyType), n.To, n.TemplateID, n.Reference, n.Sender, n.Subject, n.Body,
	} {
		p.text(asText(text))
	}
	p.int2(kindOf(n))
	if one.details == "" {
		p.null(typeText)
	} else {
		p.text(asText(one.details))
	}
	if due := n.DueAt(); due.Equal(n.CreatedAt) {
		p.null(typeInt8)
	} else {
		p.int8(asMicro(due))
	}
	if k := c.Idempotency; k == nil {
		p.null(typeBytea)
		p.null(typeInt8)
		p.null(typeBytea)
	} else {
		p.bytea(k.Key)
		p.int8(asMicro(k.ExpiresAt))
		p.bytea(k.BodyHash)
	}
	if len(c.Limits) == 0 {
		p.null(typeText)
		p.null(typeInt8)
		p.null(typeInt8)
		return
	}
	p.text(asText(c.Limits[0].Key))
	p.int8(max(c.Limits[0].Max, 0))
	p.int8(asMicro(c.Limits[0].ExpiresAt))
}

// creations adds the parameters of store_3.
func (p *params) creations(all []*creation, tenants []int32) {
	n := func(i int) *storage.Notification { return &all[i].c.Notification }
	p.array(typeUUID, len(all), func(b []byte, i int) []byte { return append(b, n(i).UUID[:]...) })
	p.array(typeInt8, len(all), func(b []byte, i int) []byte { return addInt8(b, asMicro(n(i).CreatedAt)) })
	p.array(typeInt8, len(all), func(b []byte, i int) []byte { return addInt8(b, asMicro(n(i).ExpiresAt)) })
	p.some(typeInt8, len(all), func(b []byte, i int) []byte {
		if n(i).JobID == 0 {
			return nil
		}
		return addInt8(b, n(i).JobID)
	})
	p.int4s(tenants)
	p.array(typeInt4, len(all), func(b []byte, i int) []byte {
		return addInt4(b, int32(n(i).TemplateVersion)) //nolint:gosec // counted from 1
	})
	p.each(all, func(n *storage.Notification) string { return n.KeyName })
	p.each(all, func(n *storage.Notification) string { return string(n.KeyType) })
	p.each(all, func(n *storage.Notification) string { return n.To })
	p.each(all, func(n *storage.Notification) string { return n.TemplateID })
	p.given(all, func(n *storage.Notification) string { return n.Reference })
	p.each(all, func(n *storage.Notification) string { return n.Sender })
	p.given(all, func(n *storage.Notification) string { return n.Subject })
	p.each(all, func(n *storage.Notification) string { return n.Body })
	p.array(typeInt2, len(all), func(b []byte, i int) []byte { return addInt2(b, kindOf(n(i))) })
	p.some(typeText, len(all), func(b []byte, i int) []byte {
		if all[i].details == "" {
			return nil
		}
		return append(b, asText(all[i].details)...)
	})
	p.some(typeInt8, len(all), func(b []byte, i int) []byte {
		due := n(i).DueAt()
		if due.Equal(n(i).CreatedAt) {
			return nil
		}
		return addInt8(b, asMicro(due))
	})
	p.idempotency(all)
	l := countersOf(all)
	p.texts(l.keys)
	p.int8s(l.n)
	p.int8s(l.most)
	p.int8s(l.expires)
	sumTenants, sumKinds, sums := totalsOf(all, tenants).columns()
	p.int4s(sumTenants)
	p.int2s(sumKinds)
	p.int8s(sums)
}

// each adds a text of each creation, given one that most don't have.
func (p *params) each(all []*creation, text func(n *storage.Notification) string) {
	p.array(typeText, len(all), func(b []byte, i int) []byte { return append(b, asText(text(&all[i].c.Notification))...) })
}

func (p *params) given(all []*creation, text func(n *storage.Notification) string) {
	p.some(typeText, len(all), func(b []byte, i int) []byte {
		t := text(&all[i].c.Notification)
		if t == "" {
			return nil
		}
		return append(b, asText(t)...)
	})
}

func (p *params) idempotency(all []*creation) {
	key := func(i int) *storage.Idempotency { return all[i].c.Idempotency }
	p.some(typeBytea, len(all), func(b []byte, i int) []byte {
		if key(i) == nil {
			return nil
		}
		return append(b, key(i).Key...)
	})
	p.some(typeInt8, len(all), func(b []byte, i int) []byte {
		if key(i) == nil {
			return nil
		}
		return addInt8(b, asMicro(key(i).ExpiresAt))
	})
	p.some(typeBytea, len(all), func(b []byte, i int) []byte {
		if key(i) == nil || key(i).BodyHash == nil {
			return nil
		}
		return append(b, key(i).BodyHash...)
	})
}

// counters are the counters of a batch, by column and in the order of their
// keys.
type counters struct {
	keys             []string
	n, most, expires []int64
}

// countersOf sums up what a batch counts. Of several limits of one counter the
// lowest is taken: if all pass that, each passes its own.
func countersOf(all []*creation) (l counters) {
	type counter struct{ n, most, expires int64 }
	sums := map[string]counter{}
	for _, c := range all {
		for _, limit := range c.c.Limits {
			key := asText(limit.Key)
			v := sums[key]
			v.n++
			v.expires = asMicro(limit.ExpiresAt)
			if limit.Max > 0 && (v.most == 0 || limit.Max < v.most) {
				v.most = limit.Max
			}
			sums[key] = v
		}
	}
	for _, key := range slices.Sorted(maps.Keys(sums)) {
		v := sums[key]
		l.keys, l.n = append(l.keys, key), append(l.n, v.n)
		l.most, l.expires = append(l.most, v.most), append(l.expires, v.expires)
	}
	return l
}
