"""Work that lacks something: room for its files, or root's right to override permissions."""

import ctypes
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

CAPABILITY_VERSION_3, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 0x20080522, 1, 2  # linux/capability.h


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """No file may grow beyond so many bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def bound_by_permissions() -> Iterator[None]:
    """File permissions bind also root, until this process ends."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
        sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then those beyond 32
        libc.capget(header, sets)
        sets[0] &= ~(1 << CAP_DAC_OVERRIDE | 1 << CAP_DAC_READ_SEARCH)
        if libc.capset(header, sets):
            raise OSError(ctypes.get_errno(), "cannot give up the right to override permissions")
    yield
