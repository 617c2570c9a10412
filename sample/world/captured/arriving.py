"""How mail comes in: clients, submission, sendmail(1), QMQP, proxies, XCLIENT and XFORWARD, chunks."""

import socket

import net
from core import REPLIES, Raw, scenario, send, submit
from scenario import addr, sendmail

PORT = {name: (net.MX, 2500 + n) for n, name in enumerate(("", "proxy", "ports", "dead_milter", "strict", "dead_proxy", "soft", "bare", "inner", "", "tables", "certificates", "rates", "xforward"))}  # fmt: skip


@scenario("client with TLS", r"smtpd\[\d+\]: \w+: client=mail-ej1\.bigmail", {"carla+tls@example.org": "sent/removed"})
def _() -> None:
    send("a@bigmail.example", "carla+tls@example.org")


@scenario("client without TLS", r"client=relay\.handwerk\.example\[", {"carla+plain@example.org": "sent/removed"})
def _() -> None:
    send("a@handwerk.example", "carla+plain@example.org", source="relay.handwerk.example", tls=False)


@scenario("client by IPv6", r"client=smtp6\.verein\.example\[2001:db8", {"carla+six@example.org": "sent/removed"})
def _() -> None:
    send("a@verein.example", "carla+six@example.org", source="smtp6.verein.example", to=(net.MX6, 25))


@scenario("client port logged", r"client=shop\.example\[198\.51\.100\.161\]:\d+", {"permitted@virtual.example.org": "bounced/removed"})  # fmt: skip
def _() -> None:
    # Permitted by its table, therefore taken though virtual(8) knows no such mailbox.
    send("a@shop.example", "permitted@virtual.example.org", source="shop.example", to=PORT["ports"])


