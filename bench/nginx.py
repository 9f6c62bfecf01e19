"""Sending an exposition, against nginx sending the same bytes."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.client import CONNECTIONS, TEXT, Scraper, headers, load_client, requests_per_second
from bench.measure import in_turns
from bench.servers import HOST, serve_ours, served
from bench.tables import Row, at_most, megabytes

TITLE = "Sending: nginx against ours, same bytes"
NOTE = (
    f"Requests per second, {CONNECTIONS} keep-alive connections, load from {load_client()}. One nginx worker sends a\n"
    "file; ours also renders and compresses its own live metrics, anew every few milliseconds. Ratio: nginx to ours."
)

TOOLS = Path(__file__).parents[1] / ".tools"


def run(*, quick: bool) -> Iterator[Row]:
    """Yield a row per encoding, or one that says that there is no nginx."""
    program = _nginx_program()
    if program is None:
        yield Row("300 transforms, gzip", None, "no nginx on PATH nor in .tools/", at_most(3))
        return
    with served(serve_ours, 10 if quick else 300) as ours:
        bodies = {encoding: Scraper(ours.port, encoding=encoding).scrape() for encoding in ("gzip", "identity")}
        with _nginx(program, bodies) as port:
            for encoding, body in bodies.items():
                yield _row(encoding, len(body), ours.port, port, rounds=1 if quick else 5)


def _row(encoding: str, size: int, ours: int, nginx: int, rounds: int) -> Row:
    asked = headers(TEXT, encoding)
    rates = in_turns(
        rounds,
        nginx=lambda: requests_per_second(nginx, f"/{encoding}", asked, 1 if rounds == 1 else 2),
        ours=lambda: requests_per_second(ours, "/metrics", asked, 1 if rounds == 1 else 2),
    )
    absolute = f"{rates['ours']:.0f}/s : {rates['nginx']:.0f}/s, {megabytes(size)} each"
    target = at_most(3) if encoding == "gzip" else None
    return Row(f"300 transforms, {encoding}", rates["nginx"] / rates["ours"], absolute, target)


def _nginx_program() -> str | None:
    unpacked = TOOLS / "nginx/usr/sbin/nginx"
    return shutil.which("nginx", path="/usr/sbin") or shutil.which("nginx") or shutil.which(unpacked)


@contextmanager
def _nginx(program: str, bodies: dict[str, bytes]) -> Iterator[int]:
    """Serve each body under its name with one worker; give the port."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        for name, body in bodies.items():
            Path(folder, name).write_bytes(body)
        config = Path(folder, "nginx.conf")
        config.write_text(_CONFIG.format(folder=folder, host=HOST, port=port))
        process = subprocess.Popen([program, "-p", folder, "-c", config, "-e", f"{folder}/error.log"])
        try:
            _await_port(port, process)
            yield port
        finally:
            process.terminate()
            process.wait()


def _await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    while True:
        try:
            with socket.create_connection((HOST, port)):
                return
        except ConnectionRefusedError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
            raise


_CONFIG = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000000;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen {host}:{port};
        root {folder};
        default_type "text/plain; version=0.0.4; charset=utf-8";
        location = /gzip {{ add_header Content-Encoding gzip; }}
    }}
}}
"""
