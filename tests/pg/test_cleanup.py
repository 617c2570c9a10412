"""cleanup: what it deletes and what it keeps, beside a writer, after a kill, and what is on record of it."""

from __future__ import annotations

import json
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from journal_postfix.cli.main import main
from journal_postfix.errors import StoreUnavailable
from journal_postfix.store import Database, cleaning
from journal_postfix.store.cleaning import LOCK, Cleaned, CleanupRunning, Retention, clean_up
from journal_postfix.store.inputs import lock_hosts
from pg.dump import dump
from pg.feed import feed_file, feed_lines, messages_of
from pg.logs import BEGIN, attempt, line, mail, rejection

DAY = 86400.0


def _days_since(day: float) -> float:
    """Give the retention that ends so many days after BEGIN."""
    return (datetime.now(UTC) - BEGIN - timedelta(days=day)) / timedelta(days=1)


def _retention(day: float, close_after: float = 8) -> Retention:
    days = _days_since(day)
    return Retention(days, days, days, close_after)


def _clean(dsn: str, retention: Retention, **options: Any) -> Cleaned:
    with closing(Database(dsn)) as database:
        return clean_up(database, retention, **options)


def _fetch(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with closing(Database(dsn)) as database:
        return database.fetch(query)


def _queue_ids(dsn: str) -> set[str]:
    return {queue_id for (queue_id,) in _fetch(dsn, "SELECT queue_id FROM delivery_from")}


def _sent(queue_id: str, day: float, **elements: Any) -> list[str]:
    return mail(queue_id, day * DAY, "a@example.com", attempt("b@example.net"), **elements)


def _deferred(queue_id: str, day: float, **elements: Any) -> list[str]:
    return mail(queue_id, day * DAY, "a@example.com", attempt("b@example.net", "deferred"), removed=False, **elements)


OLD = [
    *_sent("A0000001", -40),
    *mail("A0000002", -40 * DAY, "a@example.com", attempt("b@example.net", "deferred"), attempt("b@example.net")),
    line(
        -40 * DAY + 5,
        "cleanup",
        "A0000003: info: header Subject: Hello from a.example.com[192.0.2.1]; "
        "from=<a@example.com> to=<b@example.net> proto=ESMTP helo=<a.example.com>",
    ),
    line(-40 * DAY + 6, "qmgr", "A0000003: removed"),
    rejection(-40 * DAY, "x@example.com", "b@example.net"),
    line(-40 * DAY, "smtpd", "warning: a.example.com[192.0.2.1]: SASL LOGIN authentication failed: no"),
    line(-40 * DAY, "smtpd", "what nobody has ever seen before"),
]
NEW = [
    *_sent("B0000001", -1),
    rejection(-1 * DAY, "x@example.com", "b@example.net"),
    line(-1 * DAY, "smtpd", "warning: a.example.com[192.0.2.1]: SASL LOGIN authentication failed: no"),
    line(-1 * DAY, "smtpd", "what also nobody has ever seen before"),
]


def test_what_is_older_is_deleted_and_the_rest_is_as_if_the_older_had_never_been(
    database: str, empty_database: str
) -> None:
    from journal_postfix.store import apply_schema

    feed_lines(database, sorted(OLD + NEW))
    counted = _clean(database, _retention(-20), dry_run=True)
    assert _queue_ids(database) == {"A0000001", "A0000002", "A0000003", "B0000001"}
    done = _clean(database, _retention(-20))
    assert done.deleted.pop("told") > 0
    assert (
        counted.deleted
        == done.deleted
        == {
            "mails": 3,
            "recipients": 2,
            "attempts": 1,
            "events": 1,
            "rejections": 1,
            "server_events": 1,
            "unknown_lines": 1,
        }
    )
    with closing(Database(empty_database)) as connection:
        apply_schema(connection)
    feed_lines(empty_database, NEW)
    left, fresh = dump(database), dump(empty_database)
    for table in left.keys() - {"line_counter"}:
        assert left[table] == fresh[table], table
    assert _clean(database, _retention(-20)).deleted == {}


@pytest.mark.parametrize("kind", ["mails", "rejected", "unknown"])
def test_each_kind_has_a_retention_of_its_own_and_0_is_for_ever(database: str, kind: str) -> None:
    feed_lines(database, OLD)
    days = {"mails": 0.0, "rejected": 0.0, "unknown": 0.0, kind: _days_since(-20)}
    assert _clean(database, Retention(0, 0, 0, 8)).deleted == {}
    deleted = _clean(database, Retention(**days, close_after=8)).deleted
    assert ("mails" in deleted) == (kind == "mails")
    assert ("rejections" in deleted) == ("server_events" in deleted) == (kind == "rejected")
    assert ("unknown_lines" in deleted) == (kind == "unknown")
    assert "counters" not in deleted
    assert "told" not in deleted


def test_what_is_in_the_queue_stays_and_what_has_left_it_in_silence_goes(database: str) -> None:
    lines = [
        *_deferred("A0000001", -40),  # silent for 39 days while its host was heard of
        *_deferred("A0000002", -8),  # for 7 days: still in the queue
        *_deferred("A0000003", -40),
        line(-39 * DAY, "postsuper", "A0000003: placed on hold"),
        *_deferred("A0000004", -40),
        line(-40 * DAY + 60, "qmgr", "A0000004: from=<a@example.com>, status=expired, returned to sender"),
        *_sent("B0000001", -1),
        # Of a host that has not been heard of since.
        *_deferred("A0000005", -40, host="gone"),
        # Of one whose log ends behind it: it was in the queue when the log ends, which is not so long ago.
        *_deferred("A0000006", -12, host="behind"),
        *_sent("B0000002", -7, host="behind"),
    ]
    feed_lines(database, sorted(lines))
    _clean(database, _retention(-3, close_after=0))
    assert _queue_ids(database) >= {"A0000001", "A0000002", "A0000003", "A0000005", "A0000006"}
    _clean(database, _retention(-6.5))
    assert _queue_ids(database) == {"A0000002", "A0000003", "B0000001"}


def test_age_counts_from_the_last_line(database: str) -> None:
    lines = [
        *_deferred("A0000001", -40),
        line(-5 * DAY, "smtp", "A0000001: " + attempt("b@example.net")[1]),
        line(-5 * DAY + 1, "qmgr", "A0000001: removed"),
    ]
    feed_lines(database, lines)
    assert _clean(database, _retention(-20)).deleted.keys() <= {"processes"}
    assert _clean(database, _retention(-4)).deleted["mails"] == 1


def test_importing_an_old_file_again_brings_nothing_back_and_a_grown_one_only_what_is_new(
    database: str, tmp_path: Path
) -> None:
    path = tmp_path / "mail.log"
    path.write_text("".join(text + "\n" for text in OLD), encoding="utf-8")
    feed_file(database, str(path))
    deleted = _clean(database, _retention(-20)).deleted
    assert deleted["heads"] == 1
    assert deleted["told"] > 0
    assert _fetch(database, "SELECT head FROM input_position")[0][0].tobytes() == b""
    assert feed_file(database, str(path)).lines == 0
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(text + "\n" for text in NEW))
    assert feed_file(database, str(path)).lines == len(NEW)
    assert _queue_ids(database) == {"B0000001"}
    assert feed_file(database, str(path)).lines == 0


