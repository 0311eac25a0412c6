"""What Strands Agents leaves out of the spans that it makes itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, patch

from .conversations import Conversations
from .endings import tell_cancellation, tell_how_agent_ends, tell_how_tool_ends, tell_interrupt
from .tracer import TracerChange

__all__ = ["StrandsInstrumentor"]

_SPANS: Final = "strands.telemetry.tracer"
"""Module of Strands' tracer, whose name is the instrumentation scope too."""
_AGENTS: Final = "strands.agent.agent"
_INTERRUPTS: Final = "strands.types.interrupt"


class StrandsInstrumentor(Integration):
    """Runs of agents with their cycles, model calls and tools, in the spans that Strands makes itself.

    Added to them: the conversation, which is the id of the session manager or else one for each agent, the definitions
    of tools, and that a run waits for a person or was cancelled. The client of the model makes no second span. Strands
    always writes messages: `capture_content` does not change that, `init(capture=...)` does. See `Integration` for the
    other options of `instrument()`.
    """

    library = "strands"
    makes_own_spans = True
    requirements = ("strands-agents >= 1.41",)
    hooked_modules = (_SPANS, _AGENTS, _INTERRUPTS)

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
        if module.__name__ == _INTERRUPTS:
            yield patch(module._Interruptible, "interrupt", self._asks)  # pyright: ignore[reportPrivateUsage]
            return
        yield adopt(_SPANS, is_on=lambda: self._open)
        change = TracerChange(module=module, provider=self._tracer_provider)

        def made(wrapped: Callable[..., Any], tracer: Any, args: Any, kwargs: Any) -> Any:
            result = wrapped(*args, **kwargs)
            if self._open:
                guarded(change.apply, tracer)
            return result

        yield patch(module.Tracer, "__init__", made)
        yield patch(module.Tracer, "end_agent_span", self._before(tell_how_agent_ends))
        yield patch(module.Tracer, "end_tool_call_span", self._before(tell_how_tool_ends))
        if hasattr(module.Tracer, "end_span_with_cancellation"):
            yield patch(module.Tracer, "end_span_with_cancellation", self._before(tell_cancellation))
        change.begin()
        yield change

    def _before(self, tell: Callable[..., None]) -> Callable[..., Any]:
        """A wrapper that tells something of the same arguments before the call."""

        def around(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
            if self._open:
                guarded(tell, *args, **kwargs)
            return wrapped(*args, **kwargs)

        return around

    def _asks(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Around the question for a person, which raises while there is no answer."""
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            if self._open and outcome_of(error) is not None:
                guarded(tell_interrupt)
            raise
