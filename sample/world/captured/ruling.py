"""What cleanup(8) decides by the content: header and body rules, milters, MIME errors, tables that fail."""

from arriving import PORT
from core import scenario, send, shell, wait_for
from scenario import sendmail

DENIED = "rejected/rejected"


def ruled(name: str, pattern: str, recipient: str, fate: str, title: str, **more) -> None:
    """Register one mail that a rule or a milter looks at."""
    more.setdefault("source", "mail-corp.protection.test")

    @scenario(name, pattern, {recipient: fate} if fate else {})
    def _() -> None:
        send("s.kowalski@corp.example", recipient, title, **more)


ruled(
    "header rule: reject",
    r"cleanup\[\d+\]: \w+: reject: header Subject: \[reject\] from mail-corp",
    "carla+h-reject@example.org",
    DENIED,
    "[reject]",
)
ruled(
    "header rule: reject with 4.7.1",
    r"reject: header Subject: \[reject4\].*4\.7\.1 later, perhaps",
    "carla+h-reject4@example.org",
    DENIED,
    "[reject4]",
)
ruled(
    "header rule: hold",
    r"hold: header Subject: \[hold\].*: held by a header rule",
    "carla+h-hold@example.org",
    "-/held",
    "[hold]",
)
ruled(
    "header rule: discard",
    r"discard: header Subject: \[discard\]",
    "carla+h-discard@example.org",
    "discarded/discarded",
    "[discard]",
)
ruled(
    "header rule: redirect",
    r"redirect: header Subject: \[redirect\].*: quarantine@mail\.example\.org",
    "carla+h-redirect@example.org",
    "",
    "[redirect]",
)
ruled(
    "header rule: prepend",
    r"prepend: header Subject: \[prepend\]",
    "carla+h-prepend@example.org",
    "sent/removed",
    "[prepend]",
)
ruled(
    "header rule: replace",
    r"replace: header Subject: \[replace\]",
    "carla+h-replace@example.org",
    "sent/removed",
    "[replace]",
)
ruled("header rule: bcc", r"bcc: header Subject: \[bcc\]", "carla+h-bcc@example.org", "sent/removed", "[bcc]")
ruled("header rule: warn", r"warning: header Subject: \[warn\]", "carla+h-warn@example.org", "sent/removed", "[warn]")
ruled(
    "header rule: filter",
    r"filter: header Subject: \[filter\]",
    "carla+h-filter@example.org",
    "sent/removed sent/removed",
    "[filter]",
)
ruled(
    "header rule: strip",
    r"strip: header X-Secret: 42",
    "carla+h-strip@example.org",
    "sent/removed",
    "captured",
    extra="X-Secret: 42\r\n",
)
ruled(
    "header rule: info on a folded header with a false context",
    r"info: header Subject: fold\?\?second from evil\[203\.0\.113\.9\]; from=<x@y\.example> to=<z>\?\? ?third: end from mail-corp",
    "carla+h-fold@example.org",
    "sent/removed",
    "fold\r\n\tsecond from evil[203.0.113.9]; from=<x@y.example> to=<z>\r\n\tthird: end",
)
ruled(
    "body rule: reject",
    r"reject: body buy-this-now from",
    "carla+b-reject@example.org",
    DENIED,
    "",
    body=b"Subject: b\r\nMessage-ID: <body1@corp.example>\r\n\r\nbuy-this-now\r\n",
)
ruled(
    "body rule: warn",
    r"warning: body please-note",
    "carla+b-warn@example.org",
    "sent/removed",
    "",
    body=b"Subject: b\r\nMessage-ID: <body2@corp.example>\r\n\r\nplease-note (it)\r\n",
)
ruled(
    "too many hops",
    r"warning: \w+: message rejected: hopcount exceeded",
    "carla+hops@example.org",
    "-/rejected",
    "captured",
    extra="Received: by a.example; Mon, 23 Nov 2026 08:00:00 +0100\r\n" * 60,
)
ruled(
    "milter: reject in two lines",
    r"cleanup\[\d+\]: \w+: milter-reject: END-OF-MESSAGE from .*5\.7\.1 Spam message rejected",
    "carla+m-reject@example.org",
    DENIED,
    "[milter-reject]",
)
ruled(
    "milter: tempfail",
    r"milter-reject: END-OF-MESSAGE from .*4\.7\.1 Service unavailable",
    "carla+m-tempfail@example.org",
    DENIED,
    "[milter-tempfail]",
)
ruled("milter: quarantine", r"milter-hold: END-OF-MESSAGE from", "carla+m-hold@example.org", "-/held", "[milter-hold]")
ruled(
    "milter: discard",
    r"milter-discard: END-OF-MESSAGE from",
    "carla+m-discard@example.org",
    "discarded/discarded",
    "[milter-discard]",
)
ruled(
    "milter: discard at RCPT",
    r"milter-discard: RCPT from",
    "milterdrop+x@relay.example.org",
    "discarded/discarded",
    "captured",
)
ruled(
    "milter's header held by a rule",
    r"milter-header-hold: header X-Spam-Flag: YES",
    "carla+mh-hold@example.org",
    "-/held",
    "[milter-header]",
    to=PORT["strict"],
)
ruled(
    "MIME error",
    r"reject: mime-error improper use of 8-bit data in message (header|body)",
    "carla+mime@example.org",
    DENIED,
    "",
    to=PORT["strict"],
    body="Subject: 8 bit\r\nMessage-ID: <mime@corp.example>\r\n\r\nGrüße\r\n".encode(),
)
ruled(
    "character that is not wanted",
    r"reject: content \S* ?from|reject: content",
    "carla+bell@example.org",
    DENIED,
    "",
    to=PORT["strict"],
    body=b"Subject: bell\r\nMessage-ID: <bell@corp.example>\r\n\r\nding \x07 dong\r\n",
)


@scenario("a rule of ours refuses local mail", r"cleanup\[\d+\]: \w+: to=<carla\+l-reject@example\.org>.*status=bounced", {"carla+l-reject@example.org": "bounced/rejected"})  # fmt: skip
def _() -> None:
    sendmail("bob", ["carla+l-reject@example.org"], "Subject: a local [reject]\n\nhello\n")


@scenario("table that fails in cleanup", r"warning: \w+: sender_canonical_maps map lookup problem for tablefails@example\.net -- message not accepted, try again later", {"carla+tablefails@example.org": ""})  # fmt: skip
def _() -> None:
    send("tablefails@example.net", "carla+tablefails@example.org", source="smtp.uni.example")


@scenario("the hold queue cannot be written", r"fatal: \w+: move to hold queue failed: Permission denied", {"carla+nohold@example.org": "-/rejected"}, phase=2)  # fmt: skip
def _() -> None:
    shell("chmod 500 /var/spool/postfix/hold")
    send("s.kowalski@corp.example", "carla+nohold@example.org", "[hold]", source="mail-corp.protection.test")
    shell("chmod 700 /var/spool/postfix/hold")


@scenario("a queue file is damaged", r"(saving corrupt file|corrupted queue file|message rejected: missing end record)", {"damaged@refused.example": "deferred/corrupt"}, phase=2)  # fmt: skip
def _() -> None:
    sendmail("carla", ["damaged@refused.example"], "Subject: to be damaged\n\n" + "x" * 500 + "\n")
    if ident := wait_for("damaged@refused.example"):
        shell(
            f"sleep 2; f=$(find /var/spool/postfix/deferred /var/spool/postfix/active -name {ident} | head -1); truncate -s 400 $f; postqueue -i {ident}; sleep 3"
        )
