"""What the C library does with memory that is given back."""

from __future__ import annotations

import ctypes

# mallopt's numbers (malloc.h of glibc).
M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
KEPT_BYTES = 2**31 - 1


def keep_freed_memory() -> None:
    """Let glibc hand out freed memory again instead of returning it to the system and faulting it in anew.

    The page faults were half the time of SAM's ViT-B on two cores (benchmarks/generator.py). Other C libraries have
    no `mallopt` and are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        # Further arenas, which threads would get, give up freed memory whatever the threshold is.
        mallopt(M_ARENA_MAX, 1)
