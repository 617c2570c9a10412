"""Everything around the mail server: DNS, other people's mail servers, a mail store (LMTP), a content filter, greylisting.

One process, threads only, standard library only. Prints its own trace to standard output; never logs to syslog.
"""

import os
import random
import re
import socket
import socketserver
import ssl
import struct
import threading
import time
from pathlib import Path

import net

RANDOM = random.Random(7)
GREYLIST_S = int(os.environ.get("GREYLIST_S", "0"))  # how long who is greylisted waits, here and there; 0: see below
TLS = "/world/tls"
STORE = Path("/var/spool/postfix/private/dovecot-lmtp")


# --- DNS: UDP, no compression, no EDNS -------------------------------------------------------------------------------

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA = 1, 2, 5, 6, 12, 15, 16, 28


def reverse_name(address: str) -> str:
    if ":" in address:
        nibbles = socket.inet_pton(socket.AF_INET6, address).hex()
        return ".".join(reversed(nibbles)) + ".ip6.arpa"
    return ".".join(reversed(address.split("."))) + ".in-addr.arpa"


def zone() -> dict[str, list[tuple[int, object]]]:
    records: dict[str, list[tuple[int, object]]] = {}

    def add(name: str, kind: int, value: object) -> None:
        records.setdefault(name, []).append((kind, value))

    for name, addresses in net.HOSTS.items():
        for address in addresses:
            add(name, AAAA if ":" in address else A, address)
            add(reverse_name(address), PTR, name)
    for domain, servers in net.MAIL_DOMAINS.items():
        for number, server in enumerate(servers):
            add(domain, MX, (10 * (number + 1), server))
        if not servers:
            add(domain, MX, (0, ""))
    for address, name in net.LIARS.items():
        add(reverse_name(address), PTR, name)
    for name, address in (net.LIAR_A | net.NO_MAIL).items():
        add(name, A, address)
    for address in net.BLOCKED:
        name = ".".join(reversed(address.split("."))) + ".dnsbl.example"
        add(name, A, "127.0.0.4")
        add(name, TXT, f"listed, see https://dnsbl.example/query/{address}")
    return records


ZONE = zone()


def encode_name(name: str) -> bytes:
    return b"".join(bytes([len(p)]) + p.encode() for p in name.split(".") if p) + b"\0"


def encode_data(kind: int, value: object) -> bytes:
    if kind == A:
        return socket.inet_aton(value)
    if kind == AAAA:
        return socket.inet_pton(socket.AF_INET6, value)
    if kind == MX:
        return struct.pack("!H", value[0]) + encode_name(value[1])
    if kind == TXT:
        return bytes([len(value)]) + value.encode()
    return encode_name(value)


def answer(query: bytes) -> bytes:
    ident, flags = struct.unpack("!HH", query[:4])
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1 : at + 1 + query[at]].decode("ascii", "replace").lower())
        at += query[at] + 1
    kind = struct.unpack("!H", query[at + 1 : at + 3])[0]
    question = query[12 : at + 5]
    name = ".".join(labels)
    code, body, count = 0, b"", 0
    if any(name == d or name.endswith("." + d) for d in net.SERVFAIL):
        code = 2
    elif name not in ZONE and not any(known.endswith("." + name) for known in ZONE):
        code = 3
    else:
        for k, value in ZONE.get(name, []):
            if k == kind:
                data = encode_data(k, value)
                body += b"\xc0\x0c" + struct.pack("!HHIH", k, 1, 300, len(data)) + data
                count += 1
    authority = b""
    if not count and code in (0, 3):
        soa = encode_name("ns.example") + encode_name("root.example") + struct.pack("!5I", 1, 900, 900, 900, 60)
        authority = b"\xc0\x0c" + struct.pack("!HHIH", SOA, 1, 60, len(soa)) + soa
    header = struct.pack("!6H", ident, 0x8580 | (flags & 0x0110) | code, 1, count, int(bool(authority)), 0)
    return header + question + body + authority


def serve_dns() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 53))
    while True:
        query, peer = sock.recvfrom(2048)
        try:
            sock.sendto(answer(query), peer)
        except Exception as error:
            print("dns", error, flush=True)


# --- SMTP ------------------------------------------------------------------------------------------------------------


class Drop(Exception):
    """Close the connection without another word."""


