"""The whole exporter: built from a configuration, started, reloaded and stopped.

It connects discovery, polling, state and exposition, and answers the calls of the web server and the command line.
"""

import gc
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.config.problems import ConfigError
from exporter.config.settings import Config, masked_yaml
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.publisher import Exposition, Scrape
from exporter.glue.client import GlueClients
from exporter.logs import get_logger
from exporter.model.errors import StateError
from exporter.model.shard import Shard
from exporter.model.transform import Target
from exporter.polling import Discovery, Poller
from exporter.polling.discovery import DiscoveryQuery
from exporter.polling.targets import configured_targets, merge_targets
from exporter.state.store import StateFile, open_state
from exporter.statuspage import PageTime, TransformReport, read_health
from exporter.telemetry import Telemetry

if TYPE_CHECKING:
    from exporter.statuspage import HtmlPage, StatusPages

log = get_logger(__name__)


class Service:
    """Runs the exporter for the command line, and is the `routes.Backend` of the web server."""

    def __init__(
        self, load: Callable[[], Config], telemetry: Telemetry | None = None, shard: Shard | None = None
    ) -> None:
        """Take a function that reads the configuration (now and at each reload), and the shard of this process.

        Raises `ConfigError` and `StateError`.
        """
        self._load = load
        self._config = load()
        self._reloading = threading.Lock()
        self._stop = threading.Event()
        self.telemetry = telemetry or Telemetry()
        self._shard = shard or Shard()
        self.telemetry.set_shard(self._shard.index, self._shard.count)
        self._state = self._open_state()
        self._clients = self._connect(self._config)
        self._exposition = Exposition(self.telemetry, self._state)
        self._poller = Poller(
            self._config, self._clients, self._exposition, self.telemetry, self._state, stop=self._stop
        )
        self._discovery = Discovery(self.telemetry, self._shard, stop=self._stop, on_found=self._monitor_found)
        self._found: list[tuple[Target, ...]] = []
        self._is_complete = False
        self.web_config_error: Callable[[], str] = lambda: ""
        """Returns why the web configuration on disk is not in use; empty if it is."""
        self._refused = ""
        """Why the configuration on disk is not in use; empty if it is."""
        self._began = time.monotonic()
        self._ready = False
        self._pages: StatusPages | None = None
        self._apply(self._config)
        self._record_reload()
        if self._shard.count > 1:
            log.info("this process is one of several shards", **asdict(self._shard))

    def _open_state(self) -> StateFile | None:
        if self._config.state.path is None:
            return None
        self.telemetry.add_state_metrics()
        state, damaged = open_state(Path(self._config.state.path), time.time())
        if damaged is not None:
            log.error("the state file is damaged and was renamed; counters start again at 0", kept_as=str(damaged))
        self._drop_other_shards(state)
        return state

    def _drop_other_shards(self, state: StateFile) -> None:
        """Delete the transforms of other shards from the state file.

        A kept transform could return when the number of shards changes again. Its old ledger would then count runs that
        another shard has counted already.
        """
        try:
            dropped = state.drop_others(self._shard.owns)
        except StateError as error:
            self.telemetry.state_write_errors.inc()
            log.error("transforms of other shards could not be deleted from the state file", error=str(error))
        else:
            if dropped:
                log.info("transforms of other shards were deleted from the state file", transforms=dropped)

    def _connect(self, config: Config) -> GlueClients:
        # AWS limits the rate of an account and region for all shards together, so each shard may use an equal share.
        rate = config.polling.requests_per_second / self._shard.count
        polling = config.polling.model_copy(update={"requests_per_second": rate})
        return GlueClients(replace(config, polling=polling), telemetry=self.telemetry, stop=self._stop)

    def _record_reload(self) -> None:
        self.telemetry.config_last_reload_successful.set(1)
        self.telemetry.config_last_reload_success.set(time.time())

    # -- running ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to discover, poll and publish. Each has a daemon thread, so the process can end at any time."""
        threads = [
            ("schedule", self._poller.run),
            ("publish", self._exposition.run),
            ("discovery", self._discovery.run),
        ]
        if self._state is not None:
            threads.append(("state", self._poller.keep_state))
        for name, work in threads:
            threading.Thread(target=work, name=name, daemon=True).start()

    def stop(self) -> None:
        """End all calls and polls, and close the state file; does not wait for a call that hangs."""
        self._poller.record_polls()
        self._stop.set()
        self._exposition.stop()
        self._clients.close()
        if self._state is not None:
            self._state.close()

    @property
    def scope(self) -> dict[str, int]:
        """The number of transforms that are monitored now, of their accounts and regions, and of discovery queries.

        Before the first discovery ends, only the configured transforms are known. If there are none, the number of
        transforms is left out, because 0 would say that nothing is monitored.
        """
        targets = [one.target for one in self._poller.monitored]
        queries = self._discovery.queries
        lanes = {*(target.lane for target in targets), *(query.lane for query in queries)}
        transforms = {"transforms": len(targets)} if targets or not queries else {}
        return {**transforms, "accounts_and_regions": len(lanes), "discovery_queries": len(queries)}

    @property
    def polled_all(self) -> bool:
        """Whether every discovery query and every transform was tried at least once, with or without success."""
        return self._discovery.tried_all and self._poller.polled_all

    @property
    def failing(self) -> list[str]:
        """The transforms and discovery lanes whose last poll or query has failed or was not made yet."""
        return [*self._poller.failing, *(f"discovery {lane.account} {lane.region}" for lane in self._discovery.failing)]

    # -- what the web server asks (routes.Backend) ------------------------------------------------------------------

    def scrape(self, format: TextFormat, encoding: Encoding) -> Scrape | None:  # noqa: A002 - the protocol's word
        """Return an answer at once, or None if `prepare_scrape` must render or record something first."""
        return self._exposition.scrape(format, encoding)

    def prepare_scrape(self, format: TextFormat, encoding: Encoding) -> Scrape:  # noqa: A002 - the protocol's word
        """Render and record as far as needed, and return the answer. This may block."""
        return self._exposition.prepare_scrape(format, encoding)

    def is_alive(self) -> bool:
        """Whether the poll loop comes round and polls come to an end, as `Scheduler.alive` defines it."""
        return self._poller.alive

    def is_ready(self) -> bool:
        """Whether everything was tried once, an interval has passed, or the state file had counters to serve."""
        if not self._ready:
            waited = time.monotonic() - self._began
            self._ready = self._poller.restored or self.polled_all or waited > self._config.polling.interval
        return self._ready

    def reload(self) -> str | None:
        """Load the configuration again. Return None on success, else the reason why the old configuration stays."""
        with self._reloading:
            try:
                self._apply(self._load())
            except (ConfigError, StateError) as error:
                self._refused = str(error)
                self.telemetry.config_last_reload_successful.set(0)
                log.error("configuration not reloaded; the old one stays in force", error=str(error))
                return str(error)
            except Exception:  # the thread that reloads on SIGHUP, or after a change of the file, must live on
                self._refused = "a defect in this program; the log has the details"
                self.telemetry.config_last_reload_successful.set(0)
                log.exception("a reload failed because of a defect in this program; please report it")
                return self._refused
            self._refused = ""
            self._record_reload()
            log.info("configuration reloaded", **self.scope)
            return None

    def _apply(self, config: Config) -> None:
        before, former = self._config, self._clients
        if config.state != before.state:
            raise StateError("state.path: cannot change while the exporter runs; expected a restart")
        clients = former if _connection_of(config) == _connection_of(before) else self._connect(config)
        queries = self._discovery.plan(config)
        self._monitor(config, clients, queries)
        self._discovery.apply(queries, config, clients)
        self._config, self._clients = config, clients
        if clients is not former:
            former.close_idle()
            del former
            # Clients are in reference cycles, so only the garbage collector frees them, and it seldom runs by itself.
            gc.collect()

    def _monitor(self, config: Config, clients: GlueClients, queries: Sequence[DiscoveryQuery]) -> None:
        """Monitor the configured and the found transforms; nothing has changed if this raises `StateError`."""
        # This reads `found` only once, because a query may end at any time and change it.
        found = [query.found for query in queries]
        is_complete = all(query.succeeded is not None for query in queries)
        last_absent = {transform_id: ended for query in queries for transform_id, ended in query.last_absent.items()}
        targets = self._targets_of(config, found)
        self._poller.monitor(config, clients, targets, last_absent, is_complete=is_complete)
        self._found, self._is_complete = found, is_complete

    def _targets_of(self, config: Config, found: Iterable[tuple[Target, ...]]) -> tuple[Target, ...]:
        """Return the targets of this shard. Discovery finds only transforms of this shard."""
        configured = [target for target in configured_targets(config) if self._shard.owns(target.id)]
        return merge_targets(configured, (target for targets in found for target in targets))

    def _monitor_found(self) -> None:
        """Monitor the transforms that discovery has found, if they have changed."""
        with self._reloading:
            queries = self._discovery.queries
            if self._is_complete and [query.found for query in queries] == self._found:
                return
            try:
                self._monitor(self._config, self._clients, queries)
            except StateError as error:
                log.error("discovered transforms are not monitored yet, because of the state file", error=str(error))

    def effective_config(self) -> str:
        """Return the present configuration with masked secrets."""
        shard = f"# shard {self._shard.index} of {self._shard.count}, counted from 0\n" if self._shard.count > 1 else ""
        return shard + masked_yaml(self._config)

    def status_page(self, query: Mapping[str, str], telemetry_path: str) -> "HtmlPage | None":
        """Return the page of all transforms, filtered by the URL's ``query``; None if pages are turned off."""
        pages = self._status_pages()
        if pages is None:
            return None
        reports = self._reports()
        health = read_health(
            self.telemetry,
            reports,
            shard=self._shard,
            config_error=self._refused,
            web_config_error=self.web_config_error(),
            state_path=self._config.state.path,
            state_error=self._state.failure if self._state else "",
            discovery_errors={query.lane: query.error for query in self._discovery.queries if query.error},
            interval=self._config.polling.interval,
            lookback=self._config.polling.lookback,
        )
        return pages.front(reports, health, query, telemetry_path, PageTime(time.time(), time.monotonic()))

    def transform_page(self, transform_id: str, telemetry_path: str) -> "HtmlPage | None":
        """Return the page of one transform; None if it is not monitored or pages are turned off."""
        pages = self._status_pages()
        report = next((one for one in self._reports() if one.target.id == transform_id), None)
        if pages is None or report is None:
            return None
        return pages.transform(
            report, self._config.polling.interval, telemetry_path, PageTime(time.time(), time.monotonic())
        )

    def not_found_page(self, root: str, telemetry_path: str) -> "HtmlPage | None":
        """Return the page for an unknown path; ``root`` leads from it to the front page. None if pages are off."""
        pages = self._status_pages()
        if pages is None:
            return None
        return pages.not_found(root, telemetry_path, PageTime(time.time(), time.monotonic()))

    def _reports(self) -> list[TransformReport]:
        return [
            TransformReport(one.target, one.shown[0] if one.shown else None, one.recent.runs, one.next_poll)
            for one in self._poller.monitored
        ]

    def _status_pages(self) -> "StatusPages | None":
        """Return the renderer of the pages, None if pages are turned off. The first call loads the renderer."""
        if not self._config.web.status_page:
            return None
        if self._pages is None:
            # Loading takes 50 ms and some memory. A process without page requests saves both.
            from exporter.statuspage import StatusPages  # noqa: PLC0415

            self._pages = StatusPages()
        return self._pages


def _connection_of(config: Config) -> tuple[object, ...]:
    """Return the settings whose change requires new clients."""
    polling = config.polling
    rates = (polling.request_timeout, polling.max_attempts, polling.requests_per_second, polling.concurrency)
    return config.accounts, config.endpoint_url, rates
