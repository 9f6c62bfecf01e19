"""Finds the transforms to monitor: asks Glue at intervals, with filters on tags and names.

A query is one item of ``discovery`` in one region. If a query fails, its last successful answer stays valid, so no
transform is removed.
"""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial

from exporter.config.durations import parse_duration
from exporter.config.schema import label_name
from exporter.config.settings import Config, DiscoverySettings
from exporter.glue.client import GlueClient, GlueClients
from exporter.glue.rate_limit import Stopped
from exporter.glue.threads import ThreadPool
from exporter.logs import get_logger
from exporter.model.errors import GlueError
from exporter.model.shard import Shard
from exporter.model.transform import Lane, Target
from exporter.polling.poll_log import DISCOVERY, TAGS, PollLog, log_discovered
from exporter.polling.poller import MAX_ERROR_LENGTH
from exporter.telemetry import Telemetry

log = get_logger(__name__)

HEARTBEAT = 1.0
"""Longest time between two checks for due queries, in seconds."""


@dataclass(slots=True, eq=False)
class DiscoveryQuery:
    """One query to one account and region, with its last successful answer."""

    settings: DiscoverySettings
    lane: Lane
    found: tuple[Target, ...] = ()
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """The last known values of the tags that were read, by transform id."""
    bad_tags: frozenset[tuple[str, str, str]] = frozenset()
    """Transform id, key and value of each tag of the last answer that should be a duration and is not."""
    tried: bool = False
    """Whether it was made at least once, with or without success."""
    failing: bool = False
    error: str = ""
    """Why the last query failed, for the status page: the reason, and the message of AWS; empty if it succeeded."""
    succeeded: float | None = None
    """When it last succeeded (UTC seconds)."""
    ended: float | None = None
    """When its last success ended (monotonic seconds)."""
    last_absent: dict[str, float] = field(default_factory=dict)
    """When the last success ended that did not find a transform (monotonic seconds), by id; only for the transforms of
    ``found`` that an earlier success did not find."""
    due: float = 0.0
    """When it is made next (monotonic seconds)."""
    busy: bool = False
    """Whether it is running."""


