"""What smtpd(8) and postscreen(8) refuse, and what their tables do to a mail."""

import time

import net
from arriving import PORT
from core import Raw, scenario, send, submit

NO = "rejected"


def refused(name: str, pattern: str, recipient: str, sender: str = "a@example.com", fate: str = NO, **more) -> None:
    """Register one mail that meets a restriction."""
    more.setdefault("source", "mx1.example.com")

    @scenario(name, pattern, {recipient: fate} if fate else {})
    def _() -> None:
        send(sender, recipient, **more)


def at(name: str) -> dict[str, object]:
    return {"to": PORT[name]}


refused("relay denied", r"reject: RCPT from unknown\[203\.0\.113\.5\]: 554 5\.7\.1 <relayed@example\.net>: Relay access denied", "relayed@example.net", source="203.0.113.5", helo="relaytest.example", tls=False)  # fmt: skip
for number, domain in enumerate(("example.org", "virtual.example.org", "alias.example.org")):
    refused(f"unknown recipient in a table ({number + 1})", rf"<nosuchuser{number}@{domain}>: Recipient address rejected: User unknown in ", f"nosuchuser{number}@{domain}")  # fmt: skip
refused(
    "sender refused by a table",
    r"Sender address rejected: no mail from there",
    "alice+table@example.org",
    "a@spammer.example",
    source="shop.example",
)
refused(
    "sender deferred by a table",
    r"450 4\.7\.1 <tempfail@example\.net>: Sender address rejected: try me later",
    "alice+defer@example.org",
    "tempfail@example.net",
    source="mx.example.net",
)
refused(
    "sender's domain unknown",
    r"Sender address rejected: Domain not found",
    "alice+domain@example.org",
    "a@nxdomain.example",
    source="shop.example",
)
refused(
    "sender's domain: name server trouble",
    r"450 4\.1\.8 <a@servfail\.example>",
    "alice+servfail@example.org",
    "a@servfail.example",
    source="shop.example",
)
refused(
    "sender not fully qualified",
    r"<joe>: Sender address rejected: need fully-qualified address",
    "alice+fqdn@example.org",
    "joe",
    source="shop.example",
)
refused(
    "block list",
    r"Service unavailable; Client host \[203\.0\.113\.66\] blocked using dnsbl\.example",
    "alice+blocked@example.org",
    "a@spam.test",
    source="host-66.spam.test",
    tls=False,
)
refused(
    "mailbox closed by a table",
    r"550 5\.7\.1 <closed\+x@example\.org>: Recipient address rejected: mailbox closed",
    "closed+x@example.org",
)
refused(
    "announced size too big",
    r"reject: MAIL from .*552 5\.3\.4 Message size exceeds fixed limit",
    "alice+size@example.org",
    fate="",
    length=300_000,
)
refused(
    "HELO with our own name",
    r"Helo command rejected: that is my own name",
    "alice+helo@example.org",
    source="203.0.113.70",
    helo="mx1.example.org",
    tls=False,
)
refused(
    "HELO refused with 521",
    r"521 5\.7\.1 <ylmf-pc>: Helo command rejected: no botnets here",
    "alice+521@example.org",
    source="203.0.113.70",
    helo="ylmf-pc",
    tls=False,
)
refused(
    "a table's text with a false tail",
    r"spoof; from=<ceo@example\.com> to=<all@example\.org>; from=<ceo@badfrom\.test>",
    "alice+spoof@example.org",
    "ceo@badfrom.test",
    source="shop.example",
)
refused(
    "at DATA",
    r"reject: DATA from shop\.example",
    "carla+nodata@example.org",
    "a@nodata.test",
    "rejected/rejected",
    source="shop.example",
    ident="<nodata@nodata.test>",
)
refused(
    "at END-OF-MESSAGE",
    r"reject: END-OF-MESSAGE from shop\.example",
    "carla+noend@example.org",
    "a@noend.test",
    "rejected/rejected",
    source="shop.example",
)
refused(
    "soft_bounce at the door, with a footer",
    r"reject: RCPT from shop\.example\[198\.51\.100\.161\]: 4\d\d \d\.\d\.\d <nosuchsoft@example\.org>.*User unknown",
    "nosuchsoft@example.org",
    source="shop.example",
    **at("soft"),
)
refused(
    "warn_if_reject",
    r"reject_warning: RCPT from .*<warned-only@virtual\.example\.org>",
    "warned-only@virtual.example.org",
    fate="rejected",
    source="shop.example",
    **at("inner"),
)
refused(
    "table that cannot be asked",
    r"451 4\.3\.[05] .*(Server configuration|data) error|lookup error for \"?\S+|table lookup problem",
    "alice+tcp@example.org",
    source="shop.example",
    **at("tables"),
)
refused(
    "milter that cannot be asked",
    r"milter-reject: (CONNECT|EHLO) from shop\.example",
    "alice+deadmilter@example.org",
    fate="",
    source="shop.example",
    **at("dead_milter"),
)
refused(
    "milter refuses the client",
    r"milter-reject: CONNECT from unknown\[203\.0\.113\.202\]",
    "alice+mconnect@example.org",
    fate="",
    source="203.0.113.202",
    tls=False,
)
refused(
    "milter refuses the greeting",
    r"milter-reject: [EH]\w+ from .*no such greeting",
    "alice+mhelo@example.org",
    fate="",
    helo="milterhelo.example",
)
refused(
    "milter refuses the sender, in two lines",
    r"milter-reject: MAIL from .*451-?\s?4\.7\.1 come back later",
    "alice+mfrom@example.org",
    "milterfrom@corp.example",
    fate="",
    source="mail-corp.protection.test",
)
refused(
    "sender refused, client by IPv6, greylisted",
    r"reject: RCPT from unknown\[2001:db8:bad::5\]: 450 4\.\d\.\d .*Greylisted",
    "alice+grey6@example.org",
    "a@uni.example",
    source="2001:db8:bad::5",
    to=(net.MX6, 25),
    helo="mail6.bad.example",
    tls=False,
)