@scenario("two mails in one session", r"disconnect from smtp\.uni\.example.* mail=2", {"carla+first@example.org": "sent/removed", "carla+second@example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    c = Raw("smtp.uni.example")
    c.say("EHLO smtp.uni.example")
    for name in ("first", "second"):
        c.say(
            f"MAIL FROM:<{name}@uni.example>",
            f"RCPT TO:<carla+{name}@example.org>",
            "DATA",
            f"Subject: {name}\r\n\r\nx\r\n.",
        )
    c.say("QUIT")
    c.close()


@scenario("BDAT in two chunks", r"disconnect from relay\.handwerk\.example.* bdat=2", {"carla+bdat@example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    c = Raw("relay.handwerk.example")
    c.say("EHLO relay.handwerk.example", "MAIL FROM:<bdat@handwerk.example>", "RCPT TO:<carla+bdat@example.org>")
    text = "Subject: BDAT in two chunks\r\nMessage-ID: <bdat@handwerk.example>\r\n\r\nhello\r\n"
    c.push(f"BDAT {len(text)}\r\n{text}BDAT 4 LAST\r\nend.")
    c.reply()
    c.say("QUIT")
    c.close()


@scenario("BDAT with a malformed size", r"malformed BDAT command|bdat=0/1", {"carla+badbdat@example.org": ""})
def _() -> None:
    c = Raw("scanner.example.net")
    c.say(
        "EHLO scanner.example.net",
        "MAIL FROM:<a@example.net>",
        "RCPT TO:<carla+badbdat@example.org>",
        "BDAT x LAST",
        "QUIT",
    )
    c.close()


@scenario("submission, SASL PLAIN", r"postfix/submission/smtpd.*sasl_method=PLAIN, sasl_username=alice@example\.org", {"plain-auth@example.net": "sent/removed"})  # fmt: skip
def _() -> None:
    submit("alice", "plain-auth@example.net")


@scenario("submission, SASL LOGIN", r"sasl_method=LOGIN", {"login-auth@example.net": "sent/removed"})
def _() -> None:
    submit("bob", "login-auth@example.net", login="LOGIN")


@scenario("submissions, TLS from the start", r"postfix/submissions/smtpd.*client=", {"wrapped@example.net": "sent/removed"})  # fmt: skip
def _() -> None:
    submit("carla", "wrapped@example.net", to=(net.MX, 465))


@scenario("MAIL FROM with AUTH=", r"sasl_sender=boss@example\.org", {"auth-sender@example.net": "sent/removed"})
def _() -> None:
    submit("alice", "auth-sender@example.net", mail_options=("AUTH=boss@example.org",))


@scenario("a user name that looks like a log line", r"sasl_username=eve, status=sent@example\.org", {"from-eve@example.net": "sent/removed"})  # fmt: skip
def _() -> None:
    submit("eve, status=sent", "from-eve@example.net", sender="eve@example.org", to=(net.MX6, 587))


@scenario("a syslog_name with two parts more", r"postfix/edge/inner/smtpd\[\d+\]: \w+: client=", {"carla+inner@example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    send("a@shop.example", "carla+inner@example.org", source="shop.example", to=PORT["inner"])


@scenario("before-queue filter accepts", r"proxy-accept: END-OF-MESSAGE: 250 ", {"carla+proxied@example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    send("a@shop.example", "carla+proxied@example.org", source="shop.example", to=PORT["proxy"])


@scenario("a NOQUEUE client before the queue", r"smtpd\[\d+\]: NOQUEUE: client=shop\.example", {"carla+proxied2@example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    send("b@shop.example", "carla+proxied2@example.org", source="shop.example", to=PORT["proxy"])


@scenario("before-queue filter refuses", r"proxy-reject: END-OF-MESSAGE: 554 5\.7\.0 ", {"carla+infected@example.org": "rejected"})  # fmt: skip
def _() -> None:
    send("a@shop.example", "carla+infected@example.org", "[virus]", source="shop.example", to=PORT["proxy"])


@scenario("before-queue filter is down", r"warning: connect to proxy filter 127\.0\.0\.1:10098: Connection refused", {"carla+nofilter@example.org": ""})  # fmt: skip
def _() -> None:
    send("a@shop.example", "carla+nofilter@example.org", source="shop.example", to=PORT["dead_proxy"])


@scenario("XCLIENT", r"postfix/smtpd\[\d+\]: \w+: client=spike\.example\.com\[203\.0\.113\.29\]", {"xclient@example.net": "rejected", "carol+xclient@virtual.example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    c = Raw("inner.example.org", PORT["ports"])
    c.say(
        "EHLO inner.example.org",
        "XCLIENT NAME=spike.example.com ADDR=203.0.113.29 PORT=4711 HELO=spike.example.com LOGIN=spike",
    )
    c.say("EHLO spike.example.com", "MAIL FROM:<spike@example.com>", "RCPT TO:<xclient@example.net>")
    c.say("RCPT TO:<carol+xclient@virtual.example.org>", "DATA", "Subject: XCLIENT\r\n\r\nx\r\n.", "QUIT")
    c.close()


@scenario("XFORWARD", r"client=smtp\.uni\.example\[198\.51\.100\.151\], orig_queue_id=4ORIGINAL1, orig_client=origin\.example\[203\.0\.113\.9\]", {"carla+xforward@example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    c = Raw("smtp.uni.example", PORT["xforward"])
    c.say("EHLO smtp.uni.example", "XFORWARD NAME=origin.example ADDR=203.0.113.9 IDENT=4ORIGINAL1 PROTO=ESMTP HELO=x")
    c.say(
        "MAIL FROM:<a@uni.example>",
        "RCPT TO:<carla+xforward@example.org>",
        "DATA",
        "Subject: XFORWARD\r\n\r\nx\r\n.",
        "QUIT",
    )
    c.close()


def qmqp(message: bytes, sender: str, recipients: list[str], cut: bool = False) -> None:
    def net_string(data: bytes) -> bytes:
        return b"%d:%s," % (len(data), data)

    data = net_string(b"".join(map(net_string, (message, sender.encode(), *(r.encode() for r in recipients)))))
    with socket.create_connection((net.MX, 628), 20, (addr("lists.software.test"), 0)) as sock:
        sock.sendall(data[: len(data) // 2] + b"junk" if cut else data)
        if cut:
            sock.shutdown(socket.SHUT_WR)
        reply = sock.recv(1000)
        for recipient in recipients:
            REPLIES[recipient].append(250 if b":K" in reply else 550)


@scenario("QMQP", r"postfix/qmqpd\[\d+\]: \w+: client=lists\.software\.test", {"qmqp@example.net": "sent/removed", "carla+qmqp@example.org": "sent/removed"})  # fmt: skip
def _() -> None:
    qmqp(
        b"Subject: QMQP\nMessage-ID: <qmqp@software.test>\n\nhi\n",
        "list@software.test",
        ["qmqp@example.net", "carla+qmqp@example.org"],
    )


@scenario("QMQP that breaks off", r"postfix/qmqpd.*while receiving")
def _() -> None:
    try:
        qmqp(b"Subject: half\n\n" + b"x" * 2000, "list@software.test", ["qmqp-half@example.net"], cut=True)
    except OSError:
        pass


@scenario(
    "QMQP from a client that may not", r"postfix/qmqpd.*(refused|not authorized|Access denied|disconnect from unknown)"
)
def _() -> None:
    with socket.create_connection((net.MX, 628), 20, ("203.0.113.99", 0)) as sock:
        sock.recv(1000)


@scenario("sendmail(1) by www-data", r"pickup\[\d+\]: \w+: uid=33 from=<www-data>", {"www@example.net": "sent/removed"})
def _() -> None:
    sendmail("www-data", ["-i", "www@example.net"], "Subject: a form\n\nhello\n")


@scenario("sendmail -t -f", r"uid=\d+ from=<shop\+orders@example\.org>", {"carla+dash-t@example.org": "sent/removed", "dash-t@example.com": "sent/removed"})  # fmt: skip
def _() -> None:
    sendmail(
        "bob",
        ["-t", "-f", "shop+orders@example.org"],
        "To: carla+dash-t@example.org, dash-t@example.com\nSubject: -t\n\nhello\n",
    )


@scenario("sendmail without recipients", r"sendmail\[\d+\]: fatal: .*No recipient addresses")
def _() -> None:
    sendmail("bob", ["-t"], "Subject: nobody to send to\n\nhello\n")


@scenario(
    "sendmail, too big",
    r"(sendmail|postdrop)\[\d+\]: fatal: .*(too big|too large|File too large)|postdrop.*warning: uid=",
)
def _() -> None:
    sendmail("bob", ["carla+toobig@example.org"], "Subject: big\n\n" + ("x" * 70 + "\n") * 4000)


@scenario("sendmail by a user who may not", r"(postdrop|sendmail)\[\d+\]: fatal: .*not allowed to submit")
def _() -> None:
    sendmail("nobody", ["carla+notallowed@example.org"], "Subject: no\n\nhello\n")


@scenario("sendmail -bv: would it go?", r"to=<would@example\.com>.*status=deliverable", {"would@example.com": "deliverable/removed", "nobody-would@example.com": "undeliverable/removed", "carla+would@example.org": "deliverable/removed"})  # fmt: skip
def _() -> None:
    sendmail("bob", ["-bv", "would@example.com", "nobody-would@example.com", "carla+would@example.org"], "")


@scenario("sendmail -v: tell me", r"sender delivery status notification", {"tell-me@example.net": "sent/removed"})
def _() -> None:
    sendmail("bob", ["-v", "tell-me@example.net"], "Subject: verbose\n\nhello\n")


@scenario("sendmail -XV: VERP", r"from=<verp-list@example\.org>", {"verp-1@example.com": "sent/removed", "nobody-verp@example.com": "bounced/removed"})  # fmt: skip
def _() -> None:
    sendmail(
        "root",
        ["-XV", "-f", "verp-list@example.org", "verp-1@example.com", "nobody-verp@example.com"],
        "Subject: VERP\n\nhello\n",
    )


@scenario("the null sender", r"from=<>, size=\d+, nrcpt=1", {"carla+null@example.org": "sent/removed"})
def _() -> None:
    send("", "carla+null@example.org")


@scenario("SMTPUTF8", r"to=<jörg@example\.com>.*status=sent", {"jörg@example.com": "sent/removed"})
def _() -> None:
    submit(
        "alice",
        "jörg@example.com",
        body="Subject: Grüße\r\nMessage-ID: <utf8@example.org>\r\n\r\nhi\r\n".encode(),
        mail_options=("SMTPUTF8",),
    )


@scenario("SMTPUTF8 that the next server does not take", r"to=<jürgen@secure\.example>.*SMTPUTF8 is required", {"jürgen@secure.example": "bounced/removed"})  # fmt: skip
def _() -> None:
    submit(
        "alice",
        "jürgen@secure.example",
        body="Subject: Grüße\r\nMessage-ID: <utf8b@example.org>\r\n\r\nhi\r\n".encode(),
        mail_options=("SMTPUTF8",),
    )


@scenario("long queue ids, client ports, addresses as in Postfix 3.4", r"postfix-out/smtpd\[\d+\]: 4\w{10,}: client=app1\.example\.org\[192\.0\.2\.31\]:\d+", {"out-plain@example.net": "sent/removed"})  # fmt: skip
def _() -> None:
    send("app@example.org", "out-plain@example.net", source="app1.example.org", to=(net.OUT, 25), tls=False)


@scenario("an address that 3.4 does not quote", r"postfix-out/smtp\[\d+\]: \w+: to=<a b> relay=c@example\.com>", {"a b> relay=c@example.com": "sent/removed"})  # fmt: skip
def _() -> None:
    send('"x, y"@example.org', '"a b> relay=c"@example.com', source="app1.example.org", to=(net.OUT, 25), tls=False)


@scenario("XVERP", r"postfix-out/qmgr\[\d+\]: \w+: from=<news@lists\.example\.org>, size=\d+, nrcpt=3", {"verp-a@example.com": "sent/removed", "verp-b@example.net": "sent/removed", "nobody-xverp@example.com": "bounced/removed"})  # fmt: skip
def _() -> None:
    send("news@lists.example.org", ["verp-a@example.com", "verp-b@example.net", "nobody-xverp@example.com"], source="app1.example.org", to=(net.OUT, 25), tls=False, mail_options=("XVERP",))  # fmt: skip


@scenario("Message-ID: none, two, folded, without brackets", r"message-id=no-brackets with space", {f"gina+id{n}@mail.example.org": "sent/removed" for n in range(5)})  # fmt: skip
def _() -> None:
    idents = (
        None,
        "no-brackets with space",
        "\r\n <folded@id.example>",
        "<same@id.example>\r\nMessage-ID: <second@id.example>",
        "<\xfc\xe4@8bit.example>",
    )
    for number, ident in enumerate(idents):
        send("odd@uni.example", f"gina+id{number}@mail.example.org", source="smtp.uni.example", ident=ident)


@scenario(
    "Resent-Message-ID", r"resent-message-id=<resent-1@id\.example>", {"gina+resent@mail.example.org": "sent/removed"}
)
def _() -> None:
    extra = "Resent-From: <odd@uni.example>\r\nResent-Message-ID: <resent-1@id.example>\r\n"
    send("odd@uni.example", "gina+resent@mail.example.org", source="smtp.uni.example", extra=extra)
