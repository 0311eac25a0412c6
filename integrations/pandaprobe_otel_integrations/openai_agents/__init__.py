"""OpenTelemetry spans for the OpenAI Agents SDK, from a trace processor alongside the SDK's own."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.tool_answers import Form, is_replaying
from pandaprobe_otel_integrations._adapter import Adapter
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import OriginalCall, Undo, Undoable, patch
from pandaprobe_otel_integrations._rivals import LangSmithTracing, known_rivals
from pandaprobe_otel_integrations._runs import StandIn, asking, json_or_text, read_json
from pandaprobe_otel_integrations.openai_agents.model_calls import ModelRequest
from pandaprobe_otel_integrations.openai_agents.processor import RunProcessor, begin_run

__all__ = ["OpenAIAgentsAdapter", "OpenAIAgentsInstrumentor"]


# -- tools that a recording answers. The SDK handles their failures itself, so a replay has the same error texts -------

TOOLS: Final = ("agents.run_internal.tool_execution", "agents.realtime.session")
_INVOKING: Final = ("_invoke_function_tool_with_metadata", "invoke_function_tool")
"""Functions that call a tool, in the modules that import them from `agents.tool`, by version."""
_FUNCTION: Final = "on_invoke_tool"
_INSIDE: Final = "_invoke_tool_impl"
"""The function inside the SDK's handling of failures."""
_FORM: Final = Form(kept=json_or_text)


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook a module that calls tools."""
    for name in _INVOKING:
        if name in vars(module):
            yield patch(module, name, _invoking)


def _invoking(original: OriginalCall) -> Any:
    tool = original.kwargs.get("function_tool")
    if tool is None or not is_replaying():
        return original()
    given = read_json(original.kwargs.get("arguments"))
    function = getattr(tool, _FUNCTION)
    call_id = getattr(original.kwargs.get("context"), "tool_call_id", None)
    inside = getattr(function, _INSIDE, None)
    if inside is None:
        instead: Any = asking(function, tool.name, lambda: given, _FORM, call_id=call_id)
    else:
        instead = _Invoker(function, _INSIDE, asking(inside, tool.name, lambda: given, _FORM, call_id=call_id))
    return original.replacing(function_tool=StandIn(tool, _FUNCTION, instead))


class _Invoker(StandIn):
    """The SDK's object that is called as a tool's function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.__wrapped__).__call__(self, *args, **kwargs)


_MODELS: Final = {
    "agents.models.openai_responses": "OpenAIResponsesModel",
    "agents.models.openai_chatcompletions": "OpenAIChatCompletionsModel",
    "agents.extensions.models.litellm_model": "LitellmModel",
    "agents.extensions.models.any_llm_model": "AnyLLMModel",
}
"""The SDK's models, by their modules."""


def _processors(provider: Any, *unknown: RunProcessor) -> Sequence[Any]:
    """Return the provider's processors; `unknown` if it does not keep them as the SDK does."""
    return getattr(getattr(provider, "_multi_processor", None), "_processors", unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class _LangSmithProcessor(LangSmithTracing):
    """LangSmith's processor in the SDK."""

    module: str = "langsmith.integrations.openai_agents_sdk"

    def is_active(self) -> bool:
        """Return whether the app has registered the processor, and LangSmith makes spans."""
        return LangSmithTracing.is_active(self) and bool(guarded(self._is_registered))

    def _is_registered(self) -> bool:
        kind = sys.modules[self.module].OpenAIAgentsTracingProcessor
        provider = sys.modules["agents.tracing"].get_trace_provider()
        return any(isinstance(each, kind) for each in _processors(provider))


class OpenAIAgentsInstrumentor(Integration):
    """Runs of agents with their model calls, tools, hand-offs and guardrails, sync, async and streamed.

    A trace of the SDK is an AGENT span, below the app's own span if there is one. Its `group_id`, or else the id of
    the run's `Session`, is the conversation. One model call is one LLM span; the model's client makes no second one.
    Traces that the SDK sends to OpenAI stay as they are. See `Integration` for the options of `instrument()`.
    """

    library = "openai_agents"
    hooked_modules = ("agents.tracing", "agents.run", *_MODELS, *TOOLS)
    repeated_by = ("logfire.openai_agents",)
    rivals = known_rivals("openai_agents", _LangSmithProcessor())

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == "agents.run":
            yield from (self._surround(module.Runner, name, begin_run) for name in ("run", "run_sync", "run_streamed"))
        elif module.__name__ in TOOLS:
            yield from hook_tools(module)
        elif module.__name__ in _MODELS:
            model = getattr(module, _MODELS[module.__name__])
            for name in ("get_response", "stream_response"):
                yield self._surround(model, name, ModelRequest)
        else:
            yield from self._hook_traces(module)

    def _hook_traces(self, module: ModuleType) -> Iterable[Undoable]:
        processor = RunProcessor(
            self._recorder_if_on, claims_only=self._leaves_it_to_others, values=lambda: self.values
        )
        provider = module.get_trace_provider()
        provider.register_processor(processor)

        def undo() -> None:
            """Ignore new traces from now on. The processor stays until its open spans have ended."""
            processor.close()
            present = _processors(provider)
            if processor in present and processor.is_idle:
                provider.set_processors([each for each in present if each is not processor])

        yield Undo(undo)

        def creating(original: OriginalCall) -> Any:
            """Add our processor again after an app or vendor has replaced the processors.

            Apps replace the processors to stop those that send to OpenAI.
            """
            if self._open and processor not in _processors(original.owner, processor):
                guarded(original.owner.register_processor, processor)
            return original()

        yield patch(type(provider), "create_trace", creating)


class OpenAIAgentsAdapter(Adapter):
    """The official SDK's adapter; see `Adapter`."""

    instrumentor = OpenAIAgentsInstrumentor
