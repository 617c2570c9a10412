"""One mail over all kinds of legs: submitted, filtered, re-injected, by an alias to three, one of which bounces at last."""

import time

import scenario


def main() -> None:
    scenario.submit("alice", "club@example.org", "All legs [filter]", source="dsl-17.isp.example", length=300)
    time.sleep(15)


if __name__ == "__main__":
    main()
