"""Install what the tests need beyond Python into `.tools/`, which git ignores.

    python tests/tools/install.py [NAME ...]        (without names: everything that tests use)

Debian programs are downloaded with apt and unpacked, never installed: no root is needed and the machine's own apt
is not touched. For that, apt works in a folder of its own, with the mirror that the machine already uses and
Debian's keyring; its signature and hash checks stay on. What is there already is left alone.

What cannot be had is named on stderr in one line. That fails the command only where the environment says CI=true:
there the tests that need it must run; elsewhere they are skipped.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = HERE.parents[1] / ".tools"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
DEADLINE_SECONDS = 600


class UnavailableError(Exception):
    """A tool cannot be had on this machine; the message says why, in one line."""


@dataclass(frozen=True)
class DebianTool:
    """Packages of one Debian suite, and the program whose version proves that they are what the tests expect."""

    suite: str
    packages: tuple[str, ...]
    program: str
    version_flag: str
    version: str

    def install(self, folder: Path) -> None:
        """Download and unpack into `folder`, all or nothing; UnavailableError if that cannot be."""
        recipe = folder / ".recipe"
        if recipe.is_file() and recipe.read_text() == repr(self):
            return
        TOOLS.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=TOOLS, prefix=".new-") as scratch:
            unpacked = Path(scratch, "root")
            for package in download(self.suite, self.packages, Path(scratch, "apt")):
                run("dpkg-deb", "-x", package, unpacked)
            self.check(unpacked)
            (unpacked / ".recipe").write_text(repr(self))
            shutil.rmtree(folder, ignore_errors=True)
            unpacked.rename(folder)

    def check(self, unpacked: Path) -> None:
        """Start the program once: another suite's build may want libraries that this machine has not."""
        libraries = {file.parent for file in unpacked.glob("usr/lib/*-linux-gnu/**/lib*.so*")}
        environ = {"LD_LIBRARY_PATH": ":".join(map(str, libraries))}
        answer = run(unpacked / self.program, self.version_flag, environ=environ)
        if self.version not in answer:
            raise UnavailableError(f"wanted {self.version!r}, got {answer.splitlines()[0]!r}")


@dataclass(frozen=True)
class LockedTool:
    """Python packages in an environment of their own, made by a script beside this file from a lock beside it."""

    script: str
    lock: str

    def install(self, folder: Path) -> None:
        """Run the script, which fills `folder`, unless this lock did so before; UnavailableError if it fails."""
        recipe = folder / ".recipe"
        wanted = (HERE / self.lock).read_text()
        if not recipe.is_file() or recipe.read_text() != wanted:
            run(HERE / self.script, environ={"PYTHON": sys.executable})
            recipe.write_text(wanted)


EVERY_TEST_TOOL = ("prometheus-2", "prometheus-3", "awscli", "shipping", "containers", "systemd", "tmux", "zsh", "fish")
KNOWN: dict[str, DebianTool | LockedTool] = {
    "prometheus-2": DebianTool(
        suite="bookworm",
        packages=("prometheus", "prometheus-alertmanager"),
        program="usr/bin/prometheus",
        version_flag="--version",
        version="version 2.",
    ),
    "prometheus-3": DebianTool(
        suite="forky",
        packages=("prometheus", "promtool", "prometheus-alertmanager"),
        program="usr/bin/prometheus",
        version_flag="--version",
        version="version 3.",
    ),
    "nginx": DebianTool(
        suite="bookworm",
        packages=("nginx",),
        program="usr/sbin/nginx",
        version_flag="-v",
        version="nginx/1.",
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


def download(suite: str, packages: tuple[str, ...], folder: Path) -> list[Path]:
    """Download the packages' .deb files of a Debian suite into `folder` and give their paths."""
    settings = folder / "apt.conf"
    for needed in ("state/lists/partial", "cache/archives/partial"):
        (folder / needed).mkdir(parents=True)
    (folder / "sources.list").write_text(
        f"deb [target=Packages lang=none signed-by={KEYRING}] {debian_mirror()} {suite} main\n"
    )
    # Check-Valid-Until: a mirror that is a frozen snapshot serves testing's Release file past its
    # seven days; its signature and all hashes are checked all the same.
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
    """Give the address of the Debian mirror in the machine's own apt configuration."""
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
    """Run a command and give what it printed; UnavailableError with its last line if it fails."""
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
    """Install the named tools and give the exit status."""
    missing = 0
    for name in names or EVERY_TEST_TOOL:
        try:
            KNOWN[name].install(TOOLS / name)
        except KeyError:
            raise SystemExit(f"no tool {name!r}; there are: {', '.join(KNOWN)}") from None
        except UnavailableError as error:
            print(f"tools: {name} cannot be had here: {error}", file=sys.stderr)
            missing += 1
    return 1 if missing and os.environ.get("CI") == "true" else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
