-- +goose NO TRANSACTION

-- +goose Up

-- Lists of a service by key type (v2), which must not walk through a million
-- notifications of another. Those in flight are in it unless their key is normal,
-- so that it costs a normal creation nothing. It is made while the table is in
-- use; what an interrupted attempt has left is removed first.
DROP INDEX CONCURRENTLY IF EXISTS signpost.notification_key_type;
CREATE INDEX CONCURRENTLY notification_key_type ON signpost.notification (tenant, key_type, kind, id) WHERE kind > 0 OR key_type <> 'normal';

-- Normal ones in flight, likewise. It has no more bytes than outbox_list, whose
-- place it takes; the lists of the version before take longer with it, while a
-- service has many in flight.
DROP INDEX CONCURRENTLY IF EXISTS signpost.outbox_special;
CREATE INDEX CONCURRENTLY outbox_special ON signpost.outbox (tenant, kind, special, id);
DROP INDEX CONCURRENTLY IF EXISTS signpost.outbox_list;

-- +goose Down
DROP INDEX CONCURRENTLY IF EXISTS signpost.outbox_list;
CREATE INDEX CONCURRENTLY outbox_list ON signpost.outbox (tenant, kind, id);
DROP INDEX CONCURRENTLY IF EXISTS signpost.outbox_special;
DROP INDEX CONCURRENTLY IF EXISTS signpost.notification_key_type;
