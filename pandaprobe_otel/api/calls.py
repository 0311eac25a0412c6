"""Calls of the API: arguments to a request, its repetition while that is safe, and the answer to a model.

A course is a generator that yields the steps `Send` and `Pause` and receives the result of each. A driver executes the
steps: one blocks, one awaits.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import weakref
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from typing import Any, Final, TypeAlias, TypeVar, cast
from urllib.parse import quote, urlencode

import orjson
from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from pandaprobe_otel.api.endpoint import Endpoint, Repeat, Scope
from pandaprobe_otel.api.exceptions import Failure, error_of, sent
from pandaprobe_otel.api.fields import Id, SessionInPath
from pandaprobe_otel.api.request_budget import Budget, RateLimits, bucket_of
from pandaprobe_otel.errors import ConfigError, FieldError, InvalidRequest, OutcomeUnknown, RateLimited, ServerError
from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.transport.http import AsyncHttpTransport, HttpTransport
from pandaprobe_otel.transport.outcome import Answer, NoAnswer, Outcome, Request, Verdict, VerdictKind, judge

T = TypeVar("T")


@cache
def adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the validator of a type, which is created on first use."""
    return TypeAdapter(kind)


def checked(kind: Any, values: Any, *, what: str) -> Any:
    """Return the values converted to their types.

    Raises:
        InvalidRequest: some values are wrong. `errors` has the path of each value, in the server's notation.
    """
    try:
        return adapter(kind).validate_python(values)
    except ValidationError as error:
        raise invalid(what, *field_errors(error)) from None


def field_errors(error: ValidationError) -> list[FieldError]:
    """Convert pydantic's errors to the library's; keep one error for each place."""
    found: dict[str, FieldError] = {}
    for row in error.errors(include_url=False, include_input=False):
        message = row["msg"].removeprefix("Value error, ")
        if row["type"] == "extra_forbidden":
            message = "there is no such argument"
        # Path elements such as `function-before[...]` are names of validators, not of fields.
        field = " -> ".join(str(part) for part in row["loc"] if "[" not in str(part))
        found.setdefault(field, FieldError(field, message))
    return list(found.values())


def invalid(what: str, *errors: FieldError) -> InvalidRequest:
    """Return the error for a request that is not sent because it could not succeed."""
    words = "; ".join(f"{error.field}: {error.message}".removeprefix(": ") for error in errors[:5])
    return InvalidRequest(f"{what} was not sent: {words}.", errors=errors)


def query_text(values: Mapping[str, Any]) -> str:
    """Return the query of a URL with its question mark; empty if there are no values. None means "not given"."""
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if value is not None:
            items = cast("Sequence[Any]", value) if isinstance(value, list) else [value]
            pairs.extend((name, _query_value(item)) for item in items)
    return f"?{urlencode(pairs)}" if pairs else ""


def _query_value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case Enum():
            return str(value.value)
        case datetime():
            return value.isoformat()
        case _:
            return str(value)


def body_bytes(body: Any) -> bytes:
    """Return the JSON of a body, without content that the server accepts but then fails on (`mapping.clean`).

    Each field, and each field of each span, is cleaned separately, because the result of one cleaning is bounded.
    """
    if isinstance(body, list):
        return orjson.dumps([_cleaned(span) for span in cast("Sequence[Mapping[str, Any]]", body)])
    return orjson.dumps(_cleaned(body))


def _cleaned(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [_cleaned(span) for span in value] if name == "spans" else clean(value) for name, value in fields.items()
    }


def read_answer(endpoint: Endpoint[T], body: bytes, *, status: int) -> T:
    """Read an answer's body.

    Raises:
        ServerError: the body is not an answer of this endpoint.
    """
    content = b"null" if endpoint.answer is type(None) else body
    try:
        answer: T = adapter(cast("Any", endpoint.answer)).validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = " -> ".join(str(part) for part in first["loc"])
        where = f"{place}: {first['msg']}" if place else first["msg"]
        raise ServerError(
            f"{endpoint} did not answer as a PandaProbe does ({where}). Is the endpoint the base URL of a PandaProbe?",
            status=status,
        ) from None
    return answer


_ATTEMPT_TIMEOUT_S: Final = 30.0
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 8.0
_LAST_LOOK_S: Final = 5.0
_RATE_WAIT_S: Final = 5.0
"""Wait after a 429 without Retry-After: the window may open at any moment within the next minute."""
# Answers to requests that were not executed. Even a request that must not be repeated may then be sent again.
_NOT_CARRIED_OUT: Final = (None, 425, 503)


@dataclass(frozen=True, slots=True)
class Send:
    """Step that sends a request with the credentials of a scope; its result is the outcome."""

    request: Request
    scope: Scope


@dataclass(frozen=True, slots=True)
class Pause:
    """Step that waits; its result is None."""

    seconds: float


