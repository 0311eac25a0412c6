"""The steps of a call, written once: budget, request, verdict, then repetition, result or error.

A course is a generator that yields the steps `Send` and `Pause` and receives the result of each. A synchronous or an
asynchronous loop (`drivers`) executes the steps; this module does not know which.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, TypeVar

from pandaprobe_otel.api.encoding import body_bytes, checked, invalid, query_text, read_answer
from pandaprobe_otel.api.endpoint import Endpoint, Repeat, Scope
from pandaprobe_otel.api.exceptions import Failure, error_of, sent
from pandaprobe_otel.api.request_budget import Budget, RateLimits, bucket_of
from pandaprobe_otel.errors import ConfigError, FieldError, OutcomeUnknown, RateLimited, ServerError
from pandaprobe_otel.transport.request_outcome import Answer, NoAnswer, Outcome, Request
from pandaprobe_otel.transport.verdict import Verdict, VerdictKind, judge

T = TypeVar("T")

_ATTEMPT_TIMEOUT_S: Final = 30.0
_FIRST_BACKOFF_S: Final = 0.5
_LONGEST_BACKOFF_S: Final = 8.0
_LAST_LOOK_S: Final = 5.0
_RATE_WAIT_S: Final = 5.0
"""Wait after a 429 without Retry-After: the window may open at any moment within the next minute."""
# Answers to requests that were not executed. Even a request that must not be repeated may then be sent again.
_NOT_CARRIED_OUT: Final = (None, 408, 425, 503)


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
    values: Mapping[str, Any] = {} if endpoint.query is None else checked(endpoint.query, dict(query or {}), what=what)
    try:
        url = endpoint.path_with(path) + query_text(values)
    except UnicodeEncodeError as error:
        raise invalid(what, FieldError("", f"{error.object!r:.80} has characters that are not Unicode")) from None
    if "%00" in url:  # a literal percent sign would be encoded, so this is a NUL
        raise invalid(what, FieldError("", "a text has a NUL character, which the server cannot search for"))
    return url


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
