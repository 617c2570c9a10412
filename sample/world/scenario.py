"""What happens in the sample: clients, users, administrators, by a timetable of a quarter of an hour.

Ordinary traffic runs all the time (see `inbound`, `outbound`, `local_mail`, `noise`); the situations that README.md lists
are functions with `@at(seconds)`. All words, names and sizes come from one seeded generator; what Postfix makes of it
(queue ids, process ids, times, order) differs from run to run.
"""

import json
import os
import random
import signal
import smtplib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import net

DURATION = 860
BUSY = 800  # ordinary traffic ends here
R = random.Random(20261123)
START = time.time()
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE
SUBMISSION, SUBMISSIONS = (net.MX, 587), (net.MX, 465)
PLAN: list[tuple[float, Callable[[], None]]] = []


def at(second: float) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def add(function: Callable[[], None]) -> Callable[[], None]:
        PLAN.append((second, function))
        return function

    return add


def addr(name: str, family: int = 4) -> str:
    return next(a for a in net.HOSTS[name] if (":" in a) == (family == 6))


# --- Words -----------------------------------------------------------------------------------------------------------

PEOPLE = (
    "anna bernd.schulz c.wagner claudia d.novak eva.lindner f.moreau georg h.yamada ines jan.peters k.olsen lena.vogt "
    "m.rossi nils o.brandt petra r.singh s.kowalski tim.becker u.meier vera w.hoffmann yusuf z.horvat"
).split()
SUBJECTS = (
    "Invoice {n}",
    "Re: Invoice {n}",
    "Order {n} confirmed",
    "Meeting on Thursday",
    "Re: Meeting on Thursday",
    "Your parcel {n} is on its way",
    "Protocol of the board meeting",
    "Fwd: Photos",
    "Question about ticket #{n}",
    "=?utf-8?Q?Einladung_zum_Sommerfest_f=C3=BCr_alle?=",
    "Angebot Nr. {n}",
    "Re: Angebot Nr. {n}",
    "Lunch?",
    "Backup report: 0 errors, {n} files",
    "Draft of chapter {n}",
    "Password reset",
    "Out of office: back on Monday",
    "[users] Re: how to rotate the logs (was: disk full)",
    "Rechnung {n} / Mahnung",
    "=?utf-8?B?0J/RgNC40LLQtdGC?=",
    "Contract, version {n}, please sign",
    "Newsletter {n}",
    "Re: AW: Re: Termin",
    "Call me back; it is urgent!",
)


def subject() -> str:
    return R.choice(SUBJECTS).format(n=R.randrange(1000, 99999))


def size() -> int:
    return min(700_000, int(R.lognormvariate(8.6, 1.5)))


def message(
    sender: str, to: list[str], title: str, length: int = 400, extra: str = "", ident: str | None = ""
) -> bytes:
    domain = (sender.rpartition("@")[2] or "example.org").encode("ascii", "replace").decode().replace("?", "x")
    if ident == "":
        ident = R.choice(
            ("<{a:x}.{b:x}@{d}>", "<{b}.JavaMail.app@{d}>", "<CA+{a:x}{b:x}@mail.{d}>", "<{a:x}-{b:x}-{b:x}@{d}>")
        )
        ident = ident.format(a=R.getrandbits(64), b=R.getrandbits(40), d=domain)
    head = f"From: <{sender}>\r\nTo: {', '.join(to[:5])}\r\n"
    head += "" if ident is None else f"Message-ID: {ident}\r\n"
    line = "All of this text is only here to give the mail its size, line by line.\r\n"
    return (head + f"Subject: {title}\r\n{extra}\r\n{line * max(1, length // len(line))}").encode()


# --- Ways to send ----------------------------------------------------------------------------------------------------


def send(
    sender: str,
    recipients: str | list[str],
    title: str | None = None,
    *,
    source: str = "mail-ej1.bigmail.example",
    to: tuple[str, int] = (net.MX, 25),
    helo: str | None = None,
    tls: bool = True,
    user: str | None = None,
    login: str = "PLAIN",
    length: int | None = None,
    extra: str = "",
    ident: str | None = "",
    mail_options: tuple[str, ...] = (),
    rcpt_options: tuple[str, ...] = (),
    body: bytes | None = None,
) -> dict[str, int]:
    """One SMTP session with one mail, as a decent client does it; a refusal is no error here.

    Gives the last reply code per recipient, 0 where the session broke.
    """
    recipients = [recipients] if isinstance(recipients, str) else recipients
    data = body or message(sender, recipients, title or subject(), size() if length is None else length, extra, ident)
    if source in net.HOSTS:
        helo = helo or source
        source = addr(source, 6 if ":" in to[0] else 4)
    client = None
    seen = dict.fromkeys(recipients, 0)
    try:
        arguments = {"local_hostname": helo or "[" + source + "]", "source_address": (source, 0), "timeout": 60}
        if to == SUBMISSIONS:
            client = smtplib.SMTP_SSL(*to, context=TLS, **arguments)
        else:
            client = smtplib.SMTP(*to, **arguments)
        client.ehlo()
        if tls and client.has_extn("starttls"):
            client.starttls(context=TLS)
            client.ehlo()
        if user:
            client.user, client.password = user, "secret-" + user.split("@")[0]
            client.auth(login, client.auth_plain if login == "PLAIN" else client.auth_login)
        refused = client.sendmail(sender, recipients, data, mail_options, rcpt_options)
        seen = {recipient: refused[recipient][0] if recipient in refused else 250 for recipient in recipients}
    except smtplib.SMTPRecipientsRefused as error:
        seen = {recipient: code for recipient, (code, _) in error.recipients.items()}
    except smtplib.SMTPResponseException as error:
        seen = dict.fromkeys(recipients, error.smtp_code)
    except (smtplib.SMTPException, OSError):
        pass
    finally:
        if client:
            try:
                client.quit()
            except (smtplib.SMTPException, OSError):
                client.close()
    return seen


