-- +goose Up

-- What services are owed about notifications that are final. tenant is that of
-- the notification. due is the next call, or the end of the lease when leased.
-- Ids are never given again, since a late worker's write names one.
CREATE TABLE callback (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    notification INTEGER NOT NULL UNIQUE,
    tenant       INTEGER NOT NULL,
    due          INTEGER NOT NULL,
    token        INTEGER NOT NULL DEFAULT 0,
    leased       INTEGER NOT NULL DEFAULT 0,
    attempts     INTEGER NOT NULL DEFAULT 0,
    created_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX callback_due ON callback (tenant, due);

-- Dead letters: technical failures.
CREATE INDEX notification_dead ON notification (id) WHERE kind & 7 = 5;

-- +goose Down
DROP INDEX notification_dead;
DROP TABLE callback;
