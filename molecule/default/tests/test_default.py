"""A server by the role alone: every fate of real mail, sandbox, rights, faults that must not matter."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from machines import Machine, machine, names, until

ROOT = Path(__file__).resolve().parents[3]
DAEMON = "journal-postfix.service"
CLEANUP = "journal-postfix-cleanup.service"


@pytest.fixture(params=names(["jp-bookworm", "jp-trixie"]))
def server(request: pytest.FixtureRequest) -> Machine:
    return machine(request.param)


@pytest.fixture
def sink(server: Machine) -> Iterator[Machine]:
    """Nobody listens where mail for later.example goes; what a test has started there ends with it."""
    yield server
    server.host.run("systemctl stop sink-later.service")


# ---------------------------------------------------------------------------------------------- what became of mail


def test_delivered(server: Machine) -> None:
    sender, refused = server.send("root@localhost")
    assert not refused
    until(lambda: list(server.fates(sender).values()), ["sent"])
    (mail,) = server.search("--sender", sender)
    assert mail["host"] == server.name
    assert mail["client_ip"] == "127.0.0.1"
    assert mail["recipients"][0]["component"] == "local"


def test_deferred_then_delivered(sink: Machine) -> None:
    sender, _ = sink.send("carol@later.example")
    until(lambda: sink.fates(sender), {"carol@later.example": "deferred"})
    sink.run("systemd-run --quiet --unit=sink-later smtp-sink -u nobody 127.0.0.1:2526 10")
    until(lambda: sink.host.socket("tcp://127.0.0.1:2526").is_listening)
    sink.run("postqueue -f")
    until(lambda: sink.fates(sender), {"carol@later.example": "sent"})
    (mail,) = sink.search("--sender", sender)
    assert [attempt["status"] for attempt in mail["recipients"][0]["attempts"]] == ["deferred", "sent"]


def test_bounced(server: Machine) -> None:
    sender, _ = server.send("dave@bounce.example")
    until(lambda: server.fates(sender), {"dave@bounce.example": "bounced"})
    (mail,) = server.search("--sender", sender)
    assert "500" in mail["recipients"][0]["response"]
    until(lambda: [link["kind"] for link in server.search("--sender", sender)[0]["links"]], ["bounce"])


def test_rejected(server: Machine) -> None:
    sender, refused = server.send("eve@reject.example")
    assert "554 5.7.1" in refused
    until(lambda: [found["kind"] for found in server.search("--sender", sender)], ["rejected"])
    (rejection,) = server.search("--sender", sender)
    assert (rejection["recipient"], rejection["smtp_code"], rejection["stage"]) == ("eve@reject.example", 554, "RCPT")


def test_several_recipients(server: Machine) -> None:
    sender, refused = server.send("one@sink.example", "two@sink.example", "dave@bounce.example", "eve@reject.example")
    assert refused.startswith("eve@reject.example: 554")
    expected = {
        "one@sink.example": "sent",
        "two@sink.example": "sent",
        "dave@bounce.example": "bounced",
        "eve@reject.example": "rejected",
    }
    until(lambda: server.fates(sender), expected)


def test_through_a_content_filter(server: Machine) -> None:
    sender, _ = server.send("one@sink.example", port=10027)

    def legs() -> list[tuple[str, str]]:
        return sorted(
            (recipient["fate"], recipient.get("final", {}).get("fate", "none"))
            for mail in server.search("--sender", sender)
            for recipient in mail["recipients"]
        )

    until(legs, [("handed on", "sent"), ("sent", "none")])


# ----------------------------------------------------------------------------------------------------- the services


def test_the_services_run_and_nothing_is_wrong(server: Machine) -> None:
    for unit in (DAEMON, "journal-postfix-cleanup.timer"):
        service = server.host.service(unit)
        assert service.is_running
        assert service.is_enabled
    until(lambda: json.loads(server.run("journal-postfix status --json"))["problems"], [])


@pytest.mark.parametrize("unit", [DAEMON, CLEANUP])
def test_the_sandbox_scores_well(server: Machine, unit: str) -> None:
    score = re.search(r"exposure level for \S+: ([\d.]+)", server.run(f"systemd-analyze security --no-pager {unit}"))
    assert score
    assert float(score[1]) <= 0.3


def test_the_sandbox_is_real(server: Machine) -> None:
    """systemd leaves out in silence what it cannot do; the score does not show that."""
    pid = server.pid()
    for namespace in ("mnt", "net", "ipc", "user"):
        assert server.run(f"readlink /proc/1/ns/{namespace}") != server.run(f"readlink /proc/{pid}/ns/{namespace}")
    status = server.run(f"cat /proc/{pid}/status")
    for line in ("Seccomp:\t2", "NoNewPrivs:\t1", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000"):
        assert line in status
    inside = f"nsenter --target {pid} --mount"
    assert "Read-only file system" in server.fails(f"{inside} touch /var/lib/x")
    assert "Read-only file system" in server.fails(f"{inside} touch /etc/x")
    assert server.run(f"nsenter --target {pid} --net cat /proc/net/dev").count(":") == 1


def test_no_call_compiles_the_program(server: Machine) -> None:
    told = server.run("sudo -u nobody python3 -IBv /usr/local/lib/journal-postfix search --help 2>&1")
    loaded = re.findall(r"code object from '?(/usr/local/lib/journal-postfix/[^'\n]+)", told)
    assert len(loaded) > 10
    assert [path for path in loaded if not path.endswith(".pyc")] == []


def test_mail_goes_first(server: Machine) -> None:
    assert server.run(f"systemctl show {DAEMON} -P CPUWeight") == "50"
    assert server.run(f"cat /proc/{server.pid()}/oom_score_adj") == "300"


def test_a_daemon_that_is_killed_comes_back(server: Machine) -> None:
    pid = server.pid()
    server.run(f"kill -KILL {pid}")
    until(lambda: server.pid() not in (0, pid))
    sender, _ = server.send("one@sink.example")
    until(lambda: server.fates(sender), {"one@sink.example": "sent"})


def test_a_wrong_configuration_is_not_tried_again(server: Machine) -> None:
    server.run("cp /etc/journal-postfix/main.yml /tmp/main.yml && echo 'nonsense: 1' >> /etc/journal-postfix/main.yml")
    try:
        server.fails(f"systemctl restart {DAEMON}")
        show = server.run(f"systemctl show {DAEMON} -p SubState -p ExecMainStatus -p NRestarts")
        assert sorted(show.splitlines()) == ["ExecMainStatus=78", "NRestarts=0", "SubState=failed"]
    finally:
        server.run("mv /tmp/main.yml /etc/journal-postfix/main.yml && chmod 0644 /etc/journal-postfix/main.yml")
        server.run(f"systemctl restart {DAEMON}")


def test_postgresql_restarts(server: Machine) -> None:
    sender, _ = server.send("one@sink.example")
    server.run("systemctl restart postgresql.service")
    later, _ = server.send("two@sink.example")
    until(lambda: server.host.run("pg_isready -q").rc, 0)
    until(
        lambda: (server.fates(sender), server.fates(later)),
        ({"one@sink.example": "sent"}, {"two@sink.example": "sent"}),
    )


def test_a_backup_that_is_restored_catches_up_from_the_journal(server: Machine) -> None:
    """As the role's README says it is done."""
    rights = "SELECT datacl FROM pg_database WHERE datname = 'journal_postfix'"
    granted = server.sql(rights)
    assert "journal_postfix_daemon=c/" in granted
    before, _ = server.send("one@sink.example")
    until(lambda: server.fates(before), {"one@sink.example": "sent"})
    server.run("runuser -u postgres -- pg_dump -Fc -f /tmp/backup journal_postfix")
    after, _ = server.send("two@sink.example")
    until(lambda: server.fates(after), {"two@sink.example": "sent"})
    server.run(f"systemctl stop {DAEMON}")
    server.run("runuser -u postgres -- dropdb journal_postfix")
    server.run("runuser -u postgres -- pg_restore --create --dbname=postgres /tmp/backup")
    server.run(f"systemctl start {DAEMON}")
    until(
        lambda: (server.fates(before), server.fates(after)),
        ({"one@sink.example": "sent"}, {"two@sink.example": "sent"}),
    )
    assert len(server.search("--sender", before)) == 1
    assert server.sql(rights) == granted


