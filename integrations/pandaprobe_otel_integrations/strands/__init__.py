"""Additions to the spans that Strands Agents makes."""

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
from .endings import record_cancellation, record_end_of_agent, record_end_of_tool, record_interrupt
from .runs import OpenRuns, without_bytes
from .tracer import TracerChange

__all__ = ["StrandsInstrumentor"]

_SPANS: Final = "strands.telemetry.tracer"
"""Module of Strands' tracer, which is also the name of the instrumentation scope."""
_AGENTS: Final = "strands.agent.agent"
_INTERRUPTS: Final = "strands.types.interrupt"


class StrandsInstrumentor(Integration):
    """Runs of agents with their cycles, model calls and tools, in the spans that Strands makes itself.

    This adds the conversation (the id of the session manager, or one for each agent), definitions of tools,
    parameters of models, the state of an agent, digests of bytes, and whether a run waits for a person or was
    cancelled. The model's client makes no second span. Strands always writes messages; `init(capture=...)` hides
    them, `capture_content` does not. See `Integration` for the other options of `instrument()`.
    """

    library = "strands"
    makes_own_spans = True
    requirements = ("strands-agents >= 1.41",)
    hooked_modules = (_SPANS, _AGENTS, _INTERRUPTS)
    _runs = OpenRuns()

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _AGENTS:
            conversations = Conversations()

            def agent_begins(wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> Any:
                span = wrapped(*args, **kwargs)
                if self._open:
                    guarded(conversations.tell, agent, span)
                    guarded(self._runs.begins, agent, span)
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
        yield patch(module.Tracer, "start_model_invoke_span", self._model_called)
        yield patch(module.Tracer, "end_agent_span", self._before(self._agent_ends))
        yield patch(module.Tracer, "end_tool_call_span", self._before(record_end_of_tool))
        if hasattr(module.Tracer, "end_span_with_cancellation"):
            yield patch(module.Tracer, "end_span_with_cancellation", self._before(self._agent_is_cancelled))
        yield patch(module, "serialize", self._serializing)
        change.begin()
        yield change

    def _model_called(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the start of a model call's span."""
        span = wrapped(*args, **kwargs)
        if self._open:
            guarded(self._runs.calls, span, args[1] if len(args) > 1 else kwargs.get("parent_span"))
        return span

    def _agent_ends(self, span: Any, response: Any = None, error: BaseException | None = None, **more: Any) -> None:
        record_end_of_agent(span, response, error, **more)
        self._runs.ends(span, None if error is None else outcome_of(error))

    def _agent_is_cancelled(self, span: Any, cancellation: BaseException) -> None:
        record_cancellation(span, cancellation)
        self._runs.ends(span, outcome_of(cancellation))

    def _serializing(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the function that encodes messages as JSON."""
        without = guarded(without_bytes, args[0]) if self._open and args else None
        if without is not None:
            args = (without, *args[1:])
        return wrapped(*args, **kwargs)

    def _before(self, tell: Callable[..., None]) -> Callable[..., Any]:
        """Return a wrapper that first calls another function with the same arguments."""

        def around(wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
            if self._open:
                guarded(tell, *args, **kwargs)
            return wrapped(*args, **kwargs)

        return around

    def _asks(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the method that asks a person. It raises an exception while there is no answer."""
        try:
            return wrapped(*args, **kwargs)
        except Exception as error:
            if self._open and outcome_of(error) is not None:
                guarded(record_interrupt)
            raise
