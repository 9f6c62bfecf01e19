"""Byte-range locks, which keep a second exporter out of the state file."""

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


def is_locked_by_sqlite(path: Path) -> bool:
    """Return whether another process has a lock of SQLite on the file; False if this cannot be found out.

    SQLite locks 512 bytes from the byte at 1 GiB on (https://www.sqlite.org/fileformat.html, "The Lock-Byte Page").
    The file is not opened with SQLite, because SQLite would read a WAL beside it that belongs to another file.
    """
    if sys.platform != "linux":
        return False
    wanted = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 1 << 30, 512, 0)
    with path.open("rb") as file:
        found = fcntl.fcntl(file.fileno(), fcntl.F_GETLK, wanted)
    return bool(struct.unpack_from("h", found)[0] != fcntl.F_UNLCK)
