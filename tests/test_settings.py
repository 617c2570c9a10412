"""The configuration: defaults, every problem at once, and a help text for each setting."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from journal_postfix.errors import ConfigurationError
from journal_postfix.settings import SETTINGS, Settings, load_settings


def test_the_table_and_the_class_have_the_same_settings_and_defaults() -> None:
    defaults = Settings()
    assert [setting.name for setting in SETTINGS] == [field.name for field in dataclasses.fields(Settings)]
    for setting in SETTINGS:
        assert getattr(defaults, setting.name) == setting.default
        assert setting.check(setting.default) is None
        assert setting.help.endswith(".")


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "main.yml"
    path.write_text("---\n# nothing\n", encoding="utf-8")
    assert load_settings(path) == Settings()


def test_values_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "main.yml"
    path.write_text(
        "database: host=db dbname=x\nmax_messages_per_commit: 7\nmax_delay_before_commit: 0.5\n"
        "logfile_timezone: Europe/Berlin\nverp_marker: +\n"
        "instance_aliases: {postfix-submission: postfix}\n",
        encoding="utf-8",
    )
    assert load_settings(path) == Settings(
        database="host=db dbname=x",
        max_messages_per_commit=7,
        max_delay_before_commit=0.5,
        logfile_timezone="Europe/Berlin",
        verp_marker="+",
        instance_aliases={"postfix-submission": "postfix"},
    )


def test_all_problems_are_named_at_once_with_file_and_key(tmp_path: Path) -> None:
    path = tmp_path / "main.yml"
    path.write_text(
        "database: 5\nmax_messages_per_commit: many\nmax_delay_before_commit: -1\nlogfile_timezone: Mars/Olympus\n"
        "verp_marker: a@b\ninstance_aliases: [a]\nmax_message_per_commit: 1\nsomething: 1\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert caught.value.exit_status == 78
    assert len(caught.value.problems) == 8
    for problem, key in zip(
        caught.value.problems,
        [
            "database",
            "max_messages_per_commit",
            "max_delay_before_commit",
            "logfile_timezone",
            "verp_marker",
            "instance_aliases",
            "max_message_per_commit: there is no such setting; did you mean max_messages_per_commit?",
            "something",
        ],
        strict=True,
    ):
        assert problem.startswith(f"{path}: {key}")


def test_neighbours_replace_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "main.yml"
    path.write_text("neighbours: {dovecot: [dovecot, dovecot-lmtp], policyd-spf: [postfix/policy-spf]}\n")
    assert load_settings(path).neighbours == {
        "dovecot": ["dovecot", "dovecot-lmtp"],
        "policyd-spf": ["postfix/policy-spf"],
    }
    path.write_text("neighbours: {}\n")
    assert load_settings(path).neighbours == {}


@pytest.mark.parametrize("value", ["5", "[dovecot]", "null"])
def test_neighbours_are_a_map(value: str, tmp_path: Path) -> None:
    path = tmp_path / "main.yml"
    path.write_text(f"neighbours: {value}\n")
    with pytest.raises(ConfigurationError, match="must map neighbours to lists of syslog identifiers"):
        load_settings(path)


def test_all_problems_of_neighbours_are_named_at_once(tmp_path: Path) -> None:
    path = tmp_path / "main.yml"
    path.write_text(
        "neighbours: {exim: [exim], dovecot: dovecot, rspamd: [5], amavis: [amavis, postfix/smtpd], "
        "opendkim: [a, b], opendmarc: [b, c], 7: [x], postgrey: ['']}\n"
    )
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    (problem,) = caught.value.problems
    assert problem.removeprefix(f"{path}: neighbours: ").split("; ") == [
        "exim is no neighbour (dovecot, rspamd, amavis, opendkim, opendmarc, postgrey, policyd-spf are)",
        "dovecot must have a list of syslog identifiers",
        "rspamd must have a list of syslog identifiers",
        "amavis: postfix/smtpd is Postfix's own identifier",
        "opendmarc: b is the identifier of opendkim already",
        "7 is no neighbour (dovecot, rspamd, amavis, opendkim, opendmarc, postgrey, policyd-spf are)",
        "postgrey must have a list of syslog identifiers",
    ]


@pytest.mark.parametrize("value", ["true", "1.5", "0", "10000000", "'5'"])
def test_a_whole_number_is_no_other_thing(value: str, tmp_path: Path) -> None:
    path = tmp_path / "main.yml"
    path.write_text(f"max_messages_per_commit: {value}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match="whole number from 1 to"):
        load_settings(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"a: [1\n", "main.yml:2: is not YAML"),
        (b"- a\n", "must be a map of settings"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"a: !!python/object:os.system {}\n", "is not YAML"),
        (b"database: dbname=a\ndatabase: dbname=b\n", "main.yml:2: is not YAML: database is there twice"),
        (b"database: &x dbname=a\nlogfile_timezone: *x\n", "main.yml:2: is not YAML: aliases are not taken"),
        (b"[" * 3000, "is not YAML"),
        (b"max_messages_per_commit: " + b"9" * 5000, "is not YAML"),
        (b"logfile_timezone: 2001-99-99\n", "is not YAML"),
        (b"max_messages_per_commit: 0x" + b"f" * 5000, "must be a whole number"),
        (b"database: {password: hunter2}\n", "database: must be a text that is not empty$"),
        (b'database: "host=a\\0b"\n', "database: must not contain control characters$"),
        (b'"a\\e[31m": 1\n', r"a\\x1b\[31m: there is no such setting"),
        (b"#" * (1 << 21), "no configuration"),
    ],
)
def test_what_is_no_configuration_is_refused(content: bytes, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "main.yml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=complaint):
        load_settings(path)


@pytest.mark.parametrize("dsn", ["password=foo hunter2", "nonsense", "host=a port"])
def test_a_connection_string_is_checked_without_showing_it(dsn: str) -> None:
    from journal_postfix.store.database import parse_dsn

    with pytest.raises(ConfigurationError, match="is no connection string") as caught:
        parse_dsn(dsn)
    assert "hunter2" not in str(caught.value)


def test_a_named_file_that_is_missing_is_a_problem(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        load_settings(tmp_path / "none.yml")
