-- The public views: stable names for people, Grafana and the look-ups. Tables may change, these do not.

CREATE FUNCTION mail_state(
    ended_how text, expired timestamptz, is_held boolean
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN expired IS NOT NULL THEN 'expired'
    WHEN ended_how = 'silent' THEN 'lost'
    WHEN ended_how IS NOT NULL THEN ended_how
    WHEN is_held THEN 'held'
    ELSE 'queued'
END
$$;
COMMENT ON FUNCTION mail_state IS
'Where a queue entry stands: queued, held, or how it ended (expired, removed, deleted, requeued, canceled, …)';

CREATE FUNCTION recipient_fate(status text, state text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN status NOT IN ('deferred', 'queued') THEN status
    WHEN state = 'expired' THEN 'expired'
    WHEN state = 'held' THEN 'held'
    WHEN state IN ('deleted', 'discarded', 'canceled') THEN 'discarded'
    WHEN state = 'rejected' THEN 'rejected'
    WHEN state = 'requeued' THEN 'queued'
    WHEN status = 'queued' AND state <> 'queued' THEN NULL
    ELSE status
END
$$;
COMMENT ON FUNCTION recipient_fate IS
'The one place that derives a recipient''s fate: what its deciding attempt said, unless the entry as a whole ended '
'in another way while the recipient was still deferred. Status queued stands for recipients that no line has named '
'yet; their fate is NULL when the entry ended and the lines that would tell are missing';

CREATE VIEW mail AS
SELECT
    f.mail_id,
    s.host,
    s.instance,
    f.queue_id,
    f.began,
    f.ended,
    mail_state(f.ended_how, f.expired, f.is_held) AS state,
    f.sender,
    f.sender_raw,
    f.message_id,
    f.subject,
    f.size,
    f.nrcpt,
    f.origin,
    f.service,
    f.client_hostname,
    f.client_ip,
    f.client_port,
    f.helo,
    f.proto,
    f.sasl_method,
    f.sasl_username,
    f.sasl_sender,
    f.tls_protocol,
    f.tls_cipher,
    f.tls_trust,
    f.uid,
    f.resent_message_id,
    f.orig_queue_id,
    f.orig_client,
    f.reject_stage,
    f.smtp_code,
    f.dsn,
    f.reason,
    f.queued,
    f.expired,
    coalesce(f.last_seen, f.ended) AS last_seen
FROM delivery_from AS f
-- LEFT here and below although nothing is ever missing: the planner leaves out a join whose columns nobody asked for.
LEFT JOIN mail_server AS s ON f.server_id = s.server_id;
COMMENT ON VIEW mail IS 'One row per queue entry: what came in, from where, and where it stands';
COMMENT ON COLUMN mail.state IS
'queued, held, removed (done), expired, deleted, requeued, canceled, discarded, rejected, corrupt, lost';

CREATE VIEW mail_recipient AS
SELECT
    t.mail_id,
    t.recipient_key,
    t.recipient,
    t.orig_to,
    recipient_fate(t.status, mail_state(f.ended_how, f.expired, f.is_held)) AS fate,
    t.status,
    t.dsn,
    t.component,
    t.service,
    t.relay_host,
    t.relay_ip,
    t.relay_port,
    t.relay_path,
    t.response,
    t.tls,
    t.tls_protocol,
    t.tls_cipher,
    t.tls_trust,
    t.delay,
    t.delay_before_queue,
    t.delay_in_queue,
    t.delay_connection,
    t.delay_transmission,
    coalesce(t.attempts, 1) AS attempts,
    t.attempted,
    coalesce(t.first_attempt, t.attempted) AS first_attempt,
    coalesce(t.last_attempt, t.attempted) AS last_attempt,
    t.next_queue_id
FROM delivery_to AS t
LEFT JOIN delivery_from AS f ON t.mail_id = f.mail_id;
COMMENT ON VIEW mail_recipient IS 'One row per queue entry and recipient: what became of it';
COMMENT ON COLUMN mail_recipient.fate IS
'sent, deferred, bounced, expired, undeliverable, deliverable, discarded, rejected, held, queued';

CREATE VIEW mail_attempt AS
SELECT
    a.mail_id,
    a.recipient_key,
    t.recipient,
    t.orig_to,
    a.attempted AS "time",
    a.status,
    a.dsn,
    a.component,
    a.relay_host,
    a.relay_ip,
    a.relay_port,
    a.delay,
    a.response
FROM delivery_attempt AS a
LEFT JOIN delivery_to AS t ON a.mail_id = t.mail_id AND a.recipient_key = t.recipient_key
UNION ALL
SELECT
    t.mail_id,
    t.recipient_key,
    t.recipient,
    t.orig_to,
    t.attempted AS "time",
    t.status,
    t.dsn,
    t.component,
    t.relay_host,
    t.relay_ip,
    t.relay_port,
    t.delay,
    t.response
FROM delivery_to AS t
WHERE t.attempts IS DISTINCT FROM 0 AND t.status IN ('sent', 'bounced', 'discarded', 'deliverable', 'undeliverable');
COMMENT ON VIEW mail_attempt IS 'Every attempt to deliver: the deferred ones and the final one';

CREATE VIEW mail_rejected AS
SELECT
    n.noqueue_id,
    n."time",
    s.host,
    s.instance,
    n.component,
    n.service,
    n.action,
    n.stage,
    n.sender,
    n.sender_raw,
    n.recipient,
    n.client_hostname,
    n.client_ip,
    n.client_port,
    n.helo,
    n.proto,
    n.sasl_method,
    n.sasl_username,
    n.smtp_code,
    n.dsn,
    n.reason
FROM noqueue AS n
LEFT JOIN mail_server AS s ON n.server_id = s.server_id
WHERE n.action IN ('reject', 'milter-reject', 'proxy-reject', 'hangup');
COMMENT ON VIEW mail_rejected IS 'One row per rejection that got no queue id';

CREATE FUNCTION is_internal(address inet) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT
    address <<= '127.0.0.0/8' OR address <<= '10.0.0.0/8' OR address <<= '172.16.0.0/12' OR address <<= '192.168.0.0/16'
    OR address <<= '169.254.0.0/16' OR address <<= '::1' OR address <<= 'fc00::/7' OR address <<= 'fe80::/10'
$$;
COMMENT ON FUNCTION is_internal IS 'An address of this host or its own network, where nobody else answers';

CREATE FUNCTION is_same_host(one text, other text) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT
    lower(rtrim(one, '.')) = lower(rtrim(other, '.'))
    OR (strpos(one, '.') = 0 AND starts_with(lower(other), lower(one) || '.'))
    OR (strpos(other, '.') = 0 AND starts_with(lower(one), lower(other) || '.'))
$$;
COMMENT ON FUNCTION is_same_host IS 'The same name; a short one is the same as a full one that begins with it';

CREATE FUNCTION delivery_window(t delivery_to, is_same_server boolean) RETURNS tstzrange
LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT tstzrange(
    -- The next hop has made its queue file between our connection and its reply.
    t.attempted - make_interval(secs => least(coalesce((t.delay_connection + t.delay_transmission)::float8, 3600), 3600))
    -- Stamps of whole seconds; clocks of two hosts; pickup(8) comes to what a command submitted a little later.
    - CASE WHEN is_same_server THEN INTERVAL '2 seconds' ELSE INTERVAL '2 minutes' END,
    t.attempted + CASE
        WHEN t.component = 'pipe' THEN INTERVAL '1 minute'
        WHEN is_same_server THEN INTERVAL '2 seconds'
        ELSE INTERVAL '2 minutes'
    END,
    '[]'
)
$$;
COMMENT ON FUNCTION delivery_window IS 'When the queue entry must have begun that a delivery led to';

-- PL/pgSQL from here to the view: a session plans each query in them once, and only when it comes to it.

CREATE FUNCTION is_to_same_address(t delivery_to, next_mail_id bigint) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN exists(
        SELECT FROM delivery_to AS n
        WHERE
            n.mail_id = next_mail_id
            AND (
                lower(n.recipient) IN (lower(t.recipient), lower(t.orig_to))
                OR lower(n.orig_to) IN (lower(t.recipient), lower(t.orig_to))
            )
    );
END
$$;
COMMENT ON FUNCTION is_to_same_address IS 'A queue entry has a recipient that was addressed as this one';

CREATE FUNCTION is_between_hosts(f delivery_from, t delivery_to, c delivery_from) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN f.server_id <> c.server_id AND exists(
        SELECT FROM mail_server AS fs, mail_server AS cs
        WHERE
            fs.server_id = f.server_id AND cs.server_id = c.server_id
            AND (
                lower(rtrim(t.relay_host, '.')) = lower(rtrim(cs.host, '.'))
                OR lower(rtrim(c.client_hostname, '.')) = lower(rtrim(fs.host, '.'))
                -- Many a stranger's name begins with mx or mail.
                OR (is_same_host(t.relay_host, cs.host) AND is_same_host(c.client_hostname, fs.host))
            )
    );
END
$$;
COMMENT ON FUNCTION is_between_hosts IS
'The relay of a delivery is the other entry''s host, or the other entry''s client is the delivery''s host; both, where the '
'log has short names only';

CREATE FUNCTION is_reply_true(f delivery_from, t delivery_to, c delivery_from) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
DECLARE
    is_internal_relay boolean := coalesce(is_internal(t.relay_ip), t.relay_path IS NOT NULL);
BEGIN
    IF t.component = 'local' THEN
        -- local(8) says so itself, and what it forwards enters the queue by no door.
        RETURN f.server_id = c.server_id AND c.origin IS NULL;
    END IF;
    -- Whoever got a mail knows the queue ids of its earlier legs, and may name one of them.
    IF f.server_id = c.server_id AND c.began < f.began THEN
        RETURN FALSE;
    END IF;
    -- Content that had no Message-ID may get one on its way through this host.
    IF f.message_id IS DISTINCT FROM c.message_id AND NOT (coalesce(f.message_id, '<>') = '<>' AND is_internal_relay) THEN
        RETURN FALSE;
    END IF;
    IF is_internal_relay THEN
        RETURN TRUE;
    END IF;
    -- What an alias forwarded came by no door.
    IF c.origin IS NULL THEN
        RETURN FALSE;
    END IF;
    -- From here on anybody may have answered, and may have sent us a mail with the same Message-ID.
    RETURN coalesce(lower(coalesce(f.sender_raw, f.sender)) = lower(coalesce(c.sender_raw, c.sender)), FALSE)
        AND (
            is_between_hosts(f, t, c)
            OR (
                -- Of another host's earlier leg only the clocks tell that it is one.
                (c.began > f.began OR coalesce(c.client_ip = t.relay_ip, FALSE))
                -- Who is elsewhere does not send it back from within this host.
                AND (f.server_id <> c.server_id OR NOT coalesce(is_internal(c.client_ip), TRUE))
                AND is_to_same_address(t, c.mail_id)
            )
        );
END
$$;
COMMENT ON FUNCTION is_reply_true IS
'Whether the entry that a reply names (queued as) can be the mail that was handed over: a reply is a text that the other '
'side chose, so the facts of that entry must agree';

CREATE FUNCTION is_nearest_true(f delivery_from, t delivery_to, c delivery_from) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN is_reply_true(f, t, c) AND NOT exists(
        SELECT FROM delivery_from AS o
        WHERE
            o.queue_id = t.next_queue_id
            AND o.mail_id NOT IN (t.mail_id, c.mail_id)
            AND o.began <@ delivery_window(t, f.server_id = o.server_id)
            AND (abs(extract(EPOCH FROM o.began - t.attempted)), o.mail_id)
            < (abs(extract(EPOCH FROM c.began - t.attempted)), c.mail_id)
            AND is_reply_true(f, t, o)
    );
END
$$;
COMMENT ON FUNCTION is_nearest_true IS 'Of several entries with the queue id that a reply names, the nearest that can be meant';

CREATE FUNCTION is_like_next_leg(f delivery_from, t delivery_to, c delivery_from) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    IF
        f.mail_id = c.mail_id
        OR t.status <> 'sent'
        OR t.component NOT IN ('smtp', 'lmtp', 'pipe')
        OR c.origin IS NULL
        OR (f.server_id = c.server_id AND c.began < f.began)
        -- Behind a second filter XFORWARD still names the first entry of all.
        OR (c.orig_queue_id IS NOT NULL AND c.orig_queue_id IS DISTINCT FROM f.orig_queue_id)
        OR NOT c.began <@ delivery_window(t, f.server_id = c.server_id)
        OR lower(coalesce(c.sender_raw, c.sender)) IS DISTINCT FROM lower(coalesce(f.sender_raw, f.sender))
        OR NOT coalesce(c.size BETWEEN f.size / 2 AND f.size * 2 + 65536, FALSE)
    THEN
        RETURN FALSE;
    END IF;
    IF t.component = 'pipe' THEN
        IF f.server_id <> c.server_id OR NOT (c.origin = 'pickup' OR host(c.client_ip) IN ('127.0.0.1', '::1')) THEN
            RETURN FALSE;
        END IF;
    ELSIF NOT coalesce(
        c.client_ip = t.relay_ip OR (is_internal(c.client_ip) AND is_internal(t.relay_ip)) OR is_between_hosts(f, t, c), FALSE
    ) THEN
        RETURN FALSE;
    END IF;
    RETURN is_to_same_address(t, c.mail_id)
        -- What some reply names is that mail's.
        AND NOT exists(
            SELECT FROM delivery_to AS o
            WHERE
                o.next_queue_id = c.queue_id AND o.mail_id <> t.mail_id
                AND o.attempted BETWEEN c.began - INTERVAL '2 minutes' AND c.began + INTERVAL '1 hour'
        );
END
$$;
COMMENT ON FUNCTION is_like_next_leg IS
'Whether a queue entry with the same Message-ID fits a delivery in time, sender, recipient, size and the peer that it '
'came from. Evidence only: several may fit';

CREATE FUNCTION is_next_leg(f delivery_from, t delivery_to, c delivery_from) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    -- Better evidence comes first, and costs less.
    IF t.next_queue_id IS NOT NULL AND exists(
        SELECT FROM delivery_from AS o
        WHERE
            o.queue_id = t.next_queue_id
            AND o.mail_id <> t.mail_id
            AND o.began <@ delivery_window(t, f.server_id = o.server_id)
            AND is_reply_true(f, t, o)
    ) THEN
        RETURN FALSE;
    END IF;
    RETURN NOT exists(
        SELECT FROM delivery_from AS o
        WHERE o.orig_queue_id = f.queue_id AND o.mail_id <> f.mail_id AND o.message_id = f.message_id
    )
    -- Each recipient is compared with all of the other entry's.
    AND NOT exists(
        SELECT FROM delivery_to AS o
        WHERE o.mail_id = c.mail_id
        ORDER BY o.recipient_key
        OFFSET 500
    )
    AND is_like_next_leg(f, t, c);
END
$$;
COMMENT ON FUNCTION is_next_leg IS 'is_like_next_leg, and nothing tells better where the mail went';

CREATE FUNCTION is_one_of_several(f delivery_from, t delivery_to, c delivery_from) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN exists(
        SELECT FROM delivery_from AS o
        WHERE o.message_id = f.message_id AND o.mail_id <> c.mail_id AND is_like_next_leg(f, t, o)
    ) OR exists(
        SELECT FROM delivery_from AS o
        INNER JOIN delivery_to AS ot ON o.mail_id = ot.mail_id
        WHERE o.message_id = c.message_id AND o.mail_id <> f.mail_id AND is_like_next_leg(o, ot, c)
    );
END
$$;
COMMENT ON FUNCTION is_one_of_several IS 'Another entry fits this delivery, or this entry another delivery';

CREATE FUNCTION is_earlier_leg(
    p delivery_from, f delivery_from
) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE f.origin
    WHEN 'pickup' THEN
        f.server_id = p.server_id
        AND p.began <= f.began
        AND coalesce(p.ended_how, 'silent') IN ('requeued', 'lost', 'silent')
        AND (f.message_id = p.message_id OR coalesce(p.message_id, '<>') = '<>' OR f.message_id IS NULL)
    ELSE
        p.began <= f.began + INTERVAL '1 minute'
        AND (p.ended IS NULL OR p.ended >= f.began - INTERVAL '1 minute')
        AND (f.message_id = p.message_id OR coalesce(p.message_id, '<>') = '<>')
END
$$;
COMMENT ON FUNCTION is_earlier_leg IS
'Whether an entry with the queue id that the other one came from (orig_queue_id) can be meant: what postsuper put back '
'into the queue, or what a content filter passed on by XFORWARD';

CREATE FUNCTION is_nearest_earlier_leg(p delivery_from, f delivery_from) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE AS $$
BEGIN
    RETURN is_earlier_leg(p, f) AND NOT exists(
        SELECT FROM delivery_from AS o
        WHERE
            o.queue_id = f.orig_queue_id
            AND o.mail_id <> f.mail_id
            AND (o.server_id = f.server_id, o.began, p.mail_id) > (p.server_id = f.server_id, p.began, o.mail_id)
            AND is_earlier_leg(o, f)
    );
END
$$;
COMMENT ON FUNCTION is_nearest_earlier_leg IS
'Of several entries with the queue id that the other one came from, the nearest: of the same server, and begun last';

-- Each leg is a join and not a LATERAL … LIMIT 1: so conditions on mail_id and on linked_mail_id both reach the tables'
-- indexes, and the links from a mail and those to it cost the same. Of several entries that had the same queue id the
-- nearest in time is meant: NOT EXISTS leaves out the others.
CREATE VIEW mail_link AS
SELECT
    e.mail_id,
    CASE
        WHEN e.action <> 'notification' THEN e.action
        WHEN e.detail = 'non-delivery' THEN 'bounce'
        WHEN e.detail = 'delay' THEN 'delay warning'
        WHEN e.detail = 'delivery status' THEN 'success notice'
        ELSE e.action
    END AS kind,
    e."time",
    e.linked_queue_id,
    c.mail_id AS linked_mail_id,
    NULL::bigint AS recipient_key,
    'log' AS told_by,
    FALSE AS is_ambiguous
FROM mail_event AS e
INNER JOIN delivery_from AS f ON e.mail_id = f.mail_id
LEFT JOIN delivery_from AS c
    ON
        e.linked_queue_id = c.queue_id
        AND f.server_id = c.server_id
        AND e.mail_id <> c.mail_id
        AND c.began BETWEEN e."time" - INTERVAL '1 minute' AND e."time" + INTERVAL '1 minute'
        AND NOT EXISTS (
            SELECT FROM delivery_from AS o
            WHERE
                o.queue_id = e.linked_queue_id
                AND o.server_id = f.server_id
                AND o.mail_id <> e.mail_id
                AND o.began BETWEEN e."time" - INTERVAL '1 minute' AND e."time" + INTERVAL '1 minute'
                AND (abs(extract(EPOCH FROM o.began - e."time")), o.mail_id)
                < (abs(extract(EPOCH FROM c.began - e."time")), c.mail_id)
        )
WHERE e.linked_queue_id IS NOT NULL
UNION ALL
SELECT
    t.mail_id,
    CASE t.component WHEN 'local' THEN 'forwarded' ELSE 'queued' END AS kind,
    t.attempted AS "time",
    t.next_queue_id AS linked_queue_id,
    c.mail_id AS linked_mail_id,
    t.recipient_key,
    CASE t.component WHEN 'local' THEN 'log' ELSE 'reply' END AS told_by,
    FALSE AS is_ambiguous
FROM delivery_to AS t
INNER JOIN delivery_from AS f ON t.mail_id = f.mail_id
LEFT JOIN delivery_from AS c
    ON
        t.next_queue_id = c.queue_id
        AND t.mail_id <> c.mail_id
        AND c.began <@ delivery_window(t, f.server_id = c.server_id)
        AND is_nearest_true(f, t, c)
WHERE t.next_queue_id IS NOT NULL
UNION ALL
SELECT
    p.mail_id,
    CASE f.origin WHEN 'pickup' THEN 'requeued' ELSE 'filtered' END AS kind,
    f.began AS "time",
    f.queue_id AS linked_queue_id,
    f.mail_id AS linked_mail_id,
    NULL::bigint AS recipient_key,
    CASE f.origin WHEN 'pickup' THEN 'log' ELSE 'xforward' END AS told_by,
    FALSE AS is_ambiguous
FROM delivery_from AS f
INNER JOIN delivery_from AS p
    ON
        f.orig_queue_id = p.queue_id
        AND f.mail_id <> p.mail_id
        AND is_nearest_earlier_leg(p, f)
WHERE f.orig_queue_id IS NOT NULL
UNION ALL
SELECT
    t.mail_id,
    'queued' AS kind,
    t.attempted AS "time",
    c.queue_id AS linked_queue_id,
    c.mail_id AS linked_mail_id,
    t.recipient_key,
    'message-id' AS told_by,
    is_one_of_several(f, t, c) AS is_ambiguous
FROM delivery_to AS t
INNER JOIN delivery_from AS f ON t.mail_id = f.mail_id
INNER JOIN delivery_from AS c
    ON
        f.message_id = c.message_id
        AND f.mail_id <> c.mail_id
        AND c.began BETWEEN t.attempted - INTERVAL '1 hour 2 minutes' AND t.attempted + INTERVAL '2 minutes'
        AND is_next_leg(f, t, c)
WHERE
    t.status = 'sent'
    AND t.component IN ('smtp', 'lmtp', 'pipe')
    AND f.message_id <> '<>'
    -- A message-id of dozens of mails is evidence of none; what senders multiply must not multiply the work: this is
    -- asked before any two of them are compared. Which twenty does not matter.
    AND NOT EXISTS (
        SELECT FROM delivery_from AS o
        WHERE o.message_id = f.message_id
        OFFSET 20 -- noqa: AM09
    )
    -- Dovecot has stored it.
    AND (t.component <> 'lmtp' OR t.response IS NULL OR right(t.response, 6) <> ' Saved');
COMMENT ON VIEW mail_link IS
'From one queue entry to the next leg: bounce, delay warning, success notice, postmaster notice, forwarded, queued, '
'requeued, filtered. linked_mail_id is NULL when no such entry is in this database';
COMMENT ON COLUMN mail_link.recipient_key IS 'The recipient that went this way (forwarded, queued), else NULL';
COMMENT ON COLUMN mail_link.told_by IS
'How the link is known: log (this Postfix says so), xforward (the content filter passed the queue id on), reply (the next '
'hop named the queue id, and that entry''s facts agree), message-id (it is the same, and time, sender, recipient, size and '
'client fit: evidence, no proof)';
COMMENT ON COLUMN mail_link.is_ambiguous IS 'By this evidence another mail is meant as well: no fate is derived from it';

CREATE VIEW mail_server_event AS
SELECT
    e.host,
    e.instance,
    e.hour,
    e.component,
    e.action,
    e.subject,
    e.lines,
    e.first_time,
    e.last_time,
    e.sample
FROM server_event AS e;
COMMENT ON VIEW mail_server_event IS
'What tells of a server''s health rather than of a mail, counted by the hour: broken connections, refused log-ins, TLS, '
'limits, block lists, tables, milters, processes';

CREATE FUNCTION dovecot_session(response text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT substring(
    response FROM '^250 2[.][0-9]+[.][0-9]+ (?:<.*> )?([A-Za-z0-9+/=]{6,64}(?::[A-Z]?[0-9]{1,9})*) Saved$'
)
$$;
COMMENT ON FUNCTION dovecot_session IS
'The session in the reply of Dovecot''s LMTP server: 250 2.0.0 <user@example.org> SESSION Saved; a further recipient''s '
'ends in :R2, a further mail''s in :T2';

-- Each leg begins with what leads to few rows: the mail's queue id, its replies, its message-id, its client.
CREATE VIEW mail_neighbour AS
SELECT
    f.mail_id,
    NULL::bigint AS recipient_key,
    e."time",
    e.program,
    e.action,
    e.recipient,
    e.mailbox,
    e.result,
    e.score,
    e.required_score,
    e.detail,
    'queue id' AS joined_by,
    FALSE AS is_ambiguous
FROM delivery_from AS f
INNER JOIN mail_server AS s ON f.server_id = s.server_id
INNER JOIN neighbour_event AS e
    ON
        f.queue_id = e.queue_id
        AND s.host = e.host
        AND e."time" >= f.began - INTERVAL '5 seconds'
        AND (f.ended IS NULL OR e."time" <= f.ended + INTERVAL '5 seconds')
-- Of mails that had the same queue id one after the other the one that had begun last is meant.
WHERE
    NOT EXISTS (
        SELECT FROM delivery_from AS o
        INNER JOIN mail_server AS os ON o.server_id = os.server_id
        WHERE
            o.queue_id = e.queue_id
            AND os.host = e.host
            AND o.mail_id <> f.mail_id
            AND e."time" >= o.began - INTERVAL '5 seconds'
            AND (o.ended IS NULL OR e."time" <= o.ended + INTERVAL '5 seconds')
            AND (o.began > e."time", abs(extract(EPOCH FROM o.began - e."time")), o.mail_id)
            < (f.began > e."time", abs(extract(EPOCH FROM f.began - e."time")), f.mail_id)
    )
UNION ALL
SELECT
    t.mail_id,
    t.recipient_key,
    e."time",
    e.program,
    e.action,
    e.recipient,
    e.mailbox,
    e.result,
    e.score,
    e.required_score,
    e.detail,
    'session' AS joined_by,
    FALSE AS is_ambiguous
FROM delivery_to AS t
INNER JOIN neighbour_event AS e
    ON
        dovecot_session(t.response) = e.session
        AND e.program = 'dovecot'
        AND e."time" BETWEEN t.attempted - INTERVAL '1 hour' AND t.attempted + INTERVAL '5 minutes'
WHERE t.component = 'lmtp'
UNION ALL
SELECT
    f.mail_id,
    d.recipient_key,
    e."time",
    e.program,
    e.action,
    e.recipient,
    e.mailbox,
    e.result,
    e.score,
    e.required_score,
    e.detail,
    'message-id' AS joined_by,
    exists(
        SELECT FROM delivery_from AS o
        INNER JOIN mail_server AS os ON o.server_id = os.server_id
        LEFT JOIN delivery_to AS od ON o.mail_id = od.mail_id AND od.component IN ('lmtp', 'pipe', 'local', 'virtual')
        WHERE
            o.message_id = e.message_id
            AND os.host = e.host
            AND o.mail_id <> f.mail_id
            AND e."time" >= o.began - INTERVAL '5 seconds'
            AND (o.ended IS NULL OR e."time" <= o.ended + INTERVAL '5 minutes')
            AND (
                e.program <> 'dovecot'
                OR e."time" BETWEEN coalesce(od.first_attempt, od.attempted) - INTERVAL '5 minutes'
                AND coalesce(od.last_attempt, od.attempted) + INTERVAL '5 minutes'
            )
    ) AS is_ambiguous
FROM delivery_from AS f
INNER JOIN mail_server AS s ON f.server_id = s.server_id
INNER JOIN neighbour_event AS e
    ON
        f.message_id = e.message_id
        AND s.host = e.host
        AND e.queue_id IS NULL
        AND e."time" >= f.began - INTERVAL '5 seconds'
        AND (f.ended IS NULL OR e."time" <= f.ended + INTERVAL '5 minutes')
-- Dovecot speaks of a mail when it is handed to it; and the user's name may be the address or its local part.
LEFT JOIN LATERAL (
    SELECT
        count(*) AS deliveries,
        CASE
            WHEN
                count(*) FILTER (
                    WHERE lower(e.recipient) IN (lower(t.recipient), lower(substring(t.recipient FROM '^(.*)@')))
                ) = 1
                THEN
                    max(t.recipient_key) FILTER (
                        WHERE lower(e.recipient) IN (lower(t.recipient), lower(substring(t.recipient FROM '^(.*)@')))
                    )
        END AS recipient_key
    FROM delivery_to AS t
    WHERE
        t.mail_id = f.mail_id
        AND t.component IN ('lmtp', 'pipe', 'local', 'virtual')
        AND e."time" BETWEEN coalesce(t.first_attempt, t.attempted) - INTERVAL '5 minutes'
        AND coalesce(t.last_attempt, t.attempted) + INTERVAL '5 minutes'
) AS d ON e.program = 'dovecot'
WHERE
    -- A message-id of dozens of mails is evidence of none; what senders multiply must not multiply the work.
    NOT EXISTS (
        SELECT FROM delivery_from AS o
        WHERE o.message_id = f.message_id
        ORDER BY o.mail_id
        OFFSET 20
    )
    AND NOT EXISTS (
        SELECT FROM delivery_to AS t
        WHERE t.mail_id = f.mail_id
        ORDER BY t.recipient_key
        OFFSET 200
    )
    AND NOT EXISTS (
        SELECT FROM neighbour_event AS o
        WHERE o.message_id = f.message_id AND o.queue_id IS NULL
        ORDER BY o."time"
        OFFSET 200
    )
    AND (e.program <> 'dovecot' OR d.deliveries > 0)
    -- What some mail's reply names is that mail's.
    AND NOT EXISTS (
        SELECT FROM delivery_from AS o
        INNER JOIN delivery_to AS t ON o.mail_id = t.mail_id
        WHERE
            o.message_id = e.message_id
            AND t.component = 'lmtp'
            AND strpos(t.response, ' ' || e.session || ' Saved') > 0
    )
UNION ALL
SELECT
    f.mail_id,
    d.recipient_key,
    e."time",
    e.program,
    e.action,
    e.recipient,
    e.mailbox,
    e.result,
    e.score,
    e.required_score,
    e.detail,
    'envelope' AS joined_by,
    exists(
        SELECT FROM delivery_from AS o
        INNER JOIN mail_server AS os ON o.server_id = os.server_id
        WHERE
            o.began BETWEEN e."time" - INTERVAL '1 minute' AND e."time" + INTERVAL '1 minute'
            AND o.mail_id <> f.mail_id
            AND os.host = e.host
            AND o.client_ip = e.client_ip
            AND lower(coalesce(o.sender_raw, o.sender)) = lower(e.sender)
            AND (
                e.recipient IS NULL
                OR EXISTS (
                    SELECT FROM delivery_to AS t
                    WHERE
                        t.mail_id = o.mail_id
                        AND lower(e.recipient) IN (lower(t.recipient), lower(t.orig_to))
                )
            )
    ) AS is_ambiguous
FROM delivery_from AS f
INNER JOIN mail_server AS s ON f.server_id = s.server_id
INNER JOIN neighbour_event AS e
    ON
        f.client_ip = e.client_ip
        AND e."time" BETWEEN f.began - INTERVAL '1 minute' AND f.began + INTERVAL '1 minute'
        AND s.host = e.host
        AND lower(coalesce(f.sender_raw, f.sender)) = lower(e.sender)
        AND e.queue_id IS NULL
        AND e.program IN ('postgrey', 'policyd-spf')
LEFT JOIN LATERAL (
    SELECT min(t.recipient_key) AS recipient_key
    FROM delivery_to AS t
    WHERE t.mail_id = f.mail_id AND lower(e.recipient) IN (lower(t.recipient), lower(t.orig_to))
) AS d ON TRUE
WHERE
    -- The same for a client that sends dozens of mails a minute from one address.
    NOT EXISTS (
        SELECT FROM neighbour_event AS o
        WHERE
            o.client_ip = f.client_ip
            AND o."time" BETWEEN f.began - INTERVAL '1 minute' AND f.began + INTERVAL '1 minute'
            AND o.queue_id IS NULL
            AND lower(o.sender) = lower(coalesce(f.sender_raw, f.sender))
        ORDER BY o."time"
        OFFSET 50
    )
    AND (e.recipient IS NULL OR d.recipient_key IS NOT NULL);
COMMENT ON VIEW mail_neighbour IS
'What other programs of the mail server said about a mail: Dovecot, filters, milters, policy servers';
COMMENT ON COLUMN mail_neighbour.joined_by IS
'Why this mail is meant: queue id or session (certain); message-id of a mail that was then being handled, or envelope '
'(client, sender and recipient within a minute), which is evidence only';
COMMENT ON COLUMN mail_neighbour.is_ambiguous IS 'Another mail is meant as well by this evidence';
COMMENT ON COLUMN mail_neighbour.recipient_key IS 'The recipient that it is about, where that is known';

CREATE VIEW input_state AS
SELECT
    p.input_id,
    p.kind,
    p.name,
    p.position,
    p.cursor,
    p.last_time,
    p.lines,
    p.updated
FROM input_position AS p;
COMMENT ON VIEW input_state IS 'How far each input has been stored';

CREATE VIEW input_gap AS
SELECT
    g.input_id,
    p.kind AS input_kind,
    p.name AS input_name,
    g.kind,
    g.host,
    g.unit,
    g.began,
    g.ended,
    g.lines,
    g.noticed
FROM input_missing AS g
LEFT JOIN input_position AS p ON g.input_id = p.input_id;
COMMENT ON VIEW input_gap IS 'What is missing in the inputs: from when to when, how many lines where known, and why';
