-- What the v2 dialect of the notification API needs.

-- +goose Up

ALTER TABLE service ADD COLUMN settings BLOB NOT NULL DEFAULT x'';

-- Of a template's rows the newest one's counts, so that the next version brings
-- it back.
ALTER TABLE template ADD COLUMN archived_at INTEGER NOT NULL DEFAULT 0;

-- A JSON object, or nothing; see storage.Details.
ALTER TABLE notification ADD COLUMN details TEXT NOT NULL DEFAULT '';

-- kind is now 64 * key type (0 normal, 1 team, 2 test, 3 any other) + 8 * channel
-- + status, with 6 sent and 7 pending: a list by key types is a merge of the
-- lists of kinds, as one by statuses is, and no index more is kept for it.
UPDATE notification SET kind = kind + CASE key_type WHEN 'team' THEN 64 WHEN 'test' THEN 128 ELSE 192 END WHERE key_type <> 'normal';
DELETE FROM total;
INSERT INTO total (tenant, kind, n) SELECT tenant, kind, count(*) FROM notification GROUP BY 1, 2;

-- Messages that were received.
CREATE TABLE inbound (
    id            BLOB PRIMARY KEY,
    service_id    TEXT NOT NULL,
    provider      TEXT NOT NULL,
    reference     TEXT NOT NULL,
    user_number   TEXT NOT NULL,
    notify_number TEXT NOT NULL,
    content       TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL
) WITHOUT ROWID, STRICT;
CREATE INDEX inbound_list ON inbound (service_id, created_at, id);
CREATE UNIQUE INDEX inbound_reference ON inbound (provider, reference) WHERE reference <> '';
CREATE INDEX inbound_expiry ON inbound (expires_at);

-- +goose Down
DROP TABLE inbound;
-- What was sent becomes delivered, and what is pending sending.
UPDATE notification SET kind = CASE kind & 7 WHEN 6 THEN (kind & 56) + 2 WHEN 7 THEN (kind & 56) + 1 ELSE kind & 63 END
    WHERE kind > 63 OR kind & 7 > 5;
DELETE FROM total;
INSERT INTO total (tenant, kind, n) SELECT tenant, kind, count(*) FROM notification GROUP BY 1, 2;
ALTER TABLE notification DROP COLUMN details;
ALTER TABLE template DROP COLUMN archived_at;
ALTER TABLE service DROP COLUMN settings;
