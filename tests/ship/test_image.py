import os
import random
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from exporter import __version__
from exporter.simulator import Simulator
from exporter.web.config import WebConfig
from tests.ship.container import STAND_IN, STATE, Container, Storage
from tests.ship.programs import call
from tests.support import ROOT, Process, fetch, free_port, run, wait_for_answer
from tests.web.serving import FakeBackend, serving

HEALTHCHECK = ROOT / "packaging/image/healthcheck.py"
HOME = "/opt/glue-ml-exporter"
EXPORTER_MEGABYTES = 52
"""Maximum size that the exporter and its dependencies add to the base image; measured: 46 MB."""
DISTROLESS_MEGABYTES = 120
"""Maximum size of the whole distroless image; measured: 115 MB with Python 3.11 of Debian."""


@pytest.mark.slow
def test_dockerfile_lints(tmp_path: Path) -> None:
    """Hadolint accepts the Dockerfile."""
    linted = call("hadolint", ROOT / "Dockerfile", folder=tmp_path)
    assert (linted.returncode, linted.stdout) == (0, "")


def test_base_is_pinned() -> None:
    """Without build arguments, every stage from outside is the base image with a digest."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    default = next(line for line in lines if line.startswith("ARG PYTHON_IMAGE="))
    assert re.fullmatch(r"ARG PYTHON_IMAGE=docker\.io/library/python:3\.\d+-slim@sha256:[0-9a-f]{64}", default)
    bases = [line.split()[1] for line in lines if line.startswith("FROM")]
    assert bases == ["${PYTHON_IMAGE}", "build", "scratch", "${PYTHON_IMAGE}", "base-${VARIANT}"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_built_images(tmp_path: Path) -> None:
    """Each variant runs without privileges on a read-only root, as any user, and exits with 0 on SIGTERM."""
    if os.geteuid() != 0:
        # Without root, both programs need user namespaces, which a machine may not have. CI runs this test as root.
        pytest.skip("buildah and runc are run as root here")
    storage = Storage(tmp_path)
    try:
        storage.build_stand_in()
        for variant in ("slim", "distroless"):
            image = storage.build_exporter(variant, __version__, "0123abc")
            root, config = image.mount(), image.config()
            folder = tmp_path / variant
            folder.mkdir()
            check_configuration(config)
            check_contents(root)
            check_size(root)
            check_reads_its_configuration(root, config, folder)
            check_serves_and_stops(root, config, folder)
            check_runs_as_any_user(root, config, folder)
        check_distroless(root)
    finally:
        storage.clear()


def check_configuration(config: Mapping[str, Any]) -> None:
    """Check user, entry point, stop signal, port, health check and labels of the image."""
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/opt/glue-ml-exporter/bin/glue-ml-exporter"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["ExposedPorts"] == {"10210/tcp": {}}
    assert config["Healthcheck"]["Test"] == ["CMD", "/opt/glue-ml-exporter/bin/python", "-I", f"{HOME}/healthcheck.py"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in config["Labels"].items()}
    assert (labels["version"], labels["revision"], labels["base.name"]) == (__version__, "0123abc", STAND_IN)
    assert {"title", "description", "source", "documentation", "licenses"} <= labels.keys()


def check_contents(root: Path) -> None:
    """Check that the image has no build tools, installers or caches, and that its user can read every file."""
    packages = {path.name for path in root.glob("opt/glue-ml-exporter/lib/python3*/site-packages/*")}
    assert {"boto3", "exporter"} <= packages
    assert not packages & {"pip", "setuptools", "wheel", "hatchling", "editables"}
    assert not [*root.glob("usr/local/lib/python3*/ensurepip"), *root.glob("usr/local/lib/python3*/site-packages/pip*")]
    assert not [*root.glob("root/.cache"), *root.glob("builder"), *root.glob("src"), *root.glob("tmp/*")]
    services = {path.name for path in root.glob("opt/*/lib/python3*/site-packages/botocore/data/*") if path.is_dir()}
    assert services == {"glue", "sts", "sso", "sso-oidc", "signin"}
    closed = [path for path in root.glob("opt/**/*") if not path.is_symlink() and not path.stat().st_mode & 0o004]
    assert closed == []


def check_size(root: Path) -> None:
    """Check that the exporter and its dependencies add at most the documented size to the base image."""
    files = [path for path in root.glob("opt/**/*") if path.is_file() and not path.is_symlink()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{megabytes:.1f} MB in {len(files)} files on top of the base")
    assert 20 < megabytes < EXPORTER_MEGABYTES


def check_distroless(root: Path) -> None:
    """Check that the distroless image has no program but Python's, and not more than the documented size."""
    programs = {
        path.name
        for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin")
        for path in root.glob(f"{folder}/*")
    }
    assert programs - {"python", "python3"} == {f"python{sys.version_info.major}.{sys.version_info.minor}"}
    assert not [*root.glob("**/sh"), *root.glob("**/bash"), *root.glob("**/pip"), *root.glob("**/ensurepip")]
    files = [path for path in root.glob("**/*") if path.is_file() and not path.is_symlink()]
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    print(f"{megabytes:.1f} MB in {len(files)} files in the distroless image")
    assert megabytes < DISTROLESS_MEGABYTES


