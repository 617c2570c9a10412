"""Tells systemd how the service stands: readiness, a line of status, and that it is alive.

Takes words, sends datagrams to the socket that systemd names in NOTIFY_SOCKET; does nothing where there is none.
Never blocks and never raises: who does not listen misses it, and who has too much to
read is told later. Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """The connection to systemd; `watchdog_s` is how often a sign of life is due, None if nobody waits for one."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        usec = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_s = int(usec) / 1e6 if usec.isdigit() and int(usec) and is_ours else None
        self._alive_at = 0.0
        self._status = ""
        self._unsent: list[str] = []
        """What systemd must hear and its socket did not take."""

    def close(self) -> None:
        """Say nothing any more."""
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def ready(self) -> None:
        """Say that the start, or the reloading, is done."""
        self._unsent.append("READY=1")
        self._send_unsent()

    def reloading(self) -> None:
        """Say that the configuration is being read again; `ready` must follow."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._unsent.append(f"RELOADING=1\nMONOTONIC_USEC={now}")
        self._send_unsent()

    def stopping(self) -> None:
        """Say that the end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Say in one line what is going on, if that is something new."""
        text = text.partition("\n")[0]
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def alive(self) -> None:
        """Give a sign of life, if one is due: three within the time that systemd waits."""
        if self._unsent:
            self._send_unsent()
        if self.watchdog_s is not None and time.monotonic() - self._alive_at >= self.watchdog_s / 3:
            self._alive_at = time.monotonic()
            self._send("WATCHDOG=1")

    def _send_unsent(self) -> None:
        while self._unsent and self._send(self._unsent[0]):
            del self._unsent[0]

    def _send(self, text: str) -> bool:
        """Send a datagram; False if the listener has too many waiting."""
        if self._socket is not None:
            with contextlib.suppress(OSError):
                try:
                    self._socket.sendto(text.encode("utf-8", "replace"), self._address)
                except BlockingIOError:
                    return False
        return True