class Conversation(socketserver.BaseRequestHandler):
    """One SMTP or LMTP connection; what differs between servers are the methods `server_*` below."""

    lmtp = False

    def send(self, *lines: str) -> None:
        code = lines[0][:3]
        text = [lines[0][4:], *lines[1:]]
        out = "".join(f"{code}{'-' if n < len(text) - 1 else ' '}{line}\r\n" for n, line in enumerate(text))
        self.request.sendall(out.encode("utf-8"))

    def readline(self) -> str:
        while b"\n" not in self.buffer:
            data = self.request.recv(65536)
            if not data:
                raise Drop
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r").decode("utf-8", "replace")

    def read_message(self) -> str:
        lines = []
        while (line := self.readline()) != ".":
            lines.append(line[1:] if line.startswith("..") else line)
        return "\r\n".join(lines) + "\r\n"

    def handle(self) -> None:
        self.buffer = b""
        try:
            self.talk()
        except (Drop, OSError):
            pass
        except Exception as error:
            print(type(self).__name__, repr(error), flush=True)

    def talk(self) -> None:
        own = self.request.getsockname()
        self.name = net.SERVERS.get(own[0] if isinstance(own, tuple) else "", "localhost")
        self.sender, self.recipients, self.xforward, secure = "", [], {}, False
        self.greet()
        while True:
            line = self.readline()
            verb = line.split(" ")[0].upper()
            if verb in ("EHLO", "LHLO", "HELO"):
                if self.name == "mx1.backup.example":
                    self.send("421 4.3.2 mx1.backup.example shutting down for maintenance")
                    raise Drop
                self.send(f"250 {self.name}", *self.extensions(secure))
            elif verb == "STARTTLS" and self.name == "mx.notls.example":
                self.send("454 4.7.0 TLS not available due to local problem")
            elif verb == "STARTTLS":
                self.send("220 2.0.0 Ready to start TLS")
                self.request = self.tls_context().wrap_socket(self.request, server_side=True)
                secure = True
            elif verb == "XFORWARD":
                self.xforward |= dict(pair.split("=", 1) for pair in line.split(" ")[1:])
                self.send("250 2.0.0 Ok")
            elif verb == "MAIL":
                self.sender, self.recipients = address_of(line), []
                self.send(*self.mail(self.sender))
            elif verb == "RCPT":
                recipient = address_of(line)
                reply = self.rcpt(recipient)
                if reply[0][0] == "2":
                    self.recipients.append(recipient)
                self.send(*reply)
            elif verb == "DATA":
                if not self.recipients:
                    self.send("554 5.5.1 Error: no valid recipients")
                    continue
                self.send("354 End data with <CR><LF>.<CR><LF>")
                self.deliver(self.read_message())
            elif verb == "RSET":
                self.sender, self.recipients = "", []
                self.send("250 2.0.0 Ok")
            elif verb == "QUIT":
                self.send("221 2.0.0 Bye")
                return
            else:
                self.send("250 2.0.0 Ok" if verb == "NOOP" else "502 5.5.2 Error: command not recognized")

    def greet(self) -> None:
        self.send(f"220 {self.name} ESMTP ready")

    def extensions(self, secure: bool) -> list[str]:
        return ["PIPELINING", "SIZE 20971520", "ENHANCEDSTATUSCODES", "8BITMIME"]

    def tls_context(self) -> ssl.SSLContext:
        raise NotImplementedError

    def mail(self, sender: str) -> list[str]:
        return ["250 2.1.0 Ok"]

    def rcpt(self, recipient: str) -> list[str]:
        return ["250 2.1.5 Ok"]

    def deliver(self, message: str) -> None:
        self.send("250 2.0.0 Ok: queued as 4FB1C2D3E4")


def address_of(line: str) -> str:
    found = re.search(r"<((?:\"(?:\\.|[^\"\\])*\"|[^<>\"])*)>", line)
    return found.group(1) if found else ""


def header_of(message: str, name: str) -> str:
    found = re.search(rf"(?im)^{name}: *(.*?)\r?$", message.partition("\r\n\r\n")[0])
    return found.group(1) if found else ""


SIGNED = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
OLDER = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
SELF_SIGNED = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
OLDER.maximum_version = ssl.TLSVersion.TLSv1_2

SEEN: dict[tuple[str, str], float] = {}
COUNT: dict[str, int] = {}
LOCK = threading.Lock()


