"""Signals of a server: SIGTERM and SIGINT stop it, SIGHUP reloads the configuration."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from exporter.cli.process import unblocked_signals
from exporter.logs import get_logger

log = get_logger(__name__)


class Signals:
    """Handles the signals of a server, which come at any moment from its start to its end.

    A handler interrupts the main thread anywhere, for example inside of a lock. So it takes no lock that this thread
    must not take twice, and hands a reload to another thread.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._stopped = False
        self._reloads: SimpleQueue[None] = SimpleQueue()

    def attach(self, *, stop: Callable[[], None], reload: Callable[[], object]) -> None:
        """Call `stop` on SIGTERM and SIGINT from now on, and `reload` in its own thread on SIGHUP.

        A signal that came before this call has its effect now. Until this call, SIGTERM and SIGINT raise SystemExit
        with code 0, because a server that is starting has nothing to complete.
        """
        self._stop = stop
        if self._stopped:
            stop()
        threading.Thread(target=self._run_reloads, args=(reload,), name="reload", daemon=True).start()

    def on_stop(self, number: int, _frame: FrameType | None) -> None:
        """Handle the first SIGTERM or SIGINT: stop first, and log afterwards. Further ones are ignored."""
        if self._stopped:
            return
        self._stopped = True
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self._stop is None:
            raise SystemExit(0)
        self._stop()
        log.info("stopping", signal=signal.Signals(number).name)

    def on_reload(self, _number: int, _frame: FrameType | None) -> None:
        """Handle SIGHUP."""
        self._reloads.put(None)

    def _run_reloads(self, reload: Callable[[], object]) -> None:
        while True:
            self._reloads.get()
            while not self._reloads.empty():  # one reload answers all signals that came before it
                self._reloads.get()
            reload()


@contextmanager
def handle_signals() -> Iterator[Signals]:
    """Handle the signals in the body of the `with` statement, which is the whole command of a server.

    Use it in the main thread, because Python handles signals only there. The earlier handlers are not restored at the
    end, because a second SIGTERM would then kill a process that is about to exit with code 0.
    """
    signals = Signals()
    signal.signal(signal.SIGTERM, signals.on_stop)
    signal.signal(signal.SIGINT, signals.on_stop)
    signal.signal(signal.SIGHUP, signals.on_reload)
    with unblocked_signals():
        yield signals
