"""What says something about the mail system rather than about a mail: master, anvil, caches, lookup tables.

Takes nothing, gives `ENTRIES`. Two of these texts can come from any program.
"""

from __future__ import annotations

from .grammar import ANY_COMPONENT, entry, named
from .tokens import NUMBER

_ANY = " ".join(ANY_COMPONENT)

# ctime() without weekday and year: "Nov  3 04:13:11" (anvil_status_dump, src/anvil/anvil.c).
_CTIME = r"([A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2})"

ENTRIES = (
    entry(
        "anvil.stat",
        "anvil",
        "statistics",
        rf"statistics: max ([a-z]++) (rate) ({NUMBER})/({NUMBER})s for \((.*)\) at {_CTIME}",
        named("what", "kind", "count:int", "per_seconds:int", "rate_key", "at"),
        queue_id=False,
    ),
    entry(
        "anvil.stat",
        "anvil",
        "statistics",
        rf"statistics: max ([a-z]++) (count|size) ({NUMBER})(?: for \((.*)\))? at {_CTIME}",
        named("what", "kind", "count:int", "rate_key", "at"),
        queue_id=False,
    ),
    entry("scache.stat", "scache", "statistics", r"statistics: (.*)", named("text"), queue_id=False),
    entry(
        "cache.cleanup",
        "verify postscreen tlsmgr",
        "cache",
        rf"cache (.*) (full|partial) cleanup: retained=({NUMBER}) dropped=({NUMBER}) entries",
        named("cache", "kind", "retained:int", "dropped:int"),
        queue_id=False,
    ),
    entry(
        "master.life",
        "master",
        "daemon reload",
        r"(daemon started|reload) -- version ([^ ,]++), configuration (.*)",
        named("event", "version", "configuration"),
        queue_id=False,
    ),
    entry(
        "master.life",
        "master",
        "terminating master",
        rf"(terminating on signal|master exit time has arrived)(?: ((?!1\Z){NUMBER}))?",
        named("event", "signal:int"),
        queue_id=False,
    ),
    entry(
        "script.life",
        "postfix-script postfix",
        "starting stopping refreshing aborting waiting the",
        r"((?:starting|stopping|refreshing|aborting) the Postfix mail system.*"
        r"|waiting for the Postfix mail system to terminate|the Postfix mail system is .*)",
        named("event"),
        queue_id=False,
    ),
    entry(
        "master.process",
        "master",
        "process",
        rf"process (.*) pid ({NUMBER}) (exit status|killed by signal|stopped by signal) ({NUMBER})",
        named("program", "process_pid:int", "event", "code:int"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "master.process",
        "master",
        "",
        r"(.*): (bad command startup -- throttling)",
        named("program", "event"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "master.process",
        "master",
        "service",
        rf'service "([^"]*+)" \(([^()]*+)\) (has reached its process limit) "({NUMBER})": .*',
        named("limit_service", "endpoint", "event", "limit:int"),
        queue_id=False,
        severe=True,
    ),
    entry(
        "table.changed",
        _ANY,
        "table",
        r"table (.*) has changed -- restarting",
        named("table"),
        queue_id=False,
    ),
    # The key is what a client sent; the first mark is Postfix's (src/global/maps.c).
    entry(
        "maps.error",
        _ANY,
        "",
        r'([a-z0-9-]++:(?:(?! lookup error for ").)*) lookup error for "(.*)"',
        named("table", "key"),
        queue_id=None,
        severe=True,
    ),
    entry(
        "maps.error",
        _ANY,
        "table",
        r"table ([^ ]*[^ :]): key (.*): (.*)",
        named("table", "key", "reason"),
        queue_id=None,
        severe=True,
    ),
)