def times(key: str) -> int:
    with LOCK:
        COUNT[key] = COUNT.get(key, 0) + 1
        return COUNT[key]


def random_id(alphabet: str, length: int) -> str:
    return "".join(RANDOM.choice(alphabet) for _ in range(length))


class RemoteServer(Conversation):
    def greet(self) -> None:
        time.sleep(RANDOM.uniform(0.005, 0.15))
        if self.name == "mx.closed.example":
            self.send("554 5.7.1 mx.closed.example: no service for you here (policy 17)")
            raise Drop
        if self.name == "mx.silent.example":
            time.sleep(40)
            raise Drop
        if self.name == "mx.pix.example":
            self.send("220 ****************************************2******0*")
            return
        if self.name == "mx1.twoway.example":
            raise Drop
        self.send(f"220 {self.name} ESMTP {'Exim 4.96' if self.name == 'mx.example.net' else 'ready'}")

    def extensions(self, secure: bool) -> list[str]:
        lines = super().extensions(secure)
        if (
            self.name not in ("mx.example.net", "mx.plain.example", "inner.example.org", "mx.drop.example")
            and not secure
        ):
            lines.append("STARTTLS")
        if self.name in ("mx1.example.com", "mx2.example.com", "gmx-in.bigmail.example"):
            lines += ["SMTPUTF8", "DSN"]
        return lines

    def tls_context(self) -> ssl.SSLContext:
        if self.name in ("mx.selfsigned.example", "shop.example"):
            return SELF_SIGNED
        return OLDER if self.name == "mailin.uni.example" else SIGNED

    def mail(self, sender: str) -> list[str]:
        if self.name == "mx.hangs.example":
            raise Drop
        if self.name == "mx.picky.example" and "app" in sender:
            return ["550 5.7.23 The message was rejected because of Sender Policy Framework violation"]
        return ["250 2.1.0 Sender ok"]

    def rcpt(self, recipient: str) -> list[str]:
        time.sleep(RANDOM.uniform(0.001, 0.05))
        local = recipient.rpartition("@")[0]
        if self.name == "mx.greylist.example":
            first = SEEN.setdefault((self.sender, recipient), time.time())
            if time.time() - first < (GREYLIST_S or 50):
                return [
                    "450 4.2.0 Greylisted, please come back in 50 seconds; see https://greylist.example/why?from=<>"
                ]
        if self.name == "mx.full.example":
            if "quota" in local:
                return [f"552 5.2.2 <{recipient}>: Mailbox over quota"]
            return [f"452 4.2.2 <{recipient}>: Mailbox full (quota 1,024 MB), try later"]
        if self.name == "mx.hostile.example":
            return {
                "trick": [
                    "550 5.1.1 no, status=sent (250 2.0.0 Ok: queued as 4FAKEFAKE), to=<boss@example.com>, relay=none"
                ],
                "parens": [
                    "450-4.7.1 (((( unbalanced (and (nested",
                    "4.7.1 : removed",
                    "4.7.1 dsn=2.0.0, status=sent (250 ok",
                ],
                "long": ["554 5.7.1 " + "blah (" * 70, *["and status=sent " + "x" * 480] * 4],
            }.get(local, ["250 2.1.5 Ok"])
        if local.startswith(("nobody", "unknown", "ex-")):
            if self.name == "gmx-in.bigmail.example":
                return [
                    "550 5.1.1 The email account that you tried to reach does not exist. Please try",
                    "5.1.1 double-checking the recipient's email address for typos or",
                    f"5.1.1 unnecessary spaces. For more information, go to https://bigmail.example/support/?p=NoSuchUser {random_id('0123456789abcdef', 13)}-{random_id('0123456789abcdef', 16)} - bsmtp",
                ]
            if self.name == "mx.example.net":
                return ["550 Unrouteable address"]
            return [f"550 5.1.1 <{recipient}>: Recipient address rejected: User unknown in relay recipient table"]
        if local.startswith("busy") and times(recipient) < 5:
            return [f"451 4.3.0 <{recipient}>: Temporary lookup failure"]
        if local.startswith("turncoat"):
            first = times(recipient) < 3  # both mail exchangers
            return [f"450 4.2.1 <{recipient}>: come back later" if first else f"550 5.1.1 <{recipient}>: has left us"]
        if local.startswith("once") and times(recipient) < 2:
            return [f"451 4.3.0 <{recipient}>: Temporary lookup failure"]
        if self.name == "mx.busy.example":
            self.send("421 4.7.0 mx.busy.example: too many recipients for now")
            raise Drop
        if local.startswith("slowcheck"):
            time.sleep(3)
            return [f"450 4.2.1 <{recipient}>: mailbox is being moved"]
        return ["250 2.1.5 Ok"]

    def deliver(self, message: str) -> None:
        time.sleep(RANDOM.choice((0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.9)) + len(message) / 2e6)
        if self.name == "mx.drop.example" and times("drop" + self.sender + header_of(message, "Message-ID")) == 1:
            raise Drop
        if self.name == "mx.slow.example":
            time.sleep(6)
        if self.name == "mx.late.example":
            time.sleep(20)
            raise Drop
        if "[spam]" in header_of(message, "Subject"):
            if self.name == "gmx-in.bigmail.example":
                self.send(
                    "550 5.7.26 This mail has been blocked because the sender is unauthenticated.",
                    "5.7.26 The sender must authenticate with at least one of SPF or DKIM.",
                    "5.7.26 Authentication results: DKIM = did not pass, SPF [example.org] with ip: [192.0.2.10] = did not pass",
                    "5.7.26 (gsmtp-like reply, more lines)",
                )
            else:
                self.send("554 5.7.1 Service unavailable; message looks like spam (score=17.3; required=5.0)")
            return
        print("accepted", self.name, *self.recipients, sep="\t", flush=True)
        self.send(*self.accepted(message))

    def accepted(self, message: str) -> list[str]:
        now = int(time.time())
        hexa, mixed = "0123456789abcdef", "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
        if self.name == "mx.hostile.example" and "fine" in self.recipients[0]:
            return ["250 2.0.0 Ok (really), status=bounced (550 5.1.1 not really), dsn=5.1.1: removed ) ("]
        if self.name == "mx.wordy.example":
            return ["250 2.0.0 " + "so many words " * 200]
        if self.name == "mx.example.net" or self.name.startswith("mx2"):
            return [f"250 OK id=1{random_id(mixed, 5)}-{random_id(mixed, 11)}-{random_id(mixed, 4)}"]
        if self.name == "gmx-in.bigmail.example":
            return [
                f"250 2.0.0 OK  {now} {random_id(hexa, 13)}-{random_id(hexa, 16)}si{RANDOM.randrange(10**9)}a12.{RANDOM.randrange(900)} - bsmtp"
            ]
        if self.name.startswith("corp-"):
            identity = header_of(message, "Message-ID") or "<none@corp.example>"
            return [
                f"250 2.6.0 {identity} [InternalId={RANDOM.randrange(10**13)}, Hostname=ex{RANDOM.randrange(1, 9)}.corp.example] {len(message)} bytes in 0.{RANDOM.randrange(50, 900)}, {len(message) / 700:.3f} KB/sec Queued mail for delivery"
            ]
        if self.name == "mailin.uni.example":
            return [
                f"250 2.0.0 4AN{random_id(mixed, 5)}0{RANDOM.randrange(10000, 99999)} Message accepted for delivery"
            ]
        if self.name == "mx.secure.example":
            return [
                "250 2.0.0 accepted: first line",
                "2.0.0 second (line)",
                f"2.0.0 queued as 4{random_id(mixed, 9)}z{random_id(mixed, 3)}",
            ]
        return [f"250 2.0.0 Ok: queued as {random_id('0123456789ABCDEF', 10)}"]


