-- Who looks reads views and no table, and so do the functions in them: with their owner's rights, and with no names but
-- those of this schema, lest a caller's own tables or operators come in between. `schema apply` runs this each time: a
-- restored database may have its schema under another name.
DO $$
DECLARE
    reading regprocedure;
BEGIN
    FOR reading IN
        SELECT p.oid::regprocedure
        FROM pg_proc AS p
        WHERE
            p.pronamespace = current_schema()::regnamespace
            AND p.prolang = (SELECT l.oid FROM pg_language AS l WHERE l.lanname = 'plpgsql')
            AND p.prokind = 'f'
            AND p.proname IN (
                'is_to_same_address', 'is_between_hosts', 'is_reply_true', 'is_nearest_true', 'is_like_next_leg', 'is_next_leg',
                'is_one_of_several', 'is_nearest_earlier_leg', 'mail_legs', 'mail_leaves', 'mail_links'
            )
            AND (
                NOT p.prosecdef
                OR format('search_path=%I, pg_temp', current_schema()) <> ALL(coalesce(p.proconfig, '{}'))
            )
    LOOP
        EXECUTE format(
            'ALTER FUNCTION %s SECURITY DEFINER SET search_path = %I, pg_temp', reading, current_schema()
        );
        -- grants.sql names those who may.
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', reading);
    END LOOP;
END
$$;
