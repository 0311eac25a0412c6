"""Targets for `evaluations.run`, and the request that evaluates them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel.api.encoding import invalid
from pandaprobe_otel.api.endpoint import Endpoint
from pandaprobe_otel.api.models import EvalRun
from pandaprobe_otel.api.path_values import TraceRef, trace_uuid_of
from pandaprobe_otel.api.resources.runs import SESSION_RUNS, TRACE_RUNS
from pandaprobe_otel.errors import FieldError, InvalidRequest

_WHAT: Final = "The evaluation run"
_TRACES_ONLY: Final = frozenset({"status", "trace_name"})
_SESSIONS_ONLY: Final = frozenset({"has_error", "min_trace_count"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Arguments of `evaluations.run`."""

    metrics: Sequence[str]
    traces: Iterable[TraceRef] | None
    sessions: Sequence[str] | None
    filters: Mapping[str, Any]
    everything: bool
    options: Mapping[str, Any]
    """Name, model, sampling rate and weights, if given."""


def check_choice(choice: Choice) -> None:
    """Raise InvalidRequest for arguments that are wrong whatever the metrics."""
    if not choice.metrics:
        raise _refused("metrics", "must name at least one; trace_metrics() and session_metrics() list them")
    rate = choice.options.get("sampling_rate")
    if rate is not None and not 0 < rate <= 1:
        raise _refused("sampling_rate", f"must be over 0 and up to 1, not {rate!r}")
    chosen = {
        "traces": choice.traces is not None,
        "session": choice.sessions is not None,
        "everything": choice.everything,
    }
    named = [name for name, given in chosen.items() if given]
    if not named and not choice.filters:
        raise _refused("", "names nothing to evaluate: pass traces=, session=, filters, or everything=True for all")
    if len(named) > 1:
        raise _refused("", f"cannot take {' and '.join(named)} together")


def check_metrics(metrics: Sequence[str], of_traces: Collection[str], of_sessions: Collection[str]) -> None:
    """Raise InvalidRequest for unknown and for mixed metrics; the message lists the known ones."""
    unknown = [name for name in metrics if name not in of_traces and name not in of_sessions]
    if unknown:
        raise _refused(
            "metrics",
            f"{_listed(unknown)} unknown; metrics of traces: {_listed(of_traces)}; of sessions: {_listed(of_sessions)}",
        )
    if any(name in of_traces for name in metrics) and any(name in of_sessions for name in metrics):
        raise _refused("metrics", "mix metrics of traces and of sessions: start one run for each")


def request_of(choice: Choice, *, of_sessions: bool) -> tuple[Endpoint[EvalRun], dict[str, Any]]:
    """Return the route and the body that evaluate the choice.

    Raises:
        InvalidRequest: the choice does not fit the kind of metrics.
    """
    body = {"metrics": [*choice.metrics], **choice.options}
    return _of_sessions(choice, body) if of_sessions else _of_traces(choice, body)


def _of_traces(choice: Choice, body: dict[str, Any]) -> tuple[Endpoint[EvalRun], dict[str, Any]]:
    if "signal_weights" in body:
        raise _refused("signal_weights", "are only for metrics of sessions")
    filters = _filters(choice, _SESSIONS_ONLY, "metrics of sessions")
    if "trace_name" in filters:
        filters["name"] = filters.pop("trace_name")
    if choice.traces is not None:
        _no_filters(filters, body, "traces")
        ids = [trace_uuid_of(trace, what=_WHAT) for trace in choice.traces]
        return TRACE_RUNS.create_batch, {**body, "trace_ids": [*dict.fromkeys(ids)]}
    if choice.sessions is not None:
        if len(choice.sessions) != 1:
            raise _refused("session", "must be a single session for metrics of traces; start one run per session")
        filters["session_id"] = choice.sessions[0]
    return TRACE_RUNS.create, {**body, "filters": filters} if filters else body


def _of_sessions(choice: Choice, body: dict[str, Any]) -> tuple[Endpoint[EvalRun], dict[str, Any]]:
    if choice.traces is not None:
        raise _refused("traces", f"cannot be given for metrics of sessions ({_listed(choice.metrics)})")
    filters = _filters(choice, _TRACES_ONLY, "metrics of traces")
    if choice.sessions is not None:
        _no_filters(filters, body, "session")
        return SESSION_RUNS.create_batch, {**body, "session_ids": [*dict.fromkeys(choice.sessions)]}
    return SESSION_RUNS.create, {**body, "filters": filters} if filters else body


def _filters(choice: Choice, foreign: frozenset[str], whose: str) -> dict[str, Any]:
    filters = {name: value for name, value in choice.filters.items() if value is not None}
    if wrong := sorted(foreign & filters.keys()):
        raise _refused(wrong[0], f"is a filter for {whose}")
    return filters


def _no_filters(filters: Mapping[str, Any], body: Mapping[str, Any], name: str) -> None:
    # The routes for given targets accept no filters and no sampling rate; the server would silently ignore them.
    given = [*filters, *(("sampling_rate",) if "sampling_rate" in body else ())]
    if given:
        raise _refused(given[0], f"cannot be combined with {name}=")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _refused(field: str, message: str) -> InvalidRequest:
    return invalid(_WHAT, FieldError(field, message))
