"""Finds out whether a file system has byte-range locks, which keep a second exporter out of the state file."""

import errno
import fcntl
import os
import struct
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

_WHOLE_FILE = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
"""The lock of a whole file: ``struct flock`` of Linux, from type to process id (fcntl(2))."""


def lacks_locks(folder: Path, lock: Callable[[int, int, bytes], object] = fcntl.fcntl) -> bool:
    """Return whether locks have no effect in this folder; False if this cannot be found out.

    Some mounts of NFS and SMB refuse every lock, others grant every lock. So a new file is opened and locked twice, and
    the second lock must be refused. ``lock`` is ``fcntl.fcntl``, or takes its place in tests.

    Locks of an open file description are used, because a process does not conflict with its own POSIX locks. Both kinds
    take the same way in the kernel.
    """
    if sys.platform != "linux":
        return False
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".locks-") as one, Path(one.name).open("rb+") as other:
            lock(one.fileno(), fcntl.F_OFD_SETLK, _WHOLE_FILE)
            try:
                lock(other.fileno(), fcntl.F_OFD_SETLK, _WHOLE_FILE)
            except OSError as error:
                return error.errno not in (errno.EAGAIN, errno.EACCES)
            return True
    except OSError as error:
        return error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS)