def submit(user: str, recipients: str | list[str], title: str | None = None, **more) -> dict[str, int]:
    sender = more.pop("sender", f"{user}@example.org")
    more.setdefault("source", R.choice(("dsl-17.isp.example", "dsl-18.isp.example", "mobile-9.isp.example")))
    more.setdefault("to", SUBMISSION)
    return send(sender, recipients, title, user=f"{user}@example.org", helo="[192.0.2.23]", **more)


class Raw:
    """A client that says what it wants. `say` waits for the reply, `push` does not."""

    def __init__(self, source: str, to: tuple[str, int] = (net.MX, 25), greet: bool = True) -> None:
        source = addr(source) if source in net.HOSTS else source
        self.sock = socket.create_connection(to, 20, (source, 0))
        if greet:
            self.reply()

    def reply(self) -> str:
        text = ""
        try:
            while not text.endswith("\n") or text.splitlines()[-1][3:4] == "-":
                data = self.sock.recv(4096)
                if not data:
                    break
                text += data.decode("utf-8", "replace")
        except OSError:
            pass
        return text

    def push(self, data: str | bytes) -> None:
        try:
            self.sock.sendall(data.encode("utf-8") if isinstance(data, str) else data)
        except OSError:
            pass

    def say(self, *lines: str) -> str:
        text = ""
        for line in lines:
            self.push(line + "\r\n")
            text = self.reply()
        return text

    def close(self) -> None:
        self.sock.close()


