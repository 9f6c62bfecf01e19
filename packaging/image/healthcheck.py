"""The image's HEALTHCHECK: exit 0 if the exporter in this container answers /-/healthy, else 1 and why in one line.

It asks the first address of `GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS`, else port 10210, and speaks TLS where
`GLUE_ML_EXPORTER_WEB_CONFIG_FILE` sets it up: so give these two as environment variables, not as flags. Where clients
need a certificate, it is content with a server that takes connections.
"""

import os
import socket
import ssl
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 3


def main() -> int:
    """Ask, and give the exit status."""
    first = os.environ.get("GLUE_ML_EXPORTER_WEB_LISTEN_ADDRESS", "").partition(",")[0].strip() or ":10210"
    host, _, port = first.rpartition(":")
    host = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)  # noqa: S104 - it is told apart, not bound
    try:
        check(host, int(port))
    except (OSError, ValueError) as error:
        print(f"{host}:{port}: {error}", file=sys.stderr)
        return 1
    return 0


def check(host: str, port: int) -> None:
    """Ask `/-/healthy`; OSError if that is not answered with 200."""
    try:
        ask(f"http://{host}:{port}/-/healthy")
    except urllib.error.HTTPError:
        raise
    except OSError:
        if not os.environ.get("GLUE_ML_EXPORTER_WEB_CONFIG_FILE"):
            raise
        check_tls(host, port)


def check_tls(host: str, port: int) -> None:
    """Ask `/-/healthy` over TLS; the certificate is for other names than this one and is not looked at."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        ask(f"https://{host}:{port}/-/healthy", context)
    except urllib.error.HTTPError:
        raise
    except OSError as error:
        if "CERTIFICATE_REQUIRED" not in str(error):
            raise
        socket.create_connection((host.strip("[]"), port), TIMEOUT_SECONDS).close()


def ask(url: str, context: ssl.SSLContext | None = None) -> None:
    """Send one GET past any proxy; OSError if it is not answered with 2xx."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    opener.open(url, timeout=TIMEOUT_SECONDS).close()


if __name__ == "__main__":
    sys.exit(main())
