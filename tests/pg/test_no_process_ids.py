"""A log without process ids: every line stands for itself, nothing is joined by process."""

from __future__ import annotations

from paths import STREAMS
from pg.dump import views
from pg.feed import feed_lines, feed_messages, messages_of


def test_nothing_is_joined_where_lines_name_no_process(database: str) -> None:
    lines = (STREAMS / "tls_of_the_process.log").read_text(encoding="utf-8").splitlines()
    feed_lines(database, lines, name="with")
    assert any("tls_protocol" in mail for mail in views(database)["mails"])
    feed_messages(database, [message._replace(pid=0, host="other") for message in messages_of(lines)], name="without")
    others = [mail for mail in views(database)["mails"] if mail["host"] == "other"]
    assert len(others) == 3
    assert not any("tls_protocol" in mail for mail in others)
    assert not any("tls_protocol" in recipient for mail in others for recipient in mail["recipients"])
