"""Parameters of the models that runs use, and the state of their agents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from pandaprobe_otel.mapping.attributes import CANCELLED, OUTCOME
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._openai_protocol.parameters import LIMITS, SAMPLING, sampling_attributes
from pandaprobe_otel_integrations._other_members import RESPONSE, names_of, parameters, told
from pandaprobe_otel_integrations._shape import items, obj, string
from pandaprobe_otel_integrations._span_writing import present

_DESCRIPTION: Final = "gen_ai.agent.description"
_READ: Final = names_of(SAMPLING, LIMITS, ("model_id", "params", "context_window_limit"))


class OpenRuns:
    """The agents that run, by the ids of their spans."""

    def __init__(self) -> None:
        self._agents: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._inside: WeakKeyDictionary[Any, list[Any]] = WeakKeyDictionary()
        """Spans of cycles and model calls in the run of each agent."""

    def begins(self, agent: Any, span: Any) -> None:
        """Keep the agent of a run whose span has started."""
        if not span.is_recording():
            return
        self._agents[span.context.span_id] = agent
        self._inside[agent] = []
        description = string(getattr(agent, "description", None))
        if description is not None:
            span.set_attribute(_DESCRIPTION, description)

    def calls(self, span: Any, parent: Any) -> None:
        """Record the parameters of a model call on its span. Its parent is a cycle, whose parent is the run."""
        agent = self._agents.get(getattr(getattr(parent, "parent", None), "span_id", 0))
        if agent is None or not span.is_recording():
            return
        self._inside.setdefault(agent, []).extend((parent, span))
        config = obj(agent.model.get_config())
        asked = {**config, **obj(config.get("params"))}
        span.set_attributes(present({**sampling_attributes({**asked, "model": None})}))
        span.set_attributes(encoded(parameters(asked, _READ)))

    def ends(self, span: Any, outcome: str | None) -> None:
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
            span.set_attributes(encoded({RESPONSE: {"response": {"state": told(dict(state))}}}))


def without_bytes(value: Any) -> Any:
    """Return a value with markers for bytes, which Strands would replace by a bare placeholder."""
    if isinstance(value, (bytes, bytearray)):
        return parts.blob(bytes(value), "data", None)
    if isinstance(value, Mapping):
        return {name: without_bytes(item) for name, item in obj(value).items()}
    if isinstance(value, (list, tuple)):
        return [without_bytes(item) for item in items(value)]
    return value
