"""What lines without a queue id tell about a mail: joined by the process that logged them.

Takes the steps of processes in the order of the input (`step_of` a parsed line) and the state that their earlier
lines left, both by (host, process id); gives deliveries that belong to a queue entry after all. Pure: `store` loads the
states and keeps them in the transaction that stores what they gave, so a batch may end between any two lines.

Theory. A process of Postfix does one thing at a time. smtpd speaks with one client between `connect` and `disconnect`:
TLS is the whole session's; what it decides about the first recipient is logged as NOQUEUE before `client=` names the
mail; a before-queue filter's mail gets its queue id from another process, and `proxy-accept` names it; a transaction
that was given up leaves no end before Postfix 3.10, but what the client did says that nothing was accepted. smtp and
lmtp work on one queue entry at a time: what failed before its status line, and the TLS connection to its relay, are
that mail's. Source: src/smtpd/smtpd.c (mail_open_stream, mail_reset), smtpd_check.c
(saved_flags), src/smtp/smtp_connect.c.

Process ids are used again and lines get lost, so a state that was silent for SESSION_S counts as none, `connect` begins
anew, and what a session says of a mail is only believed for the mail that arrived in it (`Effect.ABORTED`,
`Effect.PROXIED`: neither begins a queue entry).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any, Final, NamedTuple

from .extract import NOQUEUE, REJECTIONS, Columns, Delivery, Effect, Parsed, RecipientColumns, extract_delivery, inet

# No time limit of Postfix lets a process be silent for so long in the middle of something (src/global/mail_params.h:
# the longest is smtp_data_done_timeout, 600 s).
SESSION_S: Final = 3600.0
# A log's clock may step back a little between two lines.
BACKWARDS_S: Final = 5.0

# What is kept of one process; a client decides how much it does, not how much we remember.
MAX_ACTIONS: Final = 50
MAX_MAILS: Final = 20
MAX_FAILURES: Final = 10

TLS_COLUMNS: Final = ("tls_protocol", "tls_cipher", "tls_trust")
FRONT_COLUMNS: Final = ("client_hostname", "client_ip", "client_port", "sasl_method", "sasl_username", "sasl_sender")


class Kind(IntEnum):
    """What a line means for its process."""

    CONNECTED = 1
    DISCONNECTED = 2
    """With what the client's commands came to."""
    RECEIVING_TLS = 3
    SENDER = 4
    """A refused command: shows whose transaction this is."""
    DECIDED = 5
    """An access rule's action on the first recipient, logged as NOQUEUE."""
    ARRIVED = 6
    LOST = 7
    """The connection ended in the middle of a message."""
    FRONT_ARRIVED = 8
    """`NOQUEUE: client=`: this smtpd hands the mail to a before-queue filter."""
    PROXIED = 9
    PROXY_REFUSED = 10
    FAILED = 11
    """A server could not be reached or its TLS was no good."""
    SENDING_TLS = 12
    ATTEMPTED = 13


class Step(NamedTuple):
    """One line of a process: its kind and what it says."""

    kind: Kind
    data: Any = None


CONNECTED: Final = Step(Kind.CONNECTED)
DISCONNECTED: Final = (Step(Kind.DISCONNECTED, False), Step(Kind.DISCONNECTED, True))
"""By whether the session brought no mail."""
ARRIVED: Final = Step(Kind.ARRIVED)

# Every other line is a step: making a tuple by its class's name takes twice as long, and an attribute of an
# enumeration's class costs Python 3.11 as much as three calls.
_new: Final = tuple.__new__
_CONNECTED: Final = Kind.CONNECTED
_DISCONNECTED: Final = Kind.DISCONNECTED
_ATTEMPTED: Final = Kind.ATTEMPTED
_NOQUEUE: Final = Effect.NOQUEUE


