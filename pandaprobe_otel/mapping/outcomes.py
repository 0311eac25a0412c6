"""Exceptions that say that work neither succeeded nor failed: it was cancelled, or it waits for a person or an event.

Known by name, so that neither asyncio and trio nor any framework is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from pandaprobe_otel.mapping.attributes import CANCELLED, INTERRUPTED, PARTIAL, TIMED_OUT

UNFINISHED: Final = frozenset({CANCELLED, TIMED_OUT, PARTIAL})
"""Outcomes after which nothing follows: what there is, is only a part. Interrupted work has stopped where it should."""

_CANCELLATIONS: Final = frozenset({"CancelledError", "Cancelled"})
"""Of asyncio and trio; both derive from BaseException."""
_CANCELLING_MODULES: Final = frozenset({"asyncio", "concurrent", "trio", ""})

_PAUSES: Final = {
    "GraphInterrupt": "langgraph",
    "NodeInterrupt": "langgraph",
    "GraphDrained": "langgraph",
    "CallDeferred": "pydantic_ai",
    "ApprovalRequired": "pydantic_ai",
    "WaitingForEvent": "workflows",
    "InterruptException": "strands",
    "NodeInterruptedError": "google",
    "HumanFeedbackPending": "crewai",
}
"""Exceptions by which frameworks stop work that goes on later, and their packages."""
_STEERING: Final = ("ParentCommand", "langgraph")
"""The exception by which a node of a graph says where its parent goes on: no end that is worth a word."""


def outcome_of(error: BaseException) -> str | None:
    """The value of `pandaprobe.outcome` for work that this exception ended; None for a failure, "" for no news."""
    if isinstance(error, GeneratorExit):
        return PARTIAL
    is_base = not isinstance(error, Exception)
    for kind in type(error).__mro__:
        name, package = kind.__name__, kind.__module__.partition(".")[0]
        if is_base and name in _CANCELLATIONS:
            return CANCELLED
        if (name, package) == _STEERING:
            return ""
        if _PAUSES.get(name) == package:
            return INTERRUPTED
    return None


def outcome_in(body: Mapping[str, Any]) -> str | None:
    """The outcome that a span or a trace of PandaProbe has in its metadata; None when it has succeeded or failed."""
    metadata: Any = body.get("metadata")
    told: Any = cast("Mapping[str, Any]", metadata).get("outcome") if isinstance(metadata, Mapping) else None
    return told if isinstance(told, str) and (told in UNFINISHED or told == INTERRUPTED) else None


def outcome_named(kind: str) -> str | None:
    """The same by the name of the exception's class, as spans have it: with or without its module."""
    module, _, name = kind.rpartition(".")
    package = module.partition(".")[0]
    if name in _CANCELLATIONS and package in _CANCELLING_MODULES:
        return CANCELLED
    if name == _STEERING[0] and package in ("", _STEERING[1]):
        return ""
    pauses = _PAUSES.get(name)
    return INTERRUPTED if pauses is not None and package in ("", pauses) else None
