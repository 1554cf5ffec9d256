-- What programs of schema version 4 send; see TestOlderStatements.

-- name: 1 (bigint, bigint)
DELETE FROM signpost.bucket WHERE key IN (SELECT key FROM signpost.bucket
		WHERE at < $1 AND tokens + ($1 - at)::float8 / 1e9 * per_second >= capacity LIMIT $2 FOR UPDATE SKIP LOCKED);

-- name: 2 (bigint, bigint)
DELETE FROM signpost.callback WHERE id = $1 AND token = $2 AND leased;

-- name: 3 (bigint, bigint)
DELETE FROM signpost.counter WHERE (key) IN (SELECT key FROM signpost.counter
		WHERE expires_at < $1 ORDER BY expires_at, key LIMIT $2 FOR UPDATE SKIP LOCKED);

-- name: 4 (integer[], bytea[])
DELETE FROM signpost.idempotency AS i USING unnest($1::int[], $2::bytea[]) AS u (tenant, key)
			WHERE i.tenant = u.tenant AND i.key = u.key AND i.id = 0;

-- name: 5 (bigint, bigint)
DELETE FROM signpost.idempotency WHERE (tenant, key) IN (SELECT tenant, key FROM signpost.idempotency
		WHERE expires_at < $1 ORDER BY expires_at, id LIMIT $2 FOR UPDATE SKIP LOCKED);

-- name: 6 (bigint[])
DELETE FROM signpost.outbox WHERE id = ANY ($1::bigint[]);

-- name: 7 (bigint, bigint)
DELETE FROM signpost.replay WHERE (service_id, key) IN (SELECT service_id, key FROM signpost.replay
		WHERE expires_at < $1 ORDER BY expires_at, key LIMIT $2 FOR UPDATE SKIP LOCKED);

-- name: 8 (text)
DELETE FROM signpost.signing_client WHERE id = $1;

-- name: 9 (bigint, bigint)
DELETE FROM signpost.signing_request WHERE (token) IN (SELECT token FROM signpost.signing_request
		WHERE greatest(expires_at, deadline) < $1 ORDER BY greatest(expires_at, deadline), token LIMIT $2 FOR UPDATE SKIP LOCKED);

-- name: 10 (text[], bigint[], double precision[], double precision[], integer[])
INSERT INTO signpost.bucket AS b (key, tokens, at, capacity, per_second, asked, granted)
	SELECT key, greatest(capacity - granted, 0), at, capacity, per_second, asked, granted FROM (
		SELECT *, least(asked, floor(capacity + 1e-6))::int AS granted
		FROM unnest($1::text[], $2::bigint[], $3::float8[], $4::float8[], $5::int[]) AS u (key, at, capacity, per_second, asked)
	) AS v ORDER BY key
	ON CONFLICT (key) DO UPDATE SET (tokens, granted) = (
			SELECT greatest(f - g, 0), g FROM (SELECT f, least(excluded.asked, floor(f + 1e-6))::int AS g FROM (SELECT least(b.tokens + greatest(excluded.at - b.at, 0)::float8 / 1e9 * excluded.per_second, excluded.capacity) AS f) AS x) AS y
		), at = excluded.at, capacity = excluded.capacity, per_second = excluded.per_second, asked = excluded.asked
	RETURNING key, granted, tokens;

-- name: 11 (bigint[], bigint[], integer[])
INSERT INTO signpost.callback (due, notification, created_at, tenant)
			SELECT u.due, u.notification, u.due, u.tenant FROM unnest($1::bigint[], $2::bigint[], $3::int[]) AS u (notification, due, tenant)
			ON CONFLICT (notification) DO NOTHING;

-- name: 12 (text[], bigint[])
INSERT INTO signpost.counter (key, value, most, expires_at) SELECT u.key, 0, 0, u.expires_at
			FROM unnest($1::text[], $2::bigint[]) AS u (key, expires_at) ORDER BY 1 ON CONFLICT DO NOTHING;

