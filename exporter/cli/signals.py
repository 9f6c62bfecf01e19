"""Signals of the process: SIGTERM and SIGINT stop it, SIGHUP reloads the configuration."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from exporter.logs import get_logger

log = get_logger(__name__)


@contextmanager
def handle_signals(*, stop: Callable[[], None], reload: Callable[[], object]) -> Iterator[None]:
    """Call `stop` on SIGTERM and SIGINT, and `reload` on SIGHUP, while the body of the `with` statement runs.

    Use it in the main thread, because Python handles signals only there. At the end, the earlier handlers are restored.
    """

    def handle_stop(number: int, _frame: object) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop()

    def handle_reload(_number: int, _frame: object) -> None:
        # A reload reads files and can wait for a poll. It has its own thread, because the main thread answers scrapes.
        threading.Thread(target=reload, name="reload", daemon=True).start()

    handlers = {signal.SIGTERM: handle_stop, signal.SIGINT: handle_stop, signal.SIGHUP: handle_reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