class Discovery:
    """Makes all queries of a configuration. `apply` sets the queries; `run` makes them until the exporter stops."""

    def __init__(
        self, telemetry: Telemetry, shard: Shard, *, stop: threading.Event, on_found: Callable[[], None]
    ) -> None:
        """Take the exporter's own metrics, and the shard whose transforms are kept.

        ``stop`` ends `run`; ``on_found`` is called after each successful query.
        """
        self._shard = shard
        self._telemetry = telemetry
        self._stop = stop
        self._on_found = on_found
        self._poll_log = PollLog()
        self._pool = ThreadPool("discover")
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._queries: tuple[DiscoveryQuery, ...] = ()
        self._clients: GlueClients
        self._retry_after = 0.0
        self._page_size = 0

    def plan(self, config: Config) -> tuple[DiscoveryQuery, ...]:
        """Return the queries of a configuration, for `apply`.

        A query with the same settings as before keeps its answer. A new query begins with the transforms that the
        dropped queries of its account and region had found. These transforms stay monitored until its first answer.
        """
        return _carried_over(_queries_of(config.discovery), self.queries)

    def apply(self, queries: tuple[DiscoveryQuery, ...], config: Config, clients: GlueClients) -> None:
        """Make these queries from now on; `plan` has returned them for this configuration."""
        with self._lock:
            dropped_lanes = {query.lane for query in self._queries} - {query.lane for query in queries}
            for query in set(self._queries) - set(queries):
                self._poll_log.forget(DISCOVERY, query.lane, query)
            self._queries, self._clients = queries, clients
            self._retry_after, self._page_size = config.polling.interval, config.polling.page_size
            for lane in dropped_lanes:
                self._remove_metrics(lane)
        self._wake.set()

    @property
    def queries(self) -> tuple[DiscoveryQuery, ...]:
        """The present queries, with the transforms that they have found."""
        with self._lock:
            return self._queries

    @property
    def tried_all(self) -> bool:
        """Whether every query was made at least once, with or without success."""
        with self._lock:
            return all(query.tried for query in self._queries)

    @property
    def failing(self) -> list[Lane]:
        """The accounts and regions in which the last query failed, or no query was made yet."""
        with self._lock:
            return [query.lane for query in self._queries if query.failing or not query.tried]

    # -- when a query is made ---------------------------------------------------------------------------------------

    def run(self) -> None:
        """Make queries until the exporter stops; needs a thread of its own."""
        while not self._stop.is_set():
            self._wake.wait(self._begin_queries())
            self._wake.clear()

    def _begin_queries(self) -> float:
        """Begin the queries that are due; return the time until the next check, in seconds."""
        now = time.monotonic()
        with self._lock:
            idle = [query for query in self._queries if not query.busy]
            for query in idle:
                if query.due <= now:
                    query.busy = self._pool.run(
                        partial(self._make, query, self._clients.client_for(query.lane), self._page_size)
                    )
            waiting = [query.due - now for query in idle if query.due > now]
        return min([HEARTBEAT, *waiting])

    def _make(self, query: DiscoveryQuery, glue: GlueClient, page_size: int) -> None:
        began = time.monotonic()
        try:
            self._try(query, glue, page_size, began)
        except Exception:  # a defect must not end the query for ever; it is made again after the retry time
            log.exception("a discovery failed because of a defect in this program; please report it")
            self._record(query, None, due=began + min(query.settings.interval, self._retry_after))
        finally:
            with self._lock:
                query.busy, query.tried = False, True
            self._wake.set()

    def _try(self, query: DiscoveryQuery, glue: GlueClient, page_size: int, began: float) -> None:
        try:
            found = self._find(query, glue, page_size)
        except Stopped:
            return
        except GlueError as error:
            query.error = error.full_text[:MAX_ERROR_LENGTH]
            if self._record(query, None, due=began + min(query.settings.interval, self._retry_after)):
                self._poll_log.begin(DISCOVERY, query.lane, query, error)
            return
        before = query.found
        if self._record(query, found, due=began + query.settings.interval):
            self._poll_log.end(DISCOVERY, query.lane, query)
            log_discovered(query.lane, _ids(before), _ids(found))
            self._on_found()

    def _record(self, query: DiscoveryQuery, found: tuple[Target, ...] | None, *, due: float) -> bool:
        """Record the transforms that a query has found, None if it failed; return whether it is still in use."""
        with self._lock:
            query.failing = found is None
            query.due = max(due, time.monotonic())
            if found is not None:
                query.error = ""
                ids, before = _ids(found), set(_ids(query.found))
                absent = {i: query.last_absent.get(i) if i in before else query.ended for i in ids}
                query.last_absent = {i: ended for i, ended in absent.items() if ended is not None}
                query.found, query.succeeded, query.ended = found, time.time(), time.monotonic()
            in_force = query in self._queries
            if in_force:
                self._update_metrics(query.lane)
            return in_force

    # -- what a query finds -----------------------------------------------------------------------------------------

    def _find(self, query: DiscoveryQuery, glue: GlueClient, page_size: int) -> tuple[Target, ...]:
        ids = find(query.settings, glue, page_size=page_size, owns=self._shard.owns)
        # A tag with a filter has the value of the filter, so the tag is not read.
        tags = {transform_id: {**query.tags.get(transform_id, {}), **query.settings.tags} for transform_id in ids}
        if query.settings.tags_to_read:
            self._read_tags(glue, query.settings.tags_to_read, tags)
        query.tags = tags
        found = tuple(_target(query, transform_id) for transform_id in ids)
        _log_bad_tags(query)
        return found

    def _read_tags(self, glue: GlueClient, keys: Iterable[str], known: Mapping[str, dict[str, str]]) -> None:
        """Replace the known values of these tags. If tags cannot be read, the last values stay."""
        for transform_id, its_tags in known.items():
            try:
                tags = glue.tags(transform_id)
            except Stopped:
                raise
            except GlueError as error:
                if error.reason == "EntityNotFoundException":
                    continue
                # Tags are optional: on failure keep the transforms and stop asking for tags.
                self._poll_log.begin(TAGS, glue.lane, "", error)
                return
            for key in keys:
                its_tags.pop(key, None)
            its_tags.update({key: tags[key] for key in keys if key in tags})
        self._poll_log.end(TAGS, glue.lane, "")

    # -- the exporter's own metrics ---------------------------------------------------------------------------------

    def _update_metrics(self, lane: Lane) -> None:
        queries = [query for query in self._queries if query.lane == lane]
        found = {target.id for query in queries for target in query.found}
        self._telemetry.discovered_transforms.labels(*lane).set(len(found))
        self._telemetry.discovery_up.labels(*lane).set(not any(query.failing for query in queries))
        succeeded = [query.succeeded for query in queries if query.succeeded is not None]
        if len(succeeded) == len(queries):
            self._telemetry.discovery_last_success.labels(*lane).set(min(succeeded))

    def _remove_metrics(self, lane: Lane) -> None:
        for gauge in (
            self._telemetry.discovered_transforms,
            self._telemetry.discovery_up,
            self._telemetry.discovery_last_success,
        ):
            gauge.remove(*lane)


