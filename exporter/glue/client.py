"""The Glue API for the rest of the exporter: one `GlueClient` for each account and region.

A `GlueClient` respects the rate limit of its account and region and counts every attempt. For every failure it raises a
`GlueError`, whose reason comes from `error_table`.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from cachetools import TTLCache

from exporter.config.schema import Polling
from exporter.config.settings import Config
from exporter.glue import decode
from exporter.glue.aws_clock import AwsClock
from exporter.glue.botocore_setup import BODY, Connection
from exporter.glue.deadline import CREDENTIALS, Deadline, current_call
from exporter.glue.error_table import CREDENTIAL_REASONS, error_from
from exporter.glue.pagination import pages
from exporter.glue.rate_limit import RateLimiter, Stopped
from exporter.glue.request_metrics import RequestMetrics
from exporter.glue.skipped_runs import SkippedRuns
from exporter.glue.threads import ThreadPool
from exporter.logs import get_logger
from exporter.model.errors import GlueError
from exporter.model.task_run import RunPage
from exporter.model.transform import Details, Lane, transform_arn
from exporter.telemetry import Telemetry

MIN_CONNECTION_AGE = 5.0
"""Minimum age of a connection, in seconds, at which refused credentials are loaded again."""

DETAILS_TTL = 600.0
"""Time for which an answer of GetMLTransform is kept, in seconds. A failure that a retry cannot change is kept for the
same time."""

MAX_TRANSFORMS = 1_000_000
"""Maximum number of transforms whose details are kept."""

MIN_LIMIT = 3.0
"""Shortest limit of a call, in seconds. On a busy host, the first call may need a second to load the model of Glue."""

_OLDEST_FIRST = {"Column": "STARTED", "SortDirection": "ASCENDING"}
_NEWEST_FIRST = {"Column": "STARTED", "SortDirection": "DESCENDING"}

T = TypeVar("T")

log = get_logger(__name__)

_threads = ThreadPool("call")
"""Runs the calls of all clients. After a reload, the new clients use the idle threads of the former ones."""


def limit_of_a_call(polling: Polling) -> float:
    """Return the longest time of a call in seconds, without waiting for the rate limit and between two attempts.

    It is enough for one attempt that is not answered, and for a second one.
    """
    return max(MIN_LIMIT, 2 * polling.request_timeout)


class GlueClients:
    """The clients for the accounts and regions of a configuration, made at first use and shared by all threads."""

    def __init__(
        self,
        config: Config,
        *,
        telemetry: Telemetry,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make no connection yet.

        ``stop`` ends all waiting. ``clock`` returns monotonic seconds.
        """
        self._config = config
        self._accounts = {account.name: account for account in config.accounts}
        self._telemetry = telemetry
        self._stop = stop
        self._clock = clock
        self._lock = threading.Lock()
        self._clients: dict[Lane, GlueClient] = {}

    def client_for(self, lane: Lane) -> "GlueClient":
        """Return the client for an account and region; it connects at its first call."""
        with self._lock:
            if lane not in self._clients:
                self._clients[lane] = self._new_client(lane)
            return self._clients[lane]

    @property
    def longest_call(self) -> float:
        """The longest time of a call in seconds, with waiting for the rate limit and between its attempts."""
        polling = self._config.polling
        callers = polling.concurrency + 2
        # After throttling, botocore lowers the rate to 0.5 per second at least. It waits up to 20 s before a retry.
        wait = callers / polling.requests_per_second + callers / 0.5 + 20.0
        return limit_of_a_call(polling) + polling.max_attempts * wait

    def close_idle(self) -> None:
        """Close the connections that no call uses. Calls that are running go on, and a later call connects again."""
        with self._lock:
            clients = list(self._clients.values())
        for client in clients:
            client.disconnect()

    def close(self) -> None:
        """End the calls that are running and the processes that they wait for, and close all connections."""
        with self._lock:
            clients = list(self._clients.values())
        for client in clients:
            client.interrupt()
        self.close_idle()

    def _new_client(self, lane: Lane) -> "GlueClient":
        polling, account = self._config.polling, self._accounts[lane.account]
        delay, aws_clock = self._telemetry.api_request_delay.labels(*lane), AwsClock()
        requests = RequestMetrics(
            lane, RateLimiter(polling.requests_per_second, self._stop, delay.inc), self._telemetry, aws_clock
        )
        connect = partial(
            Connection,
            account,
            lane.region,
            polling,
            endpoint_url=self._config.endpoint_url,
            observe=requests.observe,
        )
        account_id = account.role_arn.split(":")[4] if account.role_arn else None
        deadline, skipped_runs = Deadline(limit_of_a_call(polling), _threads), SkippedRuns(lane, self._telemetry)
        return GlueClient(lane, connect, requests, skipped_runs, account_id, deadline=deadline, clock=self._clock)


