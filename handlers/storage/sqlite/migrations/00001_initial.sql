-- Times are microseconds since 1970 in UTC, 0 for "not yet".

-- +goose Up
PRAGMA application_id = 1397773140; -- "SPST"

-- Small facts, among them the highest id ever given when its row has gone.
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
) WITHOUT ROWID, STRICT;

CREATE TABLE service (
    no         INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE api_key (
    no         INTEGER PRIMARY KEY,
    service_id TEXT NOT NULL REFERENCES service (id),
    name       TEXT NOT NULL,
    type       TEXT NOT NULL,
    secret     BLOB NOT NULL, -- sealed
    created_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    UNIQUE (service_id, name)
) STRICT;

CREATE TABLE template (
    service_id TEXT NOT NULL,
    id         TEXT NOT NULL,
    version    INTEGER NOT NULL,
    channel    TEXT NOT NULL,
    name       TEXT NOT NULL,
    subject    TEXT NOT NULL,
    body       TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (service_id, id, version)
) WITHOUT ROWID, STRICT;

-- Services that have notifications, stored or configured ones, by a number
-- that is shorter in an index than their id.
CREATE TABLE tenant (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE
) STRICT;

-- kind is 8 * channel (1 sms, 2 email) + status (0 created, 1 sending,
-- 2 delivered, 3 temporary, 4 permanent, 5 technical failure).
-- phase says what the row waits for at the time due: 1 and 2 to be sent (by
-- channel; due is the next attempt or the end of the lease), 3 for a receipt
-- (due is sent_at), 4 to be swept (due is expires_at).
-- token is that of the newest claim, leased whether its outcome is awaited.
CREATE TABLE notification (
    id                 INTEGER PRIMARY KEY,
    uuid               BLOB NOT NULL,
    tenant             INTEGER NOT NULL,
    kind               INTEGER NOT NULL,
    phase              INTEGER NOT NULL,
    due                INTEGER NOT NULL,
    token              INTEGER NOT NULL DEFAULT 0,
    leased             INTEGER NOT NULL DEFAULT 0,
    attempts           INTEGER NOT NULL DEFAULT 0,
    sent_at            INTEGER NOT NULL DEFAULT 0,
    completed_at       INTEGER NOT NULL DEFAULT 0,
    updated_at         INTEGER NOT NULL,
    reason             TEXT NOT NULL DEFAULT '',
    provider_reference TEXT NOT NULL DEFAULT '',
    job                INTEGER NOT NULL,
    created_at         INTEGER NOT NULL,
    expires_at         INTEGER NOT NULL,
    key_name           TEXT NOT NULL,
    key_type           TEXT NOT NULL,
    recipient          TEXT NOT NULL,
    template_id        TEXT NOT NULL,
    template_version   INTEGER NOT NULL,
    reference          TEXT NOT NULL,
    sender             TEXT NOT NULL,
    subject            TEXT NOT NULL,
    body               TEXT NOT NULL
) STRICT;

CREATE UNIQUE INDEX notification_uuid ON notification (uuid);
CREATE INDEX notification_list ON notification (tenant, kind);
CREATE INDEX notification_due ON notification (phase, due);
CREATE INDEX notification_reference ON notification (tenant, reference)
    WHERE reference <> '';
CREATE INDEX notification_provider ON notification (sender, provider_reference)
    WHERE provider_reference <> '';

-- Rows of notification by tenant and kind.
CREATE TABLE total (
    tenant INTEGER NOT NULL,
    kind   INTEGER NOT NULL,
    n      INTEGER NOT NULL,
    PRIMARY KEY (tenant, kind)
) WITHOUT ROWID, STRICT;

-- The two tables of keys are only appended to, since inserting random keys
-- into a sorted tree costs more than all the rest of a creation. The process
-- that holds the file looks keys up in memory.
CREATE TABLE idempotency (
    id         INTEGER PRIMARY KEY, -- of the notification
    tenant     INTEGER NOT NULL,
    key        BLOB NOT NULL,
    body_hash  BLOB,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX idempotency_expiry ON idempotency (expires_at);

CREATE TABLE replay (
    no         INTEGER PRIMARY KEY,
    service_id TEXT NOT NULL,
    key        BLOB NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX replay_expiry ON replay (expires_at);

CREATE TABLE counter (
    key        TEXT PRIMARY KEY,
    value      INTEGER NOT NULL,
    expires_at INTEGER NOT NULL
) WITHOUT ROWID, STRICT;

-- +goose Down
DROP TABLE counter;
DROP TABLE replay;
DROP TABLE idempotency;
DROP TABLE total;
DROP TABLE notification;
DROP TABLE tenant;
DROP TABLE template;
DROP TABLE api_key;
DROP TABLE service;
DROP TABLE meta;
