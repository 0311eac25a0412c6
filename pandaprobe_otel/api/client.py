"""The clients. Both have the same parts; the methods of `AsyncClient` must be awaited."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, Self, TypeAlias
from uuid import UUID

from pandaprobe_otel.api.calls import AsyncDriver, Connection, Steps, SyncDriver, call
from pandaprobe_otel.api.credentials import Credentials, resolve_credentials
from pandaprobe_otel.api.endpoint import Scope
from pandaprobe_otel.api.evaluations import Evaluations
from pandaprobe_otel.api.fields import TraceRef, id_of
from pandaprobe_otel.api.models import EvalRun, Monitor, TraceScore
from pandaprobe_otel.api.monitors import Monitors
from pandaprobe_otel.api.operation import D, Resource, operation
from pandaprobe_otel.api.organizations import ApiKeys, Me, Organizations, Projects
from pandaprobe_otel.api.request_budget import RateLimits, shared_budget
from pandaprobe_otel.api.runs import RunOperations
from pandaprobe_otel.api.scores import CLOCK_SKEW, Scores, find_scores, give_score
from pandaprobe_otel.api.sessions import Sessions
from pandaprobe_otel.api.traces import Traces, Users
from pandaprobe_otel.capture.scores import score_body
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.enums import ScoreDataType
from pandaprobe_otel.errors import ConfigError, InvalidRequest, OutcomeUnknown, SentRequest

Found: TypeAlias = list[EvalRun] | list[TraceScore] | list[Monitor]

_RUNS: Final = re.compile(r"/evaluations/(trace|session)-runs(?:/batch|/(?P<retried>[^/]+)/retry)?")
_TRIGGER: Final = re.compile(r"/evaluations/monitors/(?P<monitor>[^/]+)/trigger")
_IDS: Final = ("trace_ids", "session_ids")


def look_up(connection: Connection, error: OutcomeUnknown) -> Steps[Found]:
    """Return the objects that a request created before its answer was lost, latest first; empty without any.

    Raises:
        InvalidRequest: the request creates neither a run nor a score nor a monitor.
    """
    request = error.request
    if request is None:
        raise InvalidRequest("This error does not describe the request.")
    since = request.sent_at - CLOCK_SKEW
    if run := _RUNS.fullmatch(request.path):
        return (yield from _runs(connection, request, run, since))
    if trigger := _TRIGGER.fullmatch(request.path):
        path = {"monitor_id": trigger["monitor"]}
        page = yield from call(connection, Monitors.runs.endpoint, path=path, query={"limit": 50})
        return [found for found in page.items if found.created_at >= since]
    if request.path == "/evaluations/trace-scores":
        return (yield from find_scores(connection, request.body, since=since))
    if request.path == Monitors.list.endpoint.path:
        monitors = yield from call(connection, Monitors.list.endpoint, query={"limit": 200})
        return [each for each in monitors.items if each.created_at >= since and each.name == request.body["name"]]
    raise InvalidRequest(f"{request.method} {request.path} cannot be looked up: list and compare the objects.")


def _runs(connection: Connection, request: SentRequest, match: re.Match[str], since: datetime) -> Steps[list[EvalRun]]:
    page = yield from call(connection, RunOperations.list.endpoint.of(match[1]), query={"limit": 200})
    recent = [run for run in page.items if run.created_at >= since]
    if match["retried"]:
        return [run for run in recent if run.filters.get("retry_of") == str(UUID(match["retried"]))]
    return [run for run in recent if _is_of(run, request.body)]


def _is_of(run: EvalRun, body: Mapping[str, Any]) -> bool:
    """Return whether a run matches a body. Dates are ignored, because the server writes them in its own format."""
    if run.name != body.get("name") or run.metric_names != body["metrics"]:
        return False
    wanted = {**body.get("filters", {}), **{name: body[name] for name in _IDS if name in body}}
    return all(run.filters.get(name) == value for name, value in wanted.items() if not name.startswith("date_"))


_TIMEOUT_S: Final = 60.0
_RETRIES: Final = 3


class ClientParts(Resource[D]):
    """Parts of a client, and shortcuts."""

    def __init__(
        self,
        api_key: str | None = None,
        project_name: str | None = None,
        endpoint: str | None = None,
        *,
        token: str | None = None,
        project_id: UUID | str | None = None,
        organization_id: UUID | str | None = None,
        timeout_s: float = _TIMEOUT_S,
        retries: int = _RETRIES,
        rate_limits: RateLimits | None = RateLimits(),  # noqa: B008 - frozen
    ) -> None:
        self.credentials = credentials = resolve_credentials(
            api_key=api_key,
            project_name=project_name,
            endpoint=endpoint,
            token=token,
            project_id=project_id,
            organization_id=organization_id,
        )
        if not timeout_s > 0 or retries < 0:
            raise ConfigError(f"timeout_s must be over 0 and retries 0 or more, not {timeout_s!r} and {retries!r}.")
        connection = Connection(
            base_url=credentials.endpoint,
            unavailable=credentials.unavailable,
            budgets={scope: shared_budget(credentials.endpoint, credentials.counted_by(scope)) for scope in Scope},
            timeout_s=timeout_s,
            retries=retries,
            rate_limits=rate_limits,
            organization_id=credentials.organization_id,
            has_key=credentials.api_key != "",
        )
        driver = self._new_driver(credentials)
        super().__init__(connection, driver)
        self.traces: Final = Traces(connection, driver)
        self.users: Final = Users(connection, driver)
        self.sessions: Final = Sessions(connection, driver)
        self.evaluations: Final = Evaluations(connection, driver)
        self.scores: Final = Scores(connection, driver)
        self.monitors: Final = Monitors(connection, driver)
        self.organizations: Final = Organizations(connection, driver)
        self.projects: Final = Projects(connection, driver)
        self.api_keys: Final = ApiKeys(connection, driver)
        self.me: Final = Me(connection, driver)

    @abstractmethod
    def _new_driver(self, credentials: Credentials) -> D:
        """Return the driver of this kind of client."""

    def __repr__(self) -> str:
        credentials = self.credentials
        project = credentials.project_name if credentials.api_key is not None else credentials.project_id
        return f"<{type(self).__name__} of project {project!r} at {credentials.endpoint}>"

    @operation
    def score(
        self,
        trace_id: TraceRef,
        name: str,
        value: float | bool | str,
        *,
        data_type: ScoreDataType | str | None = None,
        reason: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        wait: float = 30.0,
    ) -> Steps[TraceScore]:
        """Give a trace a score: a number from 0 to 1, True or False, or a label. See `scores.create`."""
        body = score_body(str(id_of(trace_id)), name, value, data_type=data_type, reason=reason, metadata=metadata)
        return give_score(self._connection, body, wait)

    @operation
    def look_up(self, error: OutcomeUnknown) -> Steps[Found]:
        """Find the run, score or monitor created by a request whose answer was lost.

        The latest comes first. The list is empty if the request was not executed. It has several entries if the same
        request was sent more than once within two minutes.
        """
        return look_up(self._connection, error)


class Client(ClientParts[SyncDriver]):
    """Client of PandaProbe's API. Threads may share one client; `close()` it, or use it as a context manager.

    api_key, project_name, endpoint: the argument, else the variable `PANDAPROBE_*`, else
      `~/.pandaprobe/config.yaml`. The first request with a project's name creates the project.
    token, project_id, organization_id: a bearer token manages organizations, projects and keys. With `project_id`, it
      can also read traces and evaluate. If both are given, the API key takes precedence.
    timeout_s: seconds that one call may take, including waits for the rate limit and repetitions after failures.
    retries: number of times to repeat a request after the server failed or could not be reached, if that is safe.
    rate_limits: requests per minute to respect; None leaves that to the server.

    Raises ConfigError if a setting is missing or unusable. Connects with the first call.
    """

    def _new_driver(self, credentials: Credentials) -> SyncDriver:
        return SyncDriver(credentials.endpoint, credentials.headers)

    def close(self) -> None:
        """Close the connections. The client remains usable: it opens new ones."""
        self._driver.close()

    def __enter__(self) -> Self:
        """Return the client. No connection is opened yet."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connections."""
        self.close()


def client_of(config: Config) -> Client:
    """Return a client with resolved settings. An open local server has an empty key, which an argument cannot be."""
    return Client(config.ask_key() or None, config.project_name, config.endpoint)


class AsyncClient(ClientParts[AsyncDriver]):
    """Client of PandaProbe's API for asyncio: like `Client`, with methods to await and `async for`."""

    def _new_driver(self, credentials: Credentials) -> AsyncDriver:
        return AsyncDriver(credentials.endpoint, credentials.headers)

    async def close(self) -> None:
        """Close the connections. The client remains usable: it opens new ones."""
        await self._driver.close()

    async def __aenter__(self) -> Self:
        """Return the client. No connection is opened yet."""
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Close the connections."""
        await self.close()
