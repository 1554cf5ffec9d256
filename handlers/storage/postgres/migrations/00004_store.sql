-- +goose Up

-- store_2 takes the place of store_1, which stays for older programs. It does the
-- same for less: it takes elements out of the arrays by their number, which is
-- cheap in PL/pgSQL, instead of making a set of each array; and it changes rows
-- of counters and totals where they are there already, which is one look-up and
-- one record of the log for each instead of two.
--
-- It stores new notifications, one for each element of uuids, with their
-- idempotency keys (NULL for none), and counts them: all, and then it returns
-- their ids in order, or none, and then it returns NULL: when a key is taken, or
-- a limit would be passed. When another transaction uses up a limit meanwhile, it
-- fails with SP001. jobs, refs, subjects, idempotency_keys and body_hashes are
-- NULL when no notification of the batch has one.
-- +goose StatementBegin
CREATE FUNCTION signpost.store_2(
    uuids uuid[], created bigint[], expires bigint[], jobs bigint[], tenants integer[], versions integer[], key_names text[],
    key_types text[], recipients text[], templates text[], refs text[], senders text[], subjects text[], bodies text[],
    kinds smallint[],
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
        recipient, template_id, reference, subject, body)
    SELECT ids[i], uuids[i], created[i], expires[i], jobs[i], tenants[i], versions[i], key_names[i], key_types[i],
        recipients[i], templates[i], coalesce(refs[i], ''), coalesce(subjects[i], ''), bodies[i]
    FROM generate_series(1, size) AS i;
    INSERT INTO signpost.outbox (id, due, updated_at, tenant, kind, phase, sender)
    SELECT ids[i], created[i], created[i], tenants[i], kinds[i], kinds[i] >> 3, senders[i]
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

-- store_one_2 does as store_2 for one notification, without arrays, which take
-- longer to pass than one row takes to store. It knows of one counter at most;
-- new_counter is NULL for none. It returns the id, or NULL.
-- +goose StatementBegin
CREATE FUNCTION signpost.store_one_2(
    new_uuid uuid, new_created bigint, new_expires bigint, new_job bigint, new_tenant integer, new_version integer,
    new_key_name text, new_key_type text, new_recipient text, new_template text, new_reference text, new_sender text,
    new_subject text, new_body text, new_kind smallint,
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
        recipient, template_id, reference, subject, body)
    VALUES (new_id, new_uuid, new_created, new_expires, new_job, new_tenant, new_version, new_key_name, new_key_type,
        new_recipient, new_template, new_reference, new_subject, new_body);
    INSERT INTO signpost.outbox (id, due, updated_at, tenant, kind, phase, sender)
    VALUES (new_id, new_created, new_created, new_tenant, new_kind, new_kind >> 3, new_sender);
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
DROP FUNCTION signpost.store_one_2;
DROP FUNCTION signpost.store_2;