-- name: 13 (integer[], bytea[])
INSERT INTO signpost.idempotency (tenant, key, id, expires_at) SELECT u.tenant, u.key, 0, 0
		FROM unnest($1::int[], $2::bytea[]) WITH ORDINALITY AS u (tenant, key, place) ORDER BY u.place ON CONFLICT DO NOTHING;

-- name: 14 (text[], bytea[], bigint[], bigint[])
INSERT INTO signpost.replay AS r (service_id, key, seen_at, expires_at)
			SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::bigint[])
			ON CONFLICT (service_id, key) DO UPDATE SET seen_at = excluded.seen_at, expires_at = excluded.expires_at
			WHERE r.expires_at < excluded.seen_at RETURNING service_id, key;

-- name: 15 (text, text, bigint)
INSERT INTO signpost.service (id, name, created_at) VALUES ($1, $2, $3)
			ON CONFLICT DO NOTHING;

-- name: 16 (text, text, bytea, text, bigint)
INSERT INTO signpost.signing_client (id, name, keys, callback, created_at)
			VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING;

-- name: 17 (bytea, text, text, bytea, bytea, boolean, text, bigint, bigint, bigint, bytea)
INSERT INTO signpost.signing_request (token, client, bearer, replay, state,
			has_state, status, created_at, deadline, expires_at, jwt) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
			ON CONFLICT DO NOTHING;

-- name: 18 (text, text, text, text, text, text, bigint)
INSERT INTO signpost.template (service_id, id, version, channel, name, subject, body, created_at)
				VALUES ($1, $2, (SELECT coalesce(max(version), 0) + 1 FROM signpost.template WHERE service_id = $1 AND id = $2),
				$3, $4, $5, $6, $7) ON CONFLICT DO NOTHING RETURNING version;

-- name: 19 (text[])
INSERT INTO signpost.tenant (id) SELECT unnest($1::text[])
		EXCEPT SELECT id FROM signpost.tenant ORDER BY 1 ON CONFLICT DO NOTHING;

-- name: 20 (integer[], smallint[], bigint[])
INSERT INTO signpost.total AS t (tenant, kind, shard, n) SELECT tenant, kind, pg_backend_pid() & 15, n FROM unnest($1::int[], $2::smallint[], $3::bigint[]) AS u (tenant, kind, n) ORDER BY tenant, kind ON CONFLICT (tenant, kind, shard) DO UPDATE SET n = t.n + excluded.n;

-- name: 21 (bigint[])
SELECT FROM signpost.outbox WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE;

-- name: 22 (smallint)
SELECT coalesce((SELECT due FROM signpost.outbox WHERE phase = $1 ORDER BY due LIMIT 1), 0);

-- name: 23 (integer[], bytea[])
SELECT i.tenant, i.key, i.id, i.expires_at, i.body_hash FROM signpost.idempotency AS i
		JOIN unnest($1::int[], $2::bytea[]) WITH ORDINALITY AS u (tenant, key, place) ON u.tenant = i.tenant AND u.key = i.key
		ORDER BY u.place FOR UPDATE OF i;

-- name: 24 (bigint, bigint)
SELECT id FROM signpost.outbox WHERE phase = 3 AND due < $1
		ORDER BY due, id LIMIT $2;

-- name: 25 ()
SELECT id, name, created_at FROM signpost.service ORDER BY no;

-- name: 26 (text)
SELECT id, name, created_at FROM signpost.service WHERE id = $1;

-- name: 27 ()
SELECT id, name, keys, callback, created_at FROM signpost.signing_client ORDER BY no;

-- name: 28 (text)
SELECT id, name, keys, callback, created_at FROM signpost.signing_client WHERE id = $1;

-- name: 29 (text[])
SELECT key, value, most, expires_at FROM signpost.counter WHERE key = ANY ($1::text[]) ORDER BY key FOR UPDATE;

