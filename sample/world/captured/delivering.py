"""Where mail goes: remote servers, TLS, the mail store, mailboxes, aliases, commands, filters, bounces."""

from core import scenario, send, submit
from scenario import sendmail

SENT, BOUNCED, NEVER = "sent/removed", "bounced/removed", "discarded/removed"


def remote(name: str, pattern: str, recipient: str, fate: str = SENT, title: str = "captured") -> None:
    """Register one mail of alice's to one remote recipient."""

    @scenario(name, pattern, {recipient: fate})
    def _() -> None:
        submit("alice", recipient, title)


def by_hand(name: str, pattern: str, fates: dict[str, str]) -> None:
    """Register one mail by sendmail(1): smtpd(8) would refuse such recipients at once."""

    @scenario(name, pattern, fates)
    def _() -> None:
        sendmail("carla", ["-i", *fates], "Subject: captured\n\nhello\n")


remote("remote, without TLS", r"to=<in-clear@example\.net>, relay=mx\.example\.net\[198", "in-clear@example.net")
remote(
    "remote, TLS untrusted",
    r"Untrusted TLS connection established to shop\.example",
    "in-doubt@shop.example",
    "sent/removed sent/removed",
)  # by the other instance
remote("remote, TLS trusted", r"Trusted TLS connection established to", "trusted@uni.example")
remote(
    "remote, TLS verified; reply in three lines",
    r"Verified TLS connection established to mx\.secure",
    "who@secure.example",
)
remote("remote, IPv6", r"relay=mx6\.six\.example\[2001:db8", "who@six.example")
remote(
    "first server closed, second takes it",
    r"mx1\.backup\.example.* said: 421|relay=mx2\.backup\.example",
    "who@backup.example",
)
remote(
    "first server drops us, second takes it",
    r"lost connection with mx1\.twoway\.example.*while receiving the initial",
    "who@twoway.example",
)
remote("`queued for delivery` with brackets and commas", r"to=<who@corp\.example>.*InternalId=", "who@corp.example")
remote("STARTTLS offered, not available", r"to=<who@notls\.example>.*status=sent", "who@notls.example")
remote("PIX workarounds", r"enabling PIX workarounds", "who@pix.example")
remote(
    "reply longer than a line may be",
    r"response longer than \d+|to=<who@wordy\.example>.*so many words",
    "who@wordy.example",
)
remote("mail that loops back", r"to=<who@loops\.example>.*loops back to myself", "who@loops.example", BOUNCED)
remote(
    "mail exchanger without an address",
    r"to=<who@noaddress\.example>.*(Host not found|no MX host)",
    "who@noaddress.example",
    BOUNCED,
)
remote("unknown there", r"to=<nobody@example\.com>.*status=bounced", "nobody@example.com", BOUNCED)
remote(
    "unknown there, said in four lines",
    r"to=<nobody@bigmail\.example>.*status=bounced",
    "nobody@bigmail.example",
    BOUNCED,
)
remote(
    "refused after the data",
    r"to=<content@bigmail\.example>.*in reply to end of DATA command",
    "content@bigmail.example",
    BOUNCED,
    "[spam]",
)
remote("over quota there", r"to=<quota@full\.example>.*552 5\.2\.2", "quota@full.example", BOUNCED)
remote("no such domain", r"to=<who@nxdomain\.example>.*Host or domain name not found", "who@nxdomain.example", BOUNCED)
remote("domain without mail (null MX)", r"to=<who@nullmx\.example>.*nullMX", "who@nullmx.example", BOUNCED)
remote(
    "reply that claims a bounce",
    r"to=<fine@hostile\.example>.*status=sent \(250 2\.0\.0 Ok \(really\), status=bounced",
    "fine@hostile.example",
)
remote("reply that claims success", r"to=<trick@hostile\.example>.*status=bounced", "trick@hostile.example", BOUNCED)
remote(
    "reply longer than a log line",
    r"to=<long@hostile\.example>.*status=bounced.{1500}",
    "long@hostile.example",
    BOUNCED,
)
remote("quoted local part with `> relay=`", r'to=<"q b> relay=c"@example\.com>', '"q b> relay=c"@example.com')
by_hand("error transport", r"postfix/error\[\d+\]: .*this domain is dead", {"x@dead.example.org": BOUNCED})
remote("discard transport", r"postfix/discard\[\d+\]: .*silently discarded", "x@discard.example.org", NEVER)
remote("reply filter: 550 made 450", r"to=<who@replies\.example>", "who@replies.example")
remote("delivery status filter: 4 made 5", r"to=<who@fullnow\.example>.*status=bounced", "who@fullnow.example", BOUNCED)
remote(
    "header checks on the way out",
    r"smtp\[\d+\]: \w+: warning: header Subject: client-check",
    "who@checks.example",
    SENT,
    "client-check",
)
remote(
    "mail store by LMTP",
    r"postfix/lmtp\[\d+\]: .*relay=mx1\.example\.org\[private/dovecot-lmtp\].*status=sent",
    "dora+lmtp@mail.example.org",
)
remote(
    "mailbox by local(8)", r"to=<carla\+box@example\.org>, relay=local.*delivered to mailbox", "carla+box@example.org"
)
remote(
    "maildir by virtual(8)",
    r"to=<carol\+dir@virtual\.example\.org>, relay=virtual.*delivered to maildir",
    "carol+dir@virtual.example.org",
)
by_hand(
    "unknown to virtual(8)", r"to=<nobody@virtual\.example\.org>.*unknown user", {"nobody@virtual.example.org": BOUNCED}
)
by_hand("unknown to local(8)", r"to=<nobody-local@example\.org>.*unknown user", {"nobody-local@example.org": BOUNCED})
remote("command with output", r"delivered via archive service \(archived as", "fine@archive.example.org")
remote(
    "command says: no such user",
    r"to=<nobody@archive\.example\.org>.*status=bounced \(user unknown",
    "nobody@archive.example.org",
    BOUNCED,
)
remote(
    "command dies",
    r"to=<crash@archive\.example\.org>.*(signal|Command died)",
    "crash@archive.example.org",
    "expired/expired",
)
remote(
    "command fails with a text like ours",
    r"to=<big@archive\.example\.org>.*status=bounced \(Command died with status 1.*status=sent",
    "big@archive.example.org",
    BOUNCED,
)
remote("command that is not there", r"to=<x@nocommand\.example\.org>", "x@nocommand.example.org", "expired/expired")
by_hand(
    "handed on by local(8): passing",
    r"passing <fallback-user@example\.org> to transport=archive",
    {"fallback-user@example.org": SENT},
)
remote("alias to a command", r"to=<captured-logs@example\.org>.*delivered to command", "captured-logs@example.org")
remote("alias to a file", r"to=<captured-file@example\.org>.*delivered to file", "captured-file@example.org")
remote("alias to nothing", r"to=<captured-null@example\.org>", "captured-null@example.org", SENT)
remote("alias to somebody unknown", r"missing-captured", "captured-dead@example.org", BOUNCED)


