-- A mail is a graph of queue entries: which recipients of one became which of the next, and where each ended.

CREATE FUNCTION mail_legs(mail_ids bigint[]) RETURNS TABLE (
    mail_id bigint, recipient_key bigint, kind text, told_by text, next_mail_id bigint, next_recipient_key bigint
) LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 20 SET plan_cache_mode = force_generic_plan AS $$
-- The columns of the result are named like those of the tables.
#variable_conflict use_column
BEGIN
RETURN QUERY
WITH link AS MATERIALIZED (
    SELECT l.*
    FROM mail_link AS l
    WHERE
        l.mail_id = ANY(mail_ids)
        AND l.kind IN ('queued', 'forwarded', 'filtered', 'requeued')
        AND l.linked_mail_id IS NOT NULL
        AND NOT l.is_ambiguous
),

edge AS MATERIALIZED (
    SELECT
        t.mail_id,
        t.recipient_key,
        lower(t.recipient) AS address,
        t.orig_to,
        l.kind,
        l.told_by,
        l.linked_mail_id AS next_mail_id,
        -- Whatever comes of a recipient that alone went this way is its own, even under another name.
        l.recipient_key IS NOT NULL
        AND count(l.recipient_key) OVER (PARTITION BY t.mail_id, l.linked_mail_id) = 1 AS is_alone
    FROM link AS l
    INNER JOIN delivery_to AS t
        ON
            l.mail_id = t.mail_id
            AND CASE
                WHEN l.recipient_key IS NOT NULL THEN t.recipient_key = l.recipient_key
                WHEN l.kind = 'requeued' THEN t.status = 'deferred'
                -- XFORWARD says from which entry, not for which recipients; the reply to a recipient says more.
                ELSE
                    t.status = 'sent'
                    AND t.component <> 'local'
                    AND NOT EXISTS (SELECT FROM link AS o WHERE o.mail_id = t.mail_id AND o.recipient_key = t.recipient_key)
            END
),

same AS MATERIALIZED (
    SELECT e.mail_id, e.recipient_key, e.next_mail_id, n.recipient_key AS next_recipient_key
    FROM edge AS e
    INNER JOIN delivery_to AS n ON e.next_mail_id = n.mail_id AND e.address = lower(n.recipient)
    UNION
    SELECT e.mail_id, e.recipient_key, e.next_mail_id, n.recipient_key
    FROM edge AS e
    INNER JOIN delivery_to AS n ON e.next_mail_id = n.mail_id AND e.address = lower(n.orig_to)
),

alike AS MATERIALIZED (
    SELECT s.* FROM same AS s
    UNION ALL
    SELECT e.mail_id, e.recipient_key, e.next_mail_id, n.recipient_key
    FROM edge AS e
    INNER JOIN delivery_to AS n ON e.next_mail_id = n.mail_id AND e.orig_to = n.orig_to
    WHERE
        NOT EXISTS (
            SELECT FROM same AS s
            WHERE s.mail_id = e.mail_id AND s.recipient_key = e.recipient_key AND s.next_mail_id = e.next_mail_id
        )
)

SELECT DISTINCT
    e.mail_id,
    e.recipient_key,
    e.kind,
    e.told_by,
    e.next_mail_id,
    coalesce(a.next_recipient_key, n.recipient_key)
FROM edge AS e
LEFT JOIN alike AS a USING (mail_id, recipient_key, next_mail_id)
LEFT JOIN delivery_to AS n ON e.is_alone AND a.mail_id IS NULL AND e.next_mail_id = n.mail_id
WHERE
    e.kind <> 'filtered'
    OR a.mail_id IS NOT NULL
    OR NOT EXISTS (SELECT FROM delivery_to AS o WHERE o.mail_id = e.next_mail_id)
UNION ALL
-- Of those that it became some have had no line yet.
SELECT e.mail_id, e.recipient_key, e.kind, e.told_by, e.next_mail_id, NULL
FROM edge AS e
INNER JOIN delivery_from AS c ON e.next_mail_id = c.mail_id AND c.ended_how IS NULL
WHERE
    e.is_alone
    AND (SELECT count(*) FROM delivery_to AS o WHERE o.mail_id = c.mail_id) BETWEEN 1 AND c.nrcpt - 1
    AND (
        e.kind = 'forwarded'
        OR NOT EXISTS (
            SELECT FROM alike AS a
            WHERE a.mail_id = e.mail_id AND a.recipient_key = e.recipient_key AND a.next_mail_id = e.next_mail_id
        )
    );
