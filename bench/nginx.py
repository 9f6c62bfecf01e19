"""The cost of sending an exposition, against nginx with the same bytes."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench.client import CONNECTIONS, TEXT, Scraper, headers, load_client, requests_per_second
from bench.measure import in_turns
from bench.servers import HOST, Server, serve_ours, served
from bench.tables import Row, at_most, megabytes, seconds

TITLE = "Sending: nginx against ours, same bytes"
NOTE = (
    f"CPU time of the server per request, and requests per second on {CONNECTIONS} keep-alive connections. The client\n"
    f"is {load_client()}. One nginx worker sends a file. Our server also renders and compresses the exporter's own\n"
    "metrics, at most once a second. The target is for the CPU time, because other processes change the requests per\n"
    "second."
)

TOOLS = Path(__file__).parents[1] / ".tools"


def run(*, quick: bool) -> Iterator[Row]:
    """Yield two rows for each encoding. If nginx is missing, yield one row that reports this."""
    program = _nginx_program()
    if program is None:
        yield Row("300 transforms, gzip", None, "no nginx on PATH nor in .tools/", at_most(3))
        return
    with served(serve_ours, 10 if quick else 300) as ours:
        bodies = {encoding: Scraper(ours.port, encoding=encoding).scrape() for encoding in ("gzip", "identity")}
        with _nginx(program, bodies) as nginx:
            for encoding, body in bodies.items():
                yield from _rows(encoding, len(body), ours, nginx, rounds=1 if quick else 7, duration=1 if quick else 2)


def _rows(encoding: str, size: int, ours: Server, nginx: Server, *, rounds: int, duration: int) -> Iterator[Row]:
    rates: dict[str, list[float]] = {"ours": [], "nginx": []}

    def load(name: str, server: Server, path: str) -> float:
        """Return the CPU seconds of the server per request, and record its requests per second in `rates`."""
        before = server.cpu_seconds()
        rate = requests_per_second(server.port, path, headers(TEXT, encoding), duration)
        rates[name].append(rate)
        return (server.cpu_seconds() - before) / (rate * duration)

    cpu = in_turns(
        rounds,
        ours=lambda: load("ours", ours, "/metrics"),
        nginx=lambda: load("nginx", nginx, f"/{encoding}"),
    )
    target = at_most(3) if encoding == "gzip" else None
    absolute = f"{seconds(cpu['ours'])} : {seconds(cpu['nginx'])}, {megabytes(size)} each"
    yield Row(f"300 transforms, {encoding}, CPU", cpu["ours"] / cpu["nginx"], absolute, target)
    fast, limit = median(rates["ours"]), median(rates["nginx"])
    yield Row(f"300 transforms, {encoding}, wall", limit / fast, f"{fast:.0f}/s : {limit:.0f}/s")


def _nginx_program() -> str | None:
    unpacked = TOOLS / "nginx/usr/sbin/nginx"
    return shutil.which("nginx", path="/usr/sbin") or shutil.which("nginx") or shutil.which(unpacked)


@contextmanager
def _nginx(program: str, bodies: dict[str, bytes]) -> Iterator[Server]:
    """Serve each body at the path with its name; nginx has one worker."""
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
            yield Server(port, process.pid)
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
