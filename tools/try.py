"""Starts tools/demo.py such that Ctrl-C while it is loaded ends it at once, without a traceback."""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from demo import main

    sys.exit(main(sys.argv[1:]))
