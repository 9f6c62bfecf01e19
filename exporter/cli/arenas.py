"""How the C library hands out memory: from one arena, so that what one thread has freed serves the next one."""

import ctypes
import os

_M_ARENA_MAX = -8
"""From malloc.h of the GNU C library."""


def share_one_arena() -> None:
    """Keep the GNU C library's malloc to one arena; to be called before there are other threads.

    It would make eight for each core, and each keeps the most that its threads have ever held at a time: the process
    grows for hours. They are there for threads that allocate at the same moment, which those of Python seldom do.
    Whoever sets ``MALLOC_ARENA_MAX`` is obeyed. Other C libraries have nothing to set.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
