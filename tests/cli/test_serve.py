"""`serve` lets its threads share memory, and reloads a changed file."""

import sys
import threading

import pytest

from exporter.cli.auto_reload import AutoReload
from tests.support import run

PROGRAM = """
import ctypes, sys, threading
from exporter.cli.serve import share_one_arena

libc = ctypes.CDLL(None)
if not hasattr(libc, "malloc_info"):
    print("no GNU C library")
    sys.exit()
share_one_arena()
libc.malloc.restype = ctypes.c_void_p
meet = threading.Barrier(8)

def allocate():
    meet.wait()
    libc.malloc(ctypes.c_size_t(5000))
    meet.wait()

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fopen(b"/dev/stdout", b"w"))
libc.malloc_info(0, out)
libc.fclose(out)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("environ", "alone"), [({}, True), ({"MALLOC_ARENA_MAX": "4"}, False)])
def test_all_threads_share_one_arena_unless_the_environment_says_otherwise(tmp_path, environ, alone):
    """With the GNU C library eight threads allocate from one arena; MALLOC_ARENA_MAX in the environment wins."""
    printed = run(sys.executable, "-c", PROGRAM, folder=tmp_path, environ=environ)
    assert printed.exit_code == 0, printed.stderr
    if "no GNU C library" not in printed.stdout:
        assert (printed.stdout.count("<heap nr=") == 1) is alone


def test_a_change_right_after_the_start_is_noticed(tmp_path):
    """A file that changes after `AutoReload` was made, and before its thread starts, is reloaded."""
    file = tmp_path / "config.yaml"
    file.write_text("old")
    auto_reload = AutoReload(file)
    file.write_text("new")
    reloaded = threading.Event()
    auto_reload.start(reloaded.set, interval=0.001)
    assert reloaded.wait(30)
    auto_reload.stop()


def test_a_file_that_cannot_be_read_has_not_changed(tmp_path):
    """A file that disappears and returns with the same content has not changed; other content is one change."""
    file = tmp_path / "config.yaml"
    file.write_text("old")
    auto_reload = AutoReload(file)
    file.unlink()
    assert not auto_reload.changed()
    file.write_text("old")
    assert not auto_reload.changed()
    file.write_text("new")
    assert [auto_reload.changed(), auto_reload.changed()] == [True, False]
