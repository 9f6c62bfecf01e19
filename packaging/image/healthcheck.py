"""Check the health of the exporter in this container, for HEALTHCHECK. Exit 0, or print the reason and exit 1.

The check requests /-/healthy at the first address of `GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS`, or at port 10210. It uses
TLS if the file `GLUE_ML_EXPORTER_WEB_CONFIG_FILE` configures TLS. Set both as environment variables, because the check
cannot read the flags of the exporter. If the server requires client certificates, the check only opens a connection.

The check is a separate program, because `glue-ml-exporter` needs more CPU time to start and the check runs every 30
seconds.
"""

import os
import socket
import ssl
import sys
import urllib.request
from typing import Any

TIMEOUT_SECONDS = 3


def main() -> int:
    """Run the check; return the exit code."""
    first = os.environ.get("GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS", "").partition(",")[0].strip() or ":10210"
    host, _, port = first.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - compared, not bound
    try:
        check(host, int(port), tls_settings(os.environ.get("GLUE_ML_EXPORTER_WEB_CONFIG_FILE", "")))
    except (OSError, ValueError) as error:
        print(f"{host}:{port}: {error}", file=sys.stderr)
        return 1
    return 0


def tls_settings(path: str) -> dict[str, Any] | None:
    """Return the section `tls_server_config` of a web configuration file; None if the server uses plain HTTP."""
    if not path:
        return None
    import yaml  # noqa: PLC0415 - slow, and most containers have no such file

    with open(path, encoding="utf-8") as file:  # noqa: PTH123 - the import of pathlib is slow
        return (yaml.safe_load(file) or {}).get("tls_server_config")


def check(host: str, port: int, tls: dict[str, Any] | None) -> None:
    """Request `/-/healthy`; raise OSError if the answer is not 2xx."""
    if tls is None:
        ask(f"http://{host}:{port}/-/healthy")
    elif str(tls.get("client_auth_type", "")).startswith("Require"):
        socket.create_connection((host.strip("[]"), port), TIMEOUT_SECONDS).close()
    else:
        # The certificate is not verified, because it is for another name than this address.
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        ask(f"https://{host}:{port}/-/healthy", context)


def ask(url: str, context: ssl.SSLContext | None = None) -> None:
    """Send one GET without a proxy; raise OSError if the answer is not 2xx."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    opener.open(url, timeout=TIMEOUT_SECONDS).close()


if __name__ == "__main__":
    sys.exit(main())
