"""Whether a file system has byte-range locks."""

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.model.errors import StateError
from exporter.state.locks import lacks_locks
from exporter.state.store import open_state


def refuses(number: int) -> Callable[[int, int, bytes], object]:
    """Return a lock function that fails with this error number."""

    def lock(_descriptor: int, _command: int, _request: bytes) -> object:
        raise OSError(number, "")

    return lock


def test_a_local_folder_has_locks(tmp_path: Path) -> None:
    """On a local file system the second lock of a file is refused, and the file of the test is removed."""
    assert not lacks_locks(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_mount_that_grants_every_lock_has_none(tmp_path: Path) -> None:
    """If two descriptions of a file get the same lock, locks have no effect."""
    assert lacks_locks(tmp_path, lambda *_: b"")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_mount_that_refuses_every_lock_has_none(tmp_path: Path, number: int) -> None:
    """If the first lock is refused because the mount has no locks, locks have no effect."""
    assert lacks_locks(tmp_path, refuses(number))


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_an_unclear_answer_is_no_warning(tmp_path: Path, number: int) -> None:
    """If the kernel does not know these locks, nothing is said about the mount."""
    assert not lacks_locks(tmp_path, refuses(number))


def test_a_folder_that_does_not_exist_is_no_mount_without_locks(tmp_path: Path) -> None:
    """The error about a missing folder speaks of the folder and not of locks."""
    with pytest.raises(StateError, match="expected an existing folder"):
        open_state(tmp_path / "missing" / "state.db", 0.0)
