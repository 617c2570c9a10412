"""A mail filter (milter) that refuses, holds or discards by words in addresses and subjects."""

import Milter


class World(Milter.Base):
    def __init__(self) -> None:
        self.id = Milter.uniqueID()
        self.subject = ""

    def connect(self, hostname, family, address):
        return Milter.REJECT if address and address[0] == "203.0.113.202" else Milter.CONTINUE

    def hello(self, name):
        if "milterhelo" in name:
            self.setreply("550", "5.7.1", "no such greeting")
            return Milter.REJECT
        return Milter.CONTINUE

    def envfrom(self, sender, *_):
        if "milterfrom" in sender:
            self.setreply("451", "4.7.1", "come back later", "the milter is thinking")
            return Milter.TEMPFAIL
        return Milter.CONTINUE

    def envrcpt(self, recipient, *_):
        if "milterdrop" in recipient:
            return Milter.DISCARD
        if "milterrcpt" in recipient:
            self.setreply("550", "5.7.1", "recipient does not want mail (from=<you>; to=<me>)")
            return Milter.REJECT
        return Milter.CONTINUE

    def header(self, name, value):
        if name.lower() == "subject":
            self.subject = value
        return Milter.CONTINUE

    def eom(self):
        if "[milter-reject]" in self.subject:
            self.setreply("554", "5.7.1", "Spam message rejected", "second line: status=sent")
            return Milter.REJECT
        if "[milter-tempfail]" in self.subject:
            return Milter.TEMPFAIL
        if "[milter-header]" in self.subject:
            self.addheader("X-Spam-Flag", "YES, score=(12.3)")
        if "[milter-hold]" in self.subject:
            self.quarantine("looks phishy")
        return Milter.DISCARD if "[milter-discard]" in self.subject else Milter.ACCEPT


Milter.factory = World
Milter.set_flags(Milter.QUARANTINE | Milter.ADDHDRS)
Milter.runmilter("world", "inet:10028@127.0.0.1", 30)