END
$$;
COMMENT ON FUNCTION mail_legs IS
'Of these queue entries: which recipient became which of the next leg; next_recipient_key is NULL where that cannot be '
'told. Only links without doubt';

CREATE FUNCTION mail_leaves(mail_ids bigint[], max_legs integer DEFAULT 10) RETURNS TABLE (
    mail_id bigint,
    recipient_key bigint,
    legs integer,
    final_mail_id bigint,
    final_recipient_key bigint,
    is_certain boolean
) LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 10 SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    known bigint [] := mail_ids;
    frontier bigint [] := mail_ids;
    -- Parallel arrays of all steps found, for PL/pgSQL has no tables of its own.
    froms bigint []  := '{}';
    from_keys bigint [] := '{}';
    nexts bigint [] := '{}';
    next_keys bigint [] := '{}';
    certain boolean [] := '{}';
    step record;
BEGIN
    FOR leg IN 1 .. max_legs LOOP
        SELECT
            array_agg(l.mail_id) AS froms, array_agg(l.recipient_key) AS from_keys,
            array_agg(l.next_mail_id) AS nexts, array_agg(l.next_recipient_key) AS next_keys,
            array_agg(l.told_by <> 'message-id') AS certain,
            array_agg(DISTINCT l.next_mail_id) FILTER (WHERE l.next_mail_id <> ALL(known)) AS frontier
        INTO step
        FROM mail_legs(frontier) AS l;
        EXIT WHEN step.froms IS NULL;
        froms := froms || step.froms;
        from_keys := from_keys || step.from_keys;
        nexts := nexts || step.nexts;
        next_keys := next_keys || step.next_keys;
        certain := certain || step.certain;
        frontier := step.frontier;
        EXIT WHEN frontier IS NULL;
        known := known || frontier;
    END LOOP;
    IF froms = '{}' THEN
        RETURN;
    END IF;
    RETURN QUERY
    WITH RECURSIVE leg AS MATERIALIZED (
        SELECT l.*
        FROM unnest(froms, from_keys, nexts, next_keys, certain)
            AS l (mail_id, recipient_key, next_mail_id, next_key, is_certain)
    ),
    way AS (
        SELECT
            l.mail_id, l.recipient_key, 1 AS legs, l.next_mail_id AS at_mail, l.next_key AS at_key,
            ARRAY[l.mail_id, l.next_mail_id] AS path, l.is_certain
        FROM leg AS l
        WHERE l.mail_id = ANY(mail_ids)
        UNION ALL
        SELECT w.mail_id, w.recipient_key, w.legs + 1, l.next_mail_id, l.next_key, w.path || l.next_mail_id,
            w.is_certain AND l.is_certain
        FROM way AS w
        INNER JOIN leg AS l ON w.at_mail = l.mail_id AND w.at_key = l.recipient_key AND l.next_mail_id <> ALL(w.path)
        WHERE w.legs < max_legs
    )
    SELECT w.mail_id, w.recipient_key, min(w.legs), w.at_mail, w.at_key, bool_or(w.is_certain)
    FROM way AS w
    WHERE
        w.legs = max_legs
        OR NOT EXISTS (
            SELECT FROM leg AS l
            WHERE l.mail_id = w.at_mail AND l.recipient_key = w.at_key AND l.next_mail_id <> ALL(w.path)
        )
    GROUP BY w.mail_id, w.recipient_key, w.at_mail, w.at_key;
END
$$;
COMMENT ON FUNCTION mail_leaves IS
'Of these queue entries: where the mail of each recipient ended that was handed on, after at most so many legs; one row '
'for each way it went. final_recipient_key is NULL where it cannot be told which recipient it became; is_certain is false '
'where only a Message-ID tells of one of the legs';

