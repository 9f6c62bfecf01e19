"""Build an image with buildah and run it with runc, without a container registry.

A test cannot pull the base image. It therefore builds a replacement with this machine's own Python and the few
programs that the RUN lines of the Dockerfile use. Every instruction of the Dockerfile is executed unchanged.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pip

from tests.ship.programs import environment
from tests.support import ROOT, Process, run, tool

STAND_IN = "localhost/python:stand-in"
STATE = "/var/lib/glue-ml-exporter"
PROGRAMS = ("sh", "find", "install", "rm")
RUNTIMES = (
    "libgcc_s.so.1",
    "libstdc++.so.6",
    "libdl.so.2",
    "libpthread.so.0",
    "libresolv.so.2",
    "librt.so.1",
    "libutil.so.1",
)
"""Libraries that compiled wheels need. Every system with glibc has them."""
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


class Image:
    """An image that buildah built, and its files."""

    def __init__(self, name: str, storage: "Storage") -> None:
        self.name = name
        self._storage = storage

    def config(self) -> dict[str, Any]:
        """Return the configuration in Docker's format."""
        inspected = json.loads(self._storage.buildah("inspect", "--type", "image", self.name))
        config: dict[str, Any] = inspected["Docker"]["config"]
        return config

    def mount(self) -> Path:
        """Mount the image, and return the folder with its files."""
        container = self._storage.buildah("from", "--pull=never", self.name).strip()
        return Path(self._storage.buildah("mount", container).strip())


