"""Make the C library keep the memory that a training step frees, for the next step."""

from __future__ import annotations

import ctypes
import os

# Option numbers from glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3

MIB = 2**20
THRESHOLDS = {
    M_MMAP_THRESHOLD: 32 * MIB,  # the maximum that glibc accepts
    M_TRIM_THRESHOLD: 1024 * MIB,
    M_TOP_PAD: 64 * MIB,
}


def keep_freed_memory() -> bool:
    """Tell glibc not to return freed memory to the system. Call it before the first tensor.

    By default glibc returns the large buffers of each step. The next step gets them back through
    page faults, which cost time. No result changes; memory that was used once stays allocated.

    Returns:
        True if the C library is glibc and accepted the options. Others are not touched.
    """
    if not has_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in THRESHOLDS.items())


def has_glibc() -> bool:
    """Whether this process runs on the GNU C library."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # other systems do not know this name
        return False
