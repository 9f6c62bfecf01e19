"""Pages of task runs, and whatever else is asked of AWS. The only module that touches botocore, the core of boto3.

A `GlueClient` speaks to one account in one region. It keeps to the rate of its lane, counts every attempt, and turns
every failure into a `GlueError` with the reason by which it is counted (`faults`).
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import botocore
from botocore.config import Config as BotoConfig
from botocore.credentials import CredentialProvider, CredentialResolver, DeferredRefreshableCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError, ResponseParserFactory
from botocore.session import Session
from cachetools import TTLCache

from exporter import __version__
from exporter.config.schema import Account, Polling
from exporter.config.settings import Config
from exporter.errors import GlueError
from exporter.glue import decode as wire
from exporter.glue.error_table import CREDENTIAL_REASONS, failure_of
from exporter.glue.pagination import Page, listed, walk
from exporter.glue.rate_limit import RateLimiter, Stopped
from exporter.glue.request_metrics import Attempts
from exporter.logs import get_logger
from exporter.model.task_run import RunPage
from exporter.model.transform import Details, Lane, transform_arn
from exporter.telemetry import GLUE_OPERATIONS, Telemetry

SESSION_NAME = "glue-ml-exporter"

RENEW_AFTER = 5.0
"""Seconds for which credentials that are refused, or not there, are used at least before they are looked for again."""

DETAILS_TTL = 600.0
"""Seconds for which the answer of GetMLTransform is used, or its failure borne."""

MAX_TRANSFORMS = 1_000_000

INTERACTIVE_OPERATIONS = ("GetMLTransforms",)
"""What is called only when a person asks for a transform by a name: the exporter's own policy does not allow it."""

_BODY = "__body__"
_OLDEST_FIRST = {"Column": "STARTED", "SortDirection": "ASCENDING"}

log = get_logger(__name__)

# It tells of each attempt to refresh that fails, at every call and with a traceback; `journal` tells what comes of it.
logging.getLogger("botocore.credentials").setLevel(logging.CRITICAL)


_LEFT_AS_BYTES = ("GetMLTaskRunsResponse", "ListMLTransformsResponse")


class _PageParser:
    """Leaves the pages of listings as bytes, for `wire` to decode; any other answer is botocore's own to parse."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        if shape is None or shape.name not in _LEFT_AS_BYTES or response["status_code"] != 200:
            try:
                return self._stock.parse(response, shape)
            except LookupError as error:  # well-formed XML of another kind, from a proxy for instance
                raise ResponseParserError(f"the answer has no {error}") from error
        return {_BODY: response["body"], "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)


class _PageParserFactory(ResponseParserFactory):  # type: ignore[misc] # botocore ships no types
    """Registered with a session as its ``response_parser_factory``, botocore's own extension point."""

    def create_parser(self, protocol_name: str) -> _PageParser:
        return _PageParser(super().create_parser(protocol_name))


class _Loader(Loader):  # type: ignore[misc] # botocore ships no types
    """Loads botocore's models, that of Glue without the hundreds of operations that nobody calls here.

    A client has a method for each operation of its model; without those it takes a third of the memory.
    """

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)
        if (service_name, type_name) == ("glue", "service-2"):
            wanted = (*GLUE_OPERATIONS, *INTERACTIVE_OPERATIONS)
            return {**model, "operations": {name: model["operations"][name] for name in wanted}}
        return model


_LOADER = _Loader()
"""The one of this process: the models that it holds are most of what a session takes."""


class _AssumedRole(CredentialProvider):  # type: ignore[misc] # botocore ships no types
    """Credentials of a role, fetched from STS at first use and again before they expire."""

    METHOD = "assume-role"
    CANONICAL_NAME = "custom-assume-role"

    def __init__(self, sts: Any, account: Account) -> None:
        super().__init__()
        self._sts = sts
        self._request = {"RoleArn": account.role_arn, "RoleSessionName": SESSION_NAME}
        if account.external_id:
            self._request["ExternalId"] = account.external_id

    def load(self) -> Any:
        return DeferredRefreshableCredentials(method=self.METHOD, refresh_using=self._assume)

    def _assume(self) -> dict[str, str]:
        """Return the credentials under the names that botocore's refreshable credentials expect."""
        answer = self._sts.assume_role(**self._request)
        try:
            credentials = answer["Credentials"]
            return {
                "access_key": credentials["AccessKeyId"],
                "secret_key": credentials["SecretAccessKey"],
                "token": credentials["SessionToken"],
                "expiry_time": credentials["Expiration"].isoformat(),
            }
        except (KeyError, AttributeError) as error:
            raise CredentialRetrievalError(provider=self.METHOD, error_msg=f"AssumeRole without {error}") from error


