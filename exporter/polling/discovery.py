"""Which transforms there are: Glue is asked at intervals, by tag and by name.

A search is one item of ``discovery`` in one region. Its last good answer holds until the next one: a search that fails
takes no transform away.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial

from exporter.config.schema import label_name
from exporter.config.settings import Config, DiscoverySettings
from exporter.errors import GlueError
from exporter.glue.client import GlueClient, GlueClients
from exporter.glue.rate_limit import Stopped
from exporter.logs import get_logger
from exporter.model.shard import Shard
from exporter.model.transform import Lane, Target
from exporter.polling.poll_log import PollLog
from exporter.polling.threads import ThreadPool
from exporter.telemetry import Telemetry

log = get_logger(__name__)

HEARTBEAT = 1.0
"""Seconds within which it is looked at the latest whether a search is due."""


@dataclass(slots=True, eq=False)
class DiscoveryQuery:
    """What to look for in one account and region, and what was found there."""

    wanted: DiscoverySettings
    lane: Lane
    found: tuple[Target, ...] = ()
    tried: bool = False
    failing: bool = False
    succeeded: float | None = None
    """When it last succeeded (UTC seconds)."""
    due: float = 0.0
    """When it is to be made next (monotonic seconds)."""
    busy: bool = False


class Discovery:
    """Makes all searches of a configuration. `adopt` says which; `run` makes them until the exporter stops."""

    def __init__(
        self, telemetry: Telemetry, shard: Shard, *, stop: threading.Event, on_found: Callable[[], None]
    ) -> None:
        """Take where to tell how it goes, and whose transforms are looked for.

        ``on_found`` is called after each search that has succeeded.
        """
        self._shard = shard
        self._telemetry = telemetry
        self._stop = stop
        self._on_found = on_found
        self._poll_log = PollLog()
        self._crew = ThreadPool("discover")
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._searches: tuple[DiscoveryQuery, ...] = ()
        self._clients: GlueClients
        self._retry_after = 0.0
        self._page_size = 0

    def plan(self, config: Config) -> tuple[DiscoveryQuery, ...]:
        """Return the searches of a configuration, to be made once they are adopted.

        A search that was made before goes on with what it has found. A new one begins with what former searches of its
        account and region had found, until its own first answer: a changed filter leaves no gap.
        """
        return _carried_over(_searches(config.discovery), self.searches)

    def adopt(self, searches: tuple[DiscoveryQuery, ...], config: Config, clients: GlueClients) -> None:
        """Make these searches, planned for this configuration, from now on."""
        with self._lock:
            gone = {search.lane for search in self._searches} - {search.lane for search in searches}
            for search in set(self._searches) - set(searches):
                self._poll_log.forget_discovery(search.lane, search)
            self._searches, self._clients = searches, clients
            self._retry_after, self._page_size = config.polling.interval, config.polling.page_size
            for lane in gone:
                self._forget(lane)
        self._wake.set()

    @property
    def searches(self) -> tuple[DiscoveryQuery, ...]:
        """What is searched, with what was found."""
        with self._lock:
            return self._searches

    @property
    def tried_all(self) -> bool:
        """Whether every search was made once, successful or not."""
        with self._lock:
            return all(search.tried for search in self._searches)

    @property
    def failing(self) -> list[Lane]:
        """Where the last search has failed, or none was made yet."""
        with self._lock:
            return [search.lane for search in self._searches if search.failing or not search.tried]

    # -- when to search ---------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Search until the exporter stops; a thread of its own."""
        while not self._stop.is_set():
            self._wake.wait(self._begin_searches())
            self._wake.clear()

    def _begin_searches(self) -> float:
        """Begin the searches that are due; return the seconds until the next one."""
        now = time.monotonic()
        with self._lock:
            idle = [search for search in self._searches if not search.busy]
            for search in idle:
                if search.due <= now:
                    search.busy = self._crew.run(
                        partial(self._make, search, self._clients.client_for(search.lane), self._page_size)
                    )
            waiting = [search.due - now for search in idle if search.due > now]
        return min([HEARTBEAT, *waiting])

    def _make(self, search: DiscoveryQuery, glue: GlueClient, page_size: int) -> None:
        began = time.monotonic()
        try:
            self._try(search, glue, page_size, began)
        except Exception:  # a mistake of this program costs this search and no other, and is not made again at once
            log.exception("a discovery has met a mistake of this program; please report it")
            self._note(search, None, due=began + min(search.wanted.interval, self._retry_after))
        finally:
            with self._lock:
                search.busy, search.tried = False, True
            self._wake.set()

    def _try(self, search: DiscoveryQuery, glue: GlueClient, page_size: int, began: float) -> None:
        try:
            found = self._find(search, glue, page_size)
        except Stopped:
            return
        except GlueError as error:
            if self._note(search, None, due=began + min(search.wanted.interval, self._retry_after)):
                self._poll_log.discovery_failed(search.lane, search, error)
            return
        before = search.found
        if self._note(search, found, due=began + search.wanted.interval):
            self._poll_log.discovered(search.lane, search, _ids(before), _ids(found))
            self._on_found()

    def _note(self, search: DiscoveryQuery, found: tuple[Target, ...] | None, *, due: float) -> bool:
        """Note what a search has found, None if it failed; whether it is still wanted."""
        with self._lock:
            search.failing = found is None
            search.due = max(due, time.monotonic())
            if found is not None:
                search.found, search.succeeded = found, time.time()
            wanted = search in self._searches
            if wanted:
                self._tell(search.lane)
            return wanted

    # -- what to find -----------------------------------------------------------------------------------------------

    def _find(self, search: DiscoveryQuery, glue: GlueClient, page_size: int) -> tuple[Target, ...]:
        ids = find(search.wanted, glue, page_size=page_size, owns=self._shard.owns)
        labels = self._labels(search, glue, ids)
        return tuple(Target(transform_id, search.lane, None, labels[transform_id]) for transform_id in ids)

    def _labels(self, search: DiscoveryQuery, glue: GlueClient, ids: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the labels from tags by transform; where tags are not to be had, as they were."""
        wanted = search.wanted.labels_from_tags
        tags = search.wanted.tags
        known = {label_name(key): tags[key] for key in wanted if key in tags}
        asked = [key for key in wanted if key not in tags]
        before = {target.id: target.labels for target in search.found}
        labels = {transform_id: {**before.get(transform_id, {}), **known} for transform_id in ids}
        if asked:
            self._read_tags(glue, asked, labels)
        return labels

    def _read_tags(self, glue: GlueClient, keys: Iterable[str], labels: Mapping[str, dict[str, str]]) -> None:
        """Put the tags with these keys into the labels of each transform."""
        for transform_id, its_labels in labels.items():
            try:
                tags = glue.tags(transform_id)
            except Stopped:
                raise
            except GlueError as error:
                if error.reason == "EntityNotFoundException":
                    continue
                # Labels are an ornament: what keeps them away keeps no transform away, and is not asked for each.
                self._poll_log.tags_failed(glue.lane, error)
                return
            for key in keys:
                its_labels.pop(label_name(key), None)
            its_labels.update({label_name(key): tags[key] for key in keys if key in tags})
        self._poll_log.tags_known(glue.lane)

    # -- how it goes ------------------------------------------------------------------------------------------------

    def _tell(self, lane: Lane) -> None:
        searches = [search for search in self._searches if search.lane == lane]
        found = {target.id for search in searches for target in search.found}
        self._telemetry.discovered_transforms.labels(*lane).set(len(found))
        self._telemetry.discovery_up.labels(*lane).set(not any(search.failing for search in searches))
        succeeded = [search.succeeded for search in searches if search.succeeded is not None]
        if len(succeeded) == len(searches):
            self._telemetry.discovery_last_success.labels(*lane).set(min(succeeded))

    def _forget(self, lane: Lane) -> None:
        for gauge in (
            self._telemetry.discovered_transforms,
            self._telemetry.discovery_up,
            self._telemetry.discovery_last_success,
        ):
            gauge.remove(*lane)


def _searches(discovery: Iterable[DiscoverySettings]) -> list[DiscoveryQuery]:
    return [DiscoveryQuery(wanted, Lane(wanted.account, region)) for wanted in discovery for region in wanted.regions]


def _carried_over(new: Iterable[DiscoveryQuery], before: Iterable[DiscoveryQuery]) -> tuple[DiscoveryQuery, ...]:
    """Return the new searches, each replaced by the same one from before, or begun with what those had found."""
    left = list(before)
    searches = []
    for search in new:
        same = next((old for old in left if (old.lane, old.wanted) == (search.lane, search.wanted)), None)
        if same is not None:
            left.remove(same)
        searches.append(same or search)
    for search in searches:
        if not search.tried:
            search.found = tuple(target for old in left if old.lane == search.lane for target in old.found)
    return tuple(searches)


def _ids(targets: Iterable[Target]) -> list[str]:
    return [target.id for target in targets]


def find(
    wanted: DiscoverySettings, glue: GlueClient, *, page_size: int, owns: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """Return the ids of the transforms that are wanted in one account and region, and ours; raises `GlueError`."""
    ids = glue.transform_ids(wanted.tags, page_size=page_size)
    # Before anything is asked about each: names and tags of the others' transforms are the others' calls.
    ids = [transform_id for transform_id in ids if owns(transform_id)]
    if wanted.name is None:
        return ids
    return [transform_id for transform_id in ids if _is_named(glue, transform_id, wanted.name)]


def _is_named(glue: GlueClient, transform_id: str, pattern: str) -> bool:
    try:
        return fnmatchcase(glue.details(transform_id).name, pattern)
    except GlueError as error:
        if error.reason != "EntityNotFoundException":
            raise
        return False
