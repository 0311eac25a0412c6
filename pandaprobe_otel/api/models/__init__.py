"""Answers of the API as pydantic models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.process.forks import lazy_names

if TYPE_CHECKING:
    from pandaprobe_otel.api.models.analytics import AnalyticsBucket as AnalyticsBucket
    from pandaprobe_otel.api.models.analytics import ScoreDistribution as ScoreDistribution
    from pandaprobe_otel.api.models.analytics import ScoreSummary as ScoreSummary
    from pandaprobe_otel.api.models.analytics import ScoreTrend as ScoreTrend
    from pandaprobe_otel.api.models.analytics import SessionAnalyticsBucket as SessionAnalyticsBucket
    from pandaprobe_otel.api.models.analytics import SessionComparison as SessionComparison
    from pandaprobe_otel.api.models.analytics import SessionScorePoint as SessionScorePoint
    from pandaprobe_otel.api.models.analytics import TokenCostBucket as TokenCostBucket
    from pandaprobe_otel.api.models.analytics import TopModel as TopModel
    from pandaprobe_otel.api.models.base import Model as Model
    from pandaprobe_otel.api.models.base import Page as Page
    from pandaprobe_otel.api.models.evaluations import EvalRun as EvalRun
    from pandaprobe_otel.api.models.evaluations import Metric as Metric
    from pandaprobe_otel.api.models.evaluations import MetricInfo as MetricInfo
    from pandaprobe_otel.api.models.evaluations import PromptPreview as PromptPreview
    from pandaprobe_otel.api.models.evaluations import Provider as Provider
    from pandaprobe_otel.api.models.evaluations import RunFilters as RunFilters
    from pandaprobe_otel.api.models.evaluations import RunTemplate as RunTemplate
    from pandaprobe_otel.api.models.management import ApiKey as ApiKey
    from pandaprobe_otel.api.models.management import Billing as Billing
    from pandaprobe_otel.api.models.management import CategoryBreakdown as CategoryBreakdown
    from pandaprobe_otel.api.models.management import Invitation as Invitation
    from pandaprobe_otel.api.models.management import Membership as Membership
    from pandaprobe_otel.api.models.management import MyOrganization as MyOrganization
    from pandaprobe_otel.api.models.management import Organization as Organization
    from pandaprobe_otel.api.models.management import PastUsage as PastUsage
    from pandaprobe_otel.api.models.management import Plan as Plan
    from pandaprobe_otel.api.models.management import Project as Project
    from pandaprobe_otel.api.models.management import Subscription as Subscription
    from pandaprobe_otel.api.models.management import Usage as Usage
    from pandaprobe_otel.api.models.management import UserProfile as UserProfile
    from pandaprobe_otel.api.models.monitors import Monitor as Monitor
    from pandaprobe_otel.api.models.scores import Score as Score
    from pandaprobe_otel.api.models.scores import SessionScore as SessionScore
    from pandaprobe_otel.api.models.scores import TraceScore as TraceScore
    from pandaprobe_otel.api.models.sessions import Session as Session
    from pandaprobe_otel.api.models.sessions import SessionDeleted as SessionDeleted
    from pandaprobe_otel.api.models.sessions import SessionSummary as SessionSummary
    from pandaprobe_otel.api.models.traces import Span as Span
    from pandaprobe_otel.api.models.traces import SpansAccepted as SpansAccepted
    from pandaprobe_otel.api.models.traces import Trace as Trace
    from pandaprobe_otel.api.models.traces import TraceAccepted as TraceAccepted
    from pandaprobe_otel.api.models.traces import TraceListItem as TraceListItem
    from pandaprobe_otel.api.models.traces import TracesDeleted as TracesDeleted
    from pandaprobe_otel.api.models.traces import TracesTagged as TracesTagged
    from pandaprobe_otel.api.models.traces import UserSummary as UserSummary

__all__ = [
    "AnalyticsBucket",
    "ApiKey",
    "Billing",
    "CategoryBreakdown",
    "EvalRun",
    "Invitation",
    "Membership",
    "Metric",
    "MetricInfo",
    "Model",
    "Monitor",
    "MyOrganization",
    "Organization",
    "Page",
    "PastUsage",
    "Plan",
    "Project",
    "PromptPreview",
    "Provider",
    "RunFilters",
    "RunTemplate",
    "Score",
    "ScoreDistribution",
    "ScoreSummary",
    "ScoreTrend",
    "Session",
    "SessionAnalyticsBucket",
    "SessionComparison",
    "SessionDeleted",
    "SessionScore",
    "SessionScorePoint",
    "SessionSummary",
    "Span",
    "SpansAccepted",
    "Subscription",
    "TokenCostBucket",
    "TopModel",
    "Trace",
    "TraceAccepted",
    "TraceListItem",
    "TraceScore",
    "TracesDeleted",
    "TracesTagged",
    "Usage",
    "UserProfile",
    "UserSummary",
]

if not TYPE_CHECKING:  # else a type checker would accept any name, even a misspelt one
    __getattr__, __dir__ = lazy_names(
        __name__,
        {
            "analytics": (
                "AnalyticsBucket",
                "ScoreDistribution",
                "ScoreSummary",
                "ScoreTrend",
                "SessionAnalyticsBucket",
                "SessionComparison",
                "SessionScorePoint",
                "TokenCostBucket",
                "TopModel",
            ),
            "base": (
                "Model",
                "Page",
            ),
            "evaluations": (
                "EvalRun",
                "Metric",
                "MetricInfo",
                "PromptPreview",
                "Provider",
                "RunFilters",
                "RunTemplate",
            ),
            "management": (
                "ApiKey",
                "Billing",
                "CategoryBreakdown",
                "Invitation",
                "Membership",
                "MyOrganization",
                "Organization",
                "PastUsage",
                "Plan",
                "Project",
                "Subscription",
                "Usage",
                "UserProfile",
            ),
            "monitors": ("Monitor",),
            "scores": (
                "Score",
                "SessionScore",
                "TraceScore",
            ),
            "sessions": (
                "Session",
                "SessionDeleted",
                "SessionSummary",
            ),
            "traces": (
                "Span",
                "SpansAccepted",
                "Trace",
                "TraceAccepted",
                "TraceListItem",
                "TracesDeleted",
                "TracesTagged",
                "UserSummary",
            ),
        },
    )
