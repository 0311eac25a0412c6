"""Exceptions that do not mean failure: work was cancelled, or waits for a person or an event.

They are recognized by name, so that neither asyncio, trio nor any framework is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from pandaprobe_otel.mapping.attributes import CANCELLED, INTERRUPTED, PARTIAL, TIMED_OUT

UNFINISHED: Final = frozenset({CANCELLED, TIMED_OUT, PARTIAL})
"""Outcomes of work that stays incomplete for good. Interrupted work, in contrast, has stopped as intended."""

_CANCELLATIONS: Final = frozenset({"CancelledError", "Cancelled", "GreenletExit"})
"""Exceptions of asyncio, trio and gevent; they derive from BaseException."""
_CANCELLING_MODULES: Final = frozenset({"asyncio", "concurrent", "trio", "greenlet", ""})

_PAUSES: Final = {
    "GraphInterrupt": "langgraph", "NodeInterrupt": "langgraph", "GraphDrained": "langgraph",
    "CallDeferred": "pydantic_ai", "ApprovalRequired": "pydantic_ai", "WaitingForEvent": "workflows",
    "InterruptException": "strands", "NodeInterruptedError": "google", "HumanFeedbackPending": "crewai",
}  # fmt: skip
"""Exceptions with which frameworks pause work that is resumed later, and their packages."""
_STEERING: Final = ("ParentCommand", "langgraph")
"""Exception by which a graph's node tells its parent where to continue. It is not an outcome."""


def outcome_of(error: BaseException) -> str | None:
    """Return `pandaprobe.outcome` for work that this exception ended; None for a failure, "" for control flow."""
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
    """Return the outcome in the metadata of a PandaProbe span or trace; None if it succeeded or failed."""
    metadata: Any = body.get("metadata")
    told: Any = cast("Mapping[str, Any]", metadata).get("outcome") if isinstance(metadata, Mapping) else None
    return told if isinstance(told, str) and (told in UNFINISHED or told == INTERRUPTED) else None


def outcome_named(kind: str) -> str | None:
    """Return the outcome for the class name of an exception, with or without its module, as `outcome_of` does."""
    module, _, name = kind.rpartition(".")
    package = module.partition(".")[0]
    if name in _CANCELLATIONS and package in _CANCELLING_MODULES:
        return CANCELLED
    if name == _STEERING[0] and package in ("", _STEERING[1]):
        return ""
    pauses = _PAUSES.get(name)
    return INTERRUPTED if pauses is not None and package in ("", pauses) else None