class GlueClient:
    """Glue in one account and region. Every method may raise `GlueError`, and `Stopped` while the exporter stops."""

    def __init__(
        self,
        lane: Lane,
        connect: Callable[[], Connection],
        requests: RequestMetrics,
        skipped_runs: SkippedRuns,
        account_id: str | None,
        *,
        deadline: Deadline,
        clock: Callable[[], float],
    ) -> None:
        """Make no connection yet. ``account_id`` is None if it must be read from the credentials."""
        self.lane = lane
        self._connect = connect
        self._requests = requests
        self.aws_clock = requests.aws_clock
        self._skipped_runs = skipped_runs
        self._account_id = account_id
        self._deadline = deadline
        self._clock = clock
        self._connecting = threading.Lock()
        self._connection: Connection | None = None
        self._connected_at = 0.0
        self._lock = threading.Lock()
        self._details: TTLCache[str, Details | GlueError] = TTLCache(MAX_TRANSFORMS, DETAILS_TTL, clock)
        self._parser_warned = False

    # -- operations -------------------------------------------------------------------------------------------------

    def task_run_pages(self, transform_id: str, *, since: float, page_size: int) -> Iterator[RunPage]:
        """Yield the pages of runs that started at or after ``since`` (UTC seconds), the oldest first.

        If the newest run came first, a run that starts between two requests would move the other runs between the
        pages. Runs of another shape than documented are left out, counted and logged. Raises `GlueError` with reason
        "pagination" if a token comes twice or the pages do not end.
        """
        request = {
            "TransformId": transform_id,
            "MaxResults": page_size,
            "Sort": _OLDEST_FIRST,
            # Times in requests are whole seconds, and "StartedAfter" may exclude the given second itself.
            "Filter": {"StartedAfter": datetime.fromtimestamp(max(int(since) - 1, 0), UTC)},
        }
        for page in self._pages("get_ml_task_runs", decode.decode_page, request):
            self._skipped_runs.record(transform_id, page)
            yield page

    def task_run_records(
        self, transform_id: str, *, criteria: Mapping[str, Any], sort: Mapping[str, str], page_size: int
    ) -> Iterator[list[decode.Record]]:
        """Yield the pages of runs with all their members, filtered and sorted by Glue.

        ``criteria`` and ``sort`` are the ``Filter`` and the ``Sort`` of GetMLTaskRuns, with datetimes for times.
        """
        request: dict[str, Any] = {"TransformId": transform_id, "MaxResults": page_size, "Sort": dict(sort)}
        if criteria:
            request["Filter"] = dict(criteria)
        return self._pages("get_ml_task_runs", decode.decode_records, request)

    def newest_run(self, transform_id: str) -> decode.Record | None:
        """Return the run that started last, with all its members; None if there is no run."""
        page = next(self.task_run_records(transform_id, criteria={}, sort=_NEWEST_FIRST, page_size=1), [])
        return page[0] if page else None

    def task_run(self, transform_id: str, run_id: str) -> RunPage:
        """Return a page with one run."""
        return self._call("get_ml_task_run", decode.decode_run, TransformId=transform_id, TaskRunId=run_id)

    def transform_ids(self, tags: Mapping[str, str], *, page_size: int) -> list[str]:
        """Return the ids of the transforms that have all these tags, each id once."""
        request: dict[str, Any] = {"MaxResults": page_size, **({"Tags": dict(tags)} if tags else {})}
        listing = self._pages("list_ml_transforms", decode.decode_listing, request)
        return list(dict.fromkeys(transform_id for page in listing for transform_id in page))

    def transforms(self, *, page_size: int) -> dict[str, Details]:
        """Return name and status of all transforms by id; the other details are empty."""
        transforms: dict[str, Details] = {}
        for page in self._pages("get_ml_transforms", decode.decode_transforms, {"MaxResults": page_size}):
            transforms |= page
        return transforms

    def details(self, transform_id: str) -> Details:
        """Return the answer of GetMLTransform, which is at most `DETAILS_TTL` seconds old."""
        with self._lock:
            known = self._details.get(transform_id)
        if known is None:
            known = self._fetch_details(transform_id)
            if not isinstance(known, GlueError) or not known.retryable:
                with self._lock:
                    self._details[transform_id] = known
        if isinstance(known, GlueError):
            raise known.without_cause()
        return known

    def _fetch_details(self, transform_id: str) -> Details | GlueError:
        try:
            return self._call("get_ml_transform", decode.decode_details, TransformId=transform_id)
        except Stopped:
            raise
        except GlueError as error:
            # The error is kept for minutes. With its cause, it would also keep stack frames and the answer in memory.
            return error.without_cause()

    def tags(self, transform_id: str) -> dict[str, str]:
        """Return the tags of a transform."""
        arn = transform_arn(self.lane.region, self._known_account_id(), transform_id)
        return self._call("get_tags", decode.decode_tags, ResourceArn=arn)

    def _known_account_id(self) -> str:
        if not self.account_id:
            # GetCallerIdentity needs no permission.
            answer = self._try(lambda connection: connection.client("sts").get_caller_identity())
            if not answer.get("Account"):
                raise decode.malformed("GetCallerIdentity without Account")
            self._account_id = str(answer["Account"])
        return self.account_id

    @property
    def account_id(self) -> str:
        """The account id (twelve digits); empty while the account id is unknown."""
        return self._account_id or ""

    # -- one call ---------------------------------------------------------------------------------------------------

    def _pages(
        self, operation: str, decode_body: Callable[[bytes], tuple[T, str | None]], request: Mapping[str, Any]
    ) -> Iterator[T]:
        return pages(lambda token: self._call(operation, decode_body, **request, **token))

    def _call(self, operation: str, decode_body: Callable[[bytes], T], **request: Any) -> T:
        """Call an operation of Glue and return its decoded answer."""
        answer = self._try(lambda connection: getattr(connection.glue, operation)(**request))
        return decode_body(answer[BODY] if BODY in answer else self._encode(answer))

    def _encode(self, answer: Mapping[str, Any]) -> bytes:
        """Return an answer as bytes again, if botocore has parsed it in spite of `_BytesParser`."""
        if not self._parser_warned:
            self._parser_warned = True
            log.warning("botocore ignored the exporter's response parser: each answer is parsed twice")
        return decode.encode_answer({name: value for name, value in answer.items() if name != "ResponseMetadata"})

    def _try(self, work: Callable[[Connection], Any]) -> Any:
        """Return the result of ``work``, which makes one call, within the limit for a call."""
        try:
            return self._deadline.run(partial(self._try_in_thread, work))
        except GlueError as failure:
            self._requests.check_stop()
            self._disconnect_if_refused(failure)
            raise

    def _try_in_thread(self, work: Callable[[Connection], Any]) -> Any:
        self._requests.wait_for_turn()
        try:
            connection = self._connected()
            answer = work(connection)
            if self._account_id is None:
                current_call().resume(CREDENTIALS)
                self._account_id = connection.account_id()
            return answer
        except GlueError:
            raise
        except Exception as error:  # sources of credentials raise many classes: OSError, ValueError, RuntimeError
            failure = error_from(error, current_call().secrets)
            self._requests.record_unparsed(failure.reason)
            raise failure from error

    def _connected(self) -> Connection:
        connection = self._connection
        if connection is None:
            with self._connecting:
                connection = self._connection
                if connection is None:
                    # The call may have expired while it waited for another thread that connects.
                    current_call().check()
                    connection = self._connect()
                    self._connected_at = self._clock()
                    self._connection = connection
        return connection

    def _disconnect_if_refused(self, failure: GlueError) -> None:
        """Disconnect if the credentials are refused, so that the next call loads them again from their source."""
        aged = self._clock() - self._connected_at > MIN_CONNECTION_AGE
        if aged and failure.reason in CREDENTIAL_REASONS:
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; the next call makes a new connection.

        This method does not wait for a connection that another thread is making.
        """
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def interrupt(self) -> None:
        """End the calls that are running."""
        self._deadline.interrupt()
