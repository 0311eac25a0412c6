"""Shared code for the spans of runs and of tools."""

from __future__ import annotations

from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._shape import obj
from pandaprobe_otel_integrations._span_scope import SpanScope

_CANCELLED: Final = "RunCancelledException"
STATUS_OUTCOMES: Final = {"CANCELLED": ours.CANCELLED, "PAUSED": ours.INTERRUPTED}
"""Outcomes by the status in the record of a run that stopped before its end."""
_STEERING: Final = "AgentRunException"
"""Base of the exceptions with which a tool tells the agent to try again or to stop."""
_JSON: Final[frozenset[type]] = frozenset({str, int, float, bool, list, tuple, type(None)})


class AgnoScope(SpanScope):
    """The span of a run or a tool call. Exceptions with which Agno controls a run are not failures."""

    def _record_error(self, error: BaseException) -> None:
        bases = {base.__name__ for base in type(error).__mro__}
        if _CANCELLED in bases:
            self.span.set_attribute(ours.OUTCOME, ours.CANCELLED)
        elif _STEERING not in bases:
            super()._record_error(error)


def text_of(value: Any) -> str:
    """Return content that is a text or the app's own object as text."""
    told = plain(value)
    return told if isinstance(told, str) else to_json(told)


def plain(value: Any) -> Any:
    """Return a result unchanged if JSON has a form for it, an object by its fields, anything else as text."""
    return value if type(value) in _JSON else obj(value) or str(value)
