"""`serve`: connect the service to the web server, and run both until a signal."""

import ctypes
import os
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path

from exporter import __version__, logs
from exporter.cli.auto_reload import AutoReload
from exporter.cli.options import DemoOptions, OnceOptions, ServeOptions
from exporter.cli.parser import UsageError, unknown_variables
from exporter.cli.service_manager import ServiceManager
from exporter.cli.signals import Signals, handle_signals
from exporter.config.settings import read_config
from exporter.model.shard import Shard, chosen_shard
from exporter.service import Service
from exporter.telemetry import Telemetry
from exporter.web.config import WebConfig
from exporter.web.server import WebServer

log = logs.get_logger(__name__)

_M_ARENA_MAX = -8
"""The parameter of mallopt(3), from malloc.h of the GNU C library."""


def serve(options: ServeOptions) -> int:
    """Run the exporter until SIGTERM or SIGINT; return 0.

    Raises:
        UsageError: the number of the shard is missing or too high, or the path of the metrics is that of a page.
        ConfigError: a configuration file cannot be used.
        StateError: the state file cannot be used.
        ListenError: an address cannot be listened on.
    """
    with handle_signals() as signals:
        share_one_arena()
        telemetry = start_telemetry(options, process=not options.web_disable_exporter_metrics)
        config_file = Path(options.config_file)
        # AutoReload reads the file before the service reads it, so that AutoReload notices a change between both.
        auto_reload = AutoReload(config_file) if options.config_enable_auto_reload else None
        service = Service(partial(read_config, config_file, environ=os.environ), telemetry, _shard(options))
        manager = ServiceManager(os.environ)
        server = _server(service, options, telemetry, lambda: manager.feed_watchdog(service.is_alive))
        if auto_reload:
            auto_reload.start(service.reload, options.config_auto_reload_interval)
        try:
            return run_until_stopped(signals, service, server, manager.ready, manager.stopping)
        finally:
            if auto_reload:
                auto_reload.stop()


def _shard(options: ServeOptions) -> Shard:
    try:
        return chosen_shard(options.shard_index, options.shard_count, socket.gethostname())
    except ValueError as error:
        raise UsageError(f"--shard.index: {error}") from error


def _server(service: Service, options: ServeOptions, telemetry: Telemetry, on_second: Callable[[], None]) -> WebServer:
    web_config = _web_config(options, telemetry)
    if web_config is not None:
        service.web_config_error = lambda: web_config.problem
    try:
        return WebServer(
            service,
            addresses=options.web_listen_address,
            telemetry_path=options.web_telemetry_path,
            external_url=options.web_external_url,
            max_requests=options.web_max_requests,
            enable_lifecycle=options.web_enable_lifecycle,
            web_config=web_config,
            on_second=on_second,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def start_telemetry(options: ServeOptions | DemoOptions | OnceOptions, *, process: bool) -> Telemetry:
    """Configure the log from the options, and return the exporter's own metrics, which count each message.

    Args:
        options: level and format of the log.
        process: whether to include metrics of the process (memory, CPU, open files).
    """
    telemetry = Telemetry(process=process)
    logs.configure(options.log_level, options.log_format, logs.STDERR, telemetry.count_log_message)
    logs.log_python_messages()
    for variable, advice in unknown_variables(os.environ).items():
        log.warning("unknown environment variable", variable=variable, advice=advice)
    return telemetry


def run_until_stopped(
    signals: Signals,
    service: Service,
    server: WebServer,
    on_start: Callable[[], None] = lambda: None,
    on_stop: Callable[[], None] = lambda: None,
) -> int:
    """Start service and server, call `on_start`, serve until SIGTERM or SIGINT, and call `on_stop`. Return 0.

    SIGHUP reloads the configuration.

    Raises:
        ListenError: an address cannot be listened on.
    """
    server.start()
    service.start()
    signals.attach(stop=server.stop, reload=service.reload)
    log.info("listening", version=__version__, addresses=", ".join(server.addresses), url=server.url, **service.scope)
    on_start()
    server.run()
    on_stop()
    service.stop()
    log.info("stopped")
    return 0


def share_one_arena() -> None:
    """Limit malloc of the GNU C library to one arena (mallopt(3)). Call it before other threads start.

    By default the library makes up to eight arenas for each core. Each arena keeps the most memory that its threads
    have ever used, so the process grows for hours. Several arenas help only if threads allocate at the same moment,
    which is rare in Python. If the environment sets ``MALLOC_ARENA_MAX``, this function changes nothing. Other C
    libraries have no arenas.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def _web_config(options: ServeOptions, telemetry: Telemetry) -> WebConfig | None:
    if not options.web_config_file:
        return None
    telemetry.add_web_config_metrics()
    return WebConfig(Path(options.web_config_file), telemetry.set_web_config_loaded)
