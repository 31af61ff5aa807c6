"""``frostline`` and ``python -m frostline``: the command line; Ctrl-C while it is imported leaves no traceback."""

import signal
import sys


def main() -> None:
    """Import the command line, during which Ctrl-C simply ends the process, and run it."""
    handler = signal.getsignal(signal.SIGINT)
    importing = handler is signal.default_int_handler  # not ignored, as under `nohup`, nor taken by somebody else
    if importing:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from frostline.cli.main import run

    if importing:
        signal.signal(signal.SIGINT, handler)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
