"""Let the captured scenarios happen: two minutes and a half, then the table of what must have become of the mails."""

import time
from pathlib import Path

import administrating  # noqa: F401

# Each module registers its scenarios.
import arriving  # noqa: F401
import breaking  # noqa: F401
import core
import deferring  # noqa: F401
import delivering  # noqa: F401
import filing  # noqa: F401
import refusing  # noqa: F401
import ruling  # noqa: F401

OUT = Path("/var/log/world")


def main() -> None:
    began = time.time()
    core.run(0, 8)  # what needs time to expire
    core.run(1, 5)
    print("phase 1 done", time.time() - began, flush=True)
    core.run(2, 1)
    print("phase 2 done", time.time() - began, flush=True)
    time.sleep(max(0, began + 140 - time.time()))
    core.run(3, 1)  # what throws away the rest
    time.sleep(3)
    core.write_table(OUT / "scenarios.tsv", OUT / "disagreements")
    (OUT / "postlogd.log").write_bytes(Path("/var/log/postlogd/mail.log").read_bytes())


if __name__ == "__main__":
    main()