class Unit(NamedTuple):
    """What a line tells, on its way into the fold: its delivery, and its step in the life of its process.

    `line` indexes the batch's messages, `server` are host and instance, `time` is the line's.
    """

    line: int
    server: tuple[str, str]
    component: str
    delivery: Delivery | None
    step: Step | None
    time: float

    def tells(self, delivery: Delivery, instance: str | None = None) -> Unit:
        """Give another delivery that becomes known by the same line, of its instance or another one."""
        line, server, component, _, _, time = self
        if instance is not None and instance != server[1]:
            server = (server[0], instance)
        return _new(Unit, (line, server, component, delivery, None, time))


def _tls(parsed: Parsed) -> Columns:
    return {name: parsed.get(name) for name in TLS_COLUMNS}


def _relay(parsed: Parsed) -> list[Any]:
    return [parsed.get("relay_host"), parsed.get("relay_ip"), parsed.get("relay_port"), parsed.get("relay_path")]


def _connected(parsed: Parsed) -> Step | None:
    return CONNECTED if parsed["component"] == "smtpd" else None


def _disconnected(parsed: Parsed) -> Step | None:
    return DISCONNECTED[is_without_mail(parsed.get("counters"))] if parsed["component"] == "smtpd" else None


def is_without_mail(counters: Mapping[str, Sequence[int]] | None) -> bool:
    """Tell whether a session's counters say that no content of a mail was accepted."""
    return counters is not None and not any(counters.get(name, (0,))[0] for name in ("data", "bdat"))


def _lost(parsed: Parsed) -> Step | None:
    # With a queue id (3.10 and newer) the line speaks for itself.
    if parsed["component"] != "smtpd" or "queue_id" in parsed or "bytes" not in parsed:
        return None
    return Step(Kind.LOST, f"{parsed['reason']} after {parsed['reject_stage']} ({parsed['bytes']} bytes)")


def summary_step(parsed: Parsed) -> Step | None:
    """Give the step of a TLS handshake's summary."""
    component = parsed["component"]
    if component == "smtpd":
        return Step(Kind.RECEIVING_TLS, _tls(parsed))
    if component in SENDING:
        return Step(Kind.SENDING_TLS, (_relay(parsed), _tls(parsed)))
    return None


def _arrived(parsed: Parsed) -> Step | None:
    if parsed["component"] != "smtpd":
        return None
    if parsed["queue_id"] == NOQUEUE:
        return Step(Kind.FRONT_ARRIVED, {name: parsed.get(name) for name in FRONT_COLUMNS})
    return ARRIVED


def _proxied(parsed: Parsed) -> Step:
    columns = {"helo": parsed.get("helo")}
    event = (parsed["action"], None, parsed.get("reason"))
    return Step(Kind.PROXIED, Delivery(parsed.get("next_queue_id") or "", Effect.PROXIED, columns, event=event))


def _proxy_refused(parsed: Parsed) -> Step:
    return Step(Kind.PROXY_REFUSED)


def _failed(parsed: Parsed) -> Step | None:
    if parsed["component"] not in SENDING:
        return None
    return Step(Kind.FAILED, (parsed["action"], _failure(parsed)))


def _failure(parsed: Parsed) -> str:
    """What failed, as the log says it: `connect to HOST[ADDRESS]:PORT: REASON` is the status line's wording, too."""
    if parsed["action"] == "connect_failed":
        where = parsed.get("relay_host") or ""
        where += f"[{parsed.get('relay_ip') or parsed.get('relay_path') or ''}]"
        if "relay_port" in parsed:
            where += f":{parsed['relay_port']}"
        return f"connect to {where}: {parsed.get('reason', '')}"
    return ": ".join(str(parsed[name]) for name in ("what", "peer", "reason") if parsed.get(name))


def _attempted(parsed: Parsed) -> Step | None:
    return attempted_step(_relay(parsed)) if parsed["component"] in SENDING else None


def attempted_step(relay: Sequence[Any]) -> Step:
    """Give the step of an attempt of smtp's or lmtp's by this relay: host, address, port, path."""
    return _new(Step, (_ATTEMPTED, list(relay)))


SENDING: Final = frozenset({"smtp", "lmtp"})

