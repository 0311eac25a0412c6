"""What Strands Agents leaves out of the spans that it makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, patch

from .conversations import Conversations
from .tracer import TracerChange

__all__ = ["StrandsInstrumentor"]

_SPANS: Final = "strands.telemetry.tracer"
"""Module of Strands' tracer, whose name is the instrumentation scope too."""
_AGENTS: Final = "strands.agent.agent"


class StrandsInstrumentor(Integration):
    """Runs of agents with their cycles, model calls and tools, in the spans that Strands makes itself.

    Added to them: the conversation, which is the id of the session manager or else one for each agent, and the
    definitions of tools. The client of the model makes no second span. Strands always writes messages:
    `capture_content` does not change that, `init(capture=...)` does. See `Integration` for the other options of
    `instrument()`.
    """

    library = "strands"
    makes_own_spans = True
    requirements = ("strands-agents >= 1.41",)
    hooked_modules = (_SPANS, _AGENTS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _AGENTS:
            conversations = Conversations()

            def agent_begins(wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> Any:
                span = wrapped(*args, **kwargs)
                if self._open:
                    guarded(conversations.tell, agent, span)
                return span

            yield patch(module.Agent, "_start_agent_trace_span", agent_begins)
            return
        yield adopt(_SPANS, is_on=lambda: self._open)
        change = TracerChange(module=module, provider=self._tracer_provider)

        def made(wrapped: Callable[..., Any], tracer: Any, args: Any, kwargs: Any) -> Any:
            result = wrapped(*args, **kwargs)
            if self._open:
                guarded(change.apply, tracer)
            return result

        yield patch(module.Tracer, "__init__", made)
        change.begin()
        yield change