class Storage:
    """A storage for images under `folder`, separate from the machine's own images."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._buildah = tool("buildah")
        (folder / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/graph"\nrunroot = "{folder}/run"\n'
        )

    def buildah(self, *arguments: str | Path) -> str:
        """Run buildah and return its output. If it fails, raise AssertionError with its errors."""
        environ = {
            **environment(self._buildah),
            "HOME": str(self._folder),
            "BUILDAH_ISOLATION": "oci",
            "BUILDAH_RUNTIME": str(tool("runc")),
            "CONTAINERS_STORAGE_CONF": str(self._folder / "storage.conf"),
            "TMPDIR": str(self._folder),
            **{name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")},
        }
        done = subprocess.run(
            [self._buildah, *arguments], env=environ, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, f"buildah {arguments[0]}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def build(self, name: str, context: Path, *options: str | Path) -> Image:
        """Build the Dockerfile of a folder."""
        # Buildah's default limits fail on a machine where a process may not raise its limits. These limits always work.
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1000:1000")
        source = ("--pull=never", "--network=host", "--signature-policy", self._folder / "policy.json")
        self.buildah("bud", *source, *limits, "--format=docker", "--layers", "--tag", name, *options, context)
        return Image(name, self)

    def build_stand_in(self) -> None:
        """Build the replacement of the base image."""
        context = self._folder / "stand-in"
        make_stand_in(context / "root")
        context.joinpath("Dockerfile").write_text(
            "FROM scratch\nCOPY root /\nENV PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8\n"
        )
        self.build(STAND_IN, context)

    def build_exporter(self, variant: str, version: str, revision: str) -> Image:
        """Build a variant of the repository's Dockerfile on the replacement of the base image."""
        trust: list[str] = []
        if CERTIFICATES.is_file():
            (self._folder / "pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
            trust = [f"--volume={CERTIFICATES}:{CERTIFICATES}:ro", f"--volume={self._folder}/pip.conf:/etc/pip.conf:ro"]
        arguments = {"PYTHON_IMAGE": STAND_IN, "VARIANT": variant, "VERSION": version, "REVISION": revision}
        given = (f"--build-arg={name}={value}" for name, value in arguments.items())
        return self.build(f"localhost/glue-ml-exporter:{variant}", ROOT, *trust, *given)

    def clear(self) -> None:
        """Unmount and remove everything."""
        self.buildah("rm", "--all")
        self.buildah("rmi", "--all", "--force")


def make_stand_in(root: Path) -> None:
    """Copy this machine's Python to /usr/local under `root`, as in the official image, and a few programs."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    library = root / "usr/local/lib" / version
    binaries = root / "usr/local/bin"
    unwanted = shutil.ignore_patterns(
        "test", "tests", "idlelib", "tkinter", "turtledemo", "__pycache__", "site-packages", "*.a"
    )
    shutil.copytree(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}), library, ignore=unwanted)
    shutil.copytree(Path(pip.__path__[0]), library / "site-packages/pip", ignore=shutil.ignore_patterns("__pycache__"))
    binaries.mkdir(parents=True)
    interpreter = Path(sys.executable).resolve()
    shutil.copy(interpreter, binaries / version)
    for alias in ("python3", "python"):
        (binaries / alias).symlink_to(version)
    for folder in ("tmp", "proc", "dev", "sys", "etc/ssl/certs", "bin", "var"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "tmp").chmod(0o1777)
    programs = [Path(shutil.which(name) or name).resolve() for name in PROGRAMS]
    for name, program in zip(PROGRAMS, programs, strict=True):
        shutil.copy(program, root / "bin" / name)
    linked = libraries([interpreter, *library.glob("lib-dynload/*.so"), *programs])
    for needed in linked | set(map(library_path, RUNTIMES)):
        target = root / needed.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(needed, target)
    for name in ("resolv.conf", "hosts", "nsswitch.conf"):
        if Path("/etc", name).is_file():
            shutil.copy(Path("/etc", name), root / "etc" / name)


def libraries(files: Iterable[Path]) -> set[Path]:
    """Return the shared libraries that the files need, as the paths at which the loader searches them."""
    listed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False).stdout
    return {Path(path) for path in re.findall(r"(?:=> |^\t)(/\S+) \(0x", listed, re.MULTILINE)}


def library_path(name: str) -> Path:
    """Return the path of a shared library of this machine."""
    cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    return Path(re.findall(rf"^\t{re.escape(name)} \(libc6,.*64.*\) => (.*)$", cache, re.MULTILINE)[0])


class Container:
    """A container of runc, confined as the chart confines it, with the network of this machine.

    The user has no name and no capabilities, the root is read-only, and no process can gain privileges. `mounts` maps
    folders of this machine to read-only paths in the container. `state` is a folder of this machine that the
    container may write. `folder` keeps the files of runc.
    """

    def __init__(
        self,
        folder: Path,
        root: Path,
        config: Mapping[str, Any],
        *,
        arguments: list[str],
        mounts: Mapping[Path, Path] | None = None,
        state: Path | None = None,
    ) -> None:
        folder.mkdir()
        self._folder = folder
        self._name = f"{folder.name}-{os.getpid()}"
        (folder / "config.json").write_text(json.dumps(runtime_spec(root, config, arguments, mounts or {}, state)))

    def start(self) -> Process:
        """Start the container. Signals to the returned process reach the first process of the container."""
        return Process(*self._runc("run", "--bundle", self._folder, self._name), **self._where())

    def run_to_end(self) -> Process:
        """Run the container, and wait until it ends."""
        return run(*self._runc("run", "--bundle", self._folder, self._name), **self._where())

    def pid(self) -> int:
        """Return the process id of the container's first process on this machine."""
        pid: int = json.loads(run(*self._runc("state", self._name), **self._where()).stdout)["pid"]
        return pid

    def _runc(self, *arguments: str | Path) -> tuple[str | Path, ...]:
        return (tool("runc"), "--root", self._folder / "runc", *arguments)

    def _where(self) -> dict[str, Any]:
        return {"folder": self._folder, "environ": environment(tool("runc"))}


def runtime_spec(
    root: Path, config: Mapping[str, Any], arguments: list[str], mounts: Mapping[Path, Path], state: Path | None
) -> dict[str, Any]:
    """Return the specification of a container in the format of the Open Container Initiative's runtime."""
    user, _, group = config["User"].partition(":")
    sets = ("bounding", "effective", "inheritable", "permitted", "ambient")
    return {
        "ociVersion": "1.0.2",
        "process": {
            "terminal": False,
            "user": {"uid": int(user), "gid": int(group)},
            "args": [*config["Entrypoint"], *arguments],
            "env": config["Env"],
            "cwd": "/",
            "noNewPrivileges": True,
            "capabilities": {name: [] for name in sets},
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=64k"]},
            *(
                {"destination": str(seen), "type": "none", "source": str(source), "options": ["rbind", "ro"]}
                for source, seen in mounts.items()
            ),
            *(
                {"destination": STATE, "type": "none", "source": str(source), "options": ["rbind", "rw"]}
                for source in filter(None, [state])
            ),
        ],
        "linux": {"namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}]},
    }