STEPS: Final[dict[str, Callable[[Parsed], Step | None]]] = {
    "connect": _connected,
    "disconnect": _disconnected,
    "end": _lost,
    "summary": summary_step,
    "client": _arrived,
    "proxy-accept": _proxied,
    "proxy-reject": _proxy_refused,
    "connect_failed": _failed,
    "handshake_error": _failed,
    "verify_failed": _failed,
    "delivery": _attempted,
}


def step_of(parsed: Parsed, delivery: Delivery | None) -> Step | None:
    """Say what a line means for the process that logged it; None for most lines."""
    make = STEPS.get(parsed["action"])
    if make is not None:
        return make(parsed)
    if delivery is None or delivery.effect is not _NOQUEUE or parsed["component"] != "smtpd":
        return None
    if parsed["action"] in REJECTIONS:
        return Step(Kind.SENDER, parsed.get("sender"))
    # As if the queue id were known: it is filled in when `client=` names it.
    decided = extract_delivery({**parsed, "queue_id": "?"})
    assert decided is not None
    return Step(Kind.DECIDED, (parsed.get("sender"), decided))


class Session:
    """What the last lines of one process leave for the next ones."""

    __slots__ = (
        "changed",
        "decided",
        "failures",
        "front",
        "instance",
        "last_seen",
        "mails",
        "receiving_tls",
        "sending_tls",
        "sending_to",
        "stored",
        "tls_queue_id",
    )

    def __init__(self, instance: str, last_seen: float) -> None:
        self.instance = instance
        self.last_seen = last_seen
        self.changed = True
        self.stored = False
        self.receiving_tls: Columns | None = None
        self.decided: list[tuple[str | None, Delivery, float]] = []
        """Sender, the delivery without its queue id, time."""
        self.mails: list[tuple[str, str, float]] = []
        """Instance, queue id, and time of `client=`, of the mails that arrived in this session."""
        self.front: Columns | None = None
        self.failures: list[tuple[str, str, float]] = []
        """Action, text, time."""
        self.sending_to: list[Any] | None = None
        self.sending_tls: Columns | None = None
        self.tls_queue_id: str | None = None

    def is_over(self, instance: str, time: float) -> bool:
        """Tell whether a line at this time is another process's, or begins something new."""
        return instance != self.instance or not -BACKWARDS_S <= time - self.last_seen <= SESSION_S

    def is_empty(self) -> bool:
        """Tell whether there is nothing to remember."""
        return not (self.receiving_tls or self.decided or self.mails or self.front or self.failures or self.sending_tls)

    def to_plain(self) -> dict[str, Any]:
        """Give what is to be kept, of lists, texts and numbers only."""
        plain: dict[str, Any] = {"instance": self.instance}
        for name in ("receiving_tls", "mails", "front", "failures", "sending_to", "sending_tls", "tls_queue_id"):
            value = getattr(self, name)
            if value:
                plain[name] = value
        if self.decided:
            plain["decided"] = [(sender, _plain(delivery), time) for sender, delivery, time in self.decided]
        return plain

    @staticmethod
    def from_plain(plain: dict[str, Any], last_seen: float) -> Session:
        """Give the state back that `to_plain` has made."""
        session = Session(plain.get("instance", ""), last_seen)
        session.changed = False
        session.stored = True
        for name in ("receiving_tls", "front", "sending_to", "sending_tls", "tls_queue_id"):
            setattr(session, name, plain.get(name))
        session.mails = [tuple(mail) for mail in plain.get("mails", ())]
        session.failures = [tuple(failure) for failure in plain.get("failures", ())]
        for sender, (queue_id, effect, columns, recipient, event, at), time in plain.get("decided", ()):
            decided = RecipientColumns(**recipient) if recipient else None
            delivery = Delivery(queue_id, Effect(effect), columns, decided, tuple(event) if event else None, at)
            session.decided.append((sender, delivery, time))
        return session


def _plain(delivery: Delivery) -> list[Any]:
    recipient = delivery.recipient
    return [*delivery[:3], None if recipient is None else recipient._asdict(), *delivery[4:]]


Process = tuple[str, int]
"""Host and process id."""


