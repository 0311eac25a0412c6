"""Types of arguments, which are checked before a request is sent."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, TypeAlias, TypeVar, get_args
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, with_config
from pydantic_core import CoreSchema
from pydantic_core.core_schema import no_info_before_validator_function
from typing_extensions import TypedDict  # pydantic accepts the standard one only from Python 3.12 on


class SortOrder(StrEnum):
    """Direction of a list."""

    ASC = "asc"
    DESC = "desc"


class TraceSortBy(StrEnum):
    """Sort keys of traces."""

    STARTED_AT = "started_at"
    ENDED_AT = "ended_at"
    NAME = "name"
    LATENCY = "latency"
    STATUS = "status"


class SessionSortBy(StrEnum):
    """Sort keys of sessions; `recent` is the arrival time of their traces, not their start (measured)."""

    RECENT = "recent"
    TRACE_COUNT = "trace_count"
    LATENCY = "latency"
    COST = "cost"


class AnalyticsMetric(StrEnum):
    """Quantities in the analytics of traces."""

    VOLUME = "volume"
    ERRORS = "errors"
    LATENCY = "latency"
    COST = "cost"
    TOKENS = "tokens"
    MODELS = "models"


class AnalyticsGranularity(StrEnum):
    """Width of a time bucket."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"


class EvaluationStatus(StrEnum):
    """State of an evaluation run. A run whose metrics all failed is COMPLETED, not FAILED (measured)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


class ScoreStatus(StrEnum):
    """State of a score."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    PENDING = "PENDING"


class ScoreSource(StrEnum):
    """Origin of a score: an evaluation, a person, a program."""

    AUTOMATED = "AUTOMATED"
    ANNOTATION = "ANNOTATION"
    PROGRAMMATIC = "PROGRAMMATIC"


class TargetType(StrEnum):
    """Kind of object that a run or monitor evaluates."""

    TRACE = "TRACE"
    SESSION = "SESSION"


class MonitorStatus(StrEnum):
    """State of a monitor."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


class MembershipRole(StrEnum):
    """Role of a member of an organization."""

    OWNER = "OWNER"
    ADMIN = "ADMIN"
    MEMBER = "MEMBER"


class InvitationStatus(StrEnum):
    """State of an invitation."""

    PENDING = "PENDING"
    ACCEPTED = "ACCEPTED"
    DECLINED = "DECLINED"
    REVOKED = "REVOKED"
    EXPIRED = "EXPIRED"


class KeyExpiration(StrEnum):
    """Validity of a new API key."""

    NEVER = "never"
    DAYS_90 = "90d"


class SubscriptionPlan(StrEnum):
    """Plans of an organization."""

    HOBBY = "HOBBY"
    PRO = "PRO"
    STARTUP = "STARTUP"
    ENTERPRISE = "ENTERPRISE"
    DEVELOPMENT = "DEVELOPMENT"


class SubscriptionStatus(StrEnum):
    """State of a subscription."""

    ACTIVE = "ACTIVE"
    PAST_DUE = "PAST_DUE"
    CANCELED = "CANCELED"
    INCOMPLETE = "INCOMPLETE"


E = TypeVar("E", bound=StrEnum)

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


def _uuid(value: object) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(str(value))
    except ValueError:
        raise ValueError(f"must be a UUID, not {str(value)[:80]!r}") from None


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
