"""The command `glue-ml-exporter`: reads the command line, puts the parts together, and owns the signals."""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from exporter import __version__, logs
from exporter.cli.arenas import share_one_arena
from exporter.cli.completion import completion_script
from exporter.cli.flags import (
    CheckConfigOptions,
    CompletionOptions,
    DemoOptions,
    IamPolicyOptions,
    OnceOptions,
    Options,
    RunsOptions,
    ServeOptions,
    SimulateOptions,
)
from exporter.cli.iam_policy import policies, printable
from exporter.cli.once import poll_once
from exporter.cli.output.progress import lossless_output
from exporter.cli.parser import UsageError, parse
from exporter.config.parsing import Address
from exporter.config.settings import Config, load_config, read_config
from exporter.errors import ExporterError
from exporter.model.shard import chosen_shard
from exporter.service import Service
from exporter.telemetry import Telemetry
from exporter.web.config import WebConfig
from exporter.web.server import WebServer

log = logs.get_logger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; return its exit code.

    0, 1 for a failure, 2 for a wrong call, 130 if interrupted, 141 if nobody reads the output; or the command's own.
    """
    try:
        code = _run(parse(sys.argv[1:] if argv is None else argv, os.environ))
        sys.stdout.flush()
    except UsageError as error:
        print(f"glue-ml-exporter: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # What is still in the buffer would raise again when the interpreter closes stdout.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (ExporterError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    return code


def _run(options: Options) -> int:  # noqa: PLR0911 - one for each command
    match options:
        case ServeOptions():
            return _serve(options)
        case DemoOptions():
            return _demo(options)
        case SimulateOptions():
            return _simulate(options)
        case RunsOptions():
            return _show_runs(options)
        case OnceOptions():
            return _once(options)
        case CheckConfigOptions():
            return _check_config(options)
        case IamPolicyOptions():
            return _iam_policy(options)
        case CompletionOptions():
            print(completion_script(options.shell), end="")
            return 0


def _configured(path: str) -> Callable[[], Config]:
    return partial(read_config, Path(path), environ=os.environ)


def _telemetry(options: ServeOptions | DemoOptions | OnceOptions, *, process: bool) -> Telemetry:
    """Return the exporter's own metrics, with every message of the log counted from now on."""
    telemetry = Telemetry(process=process)
    logs.configure(options.log_level, options.log_format, sys.stderr, telemetry.count_log_message)
    return telemetry


# -- serve ------------------------------------------------------------------------------------------------------------


def _serve(options: ServeOptions) -> int:
    try:
        shard = chosen_shard(options.shard_index, options.shard_count, socket.gethostname())
    except ValueError as error:
        raise UsageError(f"--shard.index: {error}") from error
    telemetry = _telemetry(options, process=not options.web_disable_exporter_metrics)
    service = Service(_configured(options.config_file), telemetry, shard)
    server = WebServer(
        service,
        addresses=[_text(address) for address in options.web_listen_address],
        telemetry_path=options.web_telemetry_path,
        max_requests=options.web_max_requests,
        enable_lifecycle=options.web_enable_lifecycle,
        web_config=_web_config(options, telemetry),
    )
    if options.config_enable_auto_reload:
        _reload_on_change(Path(options.config_file), options.config_auto_reload_interval, service)
    return _serve_until_stopped(service, server)


def _web_config(options: ServeOptions, telemetry: Telemetry) -> WebConfig | None:
    if not options.web_config_file:
        return None
    telemetry.expect_web_config()
    return WebConfig(Path(options.web_config_file), telemetry.note_web_config)


def _serve_until_stopped(service: Service, server: WebServer, greet: Callable[[], None] = lambda: None) -> int:
    share_one_arena()
    server.start()
    service.start()
    log.info("listening", version=__version__, addresses=", ".join(server.addresses))
    greet()
    with _signals(stop=server.stop, reload=service.reload):
        server.run()
    service.stop()
    log.info("stopped")
    return 0


