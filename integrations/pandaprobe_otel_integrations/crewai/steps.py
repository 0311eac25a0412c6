"""The steps that CrewAI's events start and end, and an open step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from opentelemetry.context import attach, get_current

from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._runs import RUN_KEY, Run
from pandaprobe_otel_integrations._shape import items

Ending = Literal["done", "failed", "paused"]

BEGINS: Final[Mapping[str, str]] = {
    "flow_started": "flow",
    "conversation_turn_started": "turn",
    "method_execution_started": "method",
    "crew_kickoff_started": "crew",
    "task_started": "task",
    "agent_execution_started": "agent",
    "lite_agent_execution_started": "agent",
    "llm_call_started": "llm",
    "tool_usage_started": "tool",
    "mcp_tool_execution_started": "mcp",
    "a2a_delegation_started": "remote",
    "memory_query_started": "memory",
    "memory_save_started": "saving",
    "knowledge_search_query_started": "knowledge",
    "llm_guardrail_started": "guardrail",
}
"""Type of an event to the kind of step that starts with it. CrewAI's other scopes get no span."""

ENDS: Final[Mapping[str, tuple[str, Ending]]] = {
    "flow_finished": ("flow", "done"),
    "flow_failed": ("flow", "failed"),
    "flow_paused": ("flow", "paused"),
    "conversation_turn_completed": ("turn", "done"),
    "conversation_turn_failed": ("turn", "failed"),
    "method_execution_finished": ("method", "done"),
    "method_execution_failed": ("method", "failed"),
    "method_execution_paused": ("method", "paused"),
    "crew_kickoff_completed": ("crew", "done"),
    "crew_kickoff_failed": ("crew", "failed"),
    "task_completed": ("task", "done"),
    "task_failed": ("task", "failed"),
    "agent_execution_completed": ("agent", "done"),
    "agent_execution_error": ("agent", "failed"),
    "lite_agent_execution_completed": ("agent", "done"),
    "lite_agent_execution_error": ("agent", "failed"),
    "llm_call_completed": ("llm", "done"),
    "llm_call_failed": ("llm", "failed"),
    "tool_usage_finished": ("tool", "done"),
    "tool_usage_error": ("tool", "failed"),
    "mcp_tool_execution_completed": ("mcp", "done"),
    "mcp_tool_execution_failed": ("mcp", "failed"),
    "a2a_delegation_completed": ("remote", "done"),
    "memory_save_completed": ("saving", "done"),
    "memory_save_failed": ("saving", "failed"),
    "memory_query_completed": ("memory", "done"),
    "memory_query_failed": ("memory", "failed"),
    "knowledge_search_query_completed": ("knowledge", "done"),
    "knowledge_search_query_failed": ("knowledge", "failed"),
    "llm_guardrail_completed": ("guardrail", "done"),
    "llm_guardrail_failed": ("guardrail", "failed"),
}

MAX_THOUGHT_CHARS: Final = 200_000
"""Largest size of a model's reasoning, which arrives in pieces and is kept until the call ends."""

MAX_NOTES: Final = 100
"""Largest number of notes with one name on one step."""


@dataclass(slots=True, eq=False, kw_only=True)
class Step(Run):
    """An open step. It is current in the context of all code that runs inside it."""

    kind: str
    source: Any = None
    """The emitter of the event: the crew, the task, the model, ... The same object emits the end."""
    call_id: str | None = None
    """CrewAI's id of a model call."""
    called: list[Part] = field(default_factory=list[Part])
    """For an agent: its model's latest tool calls that have not started."""
    thoughts: list[str] = field(default_factory=list[str])
    thought_chars: int = 0
    beside: dict[str, Any] = field(default_factory=dict[str, Any])
    """Facts from events between start and end."""

    def enter(self) -> None:
        """Make the code that runs in this thread or task from here on a part of the step."""
        self._before = get_current()
        attach(self.context)

    def leave(self) -> None:
        """Restore the earlier context, if the step or one inside it is current.

        An end that comes from elsewhere finds another current step, and changes nothing.
        """
        before, self._before = self._before, None
        current: Run | None = current_step()
        while current is not None and current is not self:
            current = current.parent
        if current is self and before is not None:
            attach(before)

    def think(self, piece: str) -> None:
        """Keep a piece of the model's reasoning."""
        if self.thought_chars < MAX_THOUGHT_CHARS:
            self.thoughts.append(piece)
            self.thought_chars += len(piece)

    def note(self, name: str, told: Any) -> None:
        """Keep an event inside the step under this name. Several events with one name become a list."""
        if name not in self.beside:
            self.beside[name] = told
            return
        before: Any = self.beside[name]
        told_of: list[Any] = items(before) or [before]
        self.beside[name] = told_of
        if len(told_of) < MAX_NOTES:
            told_of.append(told)
        else:
            told_of[-1] = "[and more, not recorded]"


def current_step() -> Step | None:
    """Return the step that the running code belongs to."""
    found = get_current().get(RUN_KEY)
    return found if isinstance(found, Step) else None


def open_step(kind: str, event: Any, source: Any) -> Step | None:
    """Return the step of this kind that the event of `source` ends: the innermost one around the running code.

    CrewAI's own `started_event_id` is not used. It names the innermost scope of any kind, and is wrong if CrewAI has
    reported a model call as failed twice (1.15).
    """
    call_id = getattr(event, "call_id", None) if kind == "llm" else None
    step: Run | None = current_step()
    while step is not None:
        if isinstance(step, Step) and step.kind == kind and step.source is source and step.call_id == call_id:
            return step
        step = step.parent
    return None


def agent_around(step: Run | None) -> Step | None:
    """Return the agent that this step is part of."""
    while step is not None:
        if isinstance(step, Step) and step.kind == "agent":
            return step
        step = step.parent
    return None
