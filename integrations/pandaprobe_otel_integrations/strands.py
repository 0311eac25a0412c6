"""Additions to the spans that Strands Agents makes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from opentelemetry.trace import get_current_span

from pandaprobe_otel.mapping.attributes import CANCELLED, INTERRUPTED, OUTCOME
from pandaprobe_otel.mapping.outcomes import outcome_of
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._json import encoded, items, obj, string
from pandaprobe_otel_integrations._openai_protocol.usage import PARAMETERS
from pandaprobe_otel_integrations._other_members import answer_data, parameters, told
from pandaprobe_otel_integrations._patching import OriginalCall, Undo, Undoable, patch
from pandaprobe_otel_integrations._runs import ConversationIds
from pandaprobe_otel_integrations._spans import adopt

__all__ = ["StrandsInstrumentor"]


# -- the conversation that a run of an agent belongs to ----------------------------------------------------------------


_CONVERSATIONS: Final = ConversationIds()
"""One conversation per agent: an agent keeps its messages from call to call."""


def _conversation(agent: Any) -> str:
    managed: Any = getattr(getattr(agent, "_session_manager", None), "session_id", None)
    # Strands' own id of an agent without a manager has eight digits, so unrelated agents could share a session.
    return str(managed) if managed else _CONVERSATIONS.of(agent)


# -- ends of runs and tools that neither succeed nor fail, but that Strands' spans record as successes -----------------

_STOPS: Final = {"interrupt": INTERRUPTED, "cancelled": CANCELLED}


def record_end_of_tool(span: Any, tool_result: Any, error: BaseException | None = None, **_: Any) -> None:
    """Record the end of a tool. It has no result if it waits for a person, or if the app has left the run."""
    left = sys.exc_info()[1]
    if tool_result is None and error is None and left is not None and OUTCOME not in getattr(span, "attributes", {}):
        _set_outcome(span, outcome_of(left))


def _set_outcome(span: Any, outcome: str | None) -> None:
    if outcome and span is not None:
        span.set_attribute(OUTCOME, outcome)


# -- parameters of the models that runs use, and the state of their agents ---------------------------------------------

_DESCRIPTION: Final = "gen_ai.agent.description"
_READ: Final = PARAMETERS.known | {"model_id", "params", "context_window_limit"}


class OpenRuns:
    """The agents that run, by the ids of their spans."""

    def __init__(self) -> None:
        self._agents: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._inside: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()
        """Spans of cycles and model calls in the run of each agent."""

    def begins(self, span: Any, original: OriginalCall) -> None:
        """Keep the agent of a run whose span has started, and write its conversation, unless the app has set one."""
        agent = original.owner
        if not span.is_recording():
            return
        if names.CONVERSATION_ID not in span.attributes:
            span.set_attribute(names.CONVERSATION_ID, _conversation(agent))
        self._agents[span.context.span_id] = agent
        self._inside[agent] = []
        description = string(getattr(agent, "description", None))
        if description is not None:
            span.set_attribute(_DESCRIPTION, description)

    def calls(self, span: Any, original: OriginalCall) -> None:
        """Record the parameters of a model call on its span. Its parent is a cycle, whose parent is the run."""
        parent = original.arg(1, "parent_span")
        agent = self._agents.get(getattr(getattr(parent, "parent", None), "span_id", 0))
        if agent is None or not span.is_recording():
            return
        self._inside.setdefault(agent, []).extend((parent, span))
        config = obj(agent.model.get_config())
        asked = {**config, **obj(config.get("params"))}
        span.set_attributes(PARAMETERS.read({**asked, "model": None}))
        span.set_attributes(encoded(parameters(asked, _READ)))

    def returns(self, span: Any, response: Any = None, error: BaseException | None = None, **_: Any) -> None:
        """Record the end of a run: its failure, or the reason in its result."""
        outcome = None if error is None else outcome_of(error)
        _set_outcome(span, _STOPS.get(str(getattr(response, "stop_reason", None))) if error is None else outcome)
        self._ends(span, outcome)

    def is_cancelled(self, span: Any, cancellation: BaseException) -> None:
        """Record that a run was cancelled, or that the app has left its stream."""
        outcome = outcome_of(cancellation)
        _set_outcome(span, outcome)
        self._ends(span, outcome)

    def _ends(self, span: Any, outcome: str | None) -> None:
        """Record the state of the agent at the end of the run, and end the spans that Strands leaves open in it.

        Strands ends cycles and model calls only when they return or fail, not when the run is cancelled or left.
        """
        context = getattr(span, "context", None)
        agent = self._agents.pop(context.span_id, None) if context is not None else None
        for inside in reversed(self._inside.pop(agent, ()) if agent is not None else ()):
            if inside.is_recording():
                inside.set_attribute(OUTCOME, outcome or CANCELLED)
                inside.end()
        state = obj(agent.state.get() if agent is not None else None)
        if state and span.is_recording():
            span.set_attributes(encoded(answer_data(state=told(dict(state)))))


def without_bytes(value: Any) -> Any:
    """Return a value with markers for bytes, which Strands would replace by a bare placeholder."""
    if isinstance(value, (bytes, bytearray)):
        return parts.blob(bytes(value), "data", None)
    if isinstance(value, Mapping):
        return {name: without_bytes(item) for name, item in obj(value).items()}
    if isinstance(value, (list, tuple)):
        return [without_bytes(item) for item in items(value)]
    return value


# -- Strands' tracer, one per process ----------------------------------------------------------------------------------

_INSTANCE: Final = "_tracer_instance"
_WITH_TOOLS: Final = "_include_tool_definitions"
"""The setting for `gen_ai_tool_definitions` in OTEL_SEMCONV_STABILITY_OPT_IN."""


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
    hooked_modules = (_SPANS, _AGENTS, _INTERRUPTS)
    _runs = OpenRuns()

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _AGENTS:
            yield self._after(module.Agent, "_start_agent_trace_span", self._runs.begins)
            return
        if module.__name__ == _INTERRUPTS:
            yield patch(module._Interruptible, "interrupt", self._asks)  # pyright: ignore[reportPrivateUsage]
            return
        yield adopt(_SPANS, is_on=self._is_on)
        yield self._after(module.Tracer, "__init__", lambda _, original: self._change(original.owner))
        yield self._after(module.Tracer, "start_model_invoke_span", self._runs.calls)
        yield self._before(module.Tracer, "end_agent_span", self._runs.returns)
        yield self._before(module.Tracer, "end_tool_call_span", record_end_of_tool)
        if hasattr(module.Tracer, "end_span_with_cancellation"):
            yield self._before(module.Tracer, "end_span_with_cancellation", self._runs.is_cancelled)
        yield patch(module, "serialize", self._serializing)
        if (tracer := vars(module)[_INSTANCE]) is not None:
            self._change(tracer)
        yield Undo(lambda: setattr(module, _INSTANCE, None))  # the next agent makes another; existing ones keep theirs

    def _change(self, tracer: Any) -> None:
        """Make Strands' tracer write definitions of tools, to the app's chosen provider."""
        if hasattr(tracer, _WITH_TOOLS):
            setattr(tracer, _WITH_TOOLS, True)
        if (provider := self._tracer_provider) is not None:
            tracer.tracer_provider = provider
            tracer.tracer = provider.get_tracer(tracer.service_name)

    def _serializing(self, original: OriginalCall) -> Any:
        """Wrap the function that encodes messages as JSON."""
        without = guarded(without_bytes, original.args[0]) if self._open and original.args else None
        if without is not None:
            original.args = (without, *original.args[1:])
        return original()

    def _asks(self, original: OriginalCall) -> Any:
        """Wrap the method that asks a person. It raises an exception while there is no answer."""
        try:
            return original()
        except Exception as error:
            if self._open and outcome_of(error) is not None:
                guarded(_set_outcome, get_current_span(), INTERRUPTED)
            raise
