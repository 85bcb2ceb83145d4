"""How this process deals with the memory of images that it has done with.

By itself glibc gives every large block back to the system when it is freed, and the next image
gets it anew, page by page, each one zeroed: 2100 page faults per 1280x720 image and subscriber,
which is half of the time from its arrival to the callback. Kept, the memory is there already.
"""

from __future__ import annotations

import ctypes

__all__ = ['keep_freed_memory']

# From malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
# The largest that glibc accepts: blocks from here on come from the system, as before.
LARGEST_KEPT_BYTES = 32 << 20
# More unused memory than this at the end of a heap is given back.
UNUSED_BYTES = 256 << 20

# By itself glibc gives each thread a store of its own, so that one thread's free memory is of no
# use to another, and the process grows until each has met its busiest moment.
ARENAS = 1


def keep_freed_memory() -> bool:
    """Lets freed memory stay with the process.

    To be called before it has threads, which means before NumPy is imported: glibc looks at the
    number of stores only once, when the second thread wants memory.

    Returns:
        Whether the C library can: glibc does; others go on as they are.
    """
    set_option = getattr(ctypes.CDLL(None), 'mallopt', None)
    if set_option is None:
        return False
    return bool(set_option(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
                and set_option(M_TRIM_THRESHOLD, UNUSED_BYTES)
                and set_option(M_ARENA_MAX, ARENAS))