@contextmanager
def _signals(*, stop: Callable[[], None], reload: Callable[[], object]) -> Iterator[None]:
    """Stop on SIGTERM and SIGINT, reload on SIGHUP, for as long as the body runs."""

    def handle_stop(number: int, _frame: object) -> None:
        log.info("stopping", signal=signal.Signals(number).name)
        stop()

    def handle_reload(_number: int, _frame: object) -> None:
        # A reload reads files and may wait for a poll; the main thread has scrapes to answer.
        threading.Thread(target=reload, name="reload", daemon=True).start()

    handlers = {signal.SIGTERM: handle_stop, signal.SIGINT: handle_stop, signal.SIGHUP: handle_reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _reload_on_change(path: Path, interval: float, service: Service) -> None:
    """Reload when the file's content changes; by content, as Kubernetes swaps a symbolic link above the file."""

    def watch() -> None:
        before = _content(path)
        while True:
            threading.Event().wait(interval)
            now = _content(path)
            if now is not None and now != before:
                before = now
                service.reload()

    threading.Thread(target=watch, name="auto-reload", daemon=True).start()


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _text(address: Address) -> str:
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


# -- the other commands -----------------------------------------------------------------------------------------------


def _demo(options: DemoOptions) -> int:
    from exporter.simulator import Simulator  # noqa: PLC0415 - production runs without the simulator

    telemetry = _telemetry(options, process=True)
    _pretend_credentials()
    with Simulator(options.scenario or "demo") as simulator:
        config = _demo_config(simulator.url, simulator.world.transform_ids())
        service = Service(partial(load_config, config, source="demo", environ={}), telemetry)
        server = WebServer(service, addresses=[_text(address) for address in options.web_listen_address])
        return _serve_until_stopped(service, server, lambda: _greet(server, simulator.usage()))


def _pretend_credentials() -> None:
    """Let boto3 sign with credentials that are nobody's: those of the person at the keyboard stay out of a demo."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CA_BUNDLE"):
        os.environ.pop(name, None)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "simulated",
        "AWS_SECRET_ACCESS_KEY": "simulated",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _demo_config(url: str, transform_ids: Sequence[str]) -> str:
    lines = [
        "region: eu-west-1",
        f"endpoint_url: {url}",
        "polling: {interval: 2s, stale_after: 30s, requests_per_second: 50}",
        "transforms:",
        *(f"  - {transform_id}" for transform_id in transform_ids),
    ]
    return "\n".join(lines)


def _greet(server: WebServer, usage: str) -> None:
    port = server.addresses[0].rpartition(":")[2]
    print(
        f"""
glue-ml-exporter demo: runs of simulated transforms, no AWS involved.

Metrics:   http://localhost:{port}/metrics
Overview:  http://localhost:{port}/

Try next:
  curl -s localhost:{port}/metrics | grep task_runs_finished_total
  curl -s localhost:{port}/metrics | grep 'latest_status.* 1'

{usage}Ctrl-C ends it.
""",
        flush=True,
    )


def _simulate(options: SimulateOptions) -> int:
    from exporter.simulator import serve  # noqa: PLC0415 - production runs without the simulator

    logs.configure(options.log_level, options.log_format, sys.stderr)
    stop = threading.Event()
    host, port = options.listen_address
    with _signals(stop=stop.set, reload=lambda: None):
        serve(options.scenario or "demo", host=host or "127.0.0.1", port=port, stop=stop, output=sys.stdout)
    return 0


def _show_runs(options: RunsOptions) -> int:
    from exporter.cli.runs.command import show_runs  # noqa: PLC0415 - what draws tables is not for who serves

    return show_runs(options, lossless_output(), sys.stderr)


def _once(options: OnceOptions) -> int:
    file = Path(options.output) if options.output else None
    telemetry = _telemetry(options, process=False)
    return poll_once(_configured(options.config_file), telemetry, file, sys.stdout.buffer)


def _check_config(options: CheckConfigOptions) -> int:
    config = _configured(options.config_file)()
    print(f"{options.config_file}: ok", flush=True)
    if not options.live:
        return 0
    from exporter.cli.check_live import check_live  # noqa: PLC0415 - what draws tables is not for who serves

    return check_live(config, lossless_output(), sys.stderr)


def _iam_policy(options: IamPolicyOptions) -> int:
    print(json.dumps(printable(policies(_configured(options.config_file)())), indent=2))
    return 0
