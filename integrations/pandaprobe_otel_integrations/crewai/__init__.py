"""OpenTelemetry spans for CrewAI, from the events of its bus."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._adapter import Adapter
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import OriginalCall, Undoable, patch
from pandaprobe_otel_integrations._rivals import OPENLLMETRY
from pandaprobe_otel_integrations._runs import asked, read_json
from pandaprobe_otel_integrations.crewai.listener import EventListener, MethodScope

__all__ = ["CrewAIAdapter", "CrewAIInstrumentor"]


# -- tools that a recording answers, whether the agent calls them through the model's API or in text -------------------

TOOLS: Final = "crewai.tools.base_tool"
STRUCTURED_TOOLS: Final = "crewai.tools.structured_tool"


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `crewai.tools.base_tool`."""
    for owner, method, function in (
        (module.BaseTool, "run", "_run"),
        (module.BaseTool, "arun", "_arun"),
        (module.Tool, "run", "func"),
        (module.Tool, "arun", "_arun"),
    ):
        yield patch(owner, method, asked(function, _named))


def hook_structured_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `crewai.tools.structured_tool`."""
    for method in ("invoke", "ainvoke"):
        yield patch(module.CrewStructuredTool, method, asked("func", _given))


def _named(original: OriginalCall) -> Mapping[str, Any]:
    return {**({"args": list(original.args)} if original.args else {}), **original.kwargs}


def _given(original: OriginalCall) -> Mapping[str, Any]:
    return read_json(original.arg(0, "input"))


_RUNS: Final = {
    "crewai.crew": ("Crew", ("kickoff", "akickoff")),
    "crewai.agent.core": ("Agent", ("kickoff", "kickoff_async")),
    "crewai.lite_agent": ("LiteAgent", ("kickoff", "kickoff_async")),
    "crewai.flow.runtime": ("Flow", ("kickoff_async", "resume_async")),
    "crewai.llm": ("LLM", ("call", "acall")),
}
"""Module to a class and some of its methods: the steps that start in them may end without an event.

Methods that only call one of these are not listed.
"""
_LITELLM: Final = "crewai.llm"
"""The module of the class with which CrewAI calls litellm."""
_BUS: Final = "crewai.events.event_bus"


class CrewAIInstrumentor(Integration):
    """Crews, flows, agents, tasks, model calls and tools, sync, async and streamed.

    Crews, tasks, flows and their methods are CHAIN spans, agents AGENT spans. One model call is one LLM span; the
    model's client makes no second one. The id of a flow's state, or the session of a conversational flow, is the
    conversation. CrewAI's own telemetry is neither read nor changed. See `Integration` for the options of
    `instrument()`.
    """

    library = "crewai"
    hooked_modules = (_BUS, *_RUNS, TOOLS, STRUCTURED_TOOLS)
    _listener: EventListener

    def _instrument(self, **kwargs: Any) -> None:
        self._listener = EventListener(
            self._recorder_if_alone, leaves=_is_litellms, claims=self._is_anothers, values=lambda: self.values
        )
        super()._instrument(**kwargs)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        # Not by `__name__`, which CrewAI overwrites in one of them.
        name = next(name for name in self.hooked_modules if sys.modules.get(name) is module)
        if name == _BUS:
            yield patch(module.CrewAIEventsBus, "emit", self._emitting)
            return
        if name not in _RUNS:
            yield from (hook_tools if name == TOOLS else hook_structured_tools)(module)
            return
        owner, methods = _RUNS[name]
        for method in methods:
            yield self._surround(getattr(module, owner), method, self._method_scope)

    def _method_scope(self, _: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> MethodScope:
        del args, kwargs
        return MethodScope(self._listener)

    def _emitting(self, original: OriginalCall) -> Any:
        result = original()  # which gives the event its position among the others
        guarded(_forward, self._listener, *original.args, **original.kwargs)
        return result

    def _is_anothers(self, llm: Any) -> bool:
        """Return whether another vendor, which records the runs, also makes the spans of this model's calls.

        OpenInference does if it listens to the bus, and OpenLLMetry does for models that CrewAI calls through litellm.
        Otherwise, the instrumentation of the model's client makes them.
        """
        rival = self._watch.active() if self._open else None
        if rival is None:
            return False
        if rival.vendor == OPENLLMETRY:
            return _calls_litellm(llm)
        return bool(getattr(getattr(rival.instance, "_event_listener", None), "_create_llm_spans", False))


def _calls_litellm(llm: Any) -> bool:
    return any(base.__module__ == _LITELLM for base in type(llm).__mro__)


def _is_litellms(llm: Any) -> bool:
    """Return whether the litellm integration makes this model's spans.

    For a model that CrewAI calls through litellm, CrewAI's events lack answers with tool calls.
    """
    if not _calls_litellm(llm):
        return False
    from pandaprobe_otel_integrations.litellm import LiteLLMInstrumentor

    return bool(LiteLLMInstrumentor().is_instrumented_by_opentelemetry)


def _forward(listener: EventListener, source: Any, event: Any) -> None:
    listener.emitted(source, event)


class CrewAIAdapter(Adapter):
    """The official SDK's adapter; see `Adapter`."""

    instrumentor = CrewAIInstrumentor
