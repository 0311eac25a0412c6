"""Types of arguments, which are checked before a request is sent."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Protocol, TypeAlias, TypeVar, get_args, runtime_checkable
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, with_config
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function
from typing_extensions import TypedDict  # pydantic accepts the standard one only from Python 3.12 on

SortOrder: TypeAlias = Literal["asc", "desc"]
"""Direction of a list."""
TraceSortBy: TypeAlias = Literal["started_at", "ended_at", "name", "latency", "status"]
"""Sort keys of traces."""
SessionSortBy: TypeAlias = Literal["recent", "trace_count", "latency", "cost"]
"""Sort keys of sessions; `recent` is the arrival time of their traces, not their start (measured)."""
AnalyticsMetric: TypeAlias = Literal["volume", "errors", "latency", "cost", "tokens", "models"]
"""Quantities in the analytics of traces."""
AnalyticsGranularity: TypeAlias = Literal["hour", "day", "week"]
"""Width of a time bucket."""
EvaluationStatus: TypeAlias = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED"]
"""State of an evaluation run. A run whose metrics all failed is COMPLETED, not FAILED (measured)."""
ScoreStatus: TypeAlias = Literal["SUCCESS", "FAILED", "PENDING"]
"""State of a score."""
ScoreSource: TypeAlias = Literal["AUTOMATED", "ANNOTATION", "PROGRAMMATIC"]
"""Origin of a score: an evaluation, a person, a program."""
TargetType: TypeAlias = Literal["TRACE", "SESSION"]
"""Kind of object that a run or monitor evaluates."""
MonitorStatus: TypeAlias = Literal["ACTIVE", "PAUSED"]
"""State of a monitor."""
MembershipRole: TypeAlias = Literal["OWNER", "ADMIN", "MEMBER"]
"""Role of a member of an organization."""
KeyExpiration: TypeAlias = Literal["never", "90d"]
"""Validity of a new API key."""
SubscriptionPlan: TypeAlias = Literal["HOBBY", "PRO", "STARTUP", "ENTERPRISE", "DEVELOPMENT"]
"""Plans of an organization."""
SubscriptionStatus: TypeAlias = Literal["ACTIVE", "PAST_DUE", "CANCELED", "INCOMPLETE"]
"""State of a subscription."""

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")

MAX_PAGE: Final = 200
"""Largest page of a list (the server answers 422 beyond it)."""
MAX_BATCH: Final = 500
"""Maximum number of spans in one trace body, and of traces in one batch (the server answers 422 beyond it)."""
_INT4_MAX: Final = 2**31 - 1


class _MemberOf:
    """Check of `Known[E]`: the value is a member of the enumeration E, or the text of one."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        kind: type[StrEnum] = get_args(source)[0]

        def member(value: object) -> StrEnum:
            try:
                return kind(str(value))
            except ValueError:
                raise ValueError(f"must be one of {', '.join(kind)}, not {str(value)[:80]!r}") from None

        return no_info_before_validator_function(member, handler(source))


Known: TypeAlias = Annotated[E | str, _MemberOf()]
"""A member of an enumeration, or its text. Unknown texts are refused before a request is sent."""


def _aware(moment: datetime) -> datetime:
    # The server would read a time without a zone as UTC, which is wrong for a local time.
    if moment.tzinfo is None:
        raise ValueError("has no time zone: pass an aware datetime, such as datetime.now(UTC)")
    return moment.astimezone(UTC)


@runtime_checkable
class HasTraceId(Protocol):
    """A trace, or a trace in a list."""

    @property
    def trace_id(self) -> UUID:
        """Id of the trace."""
        ...


TraceRef: TypeAlias = UUID | str | HasTraceId
"""A trace, given by its id or as an object."""


def id_of(trace: object) -> object:
    """Return the id of a trace that may be given as an object; any other value is an id itself."""
    return trace.trace_id if isinstance(trace, HasTraceId) else trace


def _uuid(value: object) -> UUID:
    try:
        return UUID(str(id_of(value)))
    except ValueError:
        raise ValueError(f"must be a UUID, not {str(value)[:80]!r}") from None


def _session(session_id: str) -> str:
    """Check that the server has a route to a session. It reads a slash as a separator even if it is encoded (measured
    on server 0.5.0).
    """
    if session_id in ("", ".", ".."):
        raise ValueError("must not be empty or consist of dots only")
    if "/" in session_id:
        raise ValueError("has a slash: such a session can be listed, but the server has no route to it")
    if session_id == "analytics":
        raise ValueError("equals the name of the analytics route, so the server has no route to it")
    return session_id


def _token_usage(usage: dict[str, Any]) -> dict[str, Any]:
    # Any value except a small integer makes every list of the project answer 500 (measured on server 0.5.0).
    counts = [usage.get(key) for key in ("prompt_tokens", "completion_tokens")]
    for count in counts:
        if count is not None and (isinstance(count, bool) or not isinstance(count, int)):
            raise ValueError("prompt_tokens and completion_tokens must be integers")
    total = [count or 0 for count in counts]
    if any(abs(number) > _INT4_MAX for number in (*total, sum(total))):
        raise ValueError("prompt_tokens and completion_tokens must be below 2**31, and so must their sum")
    return usage


def _cost(cost: dict[str, float]) -> dict[str, float]:
    # Otherwise the server answers 202 and loses the trace (measured on server 0.5.0).
    if not all(math.isfinite(value) for value in cost.values()):
        raise ValueError("must be finite numbers")
    return cost


Id = Annotated[UUID | str, BeforeValidator(_uuid)]
SessionInPath = Annotated[str, AfterValidator(_session)]
Rows: TypeAlias = list[T]
"""A list: inside a class with a method `list`, that name does not mean the built-in type any more."""
Moment = Annotated[datetime, AfterValidator(_aware)]
Limit = Annotated[int, Field(ge=1, le=MAX_PAGE)]
Offset = Annotated[int, Field(ge=0, lt=2**63)]
"""The server fails on offsets beyond its database's range (measured on server 0.5.0)."""
Name = Annotated[str, Field(min_length=1, max_length=512)]
Text255 = Annotated[str, Field(max_length=255)]
Title = Annotated[str, Field(min_length=1, max_length=255)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
TokenUsage = Annotated[dict[str, Any], AfterValidator(_token_usage)]
Cost = Annotated[dict[str, float], AfterValidator(_cost)]


@with_config(ConfigDict(extra="forbid"))
class Arguments(TypedDict, total=False):
    """Arguments by name. Unknown names are refused: the server would ignore a misspelt filter and return everything."""


class Paging(Arguments, total=False):
    """The page of a list to return."""

    limit: Limit
    offset: Offset