CREATE FUNCTION mail_links(mail_ids bigint[]) RETURNS SETOF mail_link
LANGUAGE plpgsql STABLE PARALLEL SAFE ROWS 20 SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    -- By their message-id only what few have is looked for: from its other end mail_link would look at all that have it.
    rare bigint [] := ARRAY(
        SELECT f.mail_id FROM delivery_from AS f
        WHERE
            f.mail_id = ANY(mail_ids)
            AND NOT EXISTS (SELECT FROM delivery_from AS o WHERE o.message_id = f.message_id OFFSET 20)
    );
BEGIN
    RETURN QUERY SELECT l.* FROM mail_link AS l WHERE l.mail_id = ANY(mail_ids);
    RETURN QUERY
    SELECT l.* FROM mail_link AS l
    WHERE l.linked_mail_id = ANY(mail_ids) AND l.mail_id <> ALL(mail_ids) AND l.told_by <> 'message-id';
    RETURN QUERY
    SELECT l.* FROM mail_link AS l
    WHERE l.linked_mail_id = ANY(rare) AND l.mail_id <> ALL(mail_ids) AND l.told_by = 'message-id';
END
$$;
COMMENT ON FUNCTION mail_links IS 'The links from and to these queue entries; planned once in a session';

CREATE VIEW mail_final AS
SELECT
    r.mail_id,
    r.recipient_key,
    r.recipient,
    r.orig_to,
    coalesce(l.legs, 0) AS legs,
    coalesce(l.is_certain, TRUE) AS is_certain,
    CASE WHEN l.legs IS NULL THEN r.fate ELSE coalesce(n.fate, recipient_fate('queued', m.state)) END AS final_fate,
    coalesce(m.host, o.host) AS final_host,
    coalesce(m.queue_id, o.queue_id) AS final_queue_id,
    coalesce(l.final_mail_id, r.mail_id) AS final_mail_id,
    coalesce(n.recipient_key, CASE WHEN l.legs IS NULL THEN r.recipient_key END) AS final_recipient_key,
    CASE WHEN l.legs IS NULL THEN r.recipient ELSE n.recipient END AS final_recipient,
    CASE WHEN l.legs IS NULL THEN r.component ELSE n.component END AS final_component,
    CASE WHEN l.legs IS NULL THEN r.relay_host ELSE n.relay_host END AS final_relay_host,
    CASE WHEN l.legs IS NULL THEN r.dsn ELSE n.dsn END AS final_dsn,
    CASE WHEN l.legs IS NULL THEN r.response ELSE n.response END AS final_response,
    CASE WHEN l.legs IS NULL THEN r.attempted ELSE n.attempted END AS final_time
FROM mail_recipient AS r
INNER JOIN mail AS o ON r.mail_id = o.mail_id
LEFT JOIN LATERAL (
    SELECT
        v.legs,
        v.is_certain,
        v.final_mail_id,
        v.final_recipient_key
    FROM mail_leaves(ARRAY[r.mail_id]) AS v
    WHERE v.recipient_key = r.recipient_key
) AS l ON TRUE
LEFT JOIN mail AS m ON l.final_mail_id = m.mail_id
LEFT JOIN mail_recipient AS n ON l.final_mail_id = n.mail_id AND l.final_recipient_key = n.recipient_key;
COMMENT ON VIEW mail_final IS
'One row per queue entry, recipient and way it went: what became of it on the last leg that this database knows; for '
'look-ups of some mails (mail_id), not for counting: that is mail_delivery''s';
COMMENT ON COLUMN mail_final.legs IS '0 where nothing is known beyond this queue entry';

