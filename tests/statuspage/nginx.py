"""nginx as a proxy in front of a server, as an ingress with a path does it."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ship.programs import environment
from tests.support import free_port, tool, wait_for

_CONFIG = """
daemon off;
pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen 127.0.0.1:{port};
        proxy_set_header Host $http_host;
        location /kept {{ proxy_pass http://{upstream}; }}
        location /cut/ {{ proxy_pass http://{upstream}/; }}
    }}
}}
"""


@contextmanager
def nginx(folder: Path, upstream: str) -> Iterator[str]:
    """Yield the address of nginx. It passes paths below /kept as they are, and cuts /cut off."""
    program = tool("nginx")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, upstream=upstream))
    log = folder / "error.log"
    process = subprocess.Popen(
        [program, "-p", folder, "-c", config, "-e", log],
        env=environment(program),
    )

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            return False
        return True

    try:
        wait_for(listens, timeout=60.0, describe="nginx listens")
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
