"""Tells systemd that the exporter is ready, works or stops (sd_notify(3)), if systemd started it with `Type=notify`."""

import os
import socket
from collections.abc import Callable, Mapping


class ServiceManager:
    """The systemd that started this process. Without systemd, all methods do nothing.

    Messages are datagrams to the Unix socket that the variable `NOTIFY_SOCKET` names. If the variable `WATCHDOG_USEC`
    is set, systemd restarts the service when it gets no message of the watchdog in this number of microseconds.
    `WATCHDOG_PID` is the process that shall send them (sd_watchdog_enabled(3)).
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        # A name that begins with "@" is in the abstract namespace, where the first byte is zero (unix(7)).
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._has_watchdog = "WATCHDOG_USEC" in environ and environ.get("WATCHDOG_PID") in {None, str(os.getpid())}

    def ready(self) -> None:
        """Report that the exporter listens. systemd then starts the services that wait for this one."""
        self._send(b"READY=1")

    def stopping(self) -> None:
        """Report that the exporter stops."""
        self._send(b"STOPPING=1")

    def feed_watchdog(self, is_alive: Callable[[], bool]) -> None:
        """Report that the exporter works, if it does. Call this more often than the watchdog expects it.

        Without a watchdog, ``is_alive`` is not called.
        """
        if self._has_watchdog and is_alive():
            self._send(b"WATCHDOG=1")

    def _send(self, message: bytes) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            try:
                # If systemd does not read, the caller must not wait: it is the event loop of the web server.
                sender.sendto(message, socket.MSG_DONTWAIT, self._address)
            except OSError:
                # The message is lost. The next WATCHDOG=1 follows soon. systemd restarts a service that is never ready.
                return
