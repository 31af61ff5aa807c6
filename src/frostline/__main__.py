"""`frostline` and `python -m frostline`: run the command line, without a traceback on Ctrl-C during imports."""

import signal
import sys


def main() -> None:
    """Import and run the command line; before and after that, Ctrl-C ends the process at once."""
    handler = signal.getsignal(signal.SIGINT)
    importing = handler is signal.default_int_handler  # neither ignored (`nohup`) nor handled elsewhere
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
        if importing:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(code)


if __name__ == "__main__":
    main()