Step: TypeAlias = Send | Pause
Steps: TypeAlias = Generator[Step, Any, T]
"""Course of steps (requests and pauses) whose result is a T."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Parts that all calls of one client share. The clock is monotonic, in seconds."""

    base_url: str
    unavailable: Mapping[Scope, str]
    """Reason for each scope without credentials."""
    budgets: Mapping[Scope, Budget]
    timeout_s: float
    retries: int
    rate_limits: RateLimits | None
    organization_id: str | None = None
    has_key: bool = True
    """False if requests carry no key because the local server may need none."""
    clock: Callable[[], float] = time.monotonic
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    uniform: Callable[[float, float], float] = random.uniform

    def until(self, deadline: float) -> Connection:
        """Return a copy whose calls should end by `deadline`. A final look-up always has a few seconds."""
        return replace(self, timeout_s=min(self.timeout_s, max(deadline - self.clock(), _LAST_LOOK_S)))


def call(
    connection: Connection,
    endpoint: Endpoint[T],
    *,
    path: Mapping[str, object] | None = None,
    query: Mapping[str, Any] | None = None,
    body: Any = None,
) -> Steps[T]:
    """Call an endpoint: check the arguments, send the request, repeat it if that is safe, and read the answer.

    Raises:
        InvalidRequest: an argument is invalid; nothing was sent.
        PandaProbeError: any other error of the tree in `errors`, if time is up or if repeating the request is useless.
    """
    request = _request(endpoint, path or {}, query, body)
    answer, sent_at = yield from _exchange(connection, endpoint, request)
    try:
        return read_answer(endpoint, answer.body, status=answer.status)
    except ServerError as error:
        if endpoint.repeat is Repeat.NEVER:
            raise OutcomeUnknown(
                f"{error} The request was sent, so it may have been carried out.",
                request=sent(request, sent_at),
                status=answer.status,
            ) from None
        raise


def _request(
    endpoint: Endpoint[Any], path: Mapping[str, object], query: Mapping[str, Any] | None, body: Any
) -> Request:
    what = str(endpoint)
    url = _url(endpoint, path, query)
    content = None if endpoint.body is None else body_bytes(checked(endpoint.body, body, what=what))
    return Request(method=endpoint.method, path=url, body=content)


def _url(endpoint: Endpoint[Any], path: Mapping[str, object], query: Mapping[str, Any] | None) -> str:
    what = str(endpoint)
    ids = checked(_ids(endpoint.parameters), dict(path), what=what)
    values: Mapping[str, Any] = {} if endpoint.query is None else checked(endpoint.query, dict(query or {}), what=what)
    try:
        url = endpoint.path.format(**{name: quote(str(value), safe="") for name, value in ids.items()})
        url += query_text(values)
    except UnicodeEncodeError as error:
        raise invalid(what, FieldError("", f"{error.object!r:.80} has characters that are not Unicode")) from None
    if "%00" in url:  # a literal percent sign would be encoded, so this is a NUL
        raise invalid(what, FieldError("", "a text has a NUL character, which the server cannot search for"))
    return url


@cache
def _ids(names: Sequence[str]) -> Any:
    """Return the types of the values of a path."""
    make: Any = TypedDict  # type checkers know only those that are written out
    return make("Path", {name: SessionInPath if name == "session_id" else Id for name in names})


def _exchange(connection: Connection, endpoint: Endpoint[Any], request: Request) -> Steps[tuple[Answer, datetime]]:
    """Send the request, and repeat it if that is safe; return the answer and the time of sending."""
    if (missing := connection.unavailable.get(endpoint.scope)) is not None:
        raise ConfigError(f"{endpoint} {missing}")
    deadline = connection.clock() + connection.timeout_s
    failures = 0
    done_perhaps = False
    while True:
        yield from _await_budget(connection, endpoint, request, deadline)
        sent_at = connection.now()
        outcome = yield from _attempt(connection, endpoint, request, deadline)
        if isinstance(outcome, Answer) and 200 <= outcome.status < 300:
            return outcome, sent_at  # not judged, because that would read the whole body again
        verdict = judge(outcome)
        if done_perhaps and endpoint.method == "DELETE" and verdict.kind is VerdictKind.NOT_FOUND:
            return Answer(status=204), sent_at  # an earlier attempt, whose answer was lost, has deleted it
        wait_s = _wait_before_next(connection, endpoint, verdict, failures)
        if wait_s is None or connection.clock() + wait_s >= deadline:
            raise error_of(
                Failure(
                    endpoint=endpoint,
                    base_url=connection.base_url,
                    request=request,
                    sent_at=sent_at,
                    outcome=outcome,
                    verdict=verdict,
                    has_key=connection.has_key,
                )
            )
        if verdict.kind is VerdictKind.RATE_LIMITED:
            _close_budget(connection, endpoint, request, wait_s)
        else:
            failures += 1
            done_perhaps = done_perhaps or not isinstance(outcome, NoAnswer) or outcome.may_have_arrived
        yield Pause(wait_s)


