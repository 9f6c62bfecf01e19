"""Make the root file system of the distroless image: Python, the libraries that it needs, and nothing else.

    minimal_root.py ROOT ENVIRONMENT

The script copies the running Python and its standard library, the libraries of the system that Python and the
compiled packages of ENVIRONMENT load, certificates, and the names of users. ROOT then has no shell, no pip and no
package manager. Scanners find the copied packages of Debian in /var/lib/dpkg/status.d, as in the distroless images of
Google.
"""

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

UNUSED = ("ensurepip", "idlelib", "lib2to3", "pydoc_data", "site-packages", "test", "tests", "tkinter", "turtledemo")
"""Parts of the standard library that no server needs. `ensurepip` contains pip."""

LOADED_LATER = ("libgcc_s.so.1", "libresolv.so.2")
"""Libraries that the C library loads while it runs: for the end of a thread, and for names of hosts."""

FILES = ("etc/group", "etc/ld.so.cache", "etc/nsswitch.conf", "etc/os-release", "etc/passwd", "etc/ssl/openssl.cnf")


def main(root: Path, environment: Path) -> None:
    """Copy everything."""
    interpreter = Path(sys.executable).resolve()
    library = Path(sysconfig.get_path("stdlib"))
    compiled = [*library.glob("lib-dynload/*.so"), *environment.glob("lib/**/*.so*")]
    ignored = shutil.ignore_patterns(*UNUSED, "__pycache__", "*.a", "config-*")
    shutil.copytree(library, root / library.relative_to("/"), ignore=ignored)
    libraries = needed_libraries([interpreter, *compiled])
    for file in {interpreter, *libraries, *(Path("/", name) for name in FILES)}:
        if file.is_file() and not file.is_relative_to(environment):
            copy(file, root)
    for alias in ("python", "python3"):
        link = root / "usr/local/bin" / alias
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(interpreter)
    certificates = Path("/etc/ssl/certs/ca-certificates.crt")
    if certificates.is_file():
        copy(certificates, root)
    for folder in ("proc", "dev", "sys", "tmp", "etc/ssl/certs", "var/lib"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    record_packages(libraries, root)


def copy(file: Path, root: Path) -> None:
    """Copy a file, or the file to which a link leads, to the same path under ``root``."""
    target = root / file.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, target)


def needed_libraries(files: Iterable[Path]) -> set[Path]:
    """Return the shared libraries that these programs and libraries load, with the loader itself, as `ldd` finds them.

    The loader can list them itself, so neither `ldd` nor its shell is needed.
    """
    loader = next(path for path in Path("/").glob("lib*/ld-linux*.so.*"))
    found = {loader}
    for file in files:
        command = [loader, "--list", file]
        listed = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - our own files
        found |= {Path(path) for path in re.findall(r"=> (/\S+) \(0x", listed)}
    folders = {path.parent for path in found}
    return found | {folder / name for folder in folders for name in LOADED_LATER if (folder / name).is_file()}


def record_packages(libraries: Iterable[Path], root: Path) -> None:
    """Write the entries of the packages of Debian that own these libraries, for the scanners."""
    names = {library.name for library in libraries}
    status = Path("/var/lib/dpkg/status")
    if not status.is_file():
        return
    folder = root / "var/lib/dpkg/status.d"
    folder.mkdir(parents=True)
    owners = {
        listed.stem.partition(":")[0]
        for listed in Path("/var/lib/dpkg/info").glob("*.list")
        if names & {Path(line).name for line in listed.read_text().splitlines()}
    }
    for entry in status.read_text().split("\n\n"):
        package = re.match(r"Package: (.*)", entry)
        if package and package[1] in owners | {"ca-certificates"}:
            (folder / package[1]).write_text(f"{entry}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