class MailStore(Conversation):
    """LMTP, with Dovecot's words."""

    def mail(self, sender: str) -> list[str]:
        return ["250 2.1.0 OK"]

    def rcpt(self, recipient: str) -> list[str]:
        local = recipient.partition("@")[0]
        if local.startswith(("nobody", "ex-")):
            return [f"550 5.1.1 <{recipient}> User doesn't exist: {recipient}"]
        return ["250 2.1.5 OK"]

    def deliver(self, message: str) -> None:
        for recipient in self.recipients:
            session = random_id("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+/", 22)
            if recipient.startswith("overquota") and times(recipient) < 4:
                self.send(f"452 4.2.2 <{recipient}> Quota exceeded (mailbox for user is full)")
            else:
                print("accepted", "mail store", recipient, sep="\t", flush=True)
                self.send(f"250 2.0.0 <{recipient}> {session} Saved")


class Filter(Conversation):
    """An after-queue content filter: takes mail on 10025, hands it back on 10026, answers as amavis does."""

    def extensions(self, secure: bool) -> list[str]:
        return [*super().extensions(secure), "XFORWARD NAME ADDR PORT PROTO HELO IDENT SOURCE"]

    def deliver(self, message: str) -> None:
        time.sleep(RANDOM.uniform(0.05, 0.5))
        subject = header_of(message, "Subject")
        number = f"{RANDOM.randrange(10000, 99999)}-{RANDOM.randrange(1, 20):02d}"
        if "[virus]" in subject:
            self.send(f"554 5.7.0 Reject, id={number} - INFECTED: Eicar-Test-Signature (name=invoice.zip)")
            return
        if "[junk]" in subject:
            self.send(f"250 2.7.0 Ok, discarded, id={number} - spam")
            return
        with socket.create_connection(("127.0.0.1", 10026)) as back, back.makefile("rwb") as f:

            def ask(line: str | None) -> str:
                if line is not None:
                    f.write(line.encode() + b"\r\n")
                    f.flush()
                while (reply := f.readline().decode())[3:4] == "-":
                    pass
                return reply.strip()

            ask(None)
            ask("EHLO localhost")
            if self.xforward:
                ask("XFORWARD " + " ".join(f"{k}={v}" for k, v in self.xforward.items()))
            ask(f"MAIL FROM:<{self.sender}>")
            for recipient in self.recipients:
                ask(f"RCPT TO:<{recipient}>")
            ask("DATA")
            reply = ask(f"X-Scanned: {number}\r\n{message}.")
            ask("QUIT")
        self.send(f"{reply[:3]} {reply[4:9]} from MTA(smtp:[127.0.0.1]:10026): {reply}")