def check_reads_its_configuration(root: Path, config: Mapping[str, Any], folder: Path) -> None:
    """Check that the default configuration file is /etc/glue-ml-exporter/config.yaml."""
    etc = folder / "etc"
    etc.mkdir()
    (etc / "config.yaml").write_text("region: eu-west-1\ntransforms: [tfm-0123456789abcdef]\n")
    mounts = {etc: Path("/etc/glue-ml-exporter")}
    container = Container(folder / "check", root, config, arguments=["check-config"], mounts=mounts)
    checked = container.run_to_end()
    assert (checked.exit_code, checked.stdout) == (0, "/etc/glue-ml-exporter/config.yaml: ok\n"), checked.stderr


def check_serves_and_stops(root: Path, config: Mapping[str, Any], folder: Path) -> None:
    """Check that the demo serves from a read-only root as an arbitrary user until SIGTERM."""
    port = free_port()
    arguments = ["demo", f"--web.listen-address=127.0.0.1:{port}"]
    container = Container(folder / "demo", root, config, arguments=arguments)
    with container.start() as running:
        running.wait_for_output("msg=listening", timeout=30)
        wait_for_answer(f"http://127.0.0.1:{port}/-/ready")
        body = fetch(f"http://127.0.0.1:{port}/metrics").text
        assert re.search(r"^glue_ml_task_runs_finished_total\{.+\} ", body, re.MULTILINE)
        assert re.search(r'build_info\{.*revision="0123abc".*\} 1', body)
        status = Path(f"/proc/{container.pid()}/status").read_text()
        assert re.search(r"^Uid:\t10001\t10001\t10001\t10001$", status, re.MULTILINE)
        assert re.search(r"^CapEff:\t0+$", status, re.MULTILINE)
        assert re.search(r"^NoNewPrivs:\t1$", status, re.MULTILINE)
        probe = {
            **config,
            "Entrypoint": config["Healthcheck"]["Test"][1:],
            "Env": [*config["Env"], f"GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS=127.0.0.1:{port}"],
        }
        probed = Container(folder / "probe", root, probe, arguments=[]).run_to_end()
        assert probed.exit_code == 0, probed.stderr
        running.send(signal.SIGTERM)
        assert running.wait() == 0