def _await_budget(connection: Connection, endpoint: Endpoint[Any], request: Request, deadline: float) -> Steps[None]:
    if connection.rate_limits is None:
        return
    bucket = bucket_of(endpoint, _path_of(request), connection.rate_limits)
    while wait_s := connection.budgets[endpoint.scope].take(bucket, connection.clock()):
        if connection.clock() + wait_s >= deadline:
            raise RateLimited(
                f"{endpoint} was not sent: {bucket.limit} requests a minute are allowed, and the next may be sent in "
                f"{wait_s:.0f} s, which is longer than this call may take.",
                retry_after=wait_s,
                status=None,
            )
        yield Pause(wait_s)


def _close_budget(connection: Connection, endpoint: Endpoint[Any], request: Request, wait_s: float) -> None:
    if connection.rate_limits is not None:
        bucket = bucket_of(endpoint, _path_of(request), connection.rate_limits)
        connection.budgets[endpoint.scope].close(bucket, connection.clock() + wait_s)


def _attempt(connection: Connection, endpoint: Endpoint[Any], request: Request, deadline: float) -> Steps[Outcome]:
    remaining = max(deadline - connection.clock(), 0.001)
    timed = Request(
        method=request.method,
        path=request.path,
        body=request.body,
        timeout_s=min(_ATTEMPT_TIMEOUT_S, remaining),
    )
    try:
        outcome: Outcome = yield Send(timed, endpoint.scope)
    finally:  # even if the caller is cancelled, because the server may have counted the request
        if connection.rate_limits is not None:
            bucket = bucket_of(endpoint, _path_of(request), connection.rate_limits)
            connection.budgets[endpoint.scope].give_back(bucket, connection.clock())
    return outcome


def _wait_before_next(connection: Connection, endpoint: Endpoint[Any], verdict: Verdict, failures: int) -> float | None:
    """Return the seconds until the request is sent again; None if that is forbidden or useless."""
    if verdict.kind is VerdictKind.RATE_LIMITED:
        if verdict.retry_after_s is not None:
            return verdict.retry_after_s + connection.uniform(0.0, 0.5)
        return _RATE_WAIT_S * connection.uniform(1.0, 1.5)
    if failures >= connection.retries:
        return None
    match verdict.kind:
        case VerdictKind.UNAVAILABLE:
            repeat = endpoint.repeat is Repeat.SAFE or verdict.status in _NOT_CARRIED_OUT
        case VerdictKind.UNKNOWN:
            repeat = endpoint.repeat is Repeat.SAFE
        case _:
            repeat = False
    if not repeat:
        return None
    backoff = min(_FIRST_BACKOFF_S * 2.0**failures, _LONGEST_BACKOFF_S)
    return max(connection.uniform(0.0, backoff), verdict.retry_after_s or 0.0)


def _path_of(request: Request) -> str:
    return request.path.partition("?")[0]


class SyncDriver:
    """Driver that executes steps in the calling thread; any thread may use it."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[Scope, Mapping[str, str]],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transports = {scope: HttpTransport(base_url, own) for scope, own in headers.items()}
        self._sleep = sleep
        _drivers.add(self)

    def run(self, steps: Steps[T]) -> T:
        """Execute a course and return its result; its exceptions are raised here."""
        with closing(steps):
            try:
                step = next(steps)
                while True:
                    step = steps.send(self._perform(step))
            except StopIteration as end:
                result: T = end.value
                return result

    def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        for transport in self._transports.values():
            transport.close()

    def reset_after_fork(self) -> None:
        """Leave the parent's connections alone in a forked child."""
        for transport in self._transports.values():
            transport.reset_after_fork()

    def _perform(self, step: Step) -> Outcome | None:
        if isinstance(step, Pause):
            self._sleep(step.seconds)
            return None
        return self._transports[step.scope].send(step.request)


_drivers: weakref.WeakSet[SyncDriver] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for driver in _drivers:
        driver.reset_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


class AsyncDriver:
    """Driver that executes steps in the running event loop. Cancelling the task ends the course at its step."""

    def __init__(
        self,
        base_url: str,
        headers: Mapping[Scope, Mapping[str, str]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transports = {scope: AsyncHttpTransport(base_url, own) for scope, own in headers.items()}
        self._sleep = sleep

    async def run(self, steps: Steps[T]) -> T:
        """Execute a course and return its result; its exceptions are raised here."""
        with closing(steps):
            try:
                step = next(steps)
                while True:
                    step = steps.send(await self._perform(step))
            except StopIteration as end:
                result: T = end.value
                return result

    async def close(self) -> None:
        """Close the connections; the next call opens new ones."""
        for transport in self._transports.values():
            await transport.close()

    async def _perform(self, step: Step) -> Outcome | None:
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        return await self._transports[step.scope].send(step.request)
