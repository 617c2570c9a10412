-- One batch of synthetic mails, written straight into the tables; :first … :last are their numbers. Every tenth went
-- through a content filter (two queue entries, joined by the filter's reply), every ninth failed or waits, one in fifty
-- was rejected before. Addresses, domains and clients are skewed as in real life: a few take most of the mail.

INSERT INTO delivery_from (
    mail_id, server_id, queue_id, began, queued, ended, ended_how, origin, service, client_hostname, client_ip,
    client_port, helo, proto, sasl_method, sasl_username, sender, message_id, subject, size, nrcpt
)
SELECT
    n,
    1 + n % 2,
    upper(to_hex(68719476736 + n * 7919)),
    t.began,
    t.began + INTERVAL '0.2 s',
    t.began + INTERVAL '2 s',
    'removed',
    'smtpd',
    CASE WHEN n % 10 = 0 THEN 'submission' END,
    CASE WHEN k.is_leg THEN 'localhost' ELSE 'mail' || c.client % 997 || '.d' || c.client || '.example' END,
    CASE WHEN k.is_leg THEN '127.0.0.1' ELSE '10.0.0.0'::inet + c.client * 17 END,
    NULL,
    'mail.d' || c.client || '.example',
    'ESMTP',
    CASE WHEN n % 10 = 0 THEN 'PLAIN' END,
    CASE WHEN n % 10 = 0 THEN 'user' || (power(random(), 2) * 20000)::int || '@staff.example' END,
    x.sender,
    '<' || md5((n - k.is_leg::int)::text) || '@mail.d' || c.client || '.example>',
    CASE WHEN n % 3 = 0 THEN 'Re: offer no. ' || n END,
    1000 + n % 90000,
    1
FROM generate_series(:first::bigint, :last::bigint) AS n
CROSS JOIN LATERAL (SELECT n % 10 = 1 AND n > :first AS is_leg) AS k
CROSS JOIN LATERAL (
    SELECT TIMESTAMPTZ '2026-01-01' + (n - k.is_leg::int) * INTERVAL '3 s' + k.is_leg::int * INTERVAL '0.5 s' AS began
) AS t
-- The leg behind the filter has the draw of the one before: setseed by its number.
CROSS JOIN LATERAL (SELECT hashint8extended(n - k.is_leg::int, 1) AS h) AS d
CROSS JOIN LATERAL (SELECT (power((d.h & 1048575) / 1048576.0, 3) * 50000)::int AS client) AS c
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN n % 40 = 39 THEN ''
            ELSE 'u' || (power(((d.h >> 20) & 1048575) / 1048576.0, 2) * 400)::int || '.name@d' || c.client || '.example'
        END AS sender
) AS x;

INSERT INTO delivery_to (
    mail_id, recipient_key, recipient, orig_to, status, dsn, component, relay_host, relay_ip, relay_port, delay,
    delay_before_queue, delay_in_queue, delay_connection, delay_transmission, response, next_queue_id, attempts,
    attempted
)
SELECT
    f.mail_id,
    r,
    'to' || (power(((d.h >> 5) & 1048575) / 1048576.0, 3) * 3000)::int || '.person@r' || m.domain || '.test',
    CASE WHEN d.h & 15 = 0 THEN 'info' || ((d.h >> 5) & 1023) || '@alias' || m.domain % 97 || '.test' END,
    s.status,
    CASE
        s.status
        WHEN 'sent' THEN '2.0.0'
        WHEN 'deferred' THEN '4.4.1'
        ELSE (ARRAY['5.1.1', '5.7.1', '5.2.2', '5.7.26'])[1 + least((-ln(random()) * 0.7)::int, 3)]
    END,
    'smtp',
    CASE WHEN l.is_before THEN '127.0.0.1' ELSE 'mx.r' || m.domain || '.test' END,
    CASE WHEN l.is_before THEN '127.0.0.1' ELSE '198.51.100.0'::inet + m.domain % 200 END,
    25,
    1.2,
    0.2,
    0,
    0.5,
    0.5,
    CASE
        s.status
        WHEN 'sent' THEN '250 2.0.0 Ok: queued as ' || upper(to_hex(68719476736 + (f.mail_id + 1) * CASE WHEN l.is_before THEN 7919 ELSE 104729 END))
        WHEN 'deferred' THEN 'connect to mx.r' || m.domain || '.test[198.51.100.1]:25: Connection timed out'
        ELSE 'host mx.r' || m.domain || '.test said: 550 5.1.1 no such user (in reply to RCPT TO command)'
    END,
    CASE
        WHEN s.status = 'sent'
            THEN upper(to_hex(68719476736 + (f.mail_id + 1) * CASE WHEN l.is_before THEN 7919 ELSE 104729 END))
    END,
    1,
    f.began + INTERVAL '1.2 s'
FROM delivery_from AS f
CROSS JOIN LATERAL (SELECT f.mail_id % 10 = 0 AND f.mail_id < :last AS is_before) AS l
CROSS JOIN LATERAL generate_series(1, CASE WHEN f.mail_id % 20 = 7 THEN 3 ELSE 1 END) AS r
CROSS JOIN LATERAL (
    SELECT hashint8extended(f.mail_id - (f.mail_id % 10 = 1 AND f.mail_id > :first)::int, r) AS h
) AS d
CROSS JOIN LATERAL (SELECT (power((d.h & 1048575) / 1048576.0, 3) * 20000)::int AS domain) AS m
CROSS JOIN LATERAL (
    SELECT
        CASE
            WHEN l.is_before OR f.mail_id % 9 <> 0 THEN 'sent'
            WHEN f.mail_id % 18 = 0 THEN 'bounced'
            ELSE 'deferred'
        END AS status
) AS s
WHERE f.mail_id BETWEEN :first AND :last;

INSERT INTO noqueue (
    server_id, "time", component, action, stage, sender, recipient, client_hostname, client_ip, helo, proto, smtp_code, dsn,
    reason
)
SELECT
    f.server_id, f.began - INTERVAL '5 min', 'smtpd', 'reject', 'RCPT', f.sender, t.recipient, f.client_hostname,
    f.client_ip, f.helo, f.proto, 450, '4.2.0', '<' || t.recipient || '>: Recipient address rejected: Greylisted'
FROM delivery_from AS f
INNER JOIN delivery_to AS t ON f.mail_id = t.mail_id
WHERE f.mail_id BETWEEN :first AND :last AND f.mail_id % 50 = 3;