@scenario("greylisted by us, then accepted", r"<greytest\+x@relay\.example\.org>: Recipient address rejected: Greylisted", {"greytest+x@relay.example.org": "rejected sent/removed"})  # fmt: skip
def _() -> None:
    send("t.waits@uni.example", "greytest+x@relay.example.org", source="smtp.uni.example")
    time.sleep(21)
    send("t.waits@uni.example", "greytest+x@relay.example.org", source="smtp.uni.example")


@scenario("milter refuses a recipient", r"milter-reject: RCPT from .*550 5\.7\.1 recipient does not want mail", {"milterrcpt@relay.example.org": NO, "carla+beside-milter@example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    send(
        "s.kowalski@corp.example",
        ["milterrcpt@relay.example.org", "carla+beside-milter@example.org"],
        source="mail-corp.protection.test",
    )


@scenario("second and third recipient refused", r": [0-9A-F]{6,}: reject: RCPT from .*<nosuchsecond@example\.org>", {"alice+kept@example.org": "sent/removed", "nosuchsecond@example.org": "rejected/removed", "closed+third@example.org": "rejected/removed"})  # fmt: skip
def _() -> None:
    send(
        "a@example.com",
        ["alice+kept@example.org", "nosuchsecond@example.org", "closed+third@example.org"],
        source="mx1.example.com",
    )


@scenario(
    "size exceeded in the data",
    r"warning: \w+: queue file size limit exceeded",
    {"alice+toomuch@example.org": "-/rejected"},
)
def _() -> None:
    c = Raw("mx.example.net")
    c.say("EHLO mx.example.net", "MAIL FROM:<a@example.net>", "RCPT TO:<alice+toomuch@example.org>", "DATA")
    c.push(
        "Subject: Too big\r\nMessage-ID: <alice+toomuch.example.org@captured.example>\r\n\r\n"
        + ("x" * 70 + "\r\n") * 4000
    )
    c.say("y\r\n.")
    c.say("QUIT")
    c.close()


@scenario("relay denied to a recipient with a route", r"reject: RCPT from scanner\.example\.net.*Relay access denied|Illegal address syntax", {"alice%example.com@example.org": NO})  # fmt: skip
def _() -> None:
    c = Raw("scanner.example.net")
    c.say("EHLO scanner.example.net", "MAIL FROM:<a b@c>", "MAIL FROM:<a@example.net>", "RCPT TO:<a@b@c@d>")
    c.say("RCPT TO:<alice%example.com@example.org>", "QUIT")
    c.close()


@scenario("VRFY and ETRN refused", r"reject: ETRN from scanner\.example\.net", {"nosuchvrfy@example.org": "rejected"})
def _() -> None:
    c = Raw("scanner.example.net")
    c.say(
        "EHLO scanner.example.net",
        "VRFY alice",
        "VRFY nosuchvrfy@example.org",
        "EXPN staff",
        "ETRN example.com",
        "QUIT",
    )
    c.close()


@scenario("address checked: there is none", r"reject: RCPT from .*<nobody-v@vrfy\.example\.org>.*undeliverable address", {"nobody-v@vrfy.example.org": "rejected undeliverable/removed"})  # fmt: skip
def _() -> None:
    send("prober@uni.example", "nobody-v@vrfy.example.org", source="smtp.uni.example")


@scenario(
    "address checked: taken",
    r"to=<fine-v@vrfy\.example\.org>.*status=deliverable",
    {"fine-v@vrfy.example.org": "deliverable/removed sent/removed"},
)
def _() -> None:
    send("prober@uni.example", "fine-v@vrfy.example.org", source="smtp.uni.example")


@scenario("address checked, the answer not kept", r"to=<nobody-u@uncached\.example\.org>.*status=undeliverable-but-not-cached", {"nobody-u@uncached.example.org": "rejected undeliverable/removed"})  # fmt: skip
def _() -> None:
    send("prober@uni.example", "nobody-u@uncached.example.org", source="smtp.uni.example")


@scenario(
    "not the sender's own address", r"Sender address rejected: not owned by user alice", {"not-owned@example.com": NO}
)
def _() -> None:
    submit("alice", "not-owned@example.com", sender="bob@example.org")


@scenario(
    "strict listener: at CONNECT",
    r"reject: CONNECT from unknown\[203\.0\.113\.200\].*go away",
    {"fred+connect@mail.example.org": ""},
)
def _() -> None:
    send(
        "a@shop.example",
        "fred+connect@mail.example.org",
        source="203.0.113.200",
        helo="x",
        to=(net.STRICT, 25),
        tls=False,
    )


for helo, text in (
    ("bad_helo!", "Invalid name"),
    ("short", "need fully-qualified hostname"),
    ("unknown.nxdomain.example", "Host not found"),
):

    @scenario(f"strict listener: at EHLO, {text}", rf"reject: [EH]\w+ from shop\.example\[198\.51\.100\.161\].*{text}")
    def _(helo: str = helo) -> None:
        send(
            "a@shop.example",
            "fred+helo@mail.example.org",
            source="shop.example",
            helo=helo,
            to=(net.STRICT, 25),
            tls=False,
        )


@scenario("strict listener: at MAIL", r"reject: MAIL from lists\.software\.test", {"fred+mail@mail.example.org": ""})
def _() -> None:
    send(
        "a@nxdomain.example", "fred+mail@mail.example.org", source="lists.software.test", to=(net.STRICT, 25), tls=False
    )


@scenario("rate limits", r"limit exceeded: \d+ from shop\.example")
def _() -> None:
    for n in range(4):
        send(
            "a@shop.example",
            [f"carla+rate{n}@example.org", f"carla+rateb{n}@example.org"],
            source="shop.example",
            to=PORT["rates"],
        )


for word in ("hold", "discard", "redirect", "warned", "noted", "bcc", "warnonly"):
    fates = {
        "hold": {"hold+table@example.org": "-/held"},
        "discard": {"discard+table@example.org": "discarded/discarded"},
        "redirect": {"redirect+table@example.org": "sent/removed"},
    }.get(word, {f"{word}+table@example.org": "sent/removed"})

    @scenario(f"access table: {word}", rf"smtpd\[\d+\]: NOQUEUE: {word.replace('warned', 'warn').replace('warnonly', 'warn').replace('noted', 'info')}: RCPT from", fates)  # fmt: skip
    def _(word: str = word) -> None:
        send("m.rossi@uni.example", f"{word}+table@example.org", source="smtp.uni.example")


@scenario("access table: hangup", r"smtpd\[\d+\]: NOQUEUE: hangup: RCPT from", {"hangup+table@example.org": "rejected"})
def _() -> None:
    c = Raw("smtp.uni.example")
    c.say("EHLO smtp.uni.example", "MAIL FROM:<m.rossi@uni.example>")
    c.push("RCPT TO:<hangup+table@example.org>\r\n")
    c.reply()
    c.close()


@scenario(
    "access table: filter",
    r"NOQUEUE: filter: RCPT from",
    {"plainfilter+action@example.org": "sent/removed sent/removed"},
)
def _() -> None:
    send("m.rossi@uni.example", "plainfilter+action@example.org", source="smtp.uni.example")


@scenario("access table: permit, logged", r"permit: RCPT from")
def _() -> None:
    c = Raw("smtp.uni.example", PORT["ports"])
    c.say("EHLO smtp.uni.example", "MAIL FROM:<a@uni.example>", "RCPT TO:<permitted@virtual.example.org>", "QUIT")
    c.close()


@scenario("access table: prepend", r"smtpd\[\d+\]: \w+: (prepend: RCPT|client=)", {"alice+later@example.org": ""})
def _() -> None:
    c = Raw("smtp.uni.example")
    c.say("EHLO smtp.uni.example", "MAIL FROM:<a@uni.example>", "RCPT TO:<alice+later@example.org>", "RSET", "QUIT")
    c.close()


def screened(source: str, *lines: str, greet: bool = True) -> None:
    try:
        c = Raw(source, (net.SCREEN, 25), greet)
        c.say(*lines)
        c.close()
    except OSError:
        pass


ENVELOPE = ("EHLO screened.example", "MAIL FROM:<a@uni.example>")


@scenario("postscreen: block list", r"postscreen\[\d+\]: NOQUEUE: reject: RCPT from \[203\.0\.113\.66\]:\d+: 550 5\.7\.1 Service unavailable; client \[203\.0\.113\.66\] blocked using dnsbl\.example", {"carla+psc1@example.org": NO})  # fmt: skip
def _() -> None:
    screened("203.0.113.66", *ENVELOPE, "RCPT TO:<carla+psc1@example.org>", "QUIT")


@scenario(
    "postscreen: deny list", r"postscreen\[\d+\]: DENYLISTED \[203\.0\.113\.123\]", {"carla+psc2@example.org": NO}
)
def _() -> None:
    screened("203.0.113.123", *ENVELOPE, "RCPT TO:<carla+psc2@example.org>", "QUIT")


@scenario("postscreen: speaks too early", r"postscreen\[\d+\]: PREGREET \d+ after", {"carla+psc3@example.org": NO})
def _() -> None:
    screened(
        "203.0.113.201",
        "EHLO early.example",
        "NOOP",
        ENVELOPE[1],
        "RCPT TO:<carla+psc3@example.org>",
        "QUIT",
        greet=False,
    )


@scenario("postscreen: hangs up early", r"postscreen\[\d+\]: HANGUP after .* in tests before SMTP handshake")
def _() -> None:
    screened("203.0.113.5", greet=False)


@scenario("postscreen: come again (deep tests), then passed", r"postscreen\[\d+\]: PASS (NEW|OLD) \[198\.51\.100\.151\]", {"carla+psc4@example.org": "rejected sent/removed"})  # fmt: skip
def _() -> None:
    to = (net.SCREEN, 25)
    send("a@uni.example", "carla+psc4@example.org", source="smtp.uni.example", to=to, tls=False)
    send("a@uni.example", "carla+psc4@example.org", source="smtp.uni.example", to=to, tls=False)


@scenario("postscreen: pipelining", r"postscreen\[\d+\]: COMMAND PIPELINING from \[203\.0\.113\.200\]")
def _() -> None:
    c = Raw("203.0.113.200", (net.SCREEN, 25))
    c.push("EHLO piped.example\r\nMAIL FROM:<a@uni.example>\r\nRCPT TO:<alice@example.org>\r\n")
    c.reply()
    time.sleep(1)
    c.close()


@scenario("postscreen: not SMTP", r"postscreen\[\d+\]: NON-SMTP COMMAND from \[203\.0\.113\.77\]")
def _() -> None:
    screened("203.0.113.77", "GET / HTTP/1.1", "Host: mx2.example.org")


@scenario("postscreen: bare newline", r"postscreen\[\d+\]: BARE NEWLINE from")
def _() -> None:
    screened("mail-ua2.bigmail.example", "EHLO bare.example\nNOOP")


@scenario(
    "postscreen: allow list",
    r"postscreen\[\d+\]: ALLOWLISTED \[198\.51\.100\.181\]",
    {"fred+psc@mail.example.org": "sent/removed"},
)
def _() -> None:
    send(
        "a@handwerk.example",
        "fred+psc@mail.example.org",
        source="relay.handwerk.example",
        to=(net.SCREEN, 25),
        tls=False,
    )


@scenario(
    "postscreen: TLS by tlsproxy",
    r"tlsproxy\[\d+\]: (CONNECT|Anonymous TLS connection)",
    {"carla+psc5@example.org": NO},
)
def _() -> None:
    send("a@corp.example", "carla+psc5@example.org", source="mail-corp.protection.test", to=(net.SCREEN, 25))


@scenario(
    "postscreen: too many connections",
    r"postscreen\[\d+\]: NOQUEUE: reject: CONNECT from \[203\.0\.113\.18\]:\d+: too many connections",
)
def _() -> None:
    sessions = []
    for _ in range(5):
        try:
            sessions.append(Raw("dsl-18.isp.example", (net.SCREEN, 25), greet=False))
        except OSError:
            pass
    time.sleep(1)
    for c in sessions:
        c.close()
