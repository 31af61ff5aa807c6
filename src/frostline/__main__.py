"""``frostline`` and ``python -m frostline``: the command line; Ctrl-C while it is imported leaves no traceback."""

import signal
import sys


def main() -> None:
    """Import the command line and run it; before and after that Ctrl-C simply ends the process."""
    handler = signal.getsignal(signal.SIGINT)
    importing = handler is signal.default_int_handler  # not ignored, as under `nohup`, nor taken by somebody else
    if importing:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from frostline.cli.main import INTERRUPTED, run

    code = INTERRUPTED
    try:
        if importing:
            signal.signal(signal.SIGINT, handler)
        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        pass
    finally:
        if importing:  # all is done
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


if __name__ == "__main__":
    main()
