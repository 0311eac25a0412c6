"""Enumerations that only the API uses; `pandaprobe_otel.enums` has the others."""

from __future__ import annotations

from enum import StrEnum


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