def sendmail(user: str, arguments: list[str], data: str) -> None:
    subprocess.run(
        ["/usr/sbin/sendmail", *arguments],
        check=False,
        input=data.encode(),
        user=user,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def do(*command: str) -> str:
    return subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout


def configure(*settings: str, instance: str = "-") -> None:
    where = "/etc/postfix" if instance == "-" else "/etc/" + instance
    do("postconf", "-c", where, *settings)
    do("postmulti", "-i", instance, "-p", "reload") if instance != "-" else do("postfix", "-c", where, "reload")


def queue_id(recipient: str, instance: str = "/etc/postfix") -> str:
    """The queue id of a mail that waits for this recipient ("" when there is none)."""
    for line in do("postqueue", "-c", instance, "-j").splitlines():
        if line.startswith("{"):
            entry = json.loads(line)
            if any(r["address"] == recipient for r in entry["recipients"]):
                return entry["queue_id"]
    print("not in the queue:", recipient, flush=True)
    return ""


def super_(option: str, recipient: str) -> None:
    if ident := queue_id(recipient):
        do("postsuper", option, ident)


# --- Ordinary traffic ------------------------------------------------------------------------------------------------

SENDERS = {
    "mail-ej1.bigmail.example": "bigmail.example",
    "mail-ua2.bigmail.example": "bigmail.example",
    "mail-corp.protection.test": "corp.example",
    "smtp.uni.example": "uni.example",
    "shop.example": "shop.example",
    "newsletter7.letters.test": "letters.test",
    "relay.handwerk.example": "handwerk.example",
    "smtp6.verein.example": "verein.example",
    "lists.software.test": "software.test",
    "mx1.example.com": "example.com",
}
INSIDE = (
    ["alice@example.org"] * 5
    + ["bob@example.org"] * 4
    + ["carla@example.org"] * 2
    + ["dave@example.org"]
    + ["dora@mail.example.org", "fred@mail.example.org", "gina@mail.example.org"] * 3
    + ["carol@virtual.example.org", "dan@virtual.example.org"] * 2
    + ["reception@relay.example.org", "lab@relay.example.org"]
    + [
        "sales@alias.example.org",
        "info@alias.example.org",
        "team@example.org",
        "staff@example.org",
        "support@example.org",
    ]
    + ["guard@filtered.example.org", "desk@filtered.example.org"] * 2
    + ["2026@archive.example.org", "alice+shop@example.org"]
)
OUTSIDE = [
    "example.com",
    "example.net",
    "bigmail.example",
    "bigmail.example",
    "corp.example",
    "uni.example",
    "six.example",
    "backup.example",
    "handwerk.example",
    "shop.example",
]


def spread(mean: float, each: Callable[[], None]) -> None:
    """Call `each` again and again, in threads, until the traffic ends: more of it in the middle, as in an office."""
    while time.time() - START < BUSY:
        load = 0.6 + 0.8 * abs(((time.time() - START) % 400) / 200 - 1)
        time.sleep(R.expovariate(load / mean))
        threading.Thread(target=each).start()


def inbound() -> None:
    host = R.choice(list(SENDERS))
    domain = SENDERS[host]
    target = (
        net.MX6 if all(":" in a for a in net.HOSTS[host]) or (len(net.HOSTS[host]) > 1 and R.random() < 0.5) else net.MX
    )
    name = {"letters.test": "bounce-" + str(R.randrange(10**6)), "software.test": "users-bounces"}.get(domain)
    rcpts = R.sample(INSIDE, R.choice((1, 1, 1, 1, 2, 3)))
    if R.random() < 0.06:
        rcpts.append(
            R.choice(("nobody", "ex-boss", "info123", "zoe"))
            + R.choice(("@example.org", "@mail.example.org", "@alias.example.org"))
        )
    send(
        f"{name or R.choice(PEOPLE)}@{domain}",
        rcpts,
        source=host,
        to=(target, 25),
        tls=domain not in ("handwerk.example", "letters.test"),
    )


def outbound() -> None:
    rcpts = [f"{R.choice(PEOPLE)}@{R.choice(OUTSIDE)}" for _ in range(R.choice((1, 1, 1, 2, 2, 3, 5)))]
    if R.random() < 0.12:
        rcpts.append(R.choice(INSIDE))
    if R.random() < 0.05:
        rcpts.append(
            f"ex-{R.choice(PEOPLE)}@{R.choice(('example.com', 'example.net', 'bigmail.example', 'uni.example'))}"
        )
    if R.random() < 0.25:
        send("app@example.org", rcpts[:2], source="app1.example.org", tls=False)
    else:
        submit(R.choice(("alice", "bob", "carla")), rcpts, to=R.choice((SUBMISSION, SUBMISSION, SUBMISSIONS)))


def local_mail() -> None:
    user, to = R.choice(
        (
            ("root", "root"),
            ("www-data", f"{R.choice(PEOPLE)}@example.net"),
            ("www-data", "sales@alias.example.org"),
            ("alice", "bob"),
        )
    )
    sendmail(
        user,
        ["-i", to],
        f"Subject: {R.choice(('Cron <root@mx1> test -x /usr/sbin/anacron', 'Contact form', 'reminder'))}\n\nhello\n",
    )


def noise() -> None:
    kind = R.randrange(6)
    source = R.choice(net.NAMELESS[:5])
    if kind == 0:
        send(f"{R.choice(PEOPLE)}@bigmail.example", R.choice(INSIDE), source="host-66.spam.test", tls=False)
    elif kind == 1:
        send(
            f"{R.choice(PEOPLE)}@bigmail.example",
            f"{R.choice(PEOPLE)}@example.org",
            source=source,
            helo="localhost",
            tls=False,
        )
    elif kind == 2:
        send("test@example.com", "victim@example.net", source=source, helo="User", tls=False)
    elif kind == 3:
        guess(source, R.choice(("admin", "info", "alice@example.org", "test", "scanner")))
    elif kind == 4:
        Raw(source).close()
    else:
        send("", f"{R.choice(PEOPLE)}@example.org", source="mail-ua2.bigmail.example")


def guess(source: str, user: str, mechanism: str = "LOGIN") -> None:
    try:
        client = smtplib.SMTP(*SUBMISSION, source_address=(source, 0), local_hostname="ylmf-pc2", timeout=40)
        client.starttls(context=TLS)
        client.user, client.password = user, "123456"
        client.auth(mechanism, client.auth_login if mechanism == "LOGIN" else client.auth_plain)
    except (smtplib.SMTPException, OSError):
        pass
    finally:
        client.close()


# --- Situations ------------------------------------------------------------------------------------------------------


@at(3)
def expires_with_two_recipients() -> None:
    submit("alice", ["first@refused.example", "second@timeout.example"], "This will expire for two")


@at(4)
def several_fates() -> None:
    submit(
        "bob",
        [
            "fine@example.com",
            "nobody-here@example.com",
            "full@full.example",
            "carla@example.org",
            "nobody@virtual.example.org",
            "x@dead.example.org",
            "y@discard.example.org",
        ],
        "Several recipients, several fates",
    )


@at(6)
def greylisted_by_the_other_side() -> None:
    submit("carla", ["patient@greylist.example"], "Greylisted, delivered later", source="dsl-17.isp.example")


@at(7)
def deferred_then_sent() -> None:
    submit("carla", ["busy-office@uni.example", "relaxed@uni.example"], "One now, one on the fifth attempt")


@at(8)
def no_such_things() -> None:
    submit("alice", "who@nxdomain.example", "No such domain")
    submit("alice", "who@servfail.example", "Name server trouble")
    submit("alice", "who@nullmx.example", "A domain without mail")
    submit("alice", "who@nomail.example", "An address without a server")
    submit("alice", "who@notransport.example", "A transport that does not exist")
    submit("alice", "who@closed.example", "Closed at the door")
    submit("alice", "who@silent.example", "A server that says nothing")


@at(12)
def doubtful_servers() -> None:
    submit("bob", "who@drop.example", "Connection lost at the end of data")
    submit("bob", "who@plain.example", "TLS required, not offered")
    submit("bob", "who@secure.example", "Verified TLS")
    submit("bob", "who@selfsigned.example", "Certificate not trusted")
    send("app@example.org", "who@picky.example", "SPF violation", source="app1.example.org", tls=False)
    submit("bob", "slowcheck@example.com", "Mailbox is being moved")
    submit("bob", "quota@full.example", "Over quota at once")


@at(16)
def hostile_replies() -> None:
    submit("alice", ["fine@hostile.example"], "A reply that claims a bounce")
    submit("alice", ["trick@hostile.example", "parens@hostile.example"], "Replies that claim success")
    submit("alice", ["long@hostile.example"], "A reply longer than a log line")
    submit("alice", ['"a b> relay=c"@example.com', '"x, status=sent (250 ok)"@example.net'], "Quoted local parts")
    submit(
        "alice",
        "bob@example.org",
        "status, status=sent (250 ok) from evil[203.0.113.9]; from=<x@y.example> to=<z@y.example>: removed",
    )


@at(18)
def hostile_clients() -> None:
    send(
        '"weird, name> x"@example.net',
        "alice@example.org",
        "Quoted sender",
        source="mx.example.net",
        helo='a>, status=sent (b;"c"',
    )
    c = Raw("203.0.113.99")
    c.say(
        "HELO \x07bell<script>alert(1)</script>, from=<boss@example.org>",
        "MAIL FROM:<a@example.com>",
        "RCPT TO:<alice@example.org>",
    )
    c.say("RCPT TO:<x@example.net>, to=<y>", "QUIT")
    c.close()
    send(
        "x@example.com",
        "alice@example.org",
        "fold\r\n\tsecond from evil[203.0.113.9]; from=<x@y.example> to=<z>\r\n third: end",
        source="mx1.example.com",
    )
    send("ceo@badfrom.test", "alice@example.org", "A table's text with a false tail", source="shop.example")


@at(20)
def message_ids() -> None:
    for number, ident in enumerate(
        (
            None,
            "no-brackets with space",
            "<a@b.example> (comment) <c@d.example>",
            "<" + "x" * 240 + "@long.example>",
            "\r\n <folded@id.example>",
            "<same@id.example>\r\nMessage-ID: <second@id.example>",
            "<\xfc\xe4@8bit.example>",
            "",
        )
    ):
        send(
            "odd@uni.example",
            "gina@mail.example.org",
            f"Odd message-id {number}",
            source="smtp.uni.example",
            ident=ident or None,
            length=300,
        )
    send(
        "odd@uni.example",
        "gina@mail.example.org",
        "Resent",
        source="smtp.uni.example",
        extra="Resent-From: <odd@uni.example>\r\nResent-Message-ID: <resent-1@id.example>\r\n",
    )
    send(
        "same@uni.example",
        "fred@mail.example.org",
        "The same mail",
        source="smtp.uni.example",
        ident="<twice@id.example>",
        length=500,
    )
    send(
        "same@uni.example",
        "fred@mail.example.org",
        "The same mail",
        source="smtp.uni.example",
        ident="<twice@id.example>",
        length=500,
    )


@at(24)
def aliases() -> None:
    send(
        "petra@bigmail.example", ["sales@alias.example.org", "info@alias.example.org"], "The same person by two aliases"
    )
    send(
        "petra@bigmail.example",
        ["chain@alias.example.org", "outside@alias.example.org"],
        "An alias of an alias, an alias to outside",
    )
    send("petra@bigmail.example", "gone@alias.example.org", "An alias to somebody who is gone")
    send("petra@bigmail.example", "staff@example.org", "A list by include, one member unknown")
    send("petra@bigmail.example", "team@example.org", "An alias with three members")
    send(
        "petra@bigmail.example",
        ["logs@example.org", "broken@example.org", "blackhole@example.org", "journal@example.org"],
        "Aliases to commands and files",
    )
    send(
        "petra@bigmail.example",
        ["dave@example.org", "away@example.org", "noalias@example.org"],
        "A .forward, an alias to a dead host, a dead alias",
    )
    send("petra@bigmail.example", "bob@example.org", "A loop", extra="Delivered-To: bob@example.org\r\n")


@at(30)
def pipes_and_stores() -> None:
    for name in ("fine", "temp", "nobody", "crash", "big", "slow"):
        send(
            "archiver@uni.example",
            f"{name}@archive.example.org",
            f"Into the archive: {name}",
            source="smtp.uni.example",
            length=900,
        )
    send(
        "archiver@uni.example",
        ["overquota@mail.example.org", "ex-employee@mail.example.org", "fred@mail.example.org"],
        "Mail store: full, unknown, fine",
        source="smtp.uni.example",
    )


@at(36)
def rejected_by_restrictions() -> None:
    send("a@example.com", "somebody@example.net", source="203.0.113.5", helo="relaytest.example", tls=False)
    for unknown in ("nosuchuser@example.org", "nosuchuser@virtual.example.org", "nosuchuser@alias.example.org"):
        send("a@example.com", unknown, source="mx1.example.com")
    send(
        "a@example.com",
        ["alice@example.org", "nosuchuser@example.org", "closed@example.org"],
        "Second and third recipient refused",
        source="mx1.example.com",
    )
    send("a@spammer.example", "alice@example.org", source="shop.example")
    send("tempfail@example.net", "alice@example.org", source="mx.example.net")
    send("a@slowpoke.example", "alice@example.org", source="mx.example.net")
    send("a@nxdomain.example", "alice@example.org", source="shop.example")
    send("a@servfail.example", "alice@example.org", source="shop.example")
    send("joe", "alice@example.org", source="shop.example")
    send("a@spam.test", "alice@example.org", source="host-66.spam.test", tls=False)
    send("a@bigmail.example", "closed@example.org")
    send("big@bigmail.example", "alice@example.org", "Too big by its announced size", length=1_200_000)
    for helo in ("mx1.example.org", "ylmf-pc", "badhelo.example"):
        send("a@example.com", "alice@example.org", source="203.0.113.70", helo=helo, tls=False)
    send("", "nosuchuser@example.org", source="mx1.example.com")


@at(40)
def more_rejections() -> None:
    for sender, text in (("a@nodata.test", "DATA"), ("a@noend.test", "end")):
        c = Raw("shop.example")
        c.say(
            "EHLO shop.example", f"MAIL FROM:<{sender}>", "RCPT TO:<root@[192.0.2.10]>", "RCPT TO:<alice@example.org>"
        )
        if c.say("DATA").startswith("354"):
            c.say(f"Subject: {text}\r\n\r\nx\r\n.")
        c.say("QUIT")
        c.close()
    c = Raw("mx.example.net")
    c.say("EHLO mx.example.net", "MAIL FROM:<a@example.net>", "RCPT TO:<alice@example.org>", "DATA")
    c.push(
        "Subject: Too big without saying so\r\nMessage-ID: <too-big@id.example>\r\n\r\n"
        + ("x" * 70 + "\r\n") * 16000
        + ".\r\n"
    )
    c.reply()
    c.say("QUIT")
    c.close()
    c = Raw("scanner.example.net")
    c.say(
        "EHLO scanner.example.net",
        "VRFY root",
        "VRFY nosuchuser@example.org",
        "EXPN staff",
        "ETRN example.com",
        "MAIL FROM:<a b@c>",
        "MAIL FROM:<>",
        "RCPT TO:<a@b@c@d>",
        "RCPT TO:<@example.com:x@example.org>",
        "RCPT TO:<alice%example.com@example.org>",
        "RCPT TO:<>",
        "QUIT",
    )
    c.close()


@at(44)
def access_actions() -> None:
    for name in ("hold", "discard", "redirect", "warned", "noted", "hangup", "bcc", "warnonly"):
        send(
            "m.rossi@uni.example",
            f"{name}@example.org",
            f"An access table's {name}",
            source="smtp.uni.example",
            length=500,
        )
    send(
        "m.rossi@uni.example",
        ["bob@example.org", "redirect@example.org", "hold@example.org"],
        "Actions on later recipients",
        source="smtp.uni.example",
        length=500,
    )


@at(50)
def content_actions() -> None:
    for word in ("reject", "reject4", "hold", "discard", "redirect", "prepend", "replace", "bcc", "warn", "filter"):
        send(
            "s.kowalski@corp.example",
            "carla@example.org",
            f"A header rule [{word}]",
            source="mail-corp.protection.test",
            length=500,
        )
    send(
        "s.kowalski@corp.example",
        "carla@example.org",
        "A stripped header",
        source="mail-corp.protection.test",
        extra="X-Secret: 42\r\n",
    )
    for text in ("buy-this-now", "please-note (the body)"):
        send(
            "s.kowalski@corp.example",
            "carla@example.org",
            source="mail-corp.protection.test",
            body=f"Subject: Body\r\nMessage-ID: <body@corp.example>\r\n\r\n{text}\r\n".encode(),
        )
    send(
        "s.kowalski@corp.example",
        "carla@example.org",
        "Too many hops",
        source="mail-corp.protection.test",
        extra="Received: by a.example; Mon, 23 Nov 2026 08:00:00 +0100\r\n" * 60,
    )
    for word in ("reject", "tempfail", "hold", "discard"):
        send(
            "s.kowalski@corp.example",
            "carla@example.org",
            f"A milter's [milter-{word}]",
            source="mail-corp.protection.test",
            length=500,
        )
    send("milterfrom@corp.example", "carla@example.org", source="mail-corp.protection.test")
    send(
        "s.kowalski@corp.example",
        ["milterrcpt@relay.example.org", "carla@example.org"],
        source="mail-corp.protection.test",
        length=500,
    )
    send("s.kowalski@corp.example", "milterdrop@relay.example.org", source="mail-corp.protection.test", length=500)


@at(58)
def content_filter() -> None:
    send(
        "h.yamada@uni.example",
        ["guard@filtered.example.org", "desk@filtered.example.org"],
        "Through the filter, client known by XFORWARD",
        source="smtp.uni.example",
        length=3000,
    )
    send(
        "h.yamada@uni.example",
        "plainfilter@example.org",
        "Through the filter to nobody",
        source="smtp.uni.example",
        length=3000,
    )
    send(
        "h.yamada@uni.example",
        "guard@filtered.example.org",
        "[virus] refused by the filter",
        source="smtp.uni.example",
        length=3000,
    )
    send(
        "h.yamada@uni.example",
        "guard@filtered.example.org",
        "[junk] swallowed by the filter",
        source="smtp.uni.example",
        length=3000,
    )
    send(
        "h.yamada@uni.example",
        ["guard@filtered.example.org", "olaf@example.net", "bob@example.org"],
        "Only one of them through the filter",
        source="app1.example.org",
        tls=False,
    )


@at(66)
def local_submission() -> None:
    sendmail(
        "www-data",
        ["-i", "-f", "webshop@example.org", "alice", "k.olsen@bigmail.example"],
        "Subject: Order 4711\n\nthanks\n",
    )
    sendmail("bob", ["-t"], "To: carla@example.org, olaf@example.com\nSubject: with -t\n\nhello\n")
    sendmail("bob", ["-t"], "Subject: nobody to send to\n\nhello\n")
    sendmail("bob", ["alice"], "Subject: a local [reject]\n\nhello\n")
    sendmail("bob", ["-N", "success,delay,failure", "alice", "nobody@example.com"], "Subject: tell me all\n\nhello\n")
    sendmail("bob", ["-bv", "olaf@example.com", "nobody@example.com", "alice"], "")
    sendmail("bob", ["-v", "ines@example.net"], "Subject: verbose\n\nhello\n")
    sendmail("root", ["-f", "", "alice"], "Subject: from nobody\n\nhello\n")
    sendmail("carla", ["nosuchlocal", "nobody@virtual.example.org", "bob"], "Subject: one of three\n\nhello\n")


@at(72)
def submission() -> None:
    submit("alice", "w.hoffmann@example.com", "PLAIN on port 587")
    submit("bob", "w.hoffmann@example.com", "LOGIN on port 587", login="LOGIN")
    submit("carla", "w.hoffmann@example.com", "Port 465", to=SUBMISSIONS)
    submit("alice", "w.hoffmann@example.net", "IPv6 submission", to=(net.MX6, 587), source="dsl-17.isp.example")
    submit("alice", "w.hoffmann@example.com", "Not my address", sender="bob@example.org")
    submit(
        "eve, status=sent",
        "w.hoffmann@example.com",
        "A user name with a comma",
        sender="eve@example.org",
        to=(net.MX6, 587),
        source="dsl-17.isp.example",
    )
    submit(
        "alice",
        "jörg@example.com",
        "UTF-8 address",
        body="Subject: Grüße\r\nMessage-ID: <utf8@example.org>\r\n\r\nhi\r\n".encode(),
        mail_options=("SMTPUTF8",),
    )
    submit(
        "alice",
        ["z.horvat@example.net", "bob@example.org"],
        "Success notification wanted",
        rcpt_options=("NOTIFY=SUCCESS,FAILURE",),
    )
    send("alice@example.org", "w.hoffmann@example.com", source="dsl-18.isp.example", to=SUBMISSION)
    send("alice@example.org", "w.hoffmann@example.com", source="dsl-18.isp.example", to=SUBMISSION, tls=False)
    for user, mechanism in (
        ("alice@example.org", "PLAIN"),
        ("alice@example.org", "LOGIN"),
        ("root", "LOGIN"),
        ("bob, sasl_method=PLAIN", "PLAIN"),
    ):
        guess("203.0.113.99", user, mechanism)
    c = Raw("203.0.113.99", SUBMISSION)
    c.say("EHLO x", "AUTH PLAIN AGEAYg==", "QUIT")
    c.close()
    c = Raw("203.0.113.99", SUBMISSION)
    c.say("EHLO x", "STARTTLS")
    c.push("this is not a handshake\r\n")
    c.reply()
    c.close()


@at(80)
def broken_sessions() -> None:
    s, me = "scanner.example.net", "EHLO scanner.example.net"
    Raw(s).close()
    for lines in (
        [me],
        [me, "MAIL FROM:<a@example.net>"],
        [me, "MAIL FROM:<a@example.net>", "RCPT TO:<alice@example.org>"],
        [me, "MAIL FROM:<a@example.net>", "RCPT TO:<alice@example.org>", "DATA"],
        [me, "STARTTLS"],
    ):
        c = Raw(s)
        c.say(*lines)
        if lines[-1] == "DATA":
            c.push("Subject: half a mail\r\n\r\nhalf a li")
            time.sleep(0.3)
        c.close()
    c = Raw(s)
    c.push(
        f"{me}\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\nSubject: early\r\n\r\nx\r\n.\r\n"
    )
    c.reply()
    time.sleep(0.5)
    c.close()
    c = Raw(s)
    c.push("EHLO scanner.example.net\r\nMAIL FROM:<a@example.net>\r\nRCPT TO:<alice@example.org>\r\n")
    c.reply()
    c.close()
    c = Raw(s)
    c.say("GET / HTTP/1.1")
    c.close()
    c = Raw(s)
    c.say(me, "Subject: no envelope")
    c.close()
    c = Raw(s)
    c.say(me, *["NOSUCH \x1b[31mred"] * 10)
    c.close()
    c = Raw(s)
    c.say(me, "MAIL FROM:<a@example.net>", *[f"RCPT TO:<guess{n}@example.org>" for n in range(10)])
    c.close()
    c = Raw(s)
    c.push("NOOP " + "X" * 3000 + "\r\n")
    c.reply()
    c.close()
    c = Raw("relay.handwerk.example")
    c.say("EHLO relay.handwerk.example", "MAIL FROM:<bdat@handwerk.example>", "RCPT TO:<alice@example.org>")
    text = "Subject: BDAT in two chunks\r\nMessage-ID: <bdat@handwerk.example>\r\n\r\nhello\r\n"
    c.push(f"BDAT {len(text)}\r\n{text}BDAT 4 LAST\r\nend.")
    c.reply()
    c.say("QUIT")
    c.close()


@at(84)
def timeouts() -> None:
    sessions = []
    for lines in (
        [],
        ["EHLO x"],
        ["EHLO x", "MAIL FROM:<a@example.net>", "RCPT TO:<bob@example.org>"],
        ["EHLO x", "MAIL FROM:<a@example.net>", "RCPT TO:<bob@example.org>", "DATA"],
    ):
        c = Raw("scanner.example.net")
        c.say(*lines)
        sessions.append(c)
    sessions[-1].push("Subject: never ending\r\n\r\nabc")
    time.sleep(45)
    for c in sessions:
        c.close()


@at(90)
def names_that_lie() -> None:
    for address in net.LIARS:
        send(
            "a@uni.example", "alice@example.org", "A name that lies", source=address, helo=net.LIARS[address], tls=False
        )
    send(
        "a@uni.example",
        "alice@example.org",
        "Greylisted, IPv6",
        source="2001:db8:bad::5",
        to=(net.MX6, 25),
        helo="mail6.bad.example",
        tls=False,
    )


@at(92)
def greylisted_by_us() -> None:
    send("t.waits@uni.example", "greytest@relay.example.org", "We greylist, they come back", source="smtp.uni.example")


@at(165)
def greylisted_by_us_again() -> None:
    send("t.waits@uni.example", "greytest@relay.example.org", "We greylist, they come back", source="smtp.uni.example")
    send(
        "a@uni.example",
        "alice@example.org",
        "Greylisted, IPv6",
        source="2001:db8:bad::5",
        to=(net.MX6, 25),
        helo="mail6.bad.example",
        tls=False,
    )


@at(100)
def verification() -> None:
    for name in ("fine", "nobody", "busy-again"):
        send("prober@uni.example", f"{name}@vrfy.example.org", f"Verified: {name}", source="smtp.uni.example")
    time.sleep(10)
    for name in ("fine", "nobody"):
        send("prober@uni.example", f"{name}@vrfy.example.org", f"Verified again: {name}", source="smtp.uni.example")


@at(105)
def screen() -> None:
    to = (net.SCREEN, 25)

    def session(source: str, *lines: str, greet: bool = True) -> None:
        try:
            c = Raw(source, to, greet)
            c.say(*lines)
            c.close()
        except OSError:
            pass

    envelope = ("EHLO screened.example", "MAIL FROM:<a@uni.example>", "RCPT TO:<alice@example.org>", "QUIT")
    session("203.0.113.66", *envelope)
    session("203.0.113.123", *envelope)
    session("203.0.113.201", "EHLO early.example", *envelope[1:], greet=False)
    session("203.0.113.5", greet=False)
    session("smtp.uni.example", *envelope)
    c = Raw("203.0.113.200", to)
    c.push("EHLO piped.example\r\nMAIL FROM:<a@uni.example>\r\nRCPT TO:<alice@example.org>\r\n")
    c.reply()
    time.sleep(1)
    c.close()
    session("203.0.113.77", "GET / HTTP/1.1", "Host: mx2.example.org")
    session("mail-ua2.bigmail.example", "EHLO bare.example\nNOOP")
    send(
        "a@handwerk.example",
        "fred@mail.example.org",
        "Past postscreen",
        source="relay.handwerk.example",
        to=to,
        tls=False,
    )


@at(118)
def strict_listener() -> None:
    to = (net.STRICT, 25)
    for source, helo in (
        ("203.0.113.200", "x"),
        ("203.0.113.201", "x"),
        ("shop.example", "bad_helo!"),
        ("shop.example", "short"),
        ("shop.example", "unknown.nxdomain.example"),
        ("shop.example", "shop.example"),
    ):
        send(
            "a@shop.example",
            "fred@mail.example.org",
            "At the strict listener",
            source=source,
            helo=helo,
            to=to,
            tls=False,
        )
    for _ in range(6):
        send("a@nxdomain.example", "fred@mail.example.org", source="lists.software.test", to=to, tls=False)
    for _ in range(9):
        send(
            "many@software.test", "gina@mail.example.org", "One of many", source="lists.software.test", to=to, tls=False
        )


@at(130)
def held_and_released() -> None:
    super_("-H", "hold@example.org")
    submit("alice", "pause@refused.example", "Held, released, then deleted")
    submit("alice", "again@refused.example", "Requeued twice")
    submit("alice", "forget@refused.example", "Expired by hand")
    time.sleep(8)
    super_("-h", "pause@refused.example")
    super_("-r", "again@refused.example")
    super_("-e", "forget@refused.example")
    do("postsuper", "-d", "no/such/id")
    do("postqueue", "-f")
    time.sleep(30)
    super_("-H", "pause@refused.example")
    super_("-r", "again@refused.example")
    super_("-d", "who@notransport.example")
    time.sleep(5)
    super_("-d", "pause@refused.example")
    super_("-d", "again@refused.example")


@at(140)
def bounces() -> None:
    submit("alice", "nobody@example.net", "Bounced, the notification is delivered")
    submit("alice", ["nobody@bigmail.example", "k.olsen@bigmail.example"], "A bounce in four lines")
    submit("alice", "k.olsen@bigmail.example", "[spam] refused after DATA")
    submit("alice", "k.olsen@example.com", "[spam] refused after DATA, one line")
    send("nobody@example.com", "big@archive.example.org", "Double bounce", source="mx1.example.com", length=700)
    send(
        "lost@timeout.example",
        "nobody@archive.example.org",
        "A bounce that cannot be delivered",
        source="mx1.example.com",
        length=700,
    )


@at(150)
def newsletter() -> None:
    rcpts = [
        f"{R.choice(PEOPLE)}{n}@{d}"
        for n, d in enumerate(["example.com"] * 9 + ["example.net"] * 5 + ["bigmail.example"] * 6 + ["uni.example"] * 2)
    ]
    send(
        "newsletter@lists.example.org",
        [*rcpts, "nobody@example.com", "greynews@greylist.example"],
        "Newsletter, each with its own sender",
        source="app1.example.org",
        to=(net.OUT, 25),
        tls=False,
        mail_options=("XVERP",),
        length=15000,
    )


@at(240)
def newsletter_without_verp() -> None:
    rcpts = [f"{R.choice(PEOPLE)}{n}@{d}" for n, d in enumerate(["bigmail.example"] * 12 + ["corp.example"] * 4)]
    send(
        "news@lists.example.org",
        [*rcpts, "nobody7@bigmail.example", "x@refused.example", "y@refused.example"],
        "Newsletter to many",
        source="app1.example.org",
        to=(net.OUT, 25),
        tls=False,
        length=15000,
    )


@at(170)
def burst() -> None:
    def one(n: int) -> None:
        submit("bob", f"{PEOPLE[n]}@example.net", f"Part {n} of 20", length=2000)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(20)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    submit("bob", ["a@refused.example", "b@refused.example"], "To a throttled destination")
    submit("bob", "c@refused.example", "To a throttled destination, too")


@at(200)
def notices_on_errors() -> None:
    configure("notify_classes=resource, software, 2bounce, protocol, bounce, delay, policy")
    send("a@example.com", "nosuchuser@example.org", source="mx1.example.com")
    c = Raw("scanner.example.net")
    c.say("EHLO scanner.example.net", "NOSUCH", "DATA", "MAIL FROM:<x", "QUIT")
    c.close()
    submit("carla", "nobody@example.com", "Postmaster gets a copy of this bounce")
    time.sleep(6)
    configure("notify_classes=resource, software, 2bounce")


@at(215)
def killed_delivery_agent() -> None:
    submit("carla", "victim@slow.example", "Its delivery agent is killed")
    time.sleep(2.5)
    for line in do("ss", "-Htnp", "dst", addr("mx.slow.example")).splitlines():
        if '"smtp",pid=' in line:
            os.kill(int(line.split('"smtp",pid=')[1].split(",")[0]), signal.SIGKILL)


@at(300)
def handed_on() -> None:
    submit("carla", "customer@shop.example", "Handed on to the other instance")
    submit("carla", "nobody@shop.example", "Handed on, bounced there")


@at(330)
def notice_to_nowhere() -> None:
    configure("2bounce_notice_recipient=nobody@example.com")
    send(
        "nobody@example.com",
        "big@archive.example.org",
        "Double bounce, discarded",
        source="mx1.example.com",
        length=700,
    )
    time.sleep(8)
    configure("2bounce_notice_recipient=postmaster")


@at(430)
def long_queue_ids() -> None:
    configure("enable_long_queue_ids=yes")
    time.sleep(2)
    submit(
        "alice",
        ["first-long@example.com", "nobody-long@example.com", "patient-long@greylist.example"],
        "The first with a long queue id",
    )


@at(440)
def long_id_situations() -> None:
    submit("bob", ["late@refused.example"], "Deferred with a long id")
    send("petra@bigmail.example", ["sales@alias.example.org", "info@alias.example.org"], "Two aliases again, long ids")
    send(
        "h.yamada@uni.example",
        "guard@filtered.example.org",
        "Through the filter, long ids",
        source="smtp.uni.example",
        length=3000,
    )
    send("m.rossi@uni.example", "hold@example.org", "Held, long id", source="smtp.uni.example", length=500)
    submit("bob", "requeue-long@refused.example", "Requeued, long id")
    time.sleep(6)
    super_("-r", "requeue-long@refused.example")
    time.sleep(20)
    super_("-H", "hold@example.org")
    super_("-f", "requeue-long@refused.example")


@at(470)
def soft_bounces() -> None:
    configure("soft_bounce=yes", instance="postfix-out")
    send(
        "app@example.org",
        "nobody-soft@example.com",
        "Softly bounced at first",
        source="app1.example.org",
        to=(net.OUT, 25),
        tls=False,
    )
    time.sleep(30)
    configure("soft_bounce=no", instance="postfix-out")


@at(560)
def everything_again() -> None:
    """A table was edited while the services ran; then a restart in the middle of work."""
    with Path("/etc/postfix/transport").open("a") as f:
        f.write("retired.example error:5.1.6 recipient has moved\n")
    do("postmap", "/etc/postfix/transport")
    time.sleep(5)
    submit("alice", "x@retired.example", "To a retired domain")
    submit("alice", "victim2@slow.example", "Under way while Postfix is restarted")
    time.sleep(2)
    do("postfix", "stop")
    time.sleep(3)
    do("postfix", "start")


@at(600)
def late_bounces() -> None:
    submit("carla", ["nobody-late@uni.example", "m.rossi@uni.example"], "A bounce with long ids")
    send(
        "nobody@example.com",
        "big@archive.example.org",
        "Double bounce with long ids",
        source="mx1.example.com",
        length=700,
    )


@at(835)
def the_end() -> None:
    """The administrator throws away what still waits in the outbound instance, without a line for each mail."""
    for n in range(3):
        send(
            "app@example.org",
            f"leftover{n}@refused.example",
            f"Left over {n}",
            source="app1.example.org",
            to=(net.OUT, 25),
            tls=False,
        )
    time.sleep(7)
    do("postsuper", "-c", "/etc/postfix-out", "-d", "ALL", "deferred")


def main() -> None:
    subprocess.run(
        ["saslpasswd2", "-p", "-c", "-u", "example.org", "eve, status=sent"],
        check=False,
        input=b"secret-eve, status=sent",
    )
    for mean, each in ((7, inbound), (15, outbound), (40, local_mail), (20, noise)):
        threading.Thread(target=spread, args=(mean, each), daemon=True).start()

    def safely(function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:
            print(function.__name__, repr(error), flush=True)

    for second, function in sorted(PLAN, key=lambda p: p[0]):
        time.sleep(max(0, START + second - time.time()))
        threading.Thread(target=safely, args=(function,), daemon=True).start()
    time.sleep(max(0, START + DURATION - time.time()))


if __name__ == "__main__":
    main()
