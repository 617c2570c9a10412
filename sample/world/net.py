"""The names and addresses of the sample's little world (RFC 2606, 5737 and 3849 only)."""

# The mail server itself: the main instance, the outbound instance, postscreen, a listener that rejects at once, the
# instance that logs by postlogd (captured scenarios only).
MX = "192.0.2.10"
MX6 = "2001:db8:10::10"
OUT = "192.0.2.11"
SCREEN = "192.0.2.12"
STRICT = "192.0.2.13"
FILE = "192.0.2.14"

# host name -> addresses; each gets a PTR record and stands on the loopback interface.
HOSTS = {
    "mx1.example.org": [MX, MX6],
    "out.example.org": [OUT],
    "file.example.org": [FILE],
    "mx2.example.org": [SCREEN],
    "strict.example.org": [STRICT],
    # our own hosts, which may relay
    "app1.example.org": ["192.0.2.31"],
    "printer.example.org": ["192.0.2.32"],
    "inner.example.org": ["192.0.2.50"],
    # our users' computers
    "dsl-17.isp.example": ["203.0.113.17", "2001:db8:cafe::17"],
    "dsl-18.isp.example": ["203.0.113.18"],
    "mobile-9.isp.example": ["203.0.113.29"],
    # other people's mail servers (they receive; some also send)
    "mx1.example.com": ["198.51.100.11"],
    "mx2.example.com": ["198.51.100.12", "2001:db8:c0::12"],
    "mx.example.net": ["198.51.100.21"],
    "gmx-in.bigmail.example": ["198.51.100.31", "2001:db8:b16::31"],
    "corp-example.mail.protection.test": ["198.51.100.41"],
    "mailin.uni.example": ["198.51.100.51"],
    "mx6.six.example": ["2001:db8:6::25"],
    "mx.greylist.example": ["198.51.100.61"],
    "mx.full.example": ["198.51.100.62"],
    "mx.refused.example": ["198.51.100.63"],
    "mx.timeout.example": ["198.51.100.64"],
    "mx.silent.example": ["198.51.100.65"],
    "mx.drop.example": ["198.51.100.66"],
    "mx.closed.example": ["198.51.100.67"],
    "mx.plain.example": ["198.51.100.68"],
    "mx.secure.example": ["198.51.100.69"],
    "mx.selfsigned.example": ["198.51.100.70"],
    "mx.picky.example": ["198.51.100.71"],
    "mx.hostile.example": ["198.51.100.72"],
    "mx1.backup.example": ["198.51.100.73"],
    "mx2.backup.example": ["198.51.100.74"],
    "mx.slow.example": ["198.51.100.75"],
    # those that only the captured scenarios know
    "mx.pix.example": ["198.51.100.81"],
    "mx.wordy.example": ["198.51.100.82"],
    "mx.notls.example": ["198.51.100.83"],
    "mx.hangs.example": ["198.51.100.84"],
    "mx.busy.example": ["198.51.100.85"],
    "mx.late.example": ["198.51.100.86"],
    "mx1.twoway.example": ["198.51.100.87"],
    "mx2.twoway.example": ["198.51.100.88"],
    "mx.reuse.example": ["198.51.100.89"],
    # senders
    "mail-ej1.bigmail.example": ["198.51.100.131", "2001:db8:b16::131"],
    "mail-ua2.bigmail.example": ["198.51.100.132"],
    "mail-corp.protection.test": ["198.51.100.141"],
    "smtp.uni.example": ["198.51.100.151"],
    "shop.example": ["198.51.100.161"],
    "newsletter7.letters.test": ["198.51.100.171"],
    "relay.handwerk.example": ["198.51.100.181"],
    "smtp6.verein.example": ["2001:db8:7e::25"],
    "lists.software.test": ["198.51.100.191"],
    "host-66.spam.test": ["203.0.113.66"],
    "mail.test.invalid-helo.example": ["203.0.113.70"],
    "scanner.example.net": ["203.0.113.80"],
}
# clients without any name: unknown[...]
NAMELESS = [
    "203.0.113.5",
    "203.0.113.99",
    "203.0.113.123",
    "203.0.113.200",
    "203.0.113.201",
    "2001:db8:bad::5",
    "203.0.113.202",
]
# PTR to a name that does not point back
LIARS = {"203.0.113.77": "mail.trick.example", "203.0.113.78": "mail.liar.example"}
LIAR_A = {"mail.liar.example": "203.0.113.79"}  # exists, but elsewhere

# domain -> mail exchangers in order of preference; [] is a null MX
MAIL_DOMAINS = {
    "example.org": ["mx1.example.org"],
    "example.com": ["mx1.example.com", "mx2.example.com"],
    "example.net": ["mx.example.net"],
    "bigmail.example": ["gmx-in.bigmail.example"],
    "corp.example": ["corp-example.mail.protection.test"],
    "uni.example": ["mailin.uni.example"],
    "six.example": ["mx6.six.example"],
    "backup.example": ["mx1.backup.example", "mx2.backup.example"],
    "twoway.example": ["mx1.twoway.example", "mx2.twoway.example"],
    "loops.example": ["mx1.example.org"],
    "noaddress.example": ["gone.noaddress.example"],
    "nullmx.example": [],
    "verein.example": ["mailin.uni.example"],
    "handwerk.example": ["mx.example.net"],
    "letters.test": ["mx.example.net"],
    "software.test": ["mx1.example.com"],
    "shop.example": ["shop.example"],
    "isp.example": ["mx.example.net"],
    "spam.test": ["mx.example.net"],
    "spammer.example": ["mx.example.net"],
    "slowpoke.example": ["mx.example.net"],
    "nodata.test": ["mx.example.net"],
    "noend.test": ["mx.example.net"],
    "badfrom.test": ["mx.example.net"],
    "lists.example.org": ["mx1.example.org"],
} | {
    f"{name}.example": [f"mx.{name}.example"]
    for name in (
        "greylist",
        "full",
        "refused",
        "timeout",
        "silent",
        "drop",
        "closed",
        "plain",
        "secure",
        "selfsigned",
        "picky",
        "hostile",
        "slow",
        "pix",
        "wordy",
        "notls",
        "hangs",
        "busy",
        "late",
        "reuse",
    )
}
SERVFAIL = {"servfail.example"}
NO_MAIL = {"nomail.example": "203.0.113.254"}  # an address without anything behind it, and no MX
BLOCKED = {"203.0.113.66", "203.0.113.99"}  # on the block list dnsbl.example

# addresses on which one of the other people's servers listens
SERVERS = {
    address: name
    for name, addresses in HOSTS.items()
    for address in addresses
    if name.startswith(("mx", "gmx", "mailin", "inner", "corp-")) and not name.endswith("example.org")
} | {"192.0.2.50": "inner.example.org", "198.51.100.161": "shop.example"}


def all_addresses() -> list[str]:
    return [a for addresses in HOSTS.values() for a in addresses] + NAMELESS + list(LIARS)
