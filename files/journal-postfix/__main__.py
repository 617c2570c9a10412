"""Run journal-postfix from its folder: `python3 <folder> COMMAND …`."""

import signal

# While modules are loaded Ctrl-C ends the program at once and without a word; where it is ignored, as in the background
# of a script, it stays so.
if signal.getsignal(signal.SIGINT) != signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

try:
    # Here, too, as a command's module is loaded when it is called.
    from journal_postfix.cli.main import main

    if __name__ == "__main__":
        sys.exit(main())
except ModuleNotFoundError as error:
    # What a fresh machine lacks is named by its package, not by a traceback.
    module = (error.name or "").partition(".")[0]
    if module not in ("psycopg2", "yaml"):
        raise
    sys.exit(
        f"journal-postfix: {sys.executable} has no module {module}; Debian's python3 gets what is needed by: "
        "apt-get install python3-psycopg2 python3-yaml"
    )
