"""Finish reasons of agents' answers, from the agent's last model call, since AutoGen's messages have none.

An agent that reflects on the results of its tools makes one more call, of which AutoGen keeps only the text.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry.context import Context, get_value, set_value
from opentelemetry.trace import Span, get_current_span

_TEAM_KEY: Final = "pandaprobe-autogen-team"
_CUT: Final = frozenset({"length", "content_filter", "unknown"})
"""Finish reasons of a model that are also its agent's. After any other reason, the agent goes on until it is done."""
_DONE: Final = "stop"


class TeamEnding:
    """A team's finish reason: that of the last answer by one of its members."""

    def __init__(self) -> None:
        self.reason = _DONE


class Endings:
    """The finish reasons, by the span of the agent whose model gave them."""

    def __init__(self) -> None:
        self._reasons: WeakKeyDictionary[Span, str] = WeakKeyDictionary()

    def calling(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, None]:
        """Wrap the function with which an agent calls its model; its last event is the model's result."""
        return self._watched(wrapped(*args, **kwargs))

    async def _watched(self, events: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
        try:
            async for event in events:
                reason = getattr(event, "finish_reason", None)
                if reason is not None:
                    self._reasons[get_current_span()] = str(reason)
                yield event
        finally:
            await events.aclose()

    def of(self, span: Span) -> str:
        """Return the finish reason of the agent with this span."""
        reason = self._reasons.pop(span, _DONE)
        return reason if reason in _CUT else _DONE

    def of_member(self, span: Span) -> str:
        """Return the finish reason of the team member with this span, and keep it for the team."""
        reason = self.of(span)
        team = get_value(_TEAM_KEY)
        if isinstance(team, TeamEnding):
            team.reason = reason
        return reason


def of_team(ending: TeamEnding, context: Context) -> Context:
    """Return a context in which a team's members keep their finish reasons for the team."""
    return set_value(_TEAM_KEY, ending, context)