@scenario(
    "relay transport with a name of its own",
    r"postfix/relay/smtp\[\d+\]: .*to=<lab@relay\.example\.org>",
    {"lab@relay.example.org": SENT},
)
def _() -> None:
    send("a@uni.example", "lab@relay.example.org", source="smtp.uni.example")


@scenario("TLS connection used again", r"postfix/reuse/smtp\[\d+\]: .*TLS connection reused to|conn_use=\d", {f"again{n}@reuse.example": SENT for n in range(6)})  # fmt: skip
def _() -> None:
    for n in range(6):
        submit("bob", f"again{n}@reuse.example")


by_hand("seven recipients, five fates", r"nrcpt=7", {
    "many-fine@example.com": SENT, "nobody-many@example.com": BOUNCED, "carla+many@example.org": SENT, "gone@virtual.example.org": BOUNCED,
    "many@dead.example.org": BOUNCED, "many@discard.example.org": NEVER, "once-many@uni.example": SENT,
})  # fmt: skip


@scenario("virtual alias to three", r"orig_to=<sales\+three@alias\.example\.org>", {"alice+three@example.org": SENT, "bob+three@example.org": SENT, "office+three@mail.example.org": SENT})  # fmt: skip
def _() -> None:
    send("petra@bigmail.example", "sales+three@alias.example.org")


@scenario("the same person by two aliases", r"orig_to=<info\+twice@alias\.example\.org>", {"alice+twice@example.org": SENT, "bob+twice@example.org": "sent/removed sent/removed", "office+twice@mail.example.org": "sent/removed sent/removed"})  # fmt: skip
def _() -> None:
    send("petra@bigmail.example", ["sales+twice@alias.example.org", "info+twice@alias.example.org"])


