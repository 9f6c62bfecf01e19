"""The image's HEALTHCHECK: exit 0 if the exporter in this container answers /-/healthy, else 1 and why in one line.

It asks the first address of `GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS`, else port 10210, in the way that the file of
`GLUE_ML_EXPORTER_WEB_CONFIG_FILE` sets up: so give these two as environment variables, not as flags. Where clients
need a certificate, it is content with a server that takes connections.

A program of its own, as it runs every half minute for ever: the command `glue-ml-exporter` takes ten times the
processor time to start.
"""

import os
import socket
import ssl
import sys
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 3


def main() -> int:
    """Ask, and give the exit status."""
    first = os.environ.get("GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS", "").partition(",")[0].strip() or ":10210"
    host, _, port = first.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - it is told apart, not bound
    try:
        check(host, int(port), tls_settings(os.environ.get("GLUE_ML_EXPORTER_WEB_CONFIG_FILE", "")))
    except (OSError, ValueError) as error:
        print(f"{host}:{port}: {error}", file=sys.stderr)
        return 1
    return 0


def tls_settings(path: str) -> dict[str, Any] | None:
    """Return what a web configuration file says about TLS; None if the server speaks plain HTTP."""
    if not path:
        return None
    import yaml  # noqa: PLC0415 - most containers need none

    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - pathlib takes longer to import than this to run
        return (yaml.safe_load(file) or {}).get("tls_server_config")


def check(host: str, port: int, tls: dict[str, Any] | None) -> None:
    """Ask `/-/healthy`; OSError if that is not answered with 200."""
    if tls is None:
        ask(f"http://{host}:{port}/-/healthy")
    elif str(tls.get("client_auth_type", "")).startswith("Require"):
        socket.create_connection((host.strip("[]"), port), TIMEOUT_SECONDS).close()
    else:
        # The certificate is for other names than this one.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        ask(f"https://{host}:{port}/-/healthy", context)


def ask(url: str, context: ssl.SSLContext | None = None) -> None:
    """Send one GET past any proxy; OSError if it is not answered with 2xx."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    opener.open(url, timeout=TIMEOUT_SECONDS).close()


if __name__ == "__main__":
    sys.exit(main())
