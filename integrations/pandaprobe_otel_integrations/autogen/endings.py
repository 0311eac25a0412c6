"""Why answers of agents end, which their messages do not say: the result of the model's last call does.

An agent that reflects on what its tools gave makes one more call, of which AutoGen keeps the text alone.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final
from weakref import WeakKeyDictionary

from opentelemetry.context import Context, get_value, set_value
from opentelemetry.trace import Span, get_current_span

_TEAM_KEY: Final = "pandaprobe-autogen-team"
_CUT: Final = frozenset({"length", "content_filter", "unknown"})
"""Reasons of a model that are its agent's too. After the others the agent goes on, and answers when it is done."""
_DONE: Final = "stop"


class TeamEnding:
    """Why the last answer of a team's members ended, which is the team's."""

    def __init__(self) -> None:
        self.reason = _DONE


class Endings:
    """The reasons, by the span of the agent whose model gave them."""

    def __init__(self) -> None:
        self._reasons: WeakKeyDictionary[Span, str] = WeakKeyDictionary()

    def calling(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, None]:
        """Wrap the function of an agent that calls its model, whose last event is the model's result."""
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
        """Why the answer of the agent with this span ended."""
        reason = self._reasons.pop(span, _DONE)
        return reason if reason in _CUT else _DONE

    def of_member(self, span: Span) -> str:
        """The same for the member of a team, which is told too."""
        reason = self.of(span)
        team = get_value(_TEAM_KEY)
        if isinstance(team, TeamEnding):
            team.reason = reason
        return reason


def of_team(ending: TeamEnding, context: Context) -> Context:
    """Return a context in which the members of a team tell why they end."""
    return set_value(_TEAM_KEY, ending, context)
