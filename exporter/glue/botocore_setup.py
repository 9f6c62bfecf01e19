"""Makes boto3 sessions and clients with a parser, a loader, assumed roles and client options for this exporter.

Each change of botocore uses one of its extension points: a component registered with the session, or an option of
`botocore.config.Config`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import boto3
import botocore
from botocore.config import Config as BotoConfig
from botocore.credentials import (
    CredentialProvider,
    CredentialResolver,
    DeferredRefreshableCredentials,
    ProcessProvider,
    ProfileProviderBuilder,
    create_credential_resolver,
)
from botocore.exceptions import CredentialRetrievalError
from botocore.loaders import Loader
from botocore.parsers import ResponseParserError, ResponseParserFactory
from botocore.session import Session as BotocoreSession

from exporter import __version__
from exporter.config.schema import Account, Polling
from exporter.glue.deadline import current_call
from exporter.glue.error_table import error_from
from exporter.glue.transport import Transport
from exporter.telemetry import GLUE_OPERATIONS

SESSION_NAME = "glue-ml-exporter"
"""The RoleSessionName of every AssumeRole call. It appears in CloudTrail."""

INTERACTIVE_OPERATIONS = ("GetMLTransforms",)
"""Operations that a command calls to find a transform by its name. The IAM policy of a running exporter does not allow
them."""

BODY = "__body__"
"""Key of the unparsed bytes in an answer of Glue."""

_UNPARSED_SHAPES = frozenset(f"{operation}Response" for operation in (*GLUE_OPERATIONS, *INTERACTIVE_OPERATIONS))


class _BytesParser:
    """Returns successful answers of Glue as bytes for `decode`; botocore's own parser handles all other answers."""

    def __init__(self, stock: Any) -> None:
        self._stock = stock

    def parse(self, response: dict[str, Any], shape: Any) -> Any:
        if shape is None or shape.name not in _UNPARSED_SHAPES or response["status_code"] >= 300:
            try:
                return self._stock.parse(response, shape)
            except LookupError as error:  # well-formed XML of another kind, for example from a proxy
                raise ResponseParserError(f"the answer has no {error}") from error
        return {BODY: response["body"], "ResponseMetadata": {"HTTPStatusCode": 200, "HTTPHeaders": {}}}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stock, name)


class _BytesParserFactory(ResponseParserFactory):  # type: ignore[misc] # botocore ships no types
    """Registered with a session as its ``response_parser_factory`` component."""

    def create_parser(self, protocol_name: str) -> _BytesParser:
        return _BytesParser(super().create_parser(protocol_name))


class _SmallModelLoader(Loader):  # type: ignore[misc] # botocore ships no types
    """Loads the model of Glue with only the operations that this exporter calls.

    A client has a method for each operation in its model, and the model of Glue has hundreds of operations. Without the
    unused operations, a client takes a third of the memory.
    """

    @property
    def search_paths(self) -> list[str]:
        """Return a copy of the list.

        Each `boto3.Session` appends a folder to the list. The list would grow, because all sessions share this loader.
        """
        return list(super().search_paths)

    def load_service_model(self, service_name: str, type_name: str, api_version: str | None = None) -> Any:
        model = super().load_service_model(service_name, type_name, api_version)
        if (service_name, type_name) == ("glue", "service-2"):
            called = (*GLUE_OPERATIONS, *INTERACTIVE_OPERATIONS)
            return {**model, "operations": {name: model["operations"][name] for name in called}}
        return model


_LOADER = _SmallModelLoader()
"""The loader of all sessions. They share it, because the loaded models take most of the memory of a session."""


class _AssumedRole(CredentialProvider):  # type: ignore[misc] # botocore ships no types
    """Credentials of a role, fetched from STS (AssumeRole) at the first use and again before they expire."""

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


class _CredentialProcess(subprocess.Popen[bytes]):
    """The process of ``credential_process``. It is killed with its children when the call that waits for it expires.

    Its stderr is not passed on, because it may contain secrets. The name of a program that cannot be started is not
    passed on either: the first word of ``PASSWORD=x program`` is the password.
    """

    def __init__(self, command: list[str], **streams: Any) -> None:
        current_call().check()
        # With a group of its own, the children can be killed too. On a terminal the process must stay in the group
        # of the terminal. Otherwise it could not ask for a password, and Ctrl-C would not reach it.
        self._own_group = not (sys.stdin and sys.stdin.isatty())
        try:
            super().__init__(command, **streams, process_group=0 if self._own_group else None)
        except OSError as error:
            raise OSError(error.errno, f"{error.strerror}: the program of credential_process") from None

    def communicate(self, *args: Any, **kwargs: Any) -> tuple[bytes, bytes]:
        """Return stdout, and a text without secrets in place of stderr."""
        call = current_call()
        call.on_interrupt(self._kill_all)
        try:
            output, _ = super().communicate(*args, **kwargs)
        finally:
            call.on_interrupt(None)
        how = f"ended with exit code {self.returncode}" if self.returncode >= 0 else "was killed"
        return output, f"the process {how}; run the command of credential_process by hand to see why".encode()

    def _kill_all(self) -> None:
        with suppress(OSError):  # the process may have ended by itself
            if self._own_group:
                os.killpg(self.pid, signal.SIGKILL)
            else:
                self.kill()


