"""What import makes of the captured logs is what really happened: the fate of every recipient of every scenario.

What happened was written down by the driver of the scenarios (see `captures`), which knows nothing of the parser.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import closing

import psycopg2
import pytest

from captures import VERSIONS, logs, scenarios
from pg.feed import feed_file

FATES = """
SELECT r.recipient, r.fate || '/' || m.state FROM mail_recipient AS r INNER JOIN mail AS m USING (mail_id)
UNION ALL
SELECT r.orig_to, r.fate || '/' || m.state FROM mail_recipient AS r INNER JOIN mail AS m USING (mail_id)
WHERE r.orig_to <> r.recipient
UNION ALL
SELECT message_id, '-/' || state FROM mail
UNION ALL
SELECT recipient, 'rejected' FROM mail_rejected WHERE recipient IS NOT NULL
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_every_recipient_has_the_fate_that_befell_him(database: str, version: str) -> None:
    for path in logs(version):
        feed_file(database, str(path))
    stored: dict[str, list[str]] = defaultdict(list)
    with closing(psycopg2.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute(FATES)
        for recipient, fate in cursor.fetchall():
            stored[recipient].append(fate)
    recipients = [recipient for scenario in scenarios(version) for recipient in scenario.recipients]
    assert len(recipients) > 250
    wrong = []
    for recipient in recipients:
        found = stored[recipient.address]
        if recipient.fates[:1] and recipient.fates[0].startswith("-/"):
            assert found == [], recipient
            found = stored[recipient.message_id]
        if sorted(found) != recipient.fates and recipient.fates != ["?"]:
            wrong.append(f"{recipient.address}: {sorted(found)} instead of {recipient.fates}")
    print(*wrong, sep="\n")  # all of them: pytest shortens
    assert not wrong
