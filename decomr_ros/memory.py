"""Makes glibc keep the freed memory of images for the next image.

By default glibc returns every large block to the system when it is freed. The next image then
gets new, zeroed pages: 2100 page faults per 1280x720 image and subscriber, which take half of the
time from the image's arrival to the callback.
"""

from __future__ import annotations

import ctypes

__all__ = ['keep_freed_memory']

# From malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
# Larger blocks are still allocated by mmap; this is the largest threshold that glibc accepts.
LARGEST_KEPT_BYTES = 32 << 20
# Unused memory at the end of a heap beyond this is returned to the system.
UNUSED_BYTES = 256 << 20

# By default glibc gives each thread its own arena. Memory freed by one thread is then useless to
# the others, and the process grows until every arena has reached its peak.
ARENAS = 1


def keep_freed_memory() -> bool:
    """Makes the process keep freed memory.

    Call it before the first thread is started, that is before NumPy is imported: glibc reads the
    number of arenas only once, when the second thread allocates memory.

    Returns:
        True with glibc; False with another C library, which is left unchanged.
    """
    set_option = getattr(ctypes.CDLL(None), 'mallopt', None)
    if set_option is None:
        return False
    return bool(
        set_option(M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES)
        and set_option(M_TRIM_THRESHOLD, UNUSED_BYTES)
        and set_option(M_ARENA_MAX, ARENAS)
    )
