-- What the v2 dialect of the notification API needs. Nodes of the version before
-- run on beside those that use it:
--
--   * What is pending is stored as sending, with a mark in a column of its own,
--     and is sending to them. Their receipts, sweeps and totals fit.
--   * What was sent without a receipt to come is final with a status of its own,
--     6, which they don't know. They fail to read that one notification (503),
--     until they run the newer version. Lists, totals and callbacks, in which it
--     would take others with it, have it under the negative number of its tenant,
--     where they don't look: their lists leave it out. A receipt, or a repeated
--     request, that is about it fails there, with those in the same group of
--     changes, all of which may be tried again. Nothing becomes sent until
--     messages to other countries are allowed, which is best done after the last
--     node was changed.
--   * What they create has no details, and is due at once.

-- +goose Up

ALTER TABLE signpost.service ADD COLUMN settings bytea NOT NULL DEFAULT '';

-- Of a template's rows the newest one's counts, so that the next version brings
-- it back.
ALTER TABLE signpost.template ADD COLUMN archived_at bigint NOT NULL DEFAULT 0;

-- A JSON object, or nothing; see storage.Details.
ALTER TABLE signpost.notification ADD COLUMN details text NOT NULL DEFAULT '';

-- pending counts where the status is sending. special says that the key isn't a
-- normal one; it is never said of what nodes of the version before create.
ALTER TABLE signpost.outbox ADD COLUMN pending boolean NOT NULL DEFAULT false, ADD COLUMN special boolean NOT NULL DEFAULT false;
-- Lists of those that are pending, and how many there are: totals don't tell them
-- apart.
CREATE INDEX outbox_pending ON signpost.outbox (tenant, kind, special, id) WHERE pending;

-- Messages that were received.
CREATE TABLE signpost.inbound (
    id            uuid PRIMARY KEY,
    service_id    text COLLATE "C" NOT NULL,
    provider      text COLLATE "C" NOT NULL,
    reference     text COLLATE "C" NOT NULL,
    user_number   text NOT NULL,
    notify_number text NOT NULL,
    content       text NOT NULL,
    created_at    bigint NOT NULL,
    expires_at    bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0.05);
CREATE INDEX inbound_list ON signpost.inbound (service_id, created_at, id);
CREATE UNIQUE INDEX inbound_reference ON signpost.inbound (provider, reference) WHERE reference <> '';
CREATE INDEX inbound_expiry ON signpost.inbound (expires_at);

