-- Who may do what: every table, every view and every function that reads with its owner's rights has one line here (a
-- test checks it). `schema apply` gives these rights, and
-- takes all others away, each time it runs; a role that the cluster does not have is passed over.
--
-- The daemon writes and never deletes but what it keeps for itself; cleanup deletes and writes nothing but its record
-- (UPDATE on a single column is also what locking a row needs); who looks reads views only. schema_step tells each of
-- them whether the database fits the program.

DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT held.thing, to_regrole(rights.role) AS role, rights.rights
        FROM (VALUES
            -- thing, daemon, cleanup, reader
            ('schema_step', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_server', 'SELECT, INSERT', 'SELECT', ''),
            ('delivery_from', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE', ''),
            ('SEQUENCE delivery_from_mail_id_seq', 'USAGE', '', ''),
            ('delivery_to', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE', ''),
            ('delivery_attempt', 'SELECT, INSERT', 'SELECT, DELETE', ''),
            ('mail_event', 'SELECT, INSERT', 'SELECT, DELETE', ''),
            ('noqueue', 'SELECT, INSERT', 'SELECT, DELETE', ''),
            ('server_event', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE', ''),
            ('process_state', 'SELECT, INSERT, UPDATE, DELETE', 'SELECT, DELETE', ''),
            ('neighbour_event', 'SELECT, INSERT', 'SELECT, DELETE', ''),
            ('input_position', 'SELECT, INSERT, UPDATE', 'SELECT, UPDATE (head)', ''),
            ('input_told', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE', ''),
            ('input_missing', 'SELECT, INSERT', 'SELECT, DELETE', ''),
            ('daemon_state', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE', ''),
            ('line_counter', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE', ''),
            ('unknown_line', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE', ''),
            ('forged_line', 'SELECT, INSERT, UPDATE', 'SELECT, DELETE', ''),
            ('set_aside', 'SELECT, INSERT', 'SELECT, DELETE', ''),
            ('cleanup_run', 'SELECT', 'SELECT, INSERT, UPDATE, DELETE', ''),
            ('mail', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_recipient', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_attempt', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_rejected', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_problem', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_link', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_final', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_delivery', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_neighbour', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_note', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_host', 'SELECT', 'SELECT', 'SELECT'),
            ('mail_server_event', 'SELECT', 'SELECT', 'SELECT'),
            ('input_state', 'SELECT', 'SELECT', 'SELECT'),
            ('input_gap', 'SELECT', 'SELECT', 'SELECT'),
            ('line_count', 'SELECT', 'SELECT', 'SELECT'),
            ('line_unknown', 'SELECT', 'SELECT', 'SELECT'),
            ('line_forged', 'SELECT', 'SELECT', 'SELECT'),
            ('line_set_aside', 'SELECT', 'SELECT', 'SELECT'),
            ('daemon_report', 'SELECT', 'SELECT', 'SELECT'),
            ('cleanup_report', 'SELECT', 'SELECT', 'SELECT'),
            ('FUNCTION is_to_same_address', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION is_between_hosts', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION is_reply_true', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION is_nearest_true', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION is_nearest_earlier_leg', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION is_like_next_leg', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION is_next_leg', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION is_one_of_several', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION mail_legs', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION mail_leaves', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('FUNCTION mail_links', 'EXECUTE', 'EXECUTE', 'EXECUTE'),
            ('DATABASE ' || quote_ident(current_database()), 'CONNECT', 'CONNECT', 'CONNECT'),
            ('SCHEMA ' || quote_ident(current_schema()), 'USAGE', 'USAGE', 'USAGE')
        ) AS held (thing, daemon, cleanup, reader)
        CROSS JOIN LATERAL (VALUES
            ('journal_postfix_daemon', held.daemon),
            ('journal_postfix_cleanup', held.cleanup),
            ('journal_postfix_reader', held.reader)
        ) AS rights (role, rights)
        WHERE to_regrole(rights.role) IS NOT NULL
    LOOP
        EXECUTE format('REVOKE ALL ON %s FROM %s', granted.thing, granted.role);
        IF granted.rights <> '' THEN
            EXECUTE format('GRANT %s ON %s TO %s', granted.rights, granted.thing, granted.role);
        END IF;
    END LOOP;
END
$$