def _queries_of(discovery: Iterable[DiscoverySettings]) -> list[DiscoveryQuery]:
    return [DiscoveryQuery(item, Lane(item.account, region)) for item in discovery for region in item.regions]


def _carried_over(new: Iterable[DiscoveryQuery], before: Iterable[DiscoveryQuery]) -> tuple[DiscoveryQuery, ...]:
    """Return the new queries; in place of a query with the same settings as before, return the former query."""
    left = list(before)
    queries = []
    for query in new:
        same = next((old for old in left if (old.lane, old.settings) == (query.lane, query.settings)), None)
        if same is not None:
            left.remove(same)
        queries.append(same or query)
    for query in queries:
        if not query.tried:
            same_lane = [old for old in left if old.lane == query.lane]
            query.found = tuple(target for old in same_lane for target in old.found)
            query.tags = {transform_id: tags for old in same_lane for transform_id, tags in old.tags.items()}
    return tuple(queries)


def _target(query: DiscoveryQuery, transform_id: str) -> Target:
    """Return a transform that a query has found, with the labels and the expectations from its tags."""
    tags = query.tags[transform_id]
    keys = query.settings.labels_from_tags
    return Target(
        transform_id,
        query.lane,
        labels={label_name(key): tags[key] for key in keys if key in tags},
        expected_interval=_duration(tags.get(query.settings.expected_interval_tag or "")),
        expected_duration=_duration(tags.get(query.settings.expected_duration_tag or "")),
    )


def _duration(text: str | None) -> float | None:
    """Return the seconds of a tag; None if the tag is missing, or is not a duration above 0."""
    try:
        return parse_duration(text or "0") or None
    except ValueError:
        return None


def _log_bad_tags(query: DiscoveryQuery) -> None:
    """Log each tag that should be a duration and is not, once for each value."""
    bad = frozenset(
        (transform_id, key, tags[key])
        for transform_id, tags in query.tags.items()
        for key in (query.settings.expected_interval_tag, query.settings.expected_duration_tag)
        if key and key in tags and _duration(tags[key]) is None
    )
    for transform_id, key, value in sorted(bad - query.bad_tags):
        log.warning(
            "a tag is not a duration above 0 and is ignored; expected e.g. 24h or 1h30m",
            transform_id=transform_id,
            tag=key,
            value=value,
        )
    query.bad_tags = bad


def _ids(targets: Iterable[Target]) -> list[str]:
    return [target.id for target in targets]


def find(
    settings: DiscoverySettings, glue: GlueClient, *, page_size: int, owns: Callable[[str], bool] = lambda _: True
) -> list[str]:
    """Return the ids of the transforms in one account and region that match the filters and belong to this shard.

    ``owns`` says whether a transform id belongs to this shard; by default all do. Raises `GlueError`.
    """
    ids = glue.transform_ids(settings.tags, page_size=page_size)
    # This comes first, because other shards call GetMLTransform and GetTags for their own transforms.
    ids = [transform_id for transform_id in ids if owns(transform_id)]
    if settings.name is None:
        return ids
    return [transform_id for transform_id in ids if _is_named(glue, transform_id, settings.name)]


def _is_named(glue: GlueClient, transform_id: str, pattern: str) -> bool:
    try:
        return fnmatchcase(glue.details(transform_id).name, pattern)
    except GlueError as error:
        if error.reason != "EntityNotFoundException":
            raise
        return False