def test_what_an_input_told_is_known_while_a_mail_is_left_that_it_would_double(database: str, tmp_path: Path) -> None:
    held = [*_deferred("A0000001", -40), line(-39 * DAY, "postsuper", "A0000001: placed on hold")]
    feed_lines(database, sorted([*_sent("A0000000", -60), *held, *_sent("A0000002", -30)]))
    before = _fetch(database, "SELECT count(*), min(began), max(ended) FROM input_told")[0]
    assert _clean(database, _retention(-20)).deleted["told"] == 2
    count, began, ended = _fetch(database, "SELECT count(*), min(began), max(ended) FROM input_told")[0]
    assert 0 < count == before[0] - 2
    assert began > before[1]
    assert ended < before[2]
    assert _queue_ids(database) == {"A0000001"}
    # The same lines from a journal.
    path = tmp_path / "journal.json"
    path.write_text(
        "".join(
            json.dumps(
                {
                    "__REALTIME_TIMESTAMP": str(int(message.time * 1_000_000)),
                    "_HOSTNAME": message.host,
                    "SYSLOG_IDENTIFIER": message.identifier,
                    "SYSLOG_PID": str(message.pid),
                    "_SYSTEMD_UNIT": "postfix.service",
                    "_UID": "0",
                    "MESSAGE": message.text,
                }
            )
            + "\n"
            for message in messages_of(held)
        ),
        encoding="utf-8",
    )
    summary = feed_file(database, str(path))
    assert summary.by_action["covered"] == summary.lines == len(held)