def check_runs_as_any_user(root: Path, config: Mapping[str, Any], folder: Path) -> None:
    """Check that a random user of the group 0, as OpenShift chooses it, polls and writes the state.

    The volume of the state begins as Docker makes it: with owner and mode of the folder in the image.
    """
    user = random.randrange(1_000_000_000, 2_000_000_000)  # noqa: S311 - not a secret
    inside = (root / STATE.lstrip("/")).stat()
    assert (inside.st_uid, inside.st_gid, inside.st_mode & 0o7777) == (10001, 0, 0o770)
    state, etc = folder / "state", folder / "etc-of-any-user"
    state.mkdir()
    os.chown(state, inside.st_uid, inside.st_gid)
    state.chmod(inside.st_mode & 0o7777)
    etc.mkdir()
    with Simulator("demo") as simulator:
        (etc / "config.yaml").write_text(
            f"region: eu-west-1\nendpoint_url: {simulator.url}\nstate: {{path: {STATE}/state.db}}\n"
            f"transforms: [{', '.join(simulator.world.transform_ids())}]\n"
        )
        keys = ["AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b", "GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS=127.0.0.1:0"]
        container = Container(
            folder / "any-user",
            root,
            {**config, "User": f"{user}:0", "Env": [*config["Env"], *keys]},
            arguments=[],
            mounts={etc: Path("/etc/glue-ml-exporter")},
            state=state,
        )
        with container.start() as running:
            address = running.wait_for_output(r"addresses=(\S+)", timeout=30)[1]
            wait_for_answer(f"http://{address}/-/ready", timeout=30)
            assert (state / "state.db").stat().st_uid == user
            running.send(signal.SIGTERM)
            assert running.wait() == 0
        assert "level=error" not in running.stderr


class TestHealthcheck:
    def healthcheck(self, folder: Path, port: int, web_config: Path | None = None) -> Process:
        environ = {"GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS": f"127.0.0.1:{port}"}
        if web_config:
            environ["GLUE_ML_EXPORTER_WEB_CONFIG_FILE"] = str(web_config)
        return run(sys.executable, "-I", HEALTHCHECK, folder=folder, environ=environ)

    @pytest.mark.slow
    def test_healthy(self, tmp_path: Path) -> None:
        """The health check succeeds if an exporter serves at the address in the environment variables."""
        port = free_port()
        environ = {"GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS": f"127.0.0.1:{port}", "PYTHONPATH": str(ROOT)}
        with Process(sys.executable, "-m", "exporter", "demo", folder=tmp_path, environ=environ) as exporter:
            exporter.wait_for_output("msg=listening")
            checked = self.healthcheck(tmp_path, port)
            assert checked.exit_code == 0, checked.stderr

    @pytest.mark.parametrize("client", ["NoClientCert", "RequireAndVerifyClientCert"])
    @pytest.mark.parametrize("version", ["TLS12", "TLS13"])
    def test_tls(self, client: str, version: str, tmp_path: Path) -> None:
        """The health check succeeds with a TLS server, even if the server requires client certificates."""
        authority = trustme.CA()
        certificate = authority.issue_cert("somewhere.example")
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
        tls = {"cert_file": "server.pem", "key_file": "server.pem", "max_version": version, "client_auth_type": client}
        wanted = {"client_ca_file": "ca.pem"} if client != "NoClientCert" else {}
        path = tmp_path / "web.yml"
        path.write_text(yaml.safe_dump({"tls_server_config": {**tls, **wanted}}))
        with serving(web_config=WebConfig(path)) as served:
            checked = self.healthcheck(tmp_path, served.port, path)
            assert checked.exit_code == 0, checked.stderr

    def test_unhealthy(self, tmp_path: Path) -> None:
        """If the poll loop has died, the health check fails and prints the status code."""
        with serving(FakeBackend(alive=False)) as served:
            checked = self.healthcheck(tmp_path, served.port)
            assert checked.exit_code == 1
            assert re.fullmatch(rf"127.0.0.1:{served.port}: .*503.*\n", checked.stderr)

    def test_no_server(self, tmp_path: Path) -> None:
        """If no server listens, the health check fails and prints the reason in one line."""
        port = free_port()
        checked = self.healthcheck(tmp_path, port)
        assert checked.exit_code == 1
        assert re.fullmatch(rf"127.0.0.1:{port}: .*refused.*\n", checked.stderr)
