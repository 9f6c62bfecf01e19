"""Where the memory of many threads comes from."""

import sys

import pytest

from tests.support import run

PROGRAM = """
import ctypes, sys, threading
from exporter.cli.arenas import share_one_arena

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
    """With the GNU C library eight threads allocate from one arena; with MALLOC_ARENA_MAX set it is as that says."""
    printed = run(sys.executable, "-c", PROGRAM, folder=tmp_path, environ=environ)
    assert printed.exit_code == 0, printed.stderr
    if "no GNU C library" not in printed.stdout:
        assert (printed.stdout.count("<heap nr=") == 1) is alone
