-- Indexes that only the look-ups need.

CREATE INDEX delivery_to_orig_to ON delivery_to (left(reverse(lower(orig_to)), 250) text_pattern_ops)
WHERE orig_to IS NOT NULL;
CREATE INDEX delivery_from_resent_message_id ON delivery_from USING hash (resent_message_id)
WHERE resent_message_id IS NOT NULL;
-- What is still in the queue: small, however many mails there have been.
CREATE INDEX delivery_from_open ON delivery_from (began) WHERE ended IS NULL;

-- What a partial index knows of its expression is not used for estimates: without these the planner takes any domain
-- for a frequent one, and walks all mails from the newest on.
CREATE STATISTICS delivery_to_orig_to_reversed ON (left(reverse(lower(orig_to)), 250)) FROM delivery_to;
