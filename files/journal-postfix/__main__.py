"""Run journal-postfix from its folder: `python3 <folder> COMMAND …`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from journal_postfix.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
