"""Start another program in place of this process, with the restrictions of a systemd service.

    confined.py LIBSECCOMP SYSTEM_CALLS ADDRESS_FAMILIES PROGRAM [ARGUMENT ...]

LIBSECCOMP is the path of the library. The lists are separated by commas. SYSTEM_CALLS has the names of the allowed
system calls; all other calls fail with EPERM. ADDRESS_FAMILIES has the numbers of the allowed socket families.
Writable memory cannot become executable (MemoryDenyWriteExecute=), and the program cannot gain privileges.
"""

import ctypes
import errno
import os
import sys

PR_SET_NO_NEW_PRIVS, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 38, 65, 1
ALLOW, FAIL, IS_EQUAL = 0x7FFF0000, 0x00050000 | errno.EPERM, 4


class Comparison(ctypes.Structure):
    """`struct scmp_arg_cmp`: a comparison of one argument of a system call."""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("datum_a", ctypes.c_uint64),
        ("datum_b", ctypes.c_uint64),
    )


def check(result: int, what: str) -> None:
    """Exit if a call of libseccomp returned an error."""
    if result != 0:
        sys.exit(f"confined.py: {what}: {result}")


def confine(libseccomp: str, calls: list[str], families: list[int]) -> None:
    """Apply the restrictions to this process. They cannot be removed."""
    libc, seccomp = ctypes.CDLL(None), ctypes.CDLL(libseccomp)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(FAIL))
    for call in calls:
        number = seccomp.seccomp_syscall_resolve_name(call.encode())
        if number < 0:
            continue  # this architecture does not have the call
        if call != "socket":
            check(seccomp.seccomp_rule_add_array(context, ALLOW, number, 0, None), call)
            continue
        for family in families:
            first = Comparison(0, IS_EQUAL, family, 0)
            check(seccomp.seccomp_rule_add_array(context, ALLOW, number, 1, ctypes.byref(first)), call)
    check(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    check(libc.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0), "memory")
    check(seccomp.seccomp_load(context), "load")


if __name__ == "__main__":
    library, allowed, addresses, *program = sys.argv[1:]
    confine(library, allowed.split(","), [int(number) for number in addresses.split(",")])
    os.execv(program[0], program)  # noqa: S606 - the tests choose the program