@scenario("alias with three members: forwarded as", r"to=<captured-team@example\.org>.*forwarded as", {"captured-team@example.org": "sent/removed sent/removed sent/removed sent/removed", "alice+in-team@example.org": SENT, "carla+in-team@example.org": SENT, "member@example.com": SENT})  # fmt: skip
def _() -> None:
    send("petra@bigmail.example", "captured-team@example.org")


@scenario("list by :include: with an owner; one member bounces", r"from=<owner-captured-list@example\.org>", {"captured-list@example.org": SENT, "bob+in-list@example.org": SENT, "listed@example.net": SENT, "nobody-listed@example.com": BOUNCED})  # fmt: skip
def _() -> None:
    send("petra@bigmail.example", "captured-list@example.org")


@scenario("list whose file is not there", r"nosuchlist", {"captured-missing-list@example.org": BOUNCED})
def _() -> None:
    send("petra@bigmail.example", "captured-missing-list@example.org")


@scenario(
    ".forward",
    r"to=<dave@example\.net>.*status=sent",
    {"dave@example.org": "sent/removed sent/removed", "dave@example.net": SENT},
)
def _() -> None:
    send("petra@bigmail.example", "dave@example.org")


@scenario("mail forwarding loop", r"mail forwarding loop for bob\+loop@example\.org", {"bob+loop@example.org": BOUNCED})
def _() -> None:
    send("petra@bigmail.example", "bob+loop@example.org", extra="Delivered-To: bob+loop@example.org\r\n")


@scenario("after-queue filter, linked by XFORWARD", r"client=localhost\[127\.0\.0\.1\], orig_queue_id=\w+, orig_client=smtp\.uni\.example", {"guard+filter@filtered.example.org": "sent/removed sent/removed"})  # fmt: skip
def _() -> None:
    send("h.yamada@uni.example", "guard+filter@filtered.example.org", source="smtp.uni.example")


@scenario("after-queue filter without XFORWARD", r"to=<plainfilter\+x@example\.org>, relay=127\.0\.0\.1\[127\.0\.0\.1\]:10025", {"plainfilter+x@example.org": "sent/removed sent/removed"})  # fmt: skip
def _() -> None:
    send("h.yamada@uni.example", "plainfilter+x@example.org", source="smtp.uni.example")


@scenario(
    "refused by the after-queue filter",
    r"to=<guard\+virus@filtered\.example\.org>.*INFECTED",
    {"guard+virus@filtered.example.org": BOUNCED},
)
def _() -> None:
    send("h.yamada@uni.example", "guard+virus@filtered.example.org", "[virus]", source="smtp.uni.example")


@scenario(
    "swallowed by the after-queue filter",
    r"to=<guard\+junk@filtered\.example\.org>.*Ok, discarded",
    {"guard+junk@filtered.example.org": SENT},
)
def _() -> None:
    send("h.yamada@uni.example", "guard+junk@filtered.example.org", "[junk]", source="smtp.uni.example")


@scenario("handed on to the other instance, and delivered", r"postfix-out/smtp.*to=<customer@letters\.test>", {"customer@letters.test": "sent/removed sent/removed", "nobody-letters@letters.test": "bounced/removed sent/removed"})  # fmt: skip
def _() -> None:
    submit("carla", ["customer@letters.test", "nobody-letters@letters.test"])


@scenario("double bounce", r"postmaster non-delivery notification", {"big-double@archive.example.org": BOUNCED, "nobody-double@example.com": BOUNCED})  # fmt: skip
def _() -> None:
    send("nobody-double@example.com", "big-double@archive.example.org", source="mx1.example.com")


@scenario(
    "success notification wanted",
    r"sender delivery status notification",
    {"success@example.net": SENT, "bob+success@example.org": SENT},
)
def _() -> None:
    submit("alice", ["success@example.net", "bob+success@example.org"], rcpt_options=("NOTIFY=SUCCESS,FAILURE",))


@scenario(
    "no notification wanted", r"to=<nobody-never@example\.com>.*status=bounced", {"nobody-never@example.com": BOUNCED}
)
def _() -> None:
    submit("alice", "nobody-never@example.com", rcpt_options=("NOTIFY=NEVER",))


@scenario(
    "lines that are too long",
    r"breaking line > \d+ bytes|to=<long-lines@example\.com>.*status=sent",
    {"long-lines@example.com": SENT},
)
def _() -> None:
    submit(
        "alice",
        "long-lines@example.com",
        body=b"Subject: long\r\nMessage-ID: <long-lines@example.org>\r\n\r\n" + b"y" * 3000 + b"\r\n",
    )
