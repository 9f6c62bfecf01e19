"""The exporter as one thing: built from a configuration, started, reloaded, asked, stopped."""

import gc
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.config.problems import ConfigError
from exporter.config.settings import Config, masked_yaml
from exporter.errors import StateError
from exporter.exposition.formats import Encoding, TextFormat
from exporter.exposition.publisher import Exposition, Scrape
from exporter.glue.client import GlueClients
from exporter.logs import get_logger
from exporter.model.shard import Shard
from exporter.model.transform import Target
from exporter.polling.discovery import Discovery, DiscoveryQuery
from exporter.polling.poller import Poller
from exporter.polling.targets import configured_targets, merge_targets
from exporter.state.store import StateFile, open_state
from exporter.statuspage import PageTime, TransformReport, read_health
from exporter.telemetry import Telemetry

if TYPE_CHECKING:
    from exporter.statuspage import HtmlPage, StatusPages

log = get_logger(__name__)


class Service:
    """What the web server shows and the command line runs; see `routes.Backend` for what the server asks."""

    def __init__(
        self, load: Callable[[], Config], telemetry: Telemetry | None = None, shard: Shard | None = None
    ) -> None:
        """Take what reads the configuration, now and at every reload, and which shard this is, if there are several.

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
        self._discovery = Discovery(self.telemetry, self._shard, stop=self._stop, on_found=self._watch_found)
        self._found: list[tuple[Target, ...]] = []
        self._began = time.monotonic()
        self._ready = False
        self._pages: StatusPages | None = None
        self._adopt(self._config)
        self._loaded()
        if self._shard.count > 1:
            log.info("one of several shards", **asdict(self._shard))

    def _open_state(self) -> StateFile | None:
        if self._config.state.path is None:
            return None
        self.telemetry.expect_state()
        state, damaged = open_state(Path(self._config.state.path), time.time())
        if damaged is not None:
            log.error("the state file was damaged and is set aside; counters begin anew", kept_as=str(damaged))
        self._give_away(state)
        return state

    def _give_away(self, state: StateFile) -> None:
        """Forget the transforms of other shards.

        Kept for when they come back, their ledgers would count again what the others have counted meanwhile.
        """
        try:
            given_away = state.keep_only(self._shard.owns)
        except StateError as error:
            self.telemetry.state_write_errors.inc()
            log.error("what other shards watch now could not be taken out of the state file", error=str(error))
        else:
            if given_away:
                log.info("transforms of other shards are taken out of the state file", transforms=given_away)

    def _connect(self, config: Config) -> GlueClients:
        # AWS counts the calls of all shards together, and each shard has an equal share of every account and region.
        rate = config.polling.requests_per_second / self._shard.count
        polling = config.polling.model_copy(update={"requests_per_second": rate})
        return GlueClients.of(replace(config, polling=polling), telemetry=self.telemetry, stop=self._stop)

    def _loaded(self) -> None:
        self.telemetry.config_last_reload_successful.set(1)
        self.telemetry.config_last_reload_success.set(time.time())

    # -- running ----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to poll and to publish, in threads that do not keep the process from ending."""
        for name, work in (
            ("schedule", self._poller.run),
            ("publish", self._exposition.run),
            ("discovery", self._discovery.run),
        ):
            threading.Thread(target=work, name=name, daemon=True).start()

    def stop(self) -> None:
        """End all polls between two of their calls and close the state file; a call that hangs is left behind."""
        self._stop.set()
        self._exposition.stop()
        self._clients.close()
        if self._state is not None:
            self._state.close()

    @property
    def polled_all(self) -> bool:
        """Whether every discovery and every transform has been tried once."""
        return self._discovery.tried_all and self._poller.polled_all

    @property
    def failing(self) -> list[str]:
        """The ids of the transforms whose last poll failed, and where discovery has failed; or there was none yet."""
        return [*self._poller.failing, *(f"discovery {lane.account} {lane.region}" for lane in self._discovery.failing)]

    # -- what the server asks (routes.Backend) ----------------------------------------------------------------------

    def scrape(self, format: TextFormat, encoding: Encoding) -> Scrape | None:  # noqa: A002 - the protocol's word
        """Return an answer at once, or None when something has to be done first."""
        return self._exposition.scrape(format, encoding)

    def prepare_scrape(self, format: TextFormat, encoding: Encoding) -> Scrape:  # noqa: A002 - the protocol's word
        """Return an answer, having rendered or written what it takes."""
        return self._exposition.prepare_scrape(format, encoding)

    def is_alive(self) -> bool:
        """Whether the poll loop still comes round."""
        return self._poller.alive

    def is_ready(self) -> bool:
        """Whether there is something to serve: a first cycle is over, or an earlier process has left its counters."""
        if not self._ready:
            waited = time.monotonic() - self._began
            self._ready = self._poller.restored or self.polled_all or waited > self._config.polling.interval
        return self._ready

    def reload(self) -> str | None:
        """Load the configuration again; return why the old one was kept, None if the new one is in force."""
        with self._reloading:
            try:
                self._adopt(self._load())
            except (ConfigError, StateError) as error:
                self.telemetry.config_last_reload_successful.set(0)
                log.error("configuration not reloaded; the old one stays in force", error=str(error))
                return str(error)
            self._loaded()
            log.info("configuration reloaded", transforms=len(self._config.transforms))
            return None

    def _adopt(self, config: Config) -> None:
        before, former = self._config, self._clients
        if config.state != before.state:
            raise StateError("state.path: cannot change while the exporter runs; expected a restart")
        clients = former if _connection_of(config) == _connection_of(before) else self._connect(config)
        searches = self._discovery.plan(config)
        self._watch(config, clients, searches)
        self._discovery.adopt(searches, config, clients)
        self._config, self._clients = config, clients
        if clients is not former:
            former.close()
            del former
            # What a client refers to refers back to it, so only the collector frees it, and that comes round seldom.
            gc.collect()

    def _watch(self, config: Config, clients: GlueClients, searches: Sequence[DiscoveryQuery]) -> None:
        """Watch what is configured and what was found; nothing has changed if this raises `StateError`."""
        # Before it is used, for a search may end meanwhile.
        found = [search.found for search in searches]
        self._poller.watch(config, clients, self._targets_of(config, searches))
        self._found = found

    def _targets_of(self, config: Config, searches: Iterable[DiscoveryQuery]) -> tuple[Target, ...]:
        """Return what this shard watches; what a search has found is the shard's own already."""
        configured = [target for target in configured_targets(config) if self._shard.owns(target.id)]
        return merge_targets(configured, (target for search in searches for target in search.found))

    def _watch_found(self) -> None:
        """Watch what a discovery has found, if that is news."""
        with self._reloading:
            searches = self._discovery.searches
            if [search.found for search in searches] == self._found:
                return
            try:
                self._watch(self._config, self._clients, searches)
            except StateError as error:
                log.error("what was discovered is not watched yet", error=str(error))

    def effective_config(self) -> str:
        """Return the configuration in force, secrets masked."""
        shard = f"# shard {self._shard.index} of {self._shard.count}, counted from 0\n" if self._shard.count > 1 else ""
        return shard + masked_yaml(self._config)

    def status_page(self, query: Mapping[str, str], telemetry_path: str) -> "HtmlPage | None":
        """Return the page of all transforms, as the query wants it; None if pages are turned off."""
        pages = self._status_pages()
        if pages is None:
            return None
        reports = self._reports()
        health = read_health(
            self.telemetry,
            reports,
            shard=self._shard,
            state_path=self._config.state.path,
            interval=self._config.polling.interval,
            lookback=self._config.polling.lookback,
        )
        return pages.front(reports, health, query, telemetry_path, PageTime(time.time(), time.monotonic()))

    def transform_page(self, transform_id: str, telemetry_path: str) -> "HtmlPage | None":
        """Return the page of one transform; None if it is not watched or pages are turned off."""
        pages = self._status_pages()
        report = next((one for one in self._reports() if one.target.id == transform_id), None)
        if pages is None or report is None:
            return None
        return pages.transform(
            report, self._config.polling.interval, telemetry_path, PageTime(time.time(), time.monotonic())
        )

    def _reports(self) -> list[TransformReport]:
        return [
            TransformReport(one.target, one.shown[0] if one.shown else None, one.recent.runs, one.next_poll)
            for one in self._poller.monitored
        ]

    def _status_pages(self) -> "StatusPages | None":
        """Return what renders the pages; it is loaded when somebody first looks at one."""
        if not self._config.web.status_page:
            return None
        if self._pages is None:
            # A template engine takes 50 ms and some memory, which a process that is only scraped does without.
            from exporter.statuspage import StatusPages  # noqa: PLC0415

            self._pages = StatusPages()
        return self._pages


def _connection_of(config: Config) -> tuple[object, ...]:
    """Return what a change of needs new clients."""
    polling = config.polling
    rates = (polling.request_timeout, polling.max_attempts, polling.requests_per_second, polling.concurrency)
    return config.accounts, config.endpoint_url, rates
