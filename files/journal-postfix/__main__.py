"""Run journal-postfix from its folder: `python3 <folder> COMMAND …`."""

import signal

# While modules are loaded Ctrl-C ends the program at once and without a word.
signal.signal(signal.SIGINT, signal.SIG_DFL)

import sys  # noqa: E402
from pathlib import Path  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))

from journal_postfix.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
