"""Run a command that lacks something: ``confined.py nothing|override|size BYTES COMMAND…``.

``size``: no file may grow beyond so many bytes. ``override``: file permissions bind also root.
"""

import ctypes
import os
import resource
import sys

PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # linux/prctl.h, linux/capability.h


def main(kind: str, *command: str) -> None:
    """Give something up and become the command."""
    if kind == "size":
        limit, *command = command
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), int(limit)))
    elif (
        kind == "override" and os.geteuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0)
    ):
        sys.exit("cannot give up the right to override permissions")
    os.execv(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