class _Connection(NamedTuple):
    """What a lane calls AWS with."""

    session: Session
    glue: Any
    sts: Callable[[], Any]
    """Gives a client of STS with the same credentials."""
    close: Callable[[], None]
    since: float
    """When it was made (monotonic seconds)."""


class GlueClients:
    """All accounts and regions of a configuration; clients are made at first use and shared by the threads."""

    def __init__(
        self,
        accounts: Mapping[str, Account],
        polling: Polling,
        *,
        endpoint_url: str | None,
        telemetry: Telemetry,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the accounts by name, and the endpoint of those that have none of their own."""
        self._accounts = accounts
        self._polling = polling
        self._endpoint_url = endpoint_url
        self._telemetry = telemetry
        self._stop = stop
        self._clock = clock
        self._lock = threading.Lock()
        self._lanes: dict[Lane, GlueClient] = {}

    @classmethod
    def of(cls, config: Config, *, telemetry: Telemetry, stop: threading.Event) -> "GlueClients":
        """Return what speaks to the accounts of a configuration."""
        accounts = {account.name: account for account in config.accounts}
        return cls(accounts, config.polling, endpoint_url=config.endpoint_url, telemetry=telemetry, stop=stop)

    def client_for(self, lane: Lane) -> "GlueClient":
        """Return what speaks to an account in a region; it connects at its first call."""
        with self._lock:
            if lane not in self._lanes:
                delay = self._telemetry.api_request_delay.labels(*lane)
                rate_limiter = RateLimiter(self._polling.requests_per_second, self._stop, delay.inc)
                attempts = Attempts(lane, rate_limiter, self._telemetry)
                connect = partial(self._connect, lane, attempts)
                account_id = _account_id(self._accounts[lane.account])
                self._lanes[lane] = GlueClient(lane, connect, attempts, account_id, clock=self._clock)
            return self._lanes[lane]

    def close(self) -> None:
        """Close the connections; a call under way ends by itself, and a later one would connect again."""
        with self._lock:
            lanes = list(self._lanes.values())
        for glue in lanes:
            glue.disconnect()

    def _connect(self, lane: Lane, attempts: Attempts) -> _Connection:
        """Return a new connection; raises whatever botocore raises when credentials or settings are no good.

        Each lane has a session of its own, so that one whose credentials cannot be had delays no other.
        """
        account = self._accounts[lane.account]
        clients: list[Any] = []

        def connect(session: Session, service: str, endpoint_url: str | None = None) -> Any:
            config = self._client_config()
            client = session.create_client(service, lane.region, endpoint_url=endpoint_url, config=config)
            clients.append(client)
            return attempts.count(client)

        def close() -> None:
            for client in clients:
                client.close()

        session = self._session(account.profile)
        if account.role_arn:
            role = _AssumedRole(connect(session, "sts"), account)
            session = self._session(None)
            session.register_component("credential_provider", CredentialResolver([role]))
        glue = connect(session, "glue", account.endpoint_url or self._endpoint_url)
        return _Connection(session, glue, partial(connect, session, "sts"), close, self._clock())

    def _session(self, profile: str | None) -> Session:
        session = Session(profile=profile)
        session.register_component("data_loader", _LOADER)
        session.register_component("response_parser_factory", _PageParserFactory())
        return session

    def _client_config(self) -> BotoConfig:
        return BotoConfig(
            connect_timeout=self._polling.request_timeout,
            read_timeout=self._polling.request_timeout,
            # One more for the transforms whose last poll failed, and one for discovery: urllib3 closes what is beyond.
            max_pool_connections=self._polling.concurrency + 2,
            retries={"mode": "adaptive", "total_max_attempts": self._polling.max_attempts},
            # Every request is of our own making; checking it against the model again costs a third of the call.
            parameter_validation=False,
            tcp_keepalive=True,
            # All of it: to put the usual one together, anew at each request, takes a sixth of the call.
            user_agent=f"glue-ml-exporter/{__version__} Botocore/{botocore.__version__}",
        )


def ambient_region() -> str | None:
    """Return the region that the environment or the profile in use names.

    Raises `GlueError` when the settings of AWS cannot be read.
    """
    try:
        region = Session().get_config_variable("region")
    except Exception as error:  # whatever is wrong with a file of the user's, in botocore's many words for it
        raise failure_of(error) from error
    return str(region) if region else None


def _account_id(account: Account) -> str | None:
    return account.role_arn.split(":")[4] if account.role_arn else None


class GlueClient:
    """Glue in one account and region. Every method may raise `GlueError`, and `Stopped` while the exporter stops."""

    def __init__(
        self,
        lane: Lane,
        connect: Callable[[], _Connection],
        attempts: Attempts,
        account_id: str | None,
        *,
        clock: Callable[[], float],
    ) -> None:
        """Take what makes a connection, and what paces and counts its requests.

        ``account_id`` is None when only the credentials can tell it.
        """
        self.lane = lane
        self._connect = connect
        self._attempts = attempts
        self._account_id = account_id
        self._clock = clock
        self._connecting = threading.Lock()
        self._connection: _Connection | None = None
        self._lock = threading.Lock()
        self._details: TTLCache[str, Details | GlueError] = TTLCache(MAX_TRANSFORMS, DETAILS_TTL, clock)
        self._stock_parser_noticed = False

    # -- operations -------------------------------------------------------------------------------------------------

    def task_run_pages(self, transform_id: str, *, since: float, page_size: int) -> Iterator[RunPage]:
        """Yield the pages of runs that started at or after ``since`` (UTC seconds), the oldest first.

        Oldest first, since a new run would otherwise push runs from a page not read yet onto one already read. Raises
        `GlueError` with reason "pagination" when a token comes twice or the pages do not end.
        """
        request = {
            "TransformId": transform_id,
            "MaxResults": page_size,
            "Sort": _OLDEST_FIRST,
            # The wire has whole seconds, and "after" may exclude the second itself.
            "Filter": {"StartedAfter": datetime.fromtimestamp(max(int(since) - 1, 0), UTC)},
        }
        return self._pages("get_ml_task_runs", request, wire.decode_page, wire.convert_page)

    def task_run_records(
        self, transform_id: str, *, criteria: Mapping[str, Any], sort: Mapping[str, str], page_size: int
    ) -> Iterator[list[wire.Record]]:
        """Yield the pages of runs with all that Glue tells of them, filtered and sorted by Glue.

        ``criteria`` and ``sort`` are the ``Filter`` and the ``Sort`` of GetMLTaskRuns, with datetimes for times.
        """
        request: dict[str, Any] = {"TransformId": transform_id, "MaxResults": page_size, "Sort": dict(sort)}
        if criteria:
            request["Filter"] = dict(criteria)
        return self._pages("get_ml_task_runs", request, wire.decode_records, wire.convert_records)

    def task_run(self, transform_id: str, run_id: str) -> RunPage:
        """Return a page with one run."""
        return wire.convert_run(self._call("get_ml_task_run", TransformId=transform_id, TaskRunId=run_id))

    def transform_ids(self, tags: Mapping[str, str], *, page_size: int) -> list[str]:
        """Return the ids of the transforms that carry all these tags, each once."""
        request: dict[str, Any] = {"MaxResults": page_size, **({"Tags": dict(tags)} if tags else {})}
        pages = self._pages("list_ml_transforms", request, wire.decode_listing, wire.convert_listing)
        return list(dict.fromkeys(transform_id for page in pages for transform_id in page))

    def transform_names(self, *, page_size: int) -> dict[str, str]:
        """Return the names of all transforms by id."""
        request = {"MaxResults": page_size}
        pages = walk(lambda token: listed(self._call("get_ml_transforms", **request, **token), "Transforms"))
        return {str(one.get("TransformId", "")): str(one.get("Name", "")) for page in pages for one in page}

    def details(self, transform_id: str) -> Details:
        """Return what Glue knows about the transform itself, as it was at most `DETAILS_TTL` seconds ago."""
        with self._lock:
            known = self._details.get(transform_id)
        if known is None:
            known = self._ask_details(transform_id)
            if not isinstance(known, GlueError) or not known.retryable:
                with self._lock:
                    self._details[transform_id] = known
        if isinstance(known, GlueError):
            raise known.bare()
        return known

    def _ask_details(self, transform_id: str) -> Details | GlueError:
        try:
            answer = self._call("get_ml_transform", TransformId=transform_id)
            return wire.convert_details(answer)
        except Stopped:
            raise
        except GlueError as error:
            # Kept for minutes, it must not keep what it was raised from.
            return error.bare()

    def tags(self, transform_id: str) -> dict[str, str]:
        """Return the tags of a transform."""
        # STS tells everybody who they are: GetCallerIdentity needs no permission.
        arn = transform_arn(self.lane.region, self._owner(), transform_id)
        return wire.convert_tags(self._call("get_tags", ResourceArn=arn))

    def _owner(self) -> str:
        if not self.account_id:
            # STS tells everybody who they are: GetCallerIdentity needs no permission.
            answer = self._try(lambda connection: connection.sts().get_caller_identity())
            if not answer.get("Account"):
                raise wire.malformed("GetCallerIdentity without Account")
            self._account_id = str(answer["Account"])
        return self.account_id

    @property
    def account_id(self) -> str:
        """The twelve digits of the account once role or credentials have told them, before that an empty string."""
        return self._account_id or ""

    # -- one call ---------------------------------------------------------------------------------------------------

    def _pages(
        self,
        operation: str,
        request: Mapping[str, Any],
        decode: Callable[[bytes], tuple[Page, str | None]],
        convert: Callable[[Mapping[str, Any]], tuple[Page, str | None]],
    ) -> Iterator[Page]:
        """Yield the pages of a listing; ``convert`` is for answers that are not left as bytes for ``decode``."""

        def ask(token: dict[str, str]) -> tuple[Page, str | None]:
            answer = self._call(operation, **request, **token)
            if _BODY in answer:
                return decode(answer[_BODY])
            if not self._stock_parser_noticed:
                self._stock_parser_noticed = True
                log.warning("botocore did not use our parser; pages are parsed by its own, at many times the cost")
            return convert(_members(answer))

        return walk(ask)

    def _call(self, operation: str, **request: Any) -> Any:
        return self._try(lambda connection: getattr(connection.glue, operation)(**request))

    def _try(self, call: Callable[[_Connection], Any]) -> Any:
        self._attempts.take_turn()
        try:
            connection = self._connected()
            answer = call(connection)
            self._learn_account(connection)
            return answer
        except GlueError:
            raise
        except Exception as error:  # providers of credentials raise anything: OSError, ValueError, RuntimeError
            failure = failure_of(error)
            self._attempts.lost(failure.reason)
            self._renew_after(failure)
            raise failure from error

    def _learn_account(self, connection: _Connection) -> None:
        if self._account_id is None:
            credentials = connection.session.get_credentials()
            self._account_id = (credentials and credentials.get_frozen_credentials().account_id) or ""

    def _connected(self) -> _Connection:
        connection = self._connection
        if connection is None:
            with self._connecting:
                connection = self._connection or self._connect()
                self._connection = connection
        return connection

    def _renew_after(self, failure: GlueError) -> None:
        """Look for credentials anew when those in use are refused: they may have been replaced where they come from."""
        connection = self._connection
        aged = connection is not None and self._clock() - connection.since > RENEW_AFTER
        if aged and failure.reason in CREDENTIAL_REASONS:
            self.disconnect()

    def disconnect(self) -> None:
        """Close the connection; the next call makes a new one. Waits for nothing, not even for one being made."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _members(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