class _ProfileProviders(ProfileProviderBuilder):  # type: ignore[misc] # botocore ships no types
    """botocore's providers for a profile, with `_CredentialProcess`."""

    def _create_process_provider(self, profile_name: str) -> ProcessProvider:
        return ProcessProvider(profile_name, lambda: self._session.full_config, popen=_CredentialProcess)


class Connection:
    """The boto3 session and clients of one account and region.

    Each account and region has its own session. If the credentials of an account cannot be loaded, only this account is
    delayed.
    """

    def __init__(
        self,
        account: Account,
        region: str,
        polling: Polling,
        *,
        endpoint_url: str | None,
        observe: Callable[[Any], None],
    ) -> None:
        """Make the session and the client of Glue; ``observe`` is called with every client before its first request.

        ``endpoint_url`` is used if the account has no endpoint of its own. Raises an exception of botocore for settings
        that botocore cannot use.
        """
        self._region = region
        self._polling = polling
        self._observe = observe
        self._transports: list[Transport] = []
        self._session = self._new_session(account.profile)
        if account.role_arn:
            role = _AssumedRole(self.client("sts"), account)
            self._session = self._new_session(None, CredentialResolver([role]))
        self.glue = self.client("glue", account.endpoint_url or endpoint_url)

    def client(self, service: str, endpoint_url: str | None = None) -> Any:
        """Return a new client of a service, with the credentials of the account."""
        options = _client_options(self._polling)
        client = self._session.client(service, region_name=self._region, endpoint_url=endpoint_url, config=options)
        # The transport comes after the handlers that wait for the rate limit.
        transport = self._transports[-1].send
        client.meta.events.unregister("before-send", transport)
        self._observe(client)
        client.meta.events.register_last("before-send", transport)
        return client

    def account_id(self) -> str:
        """Return the account id in the credentials, or an empty string if they contain no account id."""
        credentials = self._session.get_credentials()
        return (credentials and credentials.get_frozen_credentials().account_id) or ""

    def close(self) -> None:
        """Close the connections that no call uses."""
        for transport in self._transports:
            transport.close()

    def _new_session(self, profile: str | None, credentials: CredentialResolver | None = None) -> boto3.Session:
        session = BotocoreSession(profile=profile)
        session.register_component("data_loader", _LOADER)
        session.register_component("response_parser_factory", _BytesParserFactory())
        transport = Transport(
            session,
            timeout=self._polling.request_timeout,
            # There is a connection for each concurrent poll, one for the thread that polls transforms whose last poll
            # failed, and one for discovery. urllib3 would close further connections after each call.
            max_connections=self._polling.concurrency + 2,
        )
        # Sources of credentials make clients of their own, for SSO and STS.
        session.register("before-send", transport.send)
        self._transports.append(transport)
        session.register_component("credential_provider", credentials or _credential_resolver(session, self._region))
        return boto3.Session(botocore_session=session)


def ambient_region() -> str | None:
    """Return the region of the environment or of the profile in use; None if no region is set.

    Raises `GlueError` when the AWS configuration cannot be read.
    """
    try:
        region = boto3.Session().region_name
    except Exception as error:  # botocore raises many classes for a file that it cannot read
        raise error_from(error) from error
    return str(region) if region else None


def _credential_resolver(session: BotocoreSession, region: str) -> CredentialResolver:
    """Return botocore's sources of credentials. They start `_CredentialProcess` for a profile or a source profile.

    ``region`` is the region of STS for a role in the AWS configuration file.
    """
    cache: dict[str, Any] = {}
    resolver = create_credential_resolver(session, cache=cache, region_name=region)
    builder = _ProfileProviders(session, cache=cache, region_name=region)
    name = session.get_config_variable("profile") or "default"
    place = next(i for i, one in enumerate(resolver.providers) if one.METHOD == ProcessProvider.METHOD)
    resolver.providers[place] = builder._create_process_provider(name)  # noqa: SLF001 - of the class above
    resolver.get_provider("assume-role")._profile_provider_builder = builder  # noqa: SLF001 - botocore has no way for it
    return resolver


def _client_options(polling: Polling) -> BotoConfig:
    return BotoConfig(
        retries={"mode": "adaptive", "total_max_attempts": polling.max_attempts},
        # Validation against the model takes a third of the time of a call. It is off, because this package builds every
        # request itself.
        parameter_validation=False,
        # The complete header is set here. Otherwise botocore would build its usual header for every request, which
        # takes a sixth of the time of a call.
        user_agent=f"glue-ml-exporter/{__version__} Botocore/{botocore.__version__}",
    )