CREATE VIEW mail_delivery AS
SELECT
    r.mail_id,
    r.recipient_key,
    r.recipient,
    r.orig_to,
    r.fate,
    r.status,
    r.dsn,
    r.component,
    r.service,
    r.relay_host,
    r.relay_ip,
    r.relay_port,
    r.relay_path,
    r.response,
    r.tls,
    r.tls_protocol,
    r.tls_cipher,
    r.tls_trust,
    r.delay,
    r.delay_before_queue,
    r.delay_in_queue,
    r.delay_connection,
    r.delay_transmission,
    r.attempts,
    r.attempted,
    r.first_attempt,
    r.last_attempt,
    r.next_queue_id,
    (
        r.status = 'sent' AND (
            EXISTS (
                SELECT FROM mail_link AS l
                WHERE
                    l.mail_id = r.mail_id
                    AND l.recipient_key = r.recipient_key
                    AND l.linked_mail_id IS NOT NULL
                    AND NOT l.is_ambiguous
            )
            OR (
                r.component <> 'local' AND EXISTS (
                    SELECT FROM mail_link AS l
                    WHERE
                        l.mail_id = r.mail_id
                        AND l.recipient_key IS NULL
                        AND l.kind = 'filtered'
                        AND (
                            EXISTS (
                                SELECT FROM delivery_to AS n
                                WHERE
                                    n.mail_id = l.linked_mail_id
                                    AND (
                                        lower(n.recipient) = lower(r.recipient)
                                        OR lower(n.orig_to) = lower(r.recipient)
                                        OR n.orig_to = r.orig_to
                                    )
                            )
                            OR NOT EXISTS (
                                SELECT FROM delivery_to AS n
                                WHERE n.mail_id = l.linked_mail_id
                            )
                        )
                )
            )
        )
    ) OR (
        r.status = 'deferred' AND EXISTS (
            SELECT FROM mail_link AS l
            WHERE l.mail_id = r.mail_id AND l.recipient_key IS NULL AND l.kind = 'requeued'
        )
    ) AS is_handed_on
FROM mail_recipient AS r;
COMMENT ON VIEW mail_delivery IS
'mail_recipient, and whether the next leg is here: count deliveries WHERE NOT is_handed_on, so that a content filter or '
'a forward does not double them';

-- Indexes that only the look-ups need: what each costs and gives stands in bench/lookups.md.

-- With slices of time (store/search.py); a few pages however many rows there are.
-- Old pages have room for a short row of today: of several values per range one such row spoils nothing.
CREATE INDEX delivery_to_first_attempt ON delivery_to
USING brin (coalesce(first_attempt, attempted) timestamptz_minmax_multi_ops) WITH (pages_per_range = 32);

CREATE INDEX delivery_from_client_ip ON delivery_from (client_ip);
CREATE INDEX noqueue_client_ip ON noqueue (client_ip, "time");
CREATE INDEX delivery_from_sasl_username ON delivery_from (lower(sasl_username) text_pattern_ops)
WHERE sasl_username IS NOT NULL;
CREATE INDEX noqueue_sasl_username ON noqueue (lower(sasl_username) text_pattern_ops) WHERE sasl_username IS NOT NULL;
-- Of what was sent all have the same few codes.
CREATE INDEX delivery_to_dsn ON delivery_to (dsn text_pattern_ops) WHERE status <> 'sent';
CREATE INDEX delivery_from_dsn ON delivery_from (dsn text_pattern_ops) WHERE dsn IS NOT NULL;

-- Parts of addresses need trigrams: an extension of PostgreSQL's own contrib modules that whoever may create in the
-- database may install. Where it is missing such a search reads the table.
DO $$
BEGIN
    CREATE EXTENSION IF NOT EXISTS pg_trgm;
EXCEPTION
    WHEN undefined_file OR feature_not_supported OR insufficient_privilege THEN
        RAISE NOTICE 'without pg_trgm searches for parts of an address are slow: %', SQLERRM;
END
$$;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_opclass WHERE opcname = 'gin_trgm_ops' AND pg_opclass_is_visible(oid)) THEN
        -- What is new waits in a list that each search reads as a whole: 512 kB of it instead of 4 MB.
        CREATE INDEX delivery_from_sender_part ON delivery_from USING gin (sender gin_trgm_ops) WITH (gin_pending_list_limit = 512);
        CREATE INDEX delivery_to_recipient_part ON delivery_to USING gin (recipient gin_trgm_ops) WITH (gin_pending_list_limit = 512);
        CREATE INDEX delivery_to_orig_to_part ON delivery_to USING gin (orig_to gin_trgm_ops) WITH (gin_pending_list_limit = 512)
        WHERE orig_to IS NOT NULL;
        CREATE INDEX noqueue_sender_part ON noqueue USING gin (sender gin_trgm_ops) WITH (gin_pending_list_limit = 512);
        CREATE INDEX noqueue_recipient_part ON noqueue USING gin (recipient gin_trgm_ops) WITH (gin_pending_list_limit = 512);
    END IF;
END
$$;