def test_the_cleanup_deletes_what_is_old_and_only_that(server: Machine) -> None:
    old, _ = server.send("one@sink.example")
    new, _ = server.send("two@sink.example")
    until(lambda: (server.fates(old), server.fates(new)), ({"one@sink.example": "sent"}, {"two@sink.example": "sent"}))
    until(lambda: server.search("--sender", old)[0].get("ended") is not None)
    aged = ", ".join(
        f"{column} = {column} - interval '400 days'" for column in ("began", "last_seen", "queued", "ended")
    )
    server.sql(f"UPDATE delivery_from SET {aged} WHERE sender = '{old}'")
    server.run(f"systemctl start {CLEANUP}")
    assert server.search("--sender", old) == []
    assert server.fates(new) == {"two@sink.example": "sent"}
    assert "cleanup" in server.run("journal-postfix status")


# ------------------------------------------------------------------------------------------------- rights and files


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("journal-postfix", "DELETE FROM delivery_from"),
        ("journal-postfix", "TRUNCATE delivery_to"),
        ("journal-postfix", "DROP TABLE noqueue"),
        ("journal-postfix", "CREATE TABLE mine (x int)"),
        ("journal-postfix-cleanup", "INSERT INTO mail_server DEFAULT VALUES"),
        ("journal-postfix-cleanup", "UPDATE delivery_to SET recipient = 'x'"),
        ("journal-postfix-cleanup", "DROP TABLE noqueue"),
        ("root", "SELECT * FROM delivery_from"),
        ("root", "DELETE FROM noqueue"),
    ],
)
def test_nobody_may_do_more_than_needed(server: Machine, user: str, command: str) -> None:
    said = server.fails(f'sudo -u {user} psql -Xd journal_postfix -c "{command}"')
    assert "permission denied" in said or "must be owner" in said


