"""Install the programs that the tests need into `.tools/`, which git ignores.

    python tests/tools/install.py [NAME ...]        (without names: all of them)

Debian programs are downloaded with apt and unpacked, but not installed. This needs no root, and does not change the
machine's own apt: apt runs in a separate folder, with the mirror that the machine already uses and with Debian's
keyring. It still checks signatures and hashes. Programs that are there already are not installed again.

A program that cannot be installed is named on stderr in one line. The command fails for this only if CI=true is in
the environment. There every test must run; elsewhere the tests that need the program are skipped.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / ".tools"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEADLINE_SECONDS = 600
ALERTMANAGERS_TEMPLATES = {"usr/bin/prometheus-alertmanager": "/usr/share/prometheus/alertmanager"}
DATA_FD = 9
"""The file descriptor for the data of a relocated program. It is the highest number that every shell can open."""


class UnavailableError(Exception):
    """A tool cannot be installed on this machine. The message gives the reason in one line."""


@dataclass(frozen=True)
class DebianTool:
    """Packages of one Debian suite, and a program in them with the version that the tests expect."""

    suite: str
    packages: tuple[str, ...]
    program: str
    version_flag: str
    version: str
    relocated: Mapping[str, str] = field(default_factory=dict)
    """The compiled-in data path of each program that has one, by program."""

    def install(self, folder: Path) -> None:
        """Download and unpack into `folder`. On failure, leave nothing and raise UnavailableError."""
        recipe = folder / ".recipe"
        if recipe.is_file() and recipe.read_text() == repr(self):
            return
        TOOLS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TOOLS, prefix=".new-") as scratch:
            unpacked = Path(scratch, "root")
            for package in download(self.suite, self.packages, Path(scratch, "apt")):
                run("dpkg-deb", "-x", package, unpacked)
            for program, data in self.relocated.items():
                relocate(unpacked, program, data)
            self.check(unpacked)
            (unpacked / ".recipe").write_text(repr(self))
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)

    def check(self, unpacked: Path) -> None:
        """Start the program once, because a build of another suite may need libraries that this machine lacks."""
        libraries = {file.parent for file in unpacked.glob("usr/lib/*-linux-gnu/**/lib*.so*")}
        environ = {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        answer = run(unpacked / self.program, self.version_flag, environ=environ)
        if self.version not in answer:
            raise UnavailableError(f"wanted {self.version!r}, got {answer.splitlines()[0]!r}")


@dataclass(frozen=True)
class LockedTool:
    """Python packages in a separate environment. A script installs them from a lock file; both are in this folder."""

    script: str
    lock: str

    def install(self, folder: Path) -> None:
        """Run the script that fills `folder`, unless this lock has filled it; UnavailableError if the script fails."""
        recipe = folder / ".recipe"
        wanted = (HERE / self.lock).read_text()
        if not recipe.is_file() or recipe.read_text() != wanted:
            run(HERE / self.script, environ={"PYTHON": sys.executable})
            recipe.write_text(wanted)


EVERY_TEST_TOOL = (
    "prometheus-2",
    "prometheus-3",
    "awscli",
    "shipping",
    "containers",
    "systemd",
    "tmux",
    "zsh",
    "fish",
    "chromium",
    "nginx",
    "jq",
)
KNOWN: dict[str, DebianTool | LockedTool] = {
    "prometheus-2": DebianTool(
        suite="bookworm",
        packages=("prometheus", "prometheus-alertmanager"),
        program="usr/bin/prometheus",
        version_flag="--version",
        version="version 2.",
        relocated=ALERTMANAGERS_TEMPLATES,
    ),
    "prometheus-3": DebianTool(
        suite="forky",
        packages=("prometheus", "promtool", "prometheus-alertmanager"),
        program="usr/bin/prometheus",
        version_flag="--version",
        version="version 3.",
        relocated=ALERTMANAGERS_TEMPLATES,
    ),
    "classic-prometheus": DebianTool(
        suite="bookworm",
        # Prometheus with its web pages, for `make pictures`. Later packages of Debian do not contain these pages.
        packages=(
            *("prometheus", "fonts-glyphicons-halflings", "libjs-bootstrap4", "libjs-d3", "libjs-jquery"),
            *("libjs-eonasdan-bootstrap-datetimepicker", "libjs-jquery-hotkeys", "libjs-moment"),
            *("libjs-moment-timezone", "libjs-mustache", "libjs-popper.js", "libjs-rickshaw"),
        ),
        program="usr/bin/prometheus",
        version_flag="--version",
        version="version 2.",
        relocated={"usr/bin/prometheus": "/usr/share/prometheus"},
    ),
    "nginx": DebianTool(
        suite="bookworm",
        packages=("nginx",),
        program="usr/sbin/nginx",
        version_flag="-v",
        version="nginx/1.",
    ),
    "jq": DebianTool(
        suite="bookworm",
        packages=("jq", "libjq1", "libonig5"),
        program="usr/bin/jq",
        version_flag="--version",
        version="jq-1.",
    ),
    "awscli": LockedTool(script="install-awscli", lock="awscli.lock"),
    "shipping": LockedTool(script="install-shipping", lock="shipping.lock"),
    "containers": DebianTool(
        suite="bookworm",
        packages=("buildah", "runc", "libassuan0", "libdevmapper1.02.1", "libgpg-error0", "libgpgme11", "libseccomp2"),
        program="usr/bin/buildah",
        version_flag="--version",
        version="version 1.",
    ),
    "chromium": DebianTool(
        suite="bookworm",
        # The browser without a window system, the libraries that it links to, and one font.
        packages=(
            *("chromium-headless-shell", "chromium-common", "fonts-dejavu-core", "fontconfig-config", "zlib1g"),
            *("libasound2", "libasyncns0", "libatk1.0-0", "libatspi2.0-0", "libblkid1", "libbrotli1", "libbsd0"),
            *("libcap2", "libdav1d6", "libdbus-1-3", "libdouble-conversion3", "libdrm2", "libexpat1", "libffi8"),
            *("libflac12", "libfontconfig1", "libfreetype6", "libgbm1", "libgcrypt20", "libglib2.0-0", "libgpg-error0"),
            *("libgraphite2-3", "libharfbuzz-subset0", "libharfbuzz0b", "libjpeg62-turbo", "liblz4-1", "liblzma5"),
            *("libmd0", "libminizip1", "libmount1", "libmp3lame0", "libmpg123-0", "libnspr4", "libnss3", "libogg0"),
            *("libopenh264-7", "libopus0", "libpcre2-8-0", "libpng16-16", "libpulse0", "libselinux1", "libsndfile1"),
            *("libsqlite3-0", "libstdc++6", "libsystemd0", "libudev1", "libvorbis0a", "libvorbisenc2"),
            *("libwayland-server0", "libx11-6", "libx11-xcb1", "libxau6", "libxcb1", "libxcomposite1", "libxdamage1"),
            *("libxdmcp6", "libxext6", "libxfixes3", "libxi6", "libxkbcommon0", "libxnvctrl0", "libxrandr2"),
            *("libxrender1", "libzstd1"),
        ),
        program="usr/lib/chromium/chromium-headless-shell",
        version_flag="--version",
        version="Chrom",
    ),
    "systemd": DebianTool(
        suite="bookworm",
        packages=("systemd", "libsystemd-shared", "libapparmor1", "libip4tc2", "libkmod2", "libseccomp2"),
        program="usr/bin/systemd-analyze",
        version_flag="--version",
        version="systemd 252",
    ),
    "tmux": DebianTool(
        suite="bookworm",
        packages=("tmux", "libevent-core-2.1-7", "libutempter0"),
        program="usr/bin/tmux",
        version_flag="-V",
        version="tmux 3.",
    ),
    "zsh": DebianTool(
        suite="bookworm",
        packages=("zsh", "zsh-common", "libcap2"),
        program="bin/zsh",
        version_flag="--version",
        version="zsh 5.",
    ),
    "fish": DebianTool(
        suite="bookworm",
        packages=("fish", "fish-common", "libpcre2-32-0"),
        program="usr/bin/fish",
        version_flag="--version",
        version="version 3.",
    ),
}


def relocate(unpacked: Path, program: str, data: str) -> None:
    """Make a program read its files from the folder `data` of the package instead of that of the machine.

    A path in a compiled program can be replaced only by one of the same length, so the new path names an open file. A
    shell script takes the place of the program: it opens the folder under this number and executes the program.
    """
    path = unpacked / program
    moved = path.with_name(f"{path.name}.unwrapped")
    content, elsewhere = path.read_bytes(), f"/proc/self/fd/{DATA_FD}".ljust(len(data), "/")
    if data.encode() not in content or len(elsewhere) != len(data):
        raise UnavailableError(f"{path.name} does not read its files from {data}")
    moved.write_bytes(content.replace(data.encode(), elsewhere.encode()))
    up = "/".join([".."] * (len(Path(program).parts) - 1))
    path.write_text(
        f"""#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec {DATA_FD}<"$here/{up}{data}"