class Sessions:
    """The processes that a batch is about; `ended` are those whose kept state is of no use any more."""

    def __init__(self, stored: Iterable[tuple[Process, Session]] = ()) -> None:
        self._by_process: dict[Process, Session] = dict(stored)
        self.ended: set[Process] = set()

    def take(self, process: Process, unit: Unit) -> Sequence[Unit]:
        """Take one line, a step; give the deliveries that it and those before it tell, in the order of the fold."""
        _, server, _, delivery, step, time = unit
        assert step is not None
        kind, data = step
        session = self._by_process.get(process)
        if session is not None and (kind is _CONNECTED or session.is_over(server[1], time)):
            self._forget(process)
            session = None
        if session is None:
            if kind in NEEDS_STATE:
                return () if delivery is None else (unit,)
            session = self._by_process[process] = Session(server[1], time)
        session.changed = True
        if time > session.last_seen:
            session.last_seen = time
        told = JOIN[kind](session, unit, data)
        if kind is _DISCONNECTED or session.is_empty():
            self._forget(process)
        return told

    def _forget(self, process: Process) -> None:
        if self._by_process.pop(process).stored:
            self.ended.add(process)

    def changed(self) -> Iterable[tuple[Process, Session]]:
        """Give the states that are to be kept."""
        return ((process, session) for process, session in self._by_process.items() if session.changed)


def _alone(unit: Unit) -> Sequence[Unit]:
    return () if unit.delivery is None else (unit,)


def _take_nothing(session: Session, unit: Unit, data: Any) -> Sequence[Unit]:
    return _alone(unit)


def _take_disconnected(session: Session, unit: Unit, data: bool) -> Sequence[Unit]:
    if not data:
        return ()
    return [_aborted(unit, mail, None) for mail in session.mails]


def _take_lost(session: Session, unit: Unit, data: str) -> Sequence[Unit]:
    return (_aborted(unit, session.mails[-1], data),) if session.mails else ()


def _aborted(unit: Unit, mail: tuple[str, str, float], detail: str | None) -> Unit:
    instance, queue_id, arrived = mail
    event = None if detail is None else ("end", None, detail)
    columns = {"ended_how": "canceled", "arrived": arrived}
    return unit.tells(Delivery(queue_id, Effect.ABORTED, columns, event=event), instance)


def _take_receiving_tls(session: Session, unit: Unit, data: Columns) -> Sequence[Unit]:
    session.receiving_tls = data
    return _alone(unit)


def _take_sender(session: Session, unit: Unit, data: str | None) -> Sequence[Unit]:
    _keep_transaction(session, data)
    return _alone(unit)


def _keep_transaction(session: Session, sender: str | None) -> None:
    """Forget what was decided in an earlier transaction: RSET and MAIL log nothing, but another sender tells."""
    if sender is not None:
        session.decided = [item for item in session.decided if item[0] is None or item[0] == sender]


def _take_decided(session: Session, unit: Unit, data: tuple[str | None, Delivery]) -> Sequence[Unit]:
    sender, decided = data
    _keep_transaction(session, sender)
    if len(session.decided) < MAX_ACTIONS:
        session.decided.append((sender, decided, unit.time))
    return _alone(unit)


def _take_arrived(session: Session, unit: Unit, data: None) -> Sequence[Unit]:
    _, server, _, delivery, _, time = unit
    assert delivery is not None
    queue_id = delivery.queue_id
    if session.receiving_tls is not None:
        unit = unit.tells(delivery._replace(columns={**delivery.columns, **session.receiving_tls}))
    told: Sequence[Unit] = (unit,)
    if session.decided:
        # They stood before this line, but are told of a mail that begins with it.
        told = [unit, *(unit.tells(decided._replace(queue_id=queue_id)) for _, decided, _ in session.decided)]
        session.decided = []
    session.mails = [*session.mails[1 - MAX_MAILS :], (server[1], queue_id, time)]
    return told


def _take_front(session: Session, unit: Unit, data: Columns) -> Sequence[Unit]:
    session.front = {**data, "arrived": unit.time}
    return _alone(unit)


