"""SIGTERM, SIGINT and SIGHUP as flags that a loop looks at, and a pause that they cut short.

Takes the signals of the process while it is used as a context. A loop that waits in the database's library sees no
flag, and need not: whatever is not committed is read again. So a second thread ends the process when the loop has not
ended within `within_s` of being asked to. Never does anything else in that thread.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Final, Self

from .errors import JournalPostfixError

ENDING: Final = (signal.SIGTERM, signal.SIGINT)


class Signals:
    """What was asked of the process since the context was entered (in the main thread)."""

    def __init__(self, within_s: float) -> None:
        self.stop = False
        self.reload = False
        self._within_s = within_s
        self._woken = threading.Event()
        self._ended = threading.Event()
        self._old: dict[int, Any] = {}

    def pause(self, seconds: float) -> None:
        """Wait, unless something is asked."""
        if not (self.stop or self.reload):
            self._woken.wait(max(seconds, 0.0))
        self._woken.clear()

    def _set(self, number: int, _: FrameType | None) -> None:
        if number in ENDING:
            self.stop = True
        else:
            self.reload = True

    def __enter__(self) -> Self:
        self._near, self._far = socket.socketpair()
        self._near.setblocking(False)
        self._old_fd = signal.set_wakeup_fd(self._near.fileno(), warn_on_full_buffer=False)
        for number in (*ENDING, signal.SIGHUP):
            self._old[number] = signal.signal(number, self._set)
        threading.Thread(target=self._watch, name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for number, handler in self._old.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._old_fd)
        self._near.close()

    def _watch(self) -> None:
        """Run in the second thread: Python calls handlers in the first one only, when that comes back to Python."""
        with self._far:
            while numbers := self._far.recv(64):
                if any(number in numbers for number in ENDING):
                    break
                self._woken.set()
            else:
                return
            # A handler that was called before the event is set has set its flag; the loop may be about to pause.
            deadline = time.monotonic() + self._within_s
            while not self._ended.wait(0.05):
                self._woken.set()
                if time.monotonic() > deadline:
                    os.write(2, b"<4>stopped while waiting for the database: what was not committed is read again\n")
                    os._exit(JournalPostfixError.exit_status)
