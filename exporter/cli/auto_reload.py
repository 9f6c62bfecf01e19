"""`--config.enable-auto-reload`: reload the configuration when its file has changed."""

import threading
from collections.abc import Callable
from pathlib import Path


class AutoReload:
    """Compares the content of a file with its content at the last check.

    It does not compare modification times. Kubernetes updates a ConfigMap by changing a symbolic link in the path of
    the file, and the new file can be older than the previous file.
    """

    def __init__(self, path: Path) -> None:
        """Read the file at `path`. Later checks compare with this content."""
        self._path = path
        self._content = self._read()
        self._stop = threading.Event()

    def start(self, reload: Callable[[], object], interval: float) -> None:
        """Check the file every `interval` seconds in a thread, and call `reload` after each change."""
        threading.Thread(target=self._run, args=(reload, interval), name="auto-reload", daemon=True).start()

    def stop(self) -> None:
        """End the thread. A reload that has begun continues."""
        self._stop.set()

    def _run(self, reload: Callable[[], object], interval: float) -> None:
        while not self._stop.wait(interval):
            if self.changed():
                reload()

    def changed(self) -> bool:
        """Read the file and return whether its content has changed. A file that cannot be read counts as unchanged."""
        content = self._read()
        if content is None or content == self._content:
            return False
        self._content = content
        return True

    def _read(self) -> bytes | None:
        try:
            return self._path.read_bytes()
        except OSError:
            return None
