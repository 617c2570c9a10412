-- What deleting needs: its record, and tables that are vacuumed in time; and views for all that the look-ups read, so
-- that who only looks needs no right on any table (grants.sql).

CREATE TABLE cleanup_run (
    cleanup_run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    began timestamptz NOT NULL,
    ended timestamptz,
    deleted jsonb,
    error text
);
COMMENT ON TABLE cleanup_run IS 'Each run of the command cleanup';
COMMENT ON COLUMN cleanup_run.ended IS 'NULL while it runs, or when it was killed';
COMMENT ON COLUMN cleanup_run.deleted IS 'How many of what were deleted';
COMMENT ON COLUMN cleanup_run.error IS 'Why it ended early; what had been deleted until then stays deleted';

-- A day of a year is 0.3 % of a table: PostgreSQL's default would let two months of deleted rows pile up before their
-- place is used again.
ALTER TABLE delivery_from SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE delivery_to SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE delivery_attempt SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE mail_event SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE noqueue SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE neighbour_event SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE input_told SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);
ALTER TABLE server_event SET (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000);

CREATE VIEW mail_note AS
SELECT
    e.mail_id,
    e."time",
    e.component,
    e.action,
    e.linked_queue_id,
    e.detail
FROM mail_event AS e;
COMMENT ON VIEW mail_note IS
'What else was logged about a mail: checks, milters, holds, notifications, trouble';

CREATE VIEW mail_host AS
SELECT
    s.host,
    s.instance
FROM mail_server AS s;
COMMENT ON VIEW mail_host IS 'The instances of Postfix that were seen, by host';

CREATE VIEW line_count AS
SELECT
    c.host,
    c.component,
    c.action,
    c.lines,
    c.last_time
FROM line_counter AS c;
COMMENT ON VIEW line_count IS 'How many lines of each kind were read; unknown and foreign ones too';

CREATE VIEW line_unknown AS
SELECT
    u.host,
    u.component,
    u.shape,
    u.lines,
    u.first_time,
    u.last_time,
    u.identifier,
    u.sample
FROM unknown_line AS u;
COMMENT ON VIEW line_unknown IS 'Lines of Postfix that were not understood, grouped by shape, with the first of each';

CREATE VIEW line_forged AS
SELECT
    f.host,
    f.origin,
    f.lines,
    f.first_time,
    f.last_time,
    f.identifier,
    f.sample
FROM forged_line AS f;
COMMENT ON VIEW line_forged IS
'Lines that claim to be Postfix''s and are not, by who logged them, with the first of each';

CREATE VIEW line_set_aside AS
SELECT
    a.set_aside_id,
    a.host,
    a."time",
    a.line,
    a.reason,
    a.stored
FROM set_aside AS a;
COMMENT ON VIEW line_set_aside IS 'Lines whose row the database refused, with the reason';

CREATE VIEW daemon_report AS
SELECT
    d.name,
    d.host,
    d.pid,
    d.version,
    d.started,
    d.heartbeat,
    d.state,
    d.lag,
    d.lines_per_second,
    d.problem
FROM daemon_state AS d;
COMMENT ON VIEW daemon_report IS 'What each daemon that follows a journal last said of itself';

CREATE VIEW cleanup_report AS
SELECT
    r.cleanup_run_id,
    r.began,
    r.ended,
    r.deleted,
    r.error
FROM cleanup_run AS r;
COMMENT ON VIEW cleanup_report IS 'Each run of the command cleanup: when, what was deleted, and why it ended early';

CREATE OR REPLACE VIEW input_state AS
SELECT
    p.input_id,
    p.kind,
    p.name,
    p.position,
    p.cursor,
    p.last_time,
    p.lines,
    p.updated,
    p.head_sha256
FROM input_position AS p;
COMMENT ON COLUMN input_state.head_sha256 IS 'Which log it is: SHA-256 of its beginning; of a journal, of whose it is';