-- name: 30 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 10 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 18 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 31 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 11 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 19 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 32 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 16 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 17 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 18 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 19 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 20 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 21 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 33 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 16 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 34 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 8 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 10 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 11 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 12 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 13 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 35 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 8 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 10 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 11 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 13 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 16 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 18 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 19 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 21 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 36 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 8 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 11 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 16 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 19 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 37 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 8 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 16 AND id < $2) AS u ORDER BY id ASC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id ASC;

-- name: 38 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 8 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 16 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 39 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 8 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 9 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 10 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 11 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 12 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 13 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 16 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 17 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 18 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 19 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 20 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 21 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 40 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 8 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 9 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 10 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 11 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 12 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 16 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 17 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 18 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 19 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 20 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 41 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 8 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 9 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 42 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 9 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 10 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 12 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 13 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 17 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 18 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 20 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 21 AND id < $2) AS u ORDER BY id ASC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id ASC;

-- name: 43 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 9 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 10 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 13 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 17 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 18 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 21 AND id < $2) AS u ORDER BY id ASC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id ASC;

-- name: 44 (integer, bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM (SELECT id FROM (SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 9 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 10 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 13 AND id < $2 UNION ALL SELECT id FROM signpost.outbox WHERE tenant = $1 AND kind = 17 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 18 AND id < $2 UNION ALL SELECT id FROM signpost.notification WHERE tenant = $1 AND kind = 21 AND id < $2) AS u ORDER BY id DESC LIMIT $3 OFFSET $4) AS p JOIN signpost.notification AS n ON n.id = p.id JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY n.id DESC;

-- name: 45 (bigint[])
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.id = ANY ($1::bigint[]);

-- name: 46 (integer[], bytea[])
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.id IN (SELECT i.id FROM signpost.idempotency AS i
		JOIN unnest($1::int[], $2::bytea[]) AS u (tenant, key) ON u.tenant = i.tenant AND u.key = i.key);

-- name: 47 (bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.kind IN (13, 21) AND n.completed_at < $1 ORDER BY n.id DESC LIMIT $2;

-- name: 48 (bigint, bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.kind IN (13, 21) AND n.completed_at >= $1 AND n.completed_at < $2 ORDER BY n.id DESC LIMIT $3;

-- name: 49 (bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.kind IN (13, 21) AND n.completed_at >= $1 ORDER BY n.id DESC LIMIT $2;

-- name: 50 (bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.kind IN (13, 21) AND n.id < $1 ORDER BY n.id DESC LIMIT $2;

-- name: 51 (bigint[], bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.kind IN (13, 21) AND n.id = ANY ($1::bigint[]) ORDER BY n.id DESC LIMIT $2;

-- name: 52 (text, bigint[], bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.kind IN (13, 21) AND n.tenant = (SELECT no FROM signpost.tenant WHERE id = $1) AND n.id = ANY ($2::bigint[]) ORDER BY n.id DESC LIMIT $3;

-- name: 53 (text, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.kind IN (13, 21) AND n.tenant = (SELECT no FROM signpost.tenant WHERE id = $1) ORDER BY n.id DESC LIMIT $2;

-- name: 54 (bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.kind IN (13, 21) ORDER BY n.id DESC LIMIT $1;

-- name: 55 (integer, text, bigint, smallint[], bigint, bigint)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.tenant = $1 AND left(n.reference, 128) = left($2, 128)
		AND n.reference = $2 AND n.reference <> '' AND n.id < $3 AND coalesce(o.kind, n.kind) = ANY ($4::smallint[]) ORDER BY n.id DESC LIMIT $5 OFFSET $6;

-- name: 56 (uuid, text)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE n.uuid = $1 AND t.id = $2;

-- name: 57 (text, bytea)
SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 WHERE t.id = $1 AND n.id = (SELECT i.id FROM signpost.idempotency AS i
		WHERE i.tenant = (SELECT no FROM signpost.tenant WHERE id = $1) AND i.key = $2);

-- name: 58 (bigint[])
SELECT n.id, t.no, t.id, n.expires_at, n.kind, n.attempts, n.sent_at, n.completed_at, n.updated_at, n.reason,
	n.provider_reference, n.sender, o.id IS NOT NULL, coalesce(o.kind, 0), coalesce(o.attempts, 0), coalesce(o.sent_at, 0),
	coalesce(o.updated_at, 0), coalesce(o.reason, ''), coalesce(o.provider_reference, ''), coalesce(o.sender, ''),
	coalesce(o.due, 0), coalesce(o.token, 0), coalesce(o.leased, false) FROM signpost.notification AS n JOIN signpost.tenant AS t ON t.no = n.tenant
		LEFT JOIN signpost.outbox AS o ON o.id = n.id WHERE n.id = ANY ($1::bigint[]);

-- name: 59 (integer)
SELECT nextval('signpost.notification_id') FROM generate_series(1, $1::int);

-- name: 60 (text[])
SELECT no, id FROM signpost.tenant WHERE id = ANY ($1::text[]);

-- name: 61 (bytea)
SELECT r.token, r.client, r.bearer, r.replay, r.state, r.has_state, r.status, r.binding, r.created_at,
	r.deadline, r.expires_at, r.jwt, r.response FROM signpost.signing_request AS r WHERE token = $1;

-- name: 62 (text, text, bigint)
SELECT service_id, id, version, channel, name, subject, body, created_at FROM signpost.template AS t WHERE service_id = $1 AND id = $2 AND ($3::bigint = 0 OR version = $3) ORDER BY version DESC LIMIT 1;

-- name: 63 (text)
SELECT service_id, id, version, channel, name, subject, body, created_at FROM signpost.template AS t WHERE service_id = $1 AND version =
		(SELECT max(version) FROM signpost.template WHERE service_id = $1 AND id = t.id) ORDER BY id;

-- name: 64 (text)
SELECT service_id, name, type, secret, created_at, revoked_at FROM signpost.api_key WHERE service_id = $1 ORDER BY no;

-- name: 65 (uuid[], bigint[], bigint[], bigint[], integer[], integer[], text[], text[], text[], text[], text[], text[], text[], text[], smallint[], bytea[], bigint[], bytea[], text[], bigint[], bigint[], bigint[], integer[], smallint[], bigint[])
SELECT signpost.store_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
		$21, $22, $23, $24, $25);

-- name: 66 (uuid, bigint, bigint, bigint, integer, integer, text, text, text, text, text, text, text, text, smallint, bytea, bigint, bytea, text, bigint, bigint)
SELECT signpost.store_one_2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
		$20, $21);

-- name: 67 (text[])
SELECT t.id, first.due FROM signpost.tenant AS t CROSS JOIN LATERAL
			(SELECT c.due FROM signpost.callback AS c WHERE c.tenant = t.no ORDER BY c.due LIMIT 1) AS first WHERE t.id = ANY ($1::text[]);

-- name: 68 (text)
SELECT tenant, kind, sum(n)::bigint FROM signpost.total
		WHERE tenant = (SELECT no FROM signpost.tenant WHERE id = $1) GROUP BY tenant, kind HAVING sum(n) > 0 ORDER BY kind;

-- name: 69 (integer[], text[], text[], uuid[])
SELECT u.place, coalesce(
		greatest(
			(SELECT max(o.id) FROM signpost.outbox AS o WHERE o.sender = u.sender
				AND left(o.provider_reference, 128) = left(u.reference, 128) AND o.provider_reference = u.reference AND o.provider_reference <> ''),
			(SELECT max(n.id) FROM signpost.notification AS n WHERE n.sender = u.sender
				AND left(n.provider_reference, 128) = left(u.reference, 128) AND n.provider_reference = u.reference AND n.provider_reference <> '')),
		(SELECT n.id FROM signpost.notification AS n LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0
			WHERE n.uuid = u.uuid AND coalesce(o.sender, n.sender) = u.sender),
		0) FROM unnest($1::int[], $2::text[], $3::text[], $4::uuid[]) AS u (place, sender, reference, uuid);

-- name: 70 (uuid[])
SELECT uuid FROM signpost.notification WHERE uuid = ANY ($1::uuid[]);

-- name: 71 (text)
SELECT value FROM signpost.counter WHERE key = $1;

-- name: 72 (bigint, text, text)
UPDATE signpost.api_key
			SET revoked_at = CASE revoked_at WHEN 0 THEN $1 ELSE revoked_at END WHERE service_id = $2 AND name = $3;

-- name: 73 (text, bigint, double precision, double precision)
UPDATE signpost.bucket SET at = $2, capacity = $3, per_second = $4,
			tokens = least(least(tokens + greatest($2 - at, 0)::float8 / 1e9 * $4, $3) + 1, $3) WHERE key = $1;

-- name: 74 (bigint, bigint, bigint)
UPDATE signpost.callback SET leased = false, due = $3 WHERE id = $1 AND token = $2 AND leased;

-- name: 75 (text[], bigint[], bigint[], bigint[])
UPDATE signpost.counter AS c SET value = u.value, most = u.most, expires_at = u.expires_at
			FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS u (key, value, most, expires_at)
			WHERE c.key = u.key;

-- name: 76 (integer[], bytea[], bigint[], bigint[], bytea[])
UPDATE signpost.idempotency AS i SET id = u.id, expires_at = u.expires_at, body_hash = u.body_hash
			FROM unnest($1::int[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bytea[]) AS u (tenant, key, id, expires_at, body_hash)
			WHERE i.tenant = u.tenant AND i.key = u.key;

-- name: 77 (bigint[], smallint[], integer[], bigint[], bigint[], bigint[], text[], text[], text[])
UPDATE signpost.notification AS n SET kind = u.kind, attempts = u.attempts, sent_at = u.sent_at,
		completed_at = u.completed_at, updated_at = u.updated_at, reason = u.reason, provider_reference = u.provider_reference,
		sender = u.sender FROM unnest($1::bigint[], $2::smallint[], $3::int[], $4::bigint[], $5::bigint[], $6::bigint[],
			$7::text[], $8::text[], $9::text[])
			AS u (id, kind, attempts, sent_at, completed_at, updated_at, reason, provider_reference, sender)
		WHERE n.id = u.id AND n.kind IN (0, u.kind);

-- name: 78 (bigint[], smallint[], smallint[], bigint[], boolean[], integer[], bigint[], bigint[], text[], text[], text[])
UPDATE signpost.outbox AS o SET kind = u.kind, phase = u.phase, due = u.due, leased = u.leased, attempts = u.attempts,
		sent_at = u.sent_at, updated_at = u.updated_at, reason = u.reason, provider_reference = u.provider_reference, sender = u.sender
		FROM unnest($1::bigint[], $2::smallint[], $3::smallint[], $4::bigint[], $5::boolean[], $6::int[], $7::bigint[], $8::bigint[],
			$9::text[], $10::text[], $11::text[])
			AS u (id, kind, phase, due, leased, attempts, sent_at, updated_at, reason, provider_reference, sender)
		WHERE o.id = u.id AND least(o.kind & 7, 2) <= least(u.kind & 7, 2);

-- name: 79 (bytea, text, text, bytea)
UPDATE signpost.signing_request AS r
		SET status = $3, binding = $4 WHERE token = $1 AND status = $2 RETURNING r.token, r.client, r.bearer, r.replay, r.state, r.has_state, r.status, r.binding, r.created_at,
	r.deadline, r.expires_at, r.jwt, r.response;

-- name: 80 (bytea, text, text, bytea, bigint)
UPDATE signpost.signing_request AS r
		SET status = $3, jwt = NULL, response = $4, expires_at = $5
		WHERE token = $1 AND status = $2 RETURNING r.token, r.client, r.bearer, r.replay, r.state, r.has_state, r.status, r.binding, r.created_at,
	r.deadline, r.expires_at, r.jwt, r.response;

-- name: 81 (bigint[], bigint, bigint)
WITH
		chosen AS MATERIALIZED (SELECT n.id, n.tenant, n.kind, n.reason, n.sender FROM signpost.notification AS n WHERE n.kind IN (13, 21) AND n.id = ANY ($1::bigint[]) ORDER BY n.id DESC LIMIT $2 FOR UPDATE),
		back AS (
			UPDATE signpost.notification AS n SET kind = 0, attempts = 0, sent_at = 0, completed_at = 0, updated_at = 0, reason = '',
				provider_reference = '', sender = '' FROM chosen WHERE n.id = chosen.id
		),
		queued AS (
			INSERT INTO signpost.outbox AS o (id, due, updated_at, tenant, kind, phase, reason, sender)
			SELECT id, $3, $3, tenant, kind - 5, kind >> 3, reason, sender FROM chosen
			ON CONFLICT (id) DO UPDATE SET due = excluded.due, updated_at = excluded.updated_at, kind = excluded.kind,
				phase = excluded.phase, reason = excluded.reason, sender = excluded.sender, leased = false, attempts = 0, sent_at = 0,
				provider_reference = ''
		),
		dropped AS (DELETE FROM signpost.callback AS c USING chosen WHERE c.notification = chosen.id),
		summed AS (INSERT INTO signpost.total AS t (tenant, kind, shard, n) SELECT tenant, kind, pg_backend_pid() & 15, n FROM (
			SELECT tenant, kind, -count(*) AS n FROM chosen GROUP BY 1, 2
			UNION ALL SELECT tenant, (kind - 5)::smallint, count(*) FROM chosen GROUP BY 1, 2) AS moved ORDER BY tenant, kind ON CONFLICT (tenant, kind, shard) DO UPDATE SET n = t.n + excluded.n)
		SELECT id FROM chosen ORDER BY id DESC;

-- name: 82 (text, bigint, bigint)
WITH
		chosen AS MATERIALIZED (SELECT n.id, n.tenant, n.kind, n.reason, n.sender FROM signpost.notification AS n WHERE n.kind IN (13, 21) AND n.tenant = (SELECT no FROM signpost.tenant WHERE id = $1) ORDER BY n.id DESC LIMIT $2 FOR UPDATE),
		back AS (
			UPDATE signpost.notification AS n SET kind = 0, attempts = 0, sent_at = 0, completed_at = 0, updated_at = 0, reason = '',
				provider_reference = '', sender = '' FROM chosen WHERE n.id = chosen.id
		),
		queued AS (
			INSERT INTO signpost.outbox AS o (id, due, updated_at, tenant, kind, phase, reason, sender)
			SELECT id, $3, $3, tenant, kind - 5, kind >> 3, reason, sender FROM chosen
			ON CONFLICT (id) DO UPDATE SET due = excluded.due, updated_at = excluded.updated_at, kind = excluded.kind,
				phase = excluded.phase, reason = excluded.reason, sender = excluded.sender, leased = false, attempts = 0, sent_at = 0,
				provider_reference = ''
		),
		dropped AS (DELETE FROM signpost.callback AS c USING chosen WHERE c.notification = chosen.id),
		summed AS (INSERT INTO signpost.total AS t (tenant, kind, shard, n) SELECT tenant, kind, pg_backend_pid() & 15, n FROM (
			SELECT tenant, kind, -count(*) AS n FROM chosen GROUP BY 1, 2
			UNION ALL SELECT tenant, (kind - 5)::smallint, count(*) FROM chosen GROUP BY 1, 2) AS moved ORDER BY tenant, kind ON CONFLICT (tenant, kind, shard) DO UPDATE SET n = t.n + excluded.n)
		SELECT id FROM chosen ORDER BY id DESC;

-- name: 83 (bigint, bigint)
WITH
		chosen AS MATERIALIZED (SELECT n.id, n.tenant, n.kind, n.reason, n.sender FROM signpost.notification AS n WHERE n.kind IN (13, 21) ORDER BY n.id DESC LIMIT $1 FOR UPDATE),
		back AS (
			UPDATE signpost.notification AS n SET kind = 0, attempts = 0, sent_at = 0, completed_at = 0, updated_at = 0, reason = '',
				provider_reference = '', sender = '' FROM chosen WHERE n.id = chosen.id
		),
		queued AS (
			INSERT INTO signpost.outbox AS o (id, due, updated_at, tenant, kind, phase, reason, sender)
			SELECT id, $2, $2, tenant, kind - 5, kind >> 3, reason, sender FROM chosen
			ON CONFLICT (id) DO UPDATE SET due = excluded.due, updated_at = excluded.updated_at, kind = excluded.kind,
				phase = excluded.phase, reason = excluded.reason, sender = excluded.sender, leased = false, attempts = 0, sent_at = 0,
				provider_reference = ''
		),
		dropped AS (DELETE FROM signpost.callback AS c USING chosen WHERE c.notification = chosen.id),
		summed AS (INSERT INTO signpost.total AS t (tenant, kind, shard, n) SELECT tenant, kind, pg_backend_pid() & 15, n FROM (
			SELECT tenant, kind, -count(*) AS n FROM chosen GROUP BY 1, 2
			UNION ALL SELECT tenant, (kind - 5)::smallint, count(*) FROM chosen GROUP BY 1, 2) AS moved ORDER BY tenant, kind ON CONFLICT (tenant, kind, shard) DO UPDATE SET n = t.n + excluded.n)
		SELECT id FROM chosen ORDER BY id DESC;

-- name: 84 (bigint, bigint)
WITH
		gone AS (
			DELETE FROM signpost.notification WHERE id IN (SELECT id FROM signpost.notification
				WHERE kind > 0 AND expires_at < $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) RETURNING id, tenant, kind
		),
		held AS (DELETE FROM signpost.outbox AS o USING gone WHERE o.id = gone.id),
		owed AS (DELETE FROM signpost.callback AS c USING gone WHERE c.notification = gone.id),
		summed AS (INSERT INTO signpost.total AS t (tenant, kind, shard, n) SELECT tenant, kind, pg_backend_pid() & 15, n FROM (SELECT tenant, kind, -count(*) AS n FROM gone GROUP BY 1, 2) AS gone ORDER BY tenant, kind ON CONFLICT (tenant, kind, shard) DO UPDATE SET n = t.n + excluded.n)
		SELECT count(*) FROM gone;

-- name: 85 (text, bigint, bigint, bigint)
WITH
	ready AS MATERIALIZED (
		SELECT id, due FROM signpost.callback WHERE tenant = (SELECT no FROM signpost.tenant WHERE id = $1) AND due <= $2
		ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED
	),
	taken AS (
		UPDATE signpost.callback AS c SET token = nextval('signpost.lease_token'), leased = true, attempts = c.attempts + 1, due = $4
		FROM ready WHERE c.id = ready.id RETURNING c.*, ready.due AS was
	)
	SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender), c.id, c.attempts, c.created_at, c.token FROM taken AS c JOIN signpost.notification AS n ON n.id = c.notification JOIN signpost.tenant AS t ON t.no = n.tenant LEFT JOIN signpost.outbox AS o ON o.id = n.id AND n.kind = 0 ORDER BY c.was, c.id;

-- name: 86 (smallint, bigint, bigint, bigint)
WITH
	ready AS MATERIALIZED (
		SELECT id, due FROM signpost.outbox WHERE phase = $1 AND due <= $2 ORDER BY due, id LIMIT $3 FOR UPDATE SKIP LOCKED
	),
	taken AS (
		UPDATE signpost.outbox AS o SET token = nextval('signpost.lease_token'), leased = true, attempts = o.attempts + 1, due = $4,
			updated_at = $2
		FROM ready WHERE o.id = ready.id RETURNING o.*, ready.due AS was
	)
	SELECT n.id, n.uuid, t.id, n.created_at, n.expires_at, coalesce(n.job, n.id), n.template_version, n.key_name, n.key_type,
	n.recipient, n.template_id, n.reference, n.subject, n.body, coalesce(o.kind, n.kind), coalesce(o.attempts, n.attempts),
	coalesce(o.sent_at, n.sent_at), n.completed_at, coalesce(o.updated_at, n.updated_at), coalesce(o.reason, n.reason),
	coalesce(o.provider_reference, n.provider_reference), coalesce(o.sender, n.sender), o.token FROM taken AS o JOIN signpost.notification AS n ON n.id = o.id
		JOIN signpost.tenant AS t ON t.no = n.tenant ORDER BY o.was, o.id;

-- name: 87 (bytea, text, text)
WITH before AS (SELECT token, response FROM signpost.signing_request
			WHERE token = $1 AND status = $2 FOR UPDATE)
		UPDATE signpost.signing_request AS r SET status = $3, response = NULL FROM before
		WHERE r.token = before.token AND r.status = $2
		RETURNING r.token, r.client, r.bearer, r.replay, r.state, r.has_state, r.status, r.binding, r.created_at,
			r.deadline, r.expires_at, r.jwt, before.response;

-- name: 88 (text, text, text, bytea, bigint, bigint)
WITH known AS (SELECT id FROM signpost.service WHERE id = $1),
			stored AS (INSERT INTO signpost.api_key (service_id, name, type, secret, created_at, revoked_at)
				SELECT id, $2, $3, coalesce($4::bytea, ''), $5, $6 FROM known ON CONFLICT DO NOTHING RETURNING 1)
			SELECT EXISTS (SELECT FROM known), (SELECT count(*) FROM stored);

-- name: 89 (uuid[], bigint[], bigint[], bigint[], integer[], integer[], text[], text[], text[], text[], text[], text[], text[], text[], smallint[], bigint[])
WITH new AS (SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::int[], $6::int[], $7::text[], $8::text[], $9::text[],
		$10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::smallint[], $16::bigint[]) AS u (uuid, created_at, expires_at, job, tenant, template_version, key_name, key_type, recipient, template_id, reference,
		sender, subject, body, kind, id)), queued AS (INSERT INTO signpost.outbox (due, id, updated_at, tenant, kind, phase, sender)
		SELECT created_at, id, created_at, tenant, kind, kind >> 3, sender FROM new) INSERT INTO signpost.notification (id, uuid, created_at, expires_at, job, tenant, template_version, key_name,
		key_type, recipient, template_id, reference, subject, body) SELECT id, uuid, created_at, expires_at, job, tenant,
		template_version, key_name, key_type, recipient, template_id, reference, subject, body FROM new;

-- name: 90 ()
WITH sums AS (SELECT tenant, kind, sum(n) AS n FROM signpost.total GROUP BY tenant, kind)
			SELECT coalesce(sum(n) FILTER (WHERE kind & 7 = 0), 0)::bigint, coalesce(sum(n) FILTER (WHERE kind & 7 = 1), 0)::bigint,
				coalesce(sum(n) FILTER (WHERE kind & 7 = 5), 0)::bigint, (SELECT count(*) FROM signpost.callback),
				coalesce((SELECT min(n.created_at) FROM sums AS q CROSS JOIN LATERAL (SELECT o.id FROM signpost.outbox AS o
					WHERE o.tenant = q.tenant AND o.kind = q.kind ORDER BY o.id LIMIT 1) AS first
					JOIN signpost.notification AS n ON n.id = first.id WHERE q.kind & 7 = 0 AND q.n > 0), 0)
			FROM sums;
