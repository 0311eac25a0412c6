"""OpenTelemetry spans for Semantic Kernel: around the runs of its agents and around the functions of its plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.wrapping import Scope, wrap
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, patch, replace

from .function_calls import begin_function
from .native import NativeSpans
from .runs import begin_run

__all__ = ["SemanticKernelInstrumentor"]

_AGENT: Final = "semantic_kernel.agents.chat_completion.chat_completion_agent"
_AGENT_SPANS: Final = "semantic_kernel.utils.telemetry.agent_diagnostics.decorators"
_CHAT: Final = "semantic_kernel.connectors.ai.chat_completion_client_base"
_FUNCTION: Final = "semantic_kernel.functions.kernel_function"
_FUNCTION_SPANS: Final = "semantic_kernel.utils.telemetry.model_diagnostics.function_tracer"
_MODEL_SPANS: Final = "semantic_kernel.utils.telemetry.model_diagnostics.decorators"
"""Module and scope of the spans that Semantic Kernel makes of model calls if the app has turned them on."""

Begin = Callable[[Recorder, tuple[Any, ...], dict[str, Any]], Scope]


class SemanticKernelInstrumentor(Integration):
    """Runs of chat completion agents, agents that are tools of others, and functions of plugins, also streamed.

    The client (openai, anthropic, google_genai, ...) makes the span of a model call, or Semantic Kernel does if the
    app has turned its diagnostics on. Its own spans of agents, functions and the loop that calls them are left out,
    since they lack the session and, by default, content. A failing function is an error; the agent that goes on is
    not. The id of the thread is the session, unless the app sets one. See `Integration` for the options of
    `instrument()`.
    """

    library = "semantic_kernel"
    requirements = ("semantic-kernel >= 1.39",)
    hooked_modules = (_AGENT, _AGENT_SPANS, _CHAT, _FUNCTION, _FUNCTION_SPANS, _MODEL_SPANS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        native = NativeSpans(is_on=self._is_on)
        if module.__name__ == _AGENT:
            for name in ("get_response", "invoke", "invoke_stream"):
                yield self._surround(module.ChatCompletionAgent, name, begin_run)
        elif module.__name__ == _FUNCTION:
            for name in ("invoke", "invoke_stream"):
                yield self._surround(module.KernelFunction, name, begin_function)
        elif module.__name__ == _CHAT:
            yield patch(module.ChatCompletionClientBase, "_start_auto_function_invocation_activity", native.loop)
        elif module.__name__ == _MODEL_SPANS:
            yield adopt(_MODEL_SPANS, is_on=self._is_on)
        elif module.__name__ == _AGENT_SPANS:
            yield patch(module, "_start_as_current_span", native.block)
        else:
            yield patch(module, "start_as_current_span", native.block)

    def _is_on(self) -> bool:
        return self._lets_through(None)

    def _surround(self, owner: Any, name: str, begin: Begin) -> Undoable:
        def opened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
            return guarded(begin, self._recorder, args, kwargs) if self._is_on() else None

        return replace(owner, name, wrap(getattr(owner, name), opened))
