"""Several mail servers, one database over TLS: one search finds a mail on all its ways, and nothing lies open.

The tests stand in the order in which they must run: the last one uninstalls.
"""

from __future__ import annotations

import re

import pytest

from machines import machine, playbook, until

MAIL = ("jf-mail1", "jf-mail2")
DATABASE = "jf-db"
SECRET = "only-for'this\\test"
DAEMON = "journal-postfix.service"


def sql(query: str) -> str:
    """Ask the database."""
    return machine(DATABASE).run(f'sudo -u postgres psql -XAtqp 5433 -d mail-fates -c "{query}"')


def test_a_mail_that_crosses_is_found_by_one_search() -> None:
    sender, refused = machine("jf-mail1").send("root@mail2.example")
    assert not refused

    def found() -> list[list[str | None]]:
        mails = machine(DATABASE).search("--sender", sender)
        return sorted(
            [
                mail["host"],
                recipient["fate"],
                recipient.get("final", {}).get("host"),
                recipient.get("final", {}).get("fate"),
            ]
            for mail in mails
            for recipient in mail["recipients"]
        )

    until(found, [["jf-mail1", "handed on", "jf-mail2", "sent"], ["jf-mail2", "sent", None, None]])
    queue_ids = {mail["host"]: mail["queue_id"] for mail in machine(DATABASE).search("--sender", sender)}
    story = machine(DATABASE).run(f"journal-postfix trace {queue_ids['jf-mail1']}")
    assert queue_ids["jf-mail2"] in story


def test_the_connections_are_encrypted_and_verified() -> None:
    query = (
        "SELECT count(DISTINCT client_addr), min(version) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
        "WHERE usename = 'journal-postfix' AND ssl"
    )
    until(lambda: sql(query), "2|TLSv1.3")
    for name in MAIL:
        assert "sslmode=verify-full" in machine(name).run("cat /etc/journal-postfix/main.yml")
        refused = machine(name).fails(
            "psql 'host=jf-db port=5433 dbname=mail-fates user=journal-postfix sslmode=disable'"
        )
        assert "pg_hba.conf rejects connection" in refused


@pytest.mark.parametrize("name", MAIL)
def test_the_password_is_the_services_alone(name: str) -> None:
    server = machine(name)
    assert server.run("stat -c '%a %U' /etc/journal-postfix/database_password") == "600 root"
    assert SECRET not in server.run("cat /etc/journal-postfix/main.yml")
    assert SECRET not in server.run("journalctl --no-pager -o cat")
    folder = f"/run/credentials/{DAEMON}"
    assert "Permission denied" in server.fails(f"sudo -u nobody ls {folder}")
    environment = server.run(f"tr '\\0' '\\n' < /proc/{server.pid()}/environ")
    assert SECRET not in environment
    assert f"CREDENTIALS_DIRECTORY={folder}" in environment


@pytest.mark.parametrize("name", MAIL)
def test_the_sandbox_scores_well_over_the_network(name: str) -> None:
    score = re.search(
        r"exposure level for \S+: ([\d.]+)", machine(name).run(f"systemd-analyze security --no-pager {DAEMON}")
    )
    assert score
    assert float(score[1]) <= 1.1


def test_nothing_is_lost_while_the_database_server_is_away() -> None:
    machine(DATABASE).run("systemctl stop postgresql.service")
    try:
        senders = [machine(name).send("root@mail2.example")[0] for name in MAIL]
        assert all(machine(name).host.service(DAEMON).is_running for name in MAIL)
    finally:
        machine(DATABASE).run("systemctl start postgresql.service")
    until(
        lambda: [set(machine(DATABASE).fates(sender).values()) <= {"sent", "handed on"} for sender in senders],
        [True, True],
    )
    until(lambda: [bool(machine(DATABASE).fates(sender)) for sender in senders], [True, True])


def test_the_database_server_alone_cleans_up() -> None:
    assert machine(DATABASE).host.service("journal-postfix-cleanup.timer").is_running
    assert not machine(DATABASE).host.file(f"/etc/systemd/system/{DAEMON}").exists
    for name in MAIL:
        assert not machine(name).host.file("/etc/systemd/system/journal-postfix-cleanup.timer").exists
        assert not machine(name).host.user("journal-postfix-cleanup").exists


def test_a_rate_limit_that_is_to_stay_stays() -> None:
    assert machine("jf-mail1").host.file("/etc/systemd/system/postfix@.service.d/journal-postfix.conf").exists
    assert not machine("jf-mail2").host.file("/etc/systemd/system/postfix.service.d/journal-postfix.conf").exists


@pytest.mark.parametrize(
    ("variable", "said"),
    [
        ("journal_postfix_database_password=wrong", "journal_postfix_database_password"),
        ("journal_postfix_database_host=nowhere.example", "journal_postfix_database_host: nowhere.example:5433"),
        ("journal_postfix_database_ca=/etc/ssl/certs/ca-certificates.crt", "is not trusted"),
    ],
)
def test_a_database_that_refuses_stops_the_play_before_anything_is_changed(variable: str, said: str) -> None:
    done = playbook("site.yml", "--limit", "jf-mail1", "-e", variable)
    assert done.returncode != 0
    assert said in " ".join(done.stdout.split())
    assert "changed=0" in done.stdout


def test_uninstalling_takes_the_database_from_where_it_is() -> None:
    """The last one. The mail servers have a PostgreSQL, too: other people's, on another port."""
    done = playbook("uninstall.yml", "-e", "journal_postfix_uninstall_database=true")
    assert done.returncode == 0, done.stdout
    for name in (*MAIL, DATABASE):
        assert machine(name).fails("getent passwd journal-postfix journal-postfix-cleanup") == ""
        assert not machine(name).host.file("/etc/journal-postfix").exists
    databases = machine(DATABASE).run("sudo -u postgres psql -XAtqp 5433 -c 'SELECT datname FROM pg_database'")
    assert "mail-fates" not in databases.splitlines()
    assert "journal-postfix" not in machine(DATABASE).run("cat /etc/postgresql/15/main/pg_hba.conf")
