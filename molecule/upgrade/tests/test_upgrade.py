"""From an older state to today's, then away: data stays, leftovers go, variables off their defaults do what they say.

The tests stand in the order in which they must run: the last one uninstalls.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from machines import Machine, machine, playbook, start_playbook, until

STEPS = sorted(
    (Path(__file__).resolve().parents[3] / "files/journal-postfix/journal_postfix/store/steps").glob("*.sql")
)
LIBRARY = "/usr/local/lib/journal-postfix"
IMPORT = "journal-postfix-import.service"
LINE = "2020-11-23T09:00:00.{:06}+01:00 ju-bookworm postfix/{}[7]: {}"
REJECT = (
    "NOQUEUE: reject: RCPT from unknown[192.0.2.7]: 554 5.7.1 <x@example.org>: Relay access denied; "
    "from=<{}@sender.example> to=<x@example.org> proto=ESMTP helo=<h.example>"
)


@pytest.fixture
def server() -> Machine:
    return machine("ju-bookworm")


def test_the_schema_is_todays_and_the_data_is_kept(server: Machine) -> None:
    assert int(server.sql("SELECT max(step) FROM schema_step")) == int(STEPS[-1].name[:4])
    assert server.fates("kept@sender.example") == {"root@localhost": "sent"}


def test_leftovers_are_gone(server: Machine) -> None:
    found = server.run(
        f"find {LIBRARY} ! -type d -a ! -name '*.py' -a ! -name '*.sql' -a ! -name '*.yaml' "
        "-a ! -name '*.cpython-311.pyc' -o -name 'gone*' -o -name 'removed*'"
    )
    assert found == ""
    assert server.host.file("/etc/passwd").exists


def test_who_is_no_longer_a_reader_reads_no_longer(server: Machine) -> None:
    assert "permission denied" in server.fails("sudo -u bob journal-postfix search --sender kept@sender.example")
    assert "kept@sender.example" in server.run("sudo -u alice journal-postfix search --sender kept@sender.example")


def test_the_settings_are_in_the_configuration(server: Machine) -> None:
    text = server.run("cat /etc/journal-postfix/main.yml")
    for line in ("retention_days: 30", "verp_marker: +", "  postfix-submission: postfix"):
        assert line in text.splitlines()


def test_the_schedule_is_the_timers(server: Machine) -> None:
    assert "OnCalendar=Mon..Fri *-*-* 03:00:00" in server.run(
        "systemctl show journal-postfix-cleanup.timer -p TimersCalendar"
    )


def test_postfix_was_not_restarted(server: Machine) -> None:
    assert server.host.file("/etc/systemd/system/postfix@.service.d/journal-postfix.conf").exists
    assert not server.host.file("/run/systemd/units/log-rate-limit-burst:postfix@-.service").exists


def put_log(server: Machine, name: str, sender: str) -> None:
    """Write a log file of one rejection, with the rights that Debian gives such."""
    server.run(
        f"echo '{LINE.format(1, 'smtpd', REJECT.format(sender))}' > /var/log/old/{name} && "
        f"chown :adm /var/log/old/{name} && chmod 640 /var/log/old/{name}"
    )


def test_import_stores_log_files_once(server: Machine) -> None:
    put_log(server, "mail.log.2", "old")
    for changed, *arguments in (
        ("changed=1",),
        ("changed=0", "-e", "journal_postfix_import_files=/var/log/old/mail.log.2"),
    ):
        done = playbook("import.yml", *arguments)
        assert done.returncode == 0, done.stdout
        assert changed in done.stdout
    assert len(server.search("--sender", "old@sender.example")) == 1


def test_an_import_of_several_files_says_what_was_stored_though_one_failed(server: Machine) -> None:
    put_log(server, "mail.log.3", "among")
    server.run(
        "echo 'Nov 23 09:00:00 ju-bookworm cron[7]: nothing' > /var/log/old/other.log && chmod a+r /var/log/old/*"
    )
    done = playbook(
        "import.yml", "-e", '{"journal_postfix_import_files": ["/var/log/old/mail.log.3", "/var/log/old/other.log"]}'
    )
    assert done.returncode != 0
    assert "mail.log.3: 1 new lines" in done.stdout
    assert "other.log: not a single line of Postfix in it" in " ".join(done.stdout.split())
    assert len(server.search("--sender", "among@sender.example")) == 1


@contextmanager
def locked_database(server: Machine) -> Iterator[None]:
    """Have an import wait for what it reads first."""
    server.run(
        "systemd-run --quiet --collect --unit=locked sudo -u postgres psql -Xqd journal_postfix "
        "-c 'BEGIN; LOCK TABLE schema_step IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(600)'"
    )
    try:
        until(lambda: server.sql("SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock'"), "1")
        yield
    finally:
        # Its client's end would not end it.
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK TABLE%'")
        until(lambda: server.host.service("locked").is_running, False)


def test_an_import_that_is_stopped_is_none_that_is_done(server: Machine) -> None:
    with locked_database(server), start_playbook("import.yml") as stopped:
        try:
            until(lambda: server.host.service(IMPORT).is_running)
            server.run(f"systemctl stop {IMPORT}")
            said, _ = stopped.communicate(timeout=60)
        finally:
            stopped.kill()
    assert stopped.returncode != 0
    assert "the import was ended before all was stored" in " ".join(said.split())


def test_an_import_lets_mail_go_first_is_one_at_a_time_and_outlives_its_connection(server: Machine) -> None:
    put_log(server, "mail.log.1", "later")
    with locked_database(server), start_playbook("import.yml") as waiting:
        try:
            until(lambda: server.host.service(IMPORT).is_running)
            pid = server.pid(IMPORT)
            assert server.run(f"cat /proc/{pid}/oom_score_adj") == "500"
            assert server.run(f"ps -o ni= -p {pid}").strip() == "10"
            assert server.run(f"ionice -p {pid}") == "idle"
            shown = server.run(f"systemctl show {IMPORT} -p CPUWeight -p OOMPolicy")
            assert sorted(shown.splitlines()) == ["CPUWeight=10", "OOMPolicy=continue"]
            second = playbook("import.yml")
            assert second.returncode != 0
            assert "ju-bookworm: an import is still running" in " ".join(second.stdout.split())
            # As if the connection had gone.
            server.run("kill $(pgrep -xo systemd-run)")
            waiting.communicate(timeout=60)
            assert server.pid(IMPORT) == pid
        finally:
            waiting.kill()
    until(lambda: server.host.service(IMPORT).is_running, False)
    assert len(server.search("--sender", "later@sender.example")) == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            '{"journal_postfix_settings": {"retention_day": 1}}',
            "retention_day: there is no such setting; did you mean retention_days?",
        ),
        (
            '{"journal_postfix_cleanup_schedule": "sometimes"}',
            "journal_postfix_cleanup_schedule 'sometimes' is no OnCalendar=",
        ),
        ('{"journal_postfix_database_name": "x; DROP"}', "journal_postfix_database_name must be letters"),
        ('{"journal_postfix_database_name": "postgres"}', "choose another journal_postfix_database_name"),
        ('{"journal_postfix_database_port": 5999}', "journal_postfix_database_port"),
        ('{"journal_postfix_mail_server": "maybe"}', "journal_postfix_mail_server"),
    ],
)
def test_what_is_impossible_stops_the_play_before_anything_is_changed(variables: str, said: str) -> None:
    done = playbook("site.yml", "-e", variables)
    assert done.returncode != 0
    assert said in " ".join((done.stdout + done.stderr).split())
    assert "changed=0" in done.stdout


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ("maillog_file=/var/log/postfix.log", "Postfix logs into the file /var/log/postfix.log and"),
        ("syslog_facility=local1", "Postfix logs with the facility local1"),
    ],
)
def test_a_postfix_that_does_not_log_into_the_journal_stops_the_play(
    server: Machine, parameter: str, said: str
) -> None:
    server.run(f"postconf -e {parameter}")
    try:
        done = playbook("site.yml")
    finally:
        server.run(f"postconf -X {parameter.partition('=')[0]}")
    assert done.returncode != 0
    assert said in " ".join(done.stdout.split())
    assert "changed=0" in done.stdout


def test_a_daemon_that_postgresql_does_not_let_in_is_named(server: Machine) -> None:
    hba = server.sql("SHOW hba_file")
    server.run(f"cp -p {hba} /tmp/hba && sed -i '1i local all journal-postfix scram-sha-256' {hba}")
    server.sql("SELECT pg_reload_conf()")
    try:
        done = playbook("site.yml")
    finally:
        server.run(f"mv /tmp/hba {hba}")
        server.sql("SELECT pg_reload_conf()")
    assert done.returncode != 0
    assert "ju-bookworm: journal-postfix cannot use the database" in " ".join(done.stdout.split())


def test_another_distribution_stops_the_play(server: Machine) -> None:
    server.run(
        "cp --remove-destination $(readlink -f /etc/os-release) /etc/os-release && "
        "sed -i 's/VERSION_ID=.*/VERSION_ID=\"11\"/' /etc/os-release"
    )
    server.run("cp /etc/debian_version /tmp && echo 11.9 > /etc/debian_version")
    try:
        done = playbook("site.yml")
    finally:
        server.run("ln -sf ../usr/lib/os-release /etc/os-release && cat /tmp/debian_version > /etc/debian_version")
    assert "ju-bookworm runs Debian 11" in " ".join(done.stdout.split())
    assert "changed=0" in done.stdout


def test_uninstalling_leaves_what_was_there_before(server: Machine) -> None:
    # An import that is under way does not keep it from it.
    server.run(f"systemd-run --quiet --unit={IMPORT} --property=User=journal-postfix sleep infinity")
    done = playbook("uninstall.yml")
    assert done.returncode == 0, done.stdout
    server.run("find / -xdev $(cat /var/tmp/excluded) -prune -o -print | sort > /var/tmp/after")
    left = server.run("comm -13 /var/tmp/before /var/tmp/after")
    packages = re.compile(r"/usr/(lib|share|include|bin)/|/etc/(python3|alternatives)")
    # /etc/group- and the like are the copies that useradd makes.
    assert [path for path in left.splitlines() if not packages.match(path) and path[-1] != "-"] == []
    assert server.fails("getent passwd journal-postfix journal-postfix-cleanup") == ""
    assert (
        server.run("sudo -u postgres psql -XAtc \"SELECT rolname FROM pg_roles WHERE rolname LIKE 'journal%'\"") == ""
    )
    assert "journal_postfix" not in server.run("sudo -u postgres psql -XAtlF' '")
    assert playbook("uninstall.yml").stdout.count("changed=0") == 1
    refused = playbook("import.yml")
    assert refused.returncode != 0
    assert "ju-bookworm: journal-postfix is not installed here" in " ".join(refused.stdout.split())
