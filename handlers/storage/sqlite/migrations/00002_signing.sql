-- +goose Up
CREATE TABLE signing_client (
    no         INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    name       TEXT NOT NULL,
    keys       BLOB NOT NULL, -- a JSON Web Key Set
    callback   TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

-- token, replay and binding are SHA-256 digests. state is what the client gave
-- when has_state is 1.
CREATE TABLE signing_request (
    no         INTEGER PRIMARY KEY,
    token      BLOB NOT NULL,
    client     TEXT NOT NULL,
    bearer     TEXT NOT NULL,
    replay     BLOB,
    state      BLOB,
    has_state  INTEGER NOT NULL,
    status     TEXT NOT NULL,
    binding    BLOB,
    created_at INTEGER NOT NULL,
    deadline   INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    response   BLOB
) STRICT;

CREATE UNIQUE INDEX signing_request_token ON signing_request (token);
CREATE UNIQUE INDEX signing_request_replay ON signing_request (replay)
    WHERE replay IS NOT NULL;
CREATE INDEX signing_request_expiry ON signing_request (expires_at);

-- The JWT of a request that isn't signed yet. It may have 1 MiB, which SQLite
-- would write again with every change of the request's row.
CREATE TABLE signing_jwt (
    no  INTEGER PRIMARY KEY REFERENCES signing_request (no) ON DELETE CASCADE,
    jwt BLOB NOT NULL
) STRICT;

-- +goose Down
DROP TABLE signing_jwt;
DROP TABLE signing_request;
DROP TABLE signing_client;