exec "$here/{moved.name}" "$@"
"""
    )
    for file in (moved, path):
        file.chmod(0o755)


def download(suite: str, packages: tuple[str, ...], folder: Path) -> list[Path]:
    """Download the .deb files of packages of a Debian suite into `folder`, and return their paths."""
    settings = folder / "apt.conf"
    for needed in ("state/lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    (folder / "sources.list").write_text(
        f"deb [target=Packages lang=none signed-by={KEYRING}] {debian_mirror()} {suite} main\n"
    )
    # Check-Valid-Until: a mirror that is a frozen snapshot serves the Release file of testing after its
    # seven days of validity. Apt still checks its signature and all hashes.
    settings.write_text(f"""
        Dir::State "{folder}/state";
        Dir::State::status "/dev/null";
        Dir::Cache "{folder}/cache";
        Dir::Etc::sourcelist "{folder}/sources.list";
        Dir::Etc::sourceparts "-";
        Dir::Etc::preferences "-";
        Dir::Etc::preferencesparts "-";
        Acquire::Check-Valid-Until "false";
        Acquire::Retries "3";
        APT::Sandbox::User "root";
        #clear APT::Update::Post-Invoke;
        #clear APT::Update::Post-Invoke-Success;
    """)
    run("apt-get", "-c", settings, "-q", "--error-on=any", "update")
    run("apt-get", "-c", settings, "-q", "download", *packages, cwd=folder)
    return sorted(folder.glob("*.deb"))


def debian_mirror() -> str:
    """Return the address of the Debian mirror in the machine's own apt configuration."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb") and KEYRING.is_file()):
        raise UnavailableError(f"it comes from Debian and needs apt-get, dpkg-deb and {KEYRING}")
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    wanted = "$(RELEASE) $(COMPONENT) $(REPO_URI)"
    for line in run("apt-get", "indextargets", "--format", wanted, "Created-By: Packages").splitlines():
        release, component, address = line.split(" ", 2)
        if component == "main" and release in {codename, "stable"}:
            return address
    raise UnavailableError("the machine's apt configuration names no Debian mirror")


def run(*command: str | Path, cwd: Path | None = None, environ: Mapping[str, str] | None = None) -> str:
    """Run a command and return its output; UnavailableError with the last line of its errors if it fails."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, "LC_ALL": "C.UTF-8", **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UnavailableError(str(error)) from error
    if done.returncode:
        last_line = (done.stdout.strip() or f"exit status {done.returncode}").splitlines()[-1]
        raise UnavailableError(f"{Path(command[0]).name}: {last_line}")
    return done.stdout


def main(names: list[str]) -> int:
    """Install the named tools; return the exit code."""
    missing = 0
    for name in names or EVERY_TEST_TOOL:
        try:
            KNOWN[name].install(TOOLS / name)
        except KeyError:
            raise SystemExit(f"no tool {name!r}; expected one of {', '.join(KNOWN)}") from None
        except UnavailableError as error:
            print(f"tools: {name} cannot be installed: {error}", file=sys.stderr)
            missing += 1
    return 1 if missing and os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