def test_who_is_no_reader_gets_nothing(server: Machine) -> None:
    assert "nobody" in server.fails("sudo -u nobody journal-postfix search x")


def test_the_program_is_what_the_checkout_has_and_nothing_else(server: Machine) -> None:
    source = ROOT / "files/journal-postfix"
    paths = [
        path.relative_to(source)
        for path in (source / "__main__.py", *(source / "journal_postfix").rglob("*"))
        if path.suffix in {".py", ".sql", ".yaml"}
    ]
    tag = server.run("python3 -c 'import sys; print(sys.implementation.cache_tag)'").strip()
    compiled = [path.parent / "__pycache__" / f"{path.stem}.{tag}.pyc" for path in paths if path.suffix == ".py"]
    expected = {str(path) for path in (*paths, *compiled)}
    found = server.run("cd /usr/local/lib/journal-postfix && find . -type f -printf '%P\\n'").splitlines()
    assert set(found) == expected
    assert server.run("find /usr/local/lib/journal-postfix ! -user root -o -perm /022") == ""


def test_there_is_no_secret(server: Machine) -> None:
    found = server.run("find /etc/journal-postfix -type f -printf '%f %m %u\\n'")
    assert found == "main.yml 644 root"


def test_the_rate_limit_is_lifted(server: Machine) -> None:
    unit = "postfix@-.service" if "bookworm" in server.name else "postfix.service"
    # systemd-journald reads these links.
    assert server.run(f"readlink /run/systemd/units/log-rate-limit-burst:{unit}") == "1000000"
    assert server.run(f"readlink /run/systemd/units/log-rate-limit-interval:{unit}") == "1000000"
