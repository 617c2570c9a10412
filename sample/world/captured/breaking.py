"""Sessions that break or are broken off, nonsense, and what clients should not do."""

import smtplib
import time

import net
from arriving import PORT
from core import REPLIES, Raw, scenario
from scenario import SUBMISSION, guess

S = "scanner.example.net"
ME = f"EHLO {S}"
FROM, TO = "MAIL FROM:<a@example.net>", "RCPT TO:<alice+{}@example.org>"


def broken(
    name: str,
    pattern: str,
    *lines: str,
    gone: str = "",
    port: tuple[int, ...] | None = None,
    after: str = "",
    wait: float = 0,
    fate: str = "",
) -> None:
    """Register a session that says these lines and then goes without QUIT."""
    fates = {f"alice+{gone}@example.org": fate} if gone else {}

    @scenario(name, pattern, fates)
    def _() -> None:
        c = Raw(S, port or (net.MX, 25))
        c.say(*(line.format(gone) for line in lines))
        if after:
            c.push(after)
            time.sleep(0.3)
        if fate:
            REPLIES[f"alice+{gone}@example.org"].append(int(c.reply()[:3] or 0))
        if wait:
            time.sleep(wait)
        c.close()


broken("lost after CONNECT", r"lost connection after CONNECT from scanner")
broken("lost after EHLO", r"lost connection after EHLO from scanner", ME)
broken("lost after MAIL", r"lost connection after MAIL from scanner", ME, FROM)
broken("lost after RCPT", r"lost connection after RCPT from scanner", ME, FROM, TO, gone="lost-rcpt")
broken(
    "lost in the data",
    r"lost connection after DATA(?: \(\d+ bytes\))? from scanner",
    ME,
    FROM,
    TO,
    "DATA",
    gone="lost-data",
    after="Subject: half a mail\r\n\r\nhalf a li",
)
broken("lost after STARTTLS", r"lost connection after STARTTLS from scanner", ME, "STARTTLS")
broken("RSET after RCPT", r"smtpd\[\d+\]: \w+: client=scanner", ME, FROM, TO, "RSET", "QUIT", gone="reset")
broken("QUIT after RCPT", r"disconnect from scanner.* rcpt=1 quit=1", ME, FROM, TO, "QUIT", gone="quit")
broken("timeout after CONNECT", r"timeout after CONNECT from scanner", port=PORT["bare"], wait=6)
broken(
    "timeout after RCPT",
    r"timeout after RCPT from scanner",
    ME,
    FROM,
    TO,
    port=PORT["bare"],
    wait=6,
    gone="timeout-rcpt",
)
broken(
    "timeout in the data",
    r"timeout after DATA",
    ME,
    FROM,
    TO,
    "DATA",
    port=PORT["bare"],
    wait=6,
    gone="timeout-data",
    after="Subject: never\r\n\r\nabc",
)
broken("too many errors", r"too many errors after \w+ from scanner", ME, *["NOSUCH \x1b[31mred"] * 10)
broken(
    "bare newline refused",
    r"bare <LF> received",
    ME,
    FROM,
    TO,
    port=PORT["bare"],
    gone="bare",
    fate="rejected/canceled",
    after="DATA\n",
    wait=0.5,
)
broken("not SMTP", r"non-SMTP command from scanner.*GET / HTTP", "GET / HTTP/1.1")
broken(
    "improper pipelining",
    r"improper command pipelining after \w+ from scanner",
    after=f"{ME}\r\n{FROM}\r\nRCPT TO:<alice@example.org>\r\n",
    wait=0.5,
)
broken(
    "command replaced by a filter",
    r"replacing command \"?HELP\"? with \"?NOOP",
    ME,
    "HELP",
    "QUIT",
    port=PORT["tables"],
)
broken(
    "request too long",
    r"request longer than \d+|disconnect from scanner",
    after="NOOP " + "X" * 3000 + "\r\n",
    wait=0.3,
)
broken(
    "hostile greeting",
    r"helo=<\?bell\?script\?alert\?1\?\?/script\?",
    "HELO \x07bell<script>alert(1)</script>, from=<boss@example.org>",
    "MAIL FROM:<a@example.com>",
    "RCPT TO:<relayme@example.com>",
    "QUIT",
)


@scenario("canceled and discarded, said so (Postfix 3.10)", r"cleanup\[\d+\]: \w+: removed \(canceled\)", since=(3, 10))
def _() -> None:
    c = Raw(S)
    c.say(ME, FROM, "RCPT TO:<alice+canceled@example.org>", "RSET", "QUIT")
    c.close()


@scenario("SASL authentication fails", r"SASL LOGIN authentication failed")
def _() -> None:
    guess("203.0.113.99", "alice@example.org")
    guess("203.0.113.99", "bob, sasl_method=PLAIN", "PLAIN")


@scenario("SASL credentials that are none", r"SASL PLAIN authentication failed")
def _() -> None:
    c = Raw("203.0.113.99", SUBMISSION)
    c.say("EHLO x", "STARTTLS")
    c.close()
    guess("203.0.113.99", "", "PLAIN")


@scenario("TLS handshake of junk", r"SSL_accept error from unknown\[203\.0\.113\.99\]")
def _() -> None:
    c = Raw("203.0.113.99", SUBMISSION)
    c.say("EHLO x", "STARTTLS")
    c.push("this is not a handshake\r\n")
    c.reply()
    c.close()


@scenario(
    "client certificate wanted",
    r"SSL_accept error|abort: TLS from|No client certificate|TLS connection established from scanner",
    {},
)
def _() -> None:
    try:
        client = smtplib.SMTP(*PORT["certificates"], source_address=("203.0.113.80", 0), local_hostname=S, timeout=10)
        client.ehlo()
        client.starttls()
        client.mail("a@example.net")
        client.close()
    except (smtplib.SMTPException, OSError):
        pass


@scenario(
    "client's name does not point back",
    r"hostname mail\.(liar|trick)\.example does not resolve to address 203\.0\.113\.7",
)
def _() -> None:
    for address in net.LIARS:
        Raw(address).close()
