-- What `problems` and `stats` ask for: failures by time in one view, and the indexes that find a day of it.

CREATE INDEX delivery_attempt_attempted ON delivery_attempt (attempted);
-- Failures are few, and have an index (delivery_to_trouble); deliveries as a whole come nearly in the order of time,
-- which a BRIN index knows for very little.
CREATE INDEX delivery_to_attempted ON delivery_to USING brin (attempted timestamptz_minmax_multi_ops)
WITH (pages_per_range = 32, autosummarize = on);
-- Mails that had to wait, by when they left: so that the queue's length at any time can be told.
CREATE INDEX delivery_from_waited ON delivery_from (ended) WHERE ended - began > INTERVAL '10 minutes';

CREATE FUNCTION problem_reply(response text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN strpos(response, ' said: ') > 0 THEN substr(response, strpos(response, ' said: ') + 7)
    WHEN strpos(response, ' refused to talk to me: ') > 0
        THEN substr(response, strpos(response, ' refused to talk to me: ') + 24)
    ELSE response
END
$$;
COMMENT ON FUNCTION problem_reply IS 'What the other server itself said, without Postfix''s words before it';

CREATE FUNCTION problem_code(response text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN left(problem_reply(response), 3) COLLATE "C" BETWEEN '200' AND '599' THEN left(problem_reply(response), 3)
END
$$;
COMMENT ON FUNCTION problem_code IS 'The SMTP code that a reply begins with';

CREATE FUNCTION problem_text(response text, recipient text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT btrim(left(
    regexp_replace(
        left(
            -- What is no address with an @ may be a part of any word.
            replace(problem_reply(response), CASE WHEN recipient LIKE '_%@_%' THEN recipient ELSE '' END, ''), 400
        ),
        '[^ ]*[0-9][^ ]*|<[^<>]*>', '', 'g'
    ),
    200
), ' :')
$$;
COMMENT ON FUNCTION problem_text IS
'What replies of one kind have in common: the beginning, without addresses and without words that hold a digit (ids, '
'times, codes). To group by';

CREATE FUNCTION problem_reason(
    response text, sender text, helo text
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT replace(replace(response, '<' || coalesce(sender, '') || '>', '<>'), '<' || coalesce(helo, '') || '>', '<>')
$$;
COMMENT ON FUNCTION problem_reason IS
'A reply without the sender and the helo name that it repeats: whoever chose them must not choose what it is taken for';

CREATE FUNCTION problem_destination(
    recipient text, relay_host text, relay_ip inet
) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN relay_ip <<= INET '127.0.0.0/8' OR relay_ip = INET '::1' THEN relay_host
    WHEN strpos(recipient, '@') > 0 THEN lower(split_part(recipient, '@', -1))
END
$$;
COMMENT ON FUNCTION problem_destination IS
'Whose failures belong together: the recipient''s domain, but a filter on this server by its own name';

CREATE VIEW mail_problem AS
SELECT
    a.attempted AS "time",
    'delivery' AS kind,
    a.status AS action,
    a.mail_id,
    NULL::bigint AS noqueue_id,
    s.host,
    s.instance,
    f.queue_id,
    a.component,
    f.sender,
    t.recipient,
    problem_destination(t.recipient, a.relay_host, a.relay_ip) AS destination,
    a.relay_host,
    a.relay_ip,
    f.client_ip,
    f.sasl_username,
    a.dsn,
    problem_code(a.response) AS smtp_code,
    a.response AS reason,
    problem_text(problem_reason(a.response, coalesce(f.sender_raw, f.sender), NULL), t.recipient) AS reason_text
FROM delivery_attempt AS a
LEFT JOIN delivery_to AS t ON a.mail_id = t.mail_id AND a.recipient_key = t.recipient_key
LEFT JOIN delivery_from AS f ON a.mail_id = f.mail_id
LEFT JOIN mail_server AS s ON f.server_id = s.server_id
WHERE a.status IN ('deferred', 'bounced')
UNION ALL
SELECT
    t.attempted AS "time",
    CASE t.status WHEN 'rejected' THEN 'rejection' ELSE 'delivery' END AS kind,
    t.status AS action,
    t.mail_id,
    NULL::bigint AS noqueue_id,
    s.host,
    s.instance,
    f.queue_id,
    t.component,
    f.sender,
    t.recipient,
    problem_destination(t.recipient, t.relay_host, t.relay_ip) AS destination,
    t.relay_host,
    t.relay_ip,
    f.client_ip,
    f.sasl_username,
    t.dsn,
    problem_code(t.response) AS smtp_code,
    t.response AS reason,
    problem_text(problem_reason(t.response, coalesce(f.sender_raw, f.sender), f.helo), t.recipient) AS reason_text
FROM delivery_to AS t
LEFT JOIN delivery_from AS f ON t.mail_id = f.mail_id
LEFT JOIN mail_server AS s ON f.server_id = s.server_id
WHERE t.status <> 'sent' AND t.status IN ('bounced', 'rejected')
UNION ALL
SELECT
    f.expired AS "time",
    'delivery' AS kind,
    'expired' AS action,
    f.mail_id,
    NULL::bigint AS noqueue_id,
    s.host,
    s.instance,
    f.queue_id,
    t.component,
    f.sender,
    t.recipient,
    problem_destination(t.recipient, t.relay_host, t.relay_ip) AS destination,
    t.relay_host,
    t.relay_ip,
    f.client_ip,
    f.sasl_username,
    t.dsn,
    problem_code(t.response) AS smtp_code,
    t.response AS reason,
    problem_text(problem_reason(t.response, coalesce(f.sender_raw, f.sender), f.helo), t.recipient) AS reason_text
FROM delivery_from AS f
INNER JOIN delivery_to AS t ON f.mail_id = t.mail_id AND t.status = 'deferred'
LEFT JOIN mail_server AS s ON f.server_id = s.server_id
WHERE mail_state(f.ended_how, f.expired, f.is_held) = 'expired'
UNION ALL
-- Refused as a whole, before any recipient was known.
SELECT
    f.began AS "time",
    'rejection' AS kind,
    'rejected' AS action,
    f.mail_id,
    NULL::bigint AS noqueue_id,
    s.host,
    s.instance,
    f.queue_id,
    coalesce(f.origin, 'cleanup') AS component,
    f.sender,
    NULL AS recipient,
    NULL AS destination,
    NULL AS relay_host,
    NULL AS relay_ip,
    f.client_ip,
    f.sasl_username,
    f.dsn,
    f.smtp_code::text AS smtp_code,
    f.reason,
    problem_text(problem_reason(f.reason, coalesce(f.sender_raw, f.sender), f.helo), NULL) AS reason_text
FROM delivery_from AS f
LEFT JOIN mail_server AS s ON f.server_id = s.server_id
WHERE
    mail_state(f.ended_how, f.expired, f.is_held) = 'rejected'
    AND NOT EXISTS (
        SELECT FROM delivery_to AS t
        WHERE t.mail_id = f.mail_id AND t.status = 'rejected'
    )
UNION ALL
SELECT
    n."time",
    'rejection' AS kind,
    n.action,
    NULL::bigint AS mail_id,
    n.noqueue_id,
    s.host,
    s.instance,
    NULL AS queue_id,
    n.component,
    n.sender,
    n.recipient,
    problem_destination(n.recipient, NULL, NULL) AS destination,
    NULL AS relay_host,
    NULL AS relay_ip,
    n.client_ip,
    n.sasl_username,
    n.dsn,
    n.smtp_code::text AS smtp_code,
    n.reason,
    problem_text(problem_reason(n.reason, coalesce(n.sender_raw, n.sender), n.helo), n.recipient) AS reason_text
FROM noqueue AS n
LEFT JOIN mail_server AS s ON n.server_id = s.server_id
WHERE n.action IN ('reject', 'milter-reject', 'proxy-reject', 'hangup');
COMMENT ON VIEW mail_problem IS
'One row per failure: attempts to deliver that were deferred or bounced, recipients given up on, and what was refused here';
COMMENT ON COLUMN mail_problem.kind IS 'delivery (of ours, to others or to a mailbox) or rejection (by this server)';
COMMENT ON COLUMN mail_problem.action IS 'deferred, bounced, expired; rejected, or as logged: reject, milter-reject …';
COMMENT ON COLUMN mail_problem.destination IS
'The recipient''s domain; a filter on this server by its own name; NULL for local names without a domain';
COMMENT ON COLUMN mail_problem.reason_text IS
'What reasons of one kind have in common, as problem_text gives it. To group by';
