"""What systemd is told, over real sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from journal_postfix.notify import Notifier


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        listener.setblocking(False)
        yield listener


def heard(listener: socket.socket) -> list[str]:
    words = []
    while True:
        try:
            words.append(listener.recv(65536).decode())
        except BlockingIOError:
            return words


def test_the_socket_may_be_a_path_or_abstract(tmp_path: Path) -> None:
    path = str(tmp_path / "user@1000" / "notify")
    Path(path).parent.mkdir()
    name = f"journal-postfix-test-{os.getpid()}@x"
    for address, given in ((path, path), ("\0" + name, "@" + name)):
        with listening(address) as listener:
            with closing(Notifier({"NOTIFY_SOCKET": given})) as notifier:
                notifier.ready()
            assert heard(listener) == ["READY=1"]


def test_who_does_not_listen_is_not_waited_for(tmp_path: Path) -> None:
    for environment in ({}, {"NOTIFY_SOCKET": str(tmp_path / "none")}):
        with closing(Notifier(environment)) as notifier:
            notifier.ready()
            notifier.stopping()
            assert notifier.watchdog_s is None


def test_a_state_that_the_socket_did_not_take_is_told_later_and_in_order(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    with listening(address) as listener, closing(Notifier({"NOTIFY_SOCKET": address})) as notifier:
        for number in range(10_000):
            notifier.status(str(number))
        notifier.reloading()
        notifier.ready()
        assert not [word for word in heard(listener) if not word.startswith("STATUS=")]
        notifier.alive()
        first, second = heard(listener)
        assert first.startswith("RELOADING=1\nMONOTONIC_USEC=")
        assert second == "READY=1"
        notifier.alive()
        assert heard(listener) == []


def test_signs_of_life_come_three_times_within_what_systemd_waits(tmp_path: Path) -> None:
    address = str(tmp_path / "notify")
    given = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    with listening(address) as listener, closing(Notifier(given)) as notifier:
        assert notifier.watchdog_s == 60.0
        for _ in range(100):
            notifier.alive()
        assert heard(listener) == ["WATCHDOG=1"]
    assert Notifier({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "1"}).watchdog_s is None
