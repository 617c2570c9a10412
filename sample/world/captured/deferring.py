"""Mail that cannot be delivered at once: what comes first, since it needs the two minutes to expire or to arrive."""

import net
from core import scenario, send, submit
from scenario import sendmail

GONE = "expired/expired"


@scenario("refused and timed out connections; expired with both recipients", r"status=expired, returned to sender", {"first@refused.example": GONE, "second@timeout.example": GONE}, phase=0)  # fmt: skip
def _() -> None:
    submit("alice", ["first@refused.example", "second@timeout.example"])


@scenario("one at once, one expired", r"to=<third@refused\.example>.*Connection refused", {"third@refused.example": GONE, "beside-third@example.net": "sent/expired"}, phase=0)  # fmt: skip
def _() -> None:
    submit("alice", ["third@refused.example", "beside-third@example.net"])


@scenario("greylisted, delivered later", r"to=<patient@greylist\.example>.*status=deferred .*Greylisted", {"patient@greylist.example": "sent/removed"}, phase=0)  # fmt: skip
def _() -> None:
    submit("carla", "patient@greylist.example")


@scenario("temporary failure, then delivered; the other at once", r"to=<once-a@uni\.example>.*status=deferred", {"once-a@uni.example": "sent/removed", "beside-once@uni.example": "sent/removed"}, phase=0)  # fmt: skip
def _() -> None:
    submit("carla", ["once-a@uni.example", "beside-once@uni.example"])


@scenario("three temporary failures, a delay notice, then delivered", r"sender delay notification: \w+", {"busy-three@uni.example": "sent/removed"}, phase=0)  # fmt: skip
def _() -> None:
    submit("bob", "busy-three@uni.example")


for name, why, pattern in (
    ("silent", "the server says nothing", r"timed out while receiving the initial server greeting"),
    ("closed", "refused at the door", r"refused to talk to me: 554"),
    ("plain", "TLS required, not offered", r"TLS is required, but was not offered"),
    ("selfsigned", "the certificate is not verified", r"Server certificate not (verified|trusted)"),
    ("servfail", "name server trouble", r"Host not found, try again"),
    ("hangs", "the connection is lost in mid-session", r"lost connection with mx\.hangs.*while sending"),
    ("busy", "421 at a recipient", r"to=<who@busy\.example>.*421 4\.7\.0"),
):

    @scenario(why, pattern, {f"who@{name}.example": GONE}, phase=0)
    def _(name: str = name) -> None:
        submit("alice", f"who@{name}.example")


@scenario("lost at the end of the data, sent again", r"lost connection with mx\.drop.*while sending end of data -- message may be sent more than once", {"who@drop.example": "sent/removed"}, phase=0)  # fmt: skip
def _() -> None:
    submit("bob", "who@drop.example", ident="<drop@example.org>")


@scenario("timed out at the end of the data", r"timed out while sending end of data -- message may be sent more than once", {"who@late.example": GONE}, phase=0)  # fmt: skip
def _() -> None:
    submit("bob", "who@late.example")


@scenario("no such transport", r"to=<who@notransport\.example>.*mail transport unavailable", {"who@notransport.example": GONE}, phase=0)  # fmt: skip
def _() -> None:
    submit("alice", "who@notransport.example")


@scenario("a command that cannot start", r"fatal: .*nosuchuser", {"x@nouser.example.org": ""}, phase=0)
def _() -> None:
    # No line ever names this recipient: qmgr(8) gets no answer about him.
    send("a@uni.example", "x@nouser.example.org", source="smtp.uni.example")


@scenario("LMTP socket that is not there", r"to=<x@nosocket\.example\.org>.*connect to mx1\.example\.org\[private/nosuchsocket\]: No such file", {"x@nosocket.example.org": GONE}, phase=0)  # fmt: skip
def _() -> None:
    send("a@uni.example", "x@nosocket.example.org", source="smtp.uni.example")


@scenario("retry transport", r"postfix/retry\[\d+\]|postfix/error\[\d+\]: \w+: to=<x@retry\.example\.org>.*status=deferred \(out to lunch\)", {"x@retry.example.org": GONE}, phase=0)  # fmt: skip
def _() -> None:
    sendmail("carla", ["-i", "x@retry.example.org"], "Subject: captured\n\nhello\n")


@scenario("delivery temporarily suspended", r"postfix/error\[\d+\]: .*delivery temporarily suspended: connect to", {f"crowd{n}@refused.example": GONE for n in range(4)}, phase=0)  # fmt: skip
def _() -> None:
    for n in range(4):
        submit("bob", f"crowd{n}@refused.example")


@scenario("mailbox full", r"to=<full@full\.example>.*452 4\.2\.2", {"full@full.example": GONE}, phase=0)
def _() -> None:
    submit("bob", "full@full.example")


@scenario("command fails temporarily", r"to=<temp@archive\.example\.org>.*temporary failure\. Command output", {"temp@archive.example.org": GONE}, phase=0)  # fmt: skip
def _() -> None:
    send("a@uni.example", "temp@archive.example.org", source="smtp.uni.example")


@scenario("command takes too long", r"to=<x@slowpipe\.example\.org>.*(time limit|timed out|signal)", {"x@slowpipe.example.org": "bounced/removed"}, phase=0)  # fmt: skip
def _() -> None:
    send("a@uni.example", "x@slowpipe.example.org", source="smtp.uni.example")


@scenario("mail store over quota, then delivered", r"to=<overquota@mail\.example\.org>.*status=deferred .*Quota exceeded", {"overquota@mail.example.org": "sent/removed"}, phase=0)  # fmt: skip
def _() -> None:
    send("a@uni.example", "overquota@mail.example.org", source="smtp.uni.example")


@scenario("soft_bounce", r"to=<nobody@soft\.example>.*status=SOFTBOUNCE", {"nobody@soft.example": GONE}, phase=0)
def _() -> None:
    submit("carla", "nobody@soft.example")


@scenario("bounce that cannot be delivered expires", r"to=<lost@timeout\.example>", {"nobody-for-lost@archive.example.org": "bounced/removed", "lost@timeout.example": GONE}, phase=0)  # fmt: skip
def _() -> None:
    send("lost@timeout.example", "nobody-for-lost@archive.example.org", source="mx1.example.com")


@scenario("three at the same server, one later", r"postfix-out/smtp.*to=<out-late@greylist\.example>.*status=deferred", {"out-1@example.com": "sent/removed", "out-2@example.com": "sent/removed", "out-late@greylist.example": "sent/removed"}, phase=0)  # fmt: skip
def _() -> None:
    send("app@example.org", ["out-1@example.com", "out-2@example.com", "out-late@greylist.example"], source="app1.example.org", to=(net.OUT, 25), tls=False)  # fmt: skip


@scenario("a notification that cannot be made: deferred (bounce failed)", r"qmgr\[\d+\]: \w+: (from=<\S*>, )?status=deferred \(bounce failed\)", {"nobody-bf@example.com": "bounced/queued"}, phase=0)  # fmt: skip
def _() -> None:
    send("bouncefails@example.net", "nobody-bf@example.com", source="app1.example.org", tls=False)


@scenario("many attempts, then thrown away", r"postsuper\[\d+\]: \w+: removed", {"pause@refused.example": "discarded/deleted"}, phase=0)  # fmt: skip
def _() -> None:
    submit("alice", "pause@refused.example")