-- store_3 takes the place of store_2, which stays for older programs. It does the
-- same, and stores the notifications' details, and when they are due besides: NULL
-- for one that has none, and for one that is due at once; in place of the array
-- when that is so of all.
-- +goose StatementBegin
CREATE FUNCTION signpost.store_3(
    uuids uuid[], created bigint[], expires bigint[], jobs bigint[], tenants integer[], versions integer[], key_names text[],
    key_types text[], recipients text[], templates text[], refs text[], senders text[], subjects text[], bodies text[],
    kinds smallint[], details text[], due bigint[],
    idempotency_keys bytea[], idempotency_expires bigint[], body_hashes bytea[],
    counters text[], counts bigint[], limits bigint[], counter_expires bigint[],
    total_tenants integer[], total_kinds smallint[], totals bigint[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    size integer := cardinality(uuids);
    ids bigint[];
    stored integer;
    used bigint;
BEGIN
    FOR i IN 1 .. coalesce(cardinality(counters), 0) LOOP
        IF limits[i] > 0 THEN
            SELECT value INTO used FROM signpost.counter WHERE key = counters[i];
            IF coalesce(used, 0) + counts[i] > limits[i] THEN
                RETURN NULL;
            END IF;
        END IF;
    END LOOP;
    ids := ARRAY(SELECT nextval('signpost.notification_id') FROM generate_series(1, size));
    -- Locks are taken in the same order everywhere: keys, counters, totals.
    -- Counters are what transactions wait for, so they come late.
    IF idempotency_keys IS NOT NULL THEN
        INSERT INTO signpost.idempotency (tenant, key, id, expires_at, body_hash)
        SELECT tenants[i], idempotency_keys[i], ids[i], idempotency_expires[i], body_hashes[i]
        FROM generate_series(1, size) AS i WHERE idempotency_keys[i] IS NOT NULL ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS stored = ROW_COUNT;
        IF stored <> size - cardinality(array_positions(idempotency_keys, NULL)) THEN
            DELETE FROM signpost.idempotency AS k USING generate_series(1, size) AS i
            WHERE k.tenant = tenants[i] AND k.key = idempotency_keys[i] AND k.id = ids[i];
            RETURN NULL;
        END IF;
    END IF;
    INSERT INTO signpost.notification (id, uuid, created_at, expires_at, job, tenant, template_version, key_name, key_type,
        recipient, template_id, reference, subject, body, details)
    SELECT ids[i], uuids[i], created[i], expires[i], jobs[i], tenants[i], versions[i], key_names[i], key_types[i],
        recipients[i], templates[i], coalesce(refs[i], ''), coalesce(subjects[i], ''), bodies[i], coalesce(details[i], '')
    FROM generate_series(1, size) AS i;
    INSERT INTO signpost.outbox (id, due, updated_at, tenant, kind, phase, sender, special)
    SELECT ids[i], coalesce(due[i], created[i]), created[i], tenants[i], kinds[i], kinds[i] >> 3, senders[i], key_types[i] <> 'normal'
    FROM generate_series(1, size) AS i;
    FOR i IN 1 .. coalesce(cardinality(counters), 0) LOOP
        UPDATE signpost.counter SET value = value + counts[i], most = limits[i], expires_at = counter_expires[i]
        WHERE key = counters[i] AND (limits[i] <= 0 OR value + counts[i] <= limits[i]);
        CONTINUE WHEN FOUND;
        INSERT INTO signpost.counter AS c (key, value, most, expires_at)
        VALUES (counters[i], counts[i], limits[i], counter_expires[i])
        ON CONFLICT (key) DO UPDATE SET value = c.value + excluded.value, most = excluded.most, expires_at = excluded.expires_at
        WHERE excluded.most <= 0 OR c.value + excluded.value <= excluded.most;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'a limit has just been reached by another node' USING ERRCODE = 'SP001',
                HINT = 'Signpost now decides upon each notification by itself.';
        END IF;
    END LOOP;
    FOR i IN 1 .. cardinality(totals) LOOP
        UPDATE signpost.total SET n = n + totals[i]
        WHERE tenant = total_tenants[i] AND kind = total_kinds[i] AND shard = pg_backend_pid() & 15;
        CONTINUE WHEN FOUND;
        INSERT INTO signpost.total AS t (tenant, kind, shard, n)
        VALUES (total_tenants[i], total_kinds[i], pg_backend_pid() & 15, totals[i])
        ON CONFLICT (tenant, kind, shard) DO UPDATE SET n = t.n + excluded.n;
    END LOOP;
    RETURN ids;
END
$$;
-- +goose StatementEnd

-- store_one_3 does as store_3 for one notification, without arrays, which take
-- longer to pass than one row takes to store. It knows of one counter at most;
-- new_counter is NULL for none. It returns the id, or NULL.
-- +goose StatementBegin
CREATE FUNCTION signpost.store_one_3(
    new_uuid uuid, new_created bigint, new_expires bigint, new_job bigint, new_tenant integer, new_version integer,
    new_key_name text, new_key_type text, new_recipient text, new_template text, new_reference text, new_sender text,
    new_subject text, new_body text, new_kind smallint, new_details text, new_due bigint,
    idempotency_key bytea, idempotency_expires bigint, new_body_hash bytea,
    new_counter text, new_limit bigint, counter_expires bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    new_id bigint := nextval('signpost.notification_id');
BEGIN
    IF idempotency_key IS NOT NULL THEN
        INSERT INTO signpost.idempotency (tenant, key, id, expires_at, body_hash)
        VALUES (new_tenant, idempotency_key, new_id, idempotency_expires, new_body_hash) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN NULL;
        END IF;
    END IF;
    IF new_counter IS NOT NULL THEN
        UPDATE signpost.counter SET value = value + 1, most = new_limit, expires_at = counter_expires
        WHERE key = new_counter AND (new_limit <= 0 OR value < new_limit);
        IF NOT FOUND THEN
            INSERT INTO signpost.counter AS c (key, value, most, expires_at) VALUES (new_counter, 1, new_limit, counter_expires)
            ON CONFLICT (key) DO UPDATE SET value = c.value + 1, most = excluded.most, expires_at = excluded.expires_at
            WHERE excluded.most <= 0 OR c.value < excluded.most;
            IF NOT FOUND THEN
                DELETE FROM signpost.idempotency WHERE tenant = new_tenant AND key = idempotency_key AND id = new_id;
                PERFORM set_config('synchronous_commit', 'off', true); -- nothing is stored
                RETURN NULL;
            END IF;
        END IF;
    END IF;
    INSERT INTO signpost.notification (id, uuid, created_at, expires_at, job, tenant, template_version, key_name, key_type,
        recipient, template_id, reference, subject, body, details)
    VALUES (new_id, new_uuid, new_created, new_expires, new_job, new_tenant, new_version, new_key_name, new_key_type,
        new_recipient, new_template, new_reference, new_subject, new_body, coalesce(new_details, ''));
    INSERT INTO signpost.outbox (id, due, updated_at, tenant, kind, phase, sender, special)
    VALUES (new_id, coalesce(new_due, new_created), new_created, new_tenant, new_kind, new_kind >> 3, new_sender, new_key_type <> 'normal');
    UPDATE signpost.total SET n = n + 1 WHERE tenant = new_tenant AND kind = new_kind AND shard = pg_backend_pid() & 15;
    IF NOT FOUND THEN
        INSERT INTO signpost.total AS t (tenant, kind, shard, n) VALUES (new_tenant, new_kind, pg_backend_pid() & 15, 1)
        ON CONFLICT (tenant, kind, shard) DO UPDATE SET n = t.n + 1;
    END IF;
    RETURN new_id;
END
$$;
-- +goose StatementEnd

-- +goose Down
DROP FUNCTION signpost.store_one_3;
DROP FUNCTION signpost.store_3;
DROP TABLE signpost.inbound;
ALTER TABLE signpost.outbox DROP COLUMN special, DROP COLUMN pending;
ALTER TABLE signpost.notification DROP COLUMN details;
ALTER TABLE signpost.template DROP COLUMN archived_at;
ALTER TABLE signpost.service DROP COLUMN settings;