def _take_proxied(session: Session, unit: Unit, data: Delivery) -> Sequence[Unit]:
    front, session.front = session.front, None
    decided, session.decided = session.decided, []
    told = [*_brought_by(unit, front)]
    if data.queue_id and front is not None:
        columns: Columns = {**data.columns, **(session.receiving_tls or {}), "arrived": front["arrived"]}
        columns.update({name: front[name] for name in FRONT_COLUMNS if name.startswith("sasl_")})
        columns["orig_client"] = f"{front['client_hostname']}[{front['client_ip']}]"
        told.append(unit.tells(data._replace(columns=columns)))
        for _, item, at in decided:
            story = Delivery(data.queue_id, Effect.PROXIED, {"arrived": front["arrived"]}, event=item.event, at=at)
            told.append(unit.tells(story))
    return told


def _take_proxy_refused(session: Session, unit: Unit, data: None) -> Sequence[Unit]:
    front, session.front = session.front, None
    session.decided = []
    return _brought_by(unit, front)


def _brought_by(unit: Unit, front: Columns | None) -> Sequence[Unit]:
    """Fill in the client, whom the filter's lines do not name."""
    delivery = unit.delivery
    if delivery is None or front is None:
        return _alone(unit)
    columns: Columns = {name: front[name] for name in FRONT_COLUMNS if name in delivery.columns}
    columns["client_ip"] = inet(columns["client_ip"])
    return (unit.tells(delivery._replace(columns={**delivery.columns, **columns})),)


def _take_failed(session: Session, unit: Unit, data: tuple[str, str]) -> Sequence[Unit]:
    session.failures = [*session.failures[1 - MAX_FAILURES :], (*data, unit.time)]
    return _alone(unit)


def _take_sending_tls(session: Session, unit: Unit, data: tuple[list[Any], Columns]) -> Sequence[Unit]:
    session.sending_to, session.sending_tls = data
    session.tls_queue_id = None
    return _alone(unit)


def _take_attempted(session: Session, unit: Unit, data: list[Any]) -> Sequence[Unit]:
    delivery = unit.delivery
    assert delivery is not None
    recipient = delivery.recipient
    assert recipient is not None
    queue_id = delivery.queue_id
    told = []
    for action, text, failed in session.failures:
        # The last failure is often the status line's own reason.
        if text not in (recipient.response or ""):
            event = (action, None, text)
            told.append(unit.tells(Delivery(queue_id, Effect.NOTED, {}, event=event, at=failed)))
    session.failures = []
    if session.sending_tls is not None:
        if session.tls_queue_id is None:
            # The process was at work on this mail when it connected, even if another relay took it in the end.
            session.tls_queue_id = queue_id
        if session.tls_queue_id != queue_id:
            # Another mail: over a connection of its own, or one of which nothing was logged.
            session.sending_to = session.sending_tls = session.tls_queue_id = None
        elif session.sending_to == data:
            unit = unit.tells(delivery._replace(recipient=recipient._replace(**session.sending_tls)))
    told.append(unit)
    return told


NEEDS_STATE: Final = frozenset(
    {Kind.CONNECTED, Kind.DISCONNECTED, Kind.SENDER, Kind.LOST, Kind.PROXY_REFUSED, Kind.ATTEMPTED}
)
"""Steps that mean nothing to a process of which nothing is known."""

JOIN: Final[dict[Kind, Callable[[Session, Unit, Any], Sequence[Unit]]]] = {
    Kind.CONNECTED: _take_nothing,
    Kind.DISCONNECTED: _take_disconnected,
    Kind.RECEIVING_TLS: _take_receiving_tls,
    Kind.SENDER: _take_sender,
    Kind.DECIDED: _take_decided,
    Kind.ARRIVED: _take_arrived,
    Kind.LOST: _take_lost,
    Kind.FRONT_ARRIVED: _take_front,
    Kind.PROXIED: _take_proxied,
    Kind.PROXY_REFUSED: _take_proxy_refused,
    Kind.FAILED: _take_failed,
    Kind.SENDING_TLS: _take_sending_tls,
    Kind.ATTEMPTED: _take_attempted,
}
