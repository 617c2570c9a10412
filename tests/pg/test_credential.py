"""The password that systemd hands to a service: used where there is one, never shown."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from journal_postfix.errors import StoreError
from journal_postfix.store.database import Database

pytestmark = pytest.mark.one_postgres


def password_of(dsn: str) -> str | None:
    """Connect; give the password that libpq was given."""
    with closing(Database(dsn)) as database:
        return database.connection().info.password or None


def test_the_credential_is_the_password(database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "database_password").write_text("pass' word\n", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert password_of(database) == "pass' word"
    assert password_of(f"{database} password=other") == "other"


def test_a_service_without_that_credential_has_no_password(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert password_of(database) is None
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert password_of(database) is None


def test_a_credential_that_cannot_be_read_is_named_and_not_shown(
    database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "database_password").write_bytes(b"secret\xff")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(StoreError, match="cannot read the credential database_password") as caught:
        password_of(database)
    assert "secret" not in str(caught.value)
