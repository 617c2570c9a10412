-- Indexes that only the look-ups need.

CREATE INDEX delivery_to_orig_to ON delivery_to (left(reverse(lower(orig_to)), 250) text_pattern_ops)
WHERE orig_to IS NOT NULL;
CREATE INDEX delivery_from_resent_message_id ON delivery_from USING hash (resent_message_id)
WHERE resent_message_id IS NOT NULL;
-- What is in the queue or came to another end than being done: small, however many mails there have been.
CREATE INDEX delivery_from_state ON delivery_from (mail_state(ended_how, expired, is_held), began)
WHERE mail_state(ended_how, expired, is_held) <> 'removed';

-- What a partial index knows of its expression is not used for estimates: without these the planner takes any domain
-- or state for a frequent one, and walks all mails from the newest on.
CREATE STATISTICS delivery_to_orig_to_reversed ON (left(reverse(lower(orig_to)), 250)) FROM delivery_to;
CREATE STATISTICS delivery_from_state_known ON (mail_state(ended_how, expired, is_held)) FROM delivery_from;