def test_counters_of_a_host_that_does_not_come_back_go(database: str) -> None:
    feed_lines(database, sorted([*_sent("A0000001", -40, host="gone"), *_sent("A0000002", -40), *NEW]))
    with closing(Database(database)) as connection:
        connection.execute(
            "INSERT INTO daemon_state VALUES ('old', 'gone', 1, '1', now(), '2000-01-01', 'following', 0, 0)"
        )
    deleted = _clean(database, _retention(-20)).deleted
    assert deleted["daemons"] == 1
    assert {host for (host,) in _fetch(database, "SELECT host FROM line_counter")} == {"mx"}
    # The number of a host stays: a writer that runs knows it by heart.
    assert _fetch(database, "SELECT count(*) FROM mail_server") == [(2,)]


def test_small_steps_and_kills_between_them_give_the_same(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [text for number in range(40) for text in _deferred(f"A00000{number:02d}", -40 + number / 4)]
    lines += [text for number in range(40) for text in _sent(f"B00000{number:02d}", -40 + number / 2)]
    lines += [rejection((-40 + number / 2) * DAY, "x@example.com", "b@example.net") for number in range(40)]
    feed_lines(database, sorted([*lines, *NEW]))
    # The mails of BEGIN - 40 days + 10 and later; of the deferred ones none, as they were silent since.
    expected = {f"B00000{number:02d}" for number in range(20, 40)} | {"B0000001"}
    monkeypatch.setattr(cleaning, "MAX_MAILS", 3)
    monkeypatch.setattr(cleaning, "MAX_FOUND", 7)

    class KilledError(Exception):
        pass

    steps = 0

    def kill_every_fourth() -> None:
        nonlocal steps
        steps += 1
        if steps % 4 == 0:
            raise KilledError

    for _ in range(100):
        try:
            _clean(database, _retention(-30), on_step=kill_every_fourth)
        except KilledError:
            continue
        break
    assert steps > 8
    assert _queue_ids(database) == expected
    for table in ("delivery_to", "delivery_attempt", "mail_event"):
        orphans = f"SELECT count(*) FROM {table} WHERE mail_id NOT IN (SELECT mail_id FROM delivery_from)"
        assert _fetch(database, orphans) == [(0,)]


def test_lines_that_come_meanwhile_are_all_there_and_no_writer_fails(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each old mail gets a late attempt meanwhile: as an entry of its own, or the mail is not due any more."""
    monkeypatch.setattr(cleaning, "MAX_MAILS", 2)
    monkeypatch.setattr(cleaning, "MAX_FOUND", 10)
    queue_ids = [f"4bXyz{number:02d}dqWz1q" for number in range(10, 70)]
    feed_lines(database, [text for queue_id in queue_ids for text in _sent(queue_id, -40)])
    failures: list[BaseException] = []

    def write() -> None:
        try:
            for number, queue_id in enumerate(reversed(queue_ids)):
                text = line(number, "smtp", f"{queue_id}: " + attempt("c@example.net")[1])
                feed_lines(database, [text], name="late")
        except BaseException as error:  # noqa: BLE001 (it is the thread's)
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    deleted = 0
    while writer.is_alive():
        deleted += _clean(database, _retention(-20)).deleted.get("mails", 0)
    writer.join()
    assert failures == []
    late = _fetch(
        database,
        "SELECT f.queue_id, count(*) FROM delivery_from AS f INNER JOIN delivery_to AS t ON f.mail_id = t.mail_id "
        "WHERE t.recipient = 'c@example.net' GROUP BY f.queue_id",
    )
    assert dict(late) == dict.fromkeys(queue_ids, 1)
    assert deleted > 0
    assert _fetch(database, "SELECT count(*) FROM set_aside") == [(0,)]


def test_a_step_waits_for_the_writer_of_its_host_and_gives_up_in_time(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed_lines(database, sorted([*OLD, *NEW, *_sent("C0000001", -40, host="other")]))
    monkeypatch.setattr(cleaning, "_SETTINGS", (*cleaning._SETTINGS, "SET lock_timeout = '100ms'"))
    with closing(Database(database)) as writer, writer.transaction():
        lock_hosts(writer, ["mx"])
        writer.execute("SELECT")
        with pytest.raises(StoreUnavailable, match="lock timeout"):
            _clean(database, _retention(-20))
    assert "B0000001" in _queue_ids(database)
    began, ended, error = _fetch(database, "SELECT began, ended, error FROM cleanup_report")[0]
    assert ended >= began
    assert "lock timeout" in error
    assert _clean(database, _retention(-20)).deleted["mails"] >= 3


def test_one_cleanup_at_a_time(database: str, config: str, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(psycopg2.connect(database)) as other, other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        with pytest.raises(CleanupRunning):
            _clean(database, _retention(-20))
        assert main(["--config", config, "cleanup"]) == 0
    assert "another cleanup is at work" in capsys.readouterr().out
    assert _fetch(database, "SELECT count(*) FROM cleanup_report") == [(0,)]


@pytest.fixture
def config(database: str, tmp_path: Path) -> str:
    path = tmp_path / "main.yml"
    path.write_text(
        f"database: '{database}'\nretention_days: {_days_since(-20)}\nretention_days_rejected: {_days_since(-20)}\n",
        encoding="utf-8",
    )
    return str(path)


def _status(config: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    main(["--config", config, "status", "--json"])
    report = json.loads(capsys.readouterr().out)
    assert isinstance(report, dict)
    return report


def test_the_command_deletes_says_so_and_status_knows(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    feed_lines(database, sorted(OLD[:-1] + NEW[:-1]))
    assert "cleanup" not in _status(config, capsys)
    assert main(["--config", config, "cleanup", "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("would delete 3 mails, 2 recipients, 1 rejection, ")
    assert "cleanup" not in _status(config, capsys)
    assert main(["--config", config, "cleanup", "--json"]) == 0
    done = json.loads(capsys.readouterr().out)
    assert done["dry_run"] is False
    assert done["deleted"]["mails"] == 3
    report = _status(config, capsys)
    assert report["cleanup"]["deleted"] == done["deleted"]
    assert report["problems"] == []
    assert main(["--config", config, "status"]) == 0
    assert "deleted 3 mails, 2 recipients, 1 rejection" in capsys.readouterr().out
    assert main(["--config", config, "cleanup"]) == 0
    assert capsys.readouterr().out.startswith("deleted nothing, in ")


def test_status_complains_of_a_cleanup_that_failed_or_stays_away(
    database: str, config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def age(days: float) -> None:
        with closing(Database(database)) as connection:
            connection.execute(
                "UPDATE cleanup_run SET began = began - %s * INTERVAL '1 day', ended = ended - %s * INTERVAL '1 day'",
                (days, days),
            )

    main(["--config", config, "cleanup"])
    capsys.readouterr()
    age(1.9)
    assert _status(config, capsys)["problems"] == []
    age(0.2)
    (problem,) = _status(config, capsys)["problems"]
    assert problem.startswith("no cleanup has succeeded for 2 days")
    main(["--config", config, "cleanup"])
    capsys.readouterr()
    assert _status(config, capsys)["problems"] == []
    with closing(Database(database)) as connection:
        connection.execute("INSERT INTO cleanup_run (began, ended, error) VALUES (now(), now(), 'disk full')")
        connection.execute("UPDATE cleanup_run SET deleted = '{}' WHERE deleted IS NULL")
    (problem,) = _status(config, capsys)["problems"]
    assert problem.endswith("failed: disk full")
