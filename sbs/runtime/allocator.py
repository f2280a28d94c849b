"""Let the process keep the memory that a training step frees, for the next step."""

from __future__ import annotations

import ctypes
import os

# Names and numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3

MIB = 2**20
THRESHOLDS = {
    M_MMAP_THRESHOLD: 32 * MIB,  # the largest that glibc takes
    M_TRIM_THRESHOLD: 1024 * MIB,
    M_TOP_PAD: 64 * MIB,
}


def keep_freed_memory() -> bool:
    """Tell glibc not to give freed memory back to the system. Call it before the first tensor.

    By default it returns the large buffers of every step, and the next step faults them in again,
    page by page. No number changes; memory that was used once stays with the process.

    Returns:
        Whether there is glibc and it agreed; other C libraries are left alone.
    """
    if not has_glibc():
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all(mallopt(name, value) == 1 for name, value in THRESHOLDS.items())


def has_glibc() -> bool:
    """Whether this process runs on the GNU C library."""
    try:
        return (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc")
    except (ValueError, OSError):  # the name is unknown elsewhere
        return False