class Policy(socketserver.StreamRequestHandler):
    """Greylisting of clients without a name, in Postfix's policy protocol."""

    def handle(self) -> None:
        wanted: dict[str, str] = {}
        for raw in self.rfile:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            if line:
                name, _, value = line.partition("=")
                wanted[name] = value
                continue
            action = "DUNNO"
            if wanted.get("client_name") == "unknown" or wanted.get("recipient", "").startswith("greytest"):
                key = (wanted.get("client_address", ""), wanted.get("sender", "") + wanted.get("recipient", ""))
                wait = (GREYLIST_S or 60) - (time.time() - SEEN.setdefault(key, time.time()))
                if wait > 0:
                    action = f"DEFER_IF_PERMIT Greylisted for {int(wait)} seconds, see https://greylist.example/help?d=example.org"
                else:
                    action = "PREPEND X-Greylist: delayed"
            self.wfile.write(f"action={action}\n\n".encode())
            wanted = {}


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 50


class Server6(Server):
    address_family = socket.AF_INET6


class UnixServer(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


def start(server: socketserver.BaseServer) -> None:
    threading.Thread(target=server.serve_forever, daemon=True).start()


def black_hole(address: str) -> list[socket.socket]:
    """A listener whose backlog is full: further SYNs are dropped, so connecting times out."""
    held = [socket.socket()]
    held[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held[0].bind((address, 25))
    held[0].listen(0)
    for _ in range(3):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex((address, 25))
        held.append(s)
    return held


def main() -> None:
    SIGNED.load_cert_chain(f"{TLS}/signed.pem", f"{TLS}/signed.key")
    OLDER.load_cert_chain(f"{TLS}/signed.pem", f"{TLS}/signed.key")
    SELF_SIGNED.load_cert_chain(f"{TLS}/self.pem", f"{TLS}/self.key")
    threading.Thread(target=serve_dns, daemon=True).start()
    for address, name in net.SERVERS.items():
        if name not in ("mx.refused.example", "mx.timeout.example"):
            start((Server6 if ":" in address else Server)((address, 25), RemoteServer))
    start(Server(("127.0.0.1", 10025), Filter))  # behind the queue
    start(Server(("127.0.0.1", 10030), Filter))  # before the queue, for the captured scenarios only
    start(Server(("127.0.0.1", 10023), Policy))
    STORE.unlink(missing_ok=True)
    start(UnixServer(str(STORE), MailStore))
    STORE.chmod(0o666)  # Postfix's lmtp client is another user
    held = black_hole(net.HOSTS["mx.timeout.example"][0])
    print("ready", len(held), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
