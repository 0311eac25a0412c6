"""The agents of a team (`AgentWorkflow`). One agent at a time has its turn, until it hands over to another.

LlamaIndex has no call for an agent's turn, so the events of the team's steps show whose turn it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from pandaprobe_otel_integrations._runs import Run
from pandaprobe_otel_integrations._shape import items, string

from .messages import messages_of
from .values import plain

STEPS: Final = frozenset(
    {"init_run", "setup_agent", "run_agent_step", "parse_agent_output", "call_tool", "aggregate_tool_results"}
)
"""Steps of LlamaIndex's own agents, which get no span: their work is model calls and tools."""
_MESSAGES: Final = ("chat_history", "user_msg")
_NOT_GIVEN: Final = frozenset({"memory", *_MESSAGES})


@dataclass(slots=True, eq=False, kw_only=True)
class TeamRun(Run):
    """The run of a team."""

    turn: Run | None = None
    """The turn of the current agent."""

    def has_turn_of(self, agent: str | None) -> bool:
        """Return whether the current turn is this agent's. An event without a name belongs to the current agent."""
        return agent is None or (self.turn is not None and self.turn.agent == agent)


def asked(agent: Any, event: Any) -> dict[str, Any]:
    """Return the input of a run from the event that starts it: messages, and the app's other data."""
    given: Mapping[str, Any] = {**{name: getattr(event, name, None) for name in _MESSAGES}, **dict(event.items())}
    history, question = items(given.get("chat_history")), given.get("user_msg")
    messages = messages_of(history)
    if isinstance(question, str):
        messages.append({"role": "user", "parts": [{"type": "text", "content": question}]})
    elif question is not None:
        messages += messages_of([question])
    instructions = string(getattr(agent, "system_prompt", None))
    if messages and instructions and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "parts": [{"type": "text", "content": instructions}]})
    more = {name: plain(value) for name, value in given.items() if name not in _NOT_GIVEN and value is not None}
    return {"messages": messages, **more} if messages else more


def answered(result: Any) -> dict[str, Any]:
    """Return the result of a run: the answer, and the structured form that the app requested."""
    response = getattr(result, "response", None)
    messages = [{**each, "finish_reason": "stop"} for each in messages_of([response] if response is not None else [])]
    structured = plain(getattr(result, "structured_response", None))
    return {"messages": messages, **({"structured_response": structured} if structured is not None else {})}


def content(said: Mapping[str, Any], messages_name: str, whole_name: str) -> dict[str, Any]:
    """Return the attribute for messages if there are only messages, otherwise the attribute for all data."""
    if [*said] == ["messages"]:
        return {messages_name: said["messages"]}
    return {whole_name: said}
