"""OpenTelemetry spans for smolagents, from patches of its agents, tools and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Undoable, patch, replace
from pandaprobe_otel_integrations._rivals import Rival
from pandaprobe_otel_integrations._span_scope import SpanScope, call_inside

from .own_models import OwnModels
from .runs import ContextExecutor, begin_agent, begin_model, begin_own_model, begin_tool

__all__ = ["SmolagentsInstrumentor"]

_MODELS: Final = ("InferenceClientModel", "TransformersModel", "VLLMModel", "MLXModel")
"""Models whose client no integration of ours records. For all others, the client makes the span of the call."""

Begin = Callable[[Recorder, Any, tuple[Any, ...], dict[str, Any]], SpanScope]


class SmolagentsInstrumentor(Integration):
    """Runs of agents with their managed agents, tools and model calls, streamed or not.

    The client (openai, litellm, Bedrock) makes the span of a model call. If no recorded client makes the call, this
    integration makes the span: for models that run locally or at Hugging Face, and for the app's own models. See
    `Integration` for the options of `instrument()`.
    """

    library = "smolagents"
    requirements = ("smolagents >= 1.25",)
    hooked_modules = (
        "smolagents.agents",
        "smolagents.tools",
        "smolagents.models",
        "smolagents.local_python_executor",
    )
    rivals = (
        Rival(
            vendor="OpenInference",
            module="openinference.instrumentation.smolagents",
            class_name="SmolagentsInstrumentor",
        ),
        Rival(
            vendor="OpenTelemetry GenAI",
            module="opentelemetry.instrumentation.genai.smolagents",
            class_name="SmolagentsInstrumentor",
        ),
    )

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == "smolagents.agents":
            own = OwnModels(self._around(begin_own_model))
            yield own
            yield patch(module.MultiStepAgent, "run", self._around(begin_agent, own))
        elif module.__name__ == "smolagents.tools":
            yield patch(module.Tool, "__call__", self._around(begin_tool))
        elif module.__name__ == "smolagents.models":
            for owner in (getattr(module, name) for name in _MODELS):
                for method in ("generate", "generate_stream"):
                    if method in owner.__dict__:
                        yield patch(owner, method, self._around(begin_model))
        else:
            yield replace(module, "ThreadPoolExecutor", ContextExecutor)

    def _around(self, begin: Begin, own: OwnModels | None = None) -> Callable[..., Any]:
        def wrapper(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self._lets_through(instance):
                return wrapped(*args, **kwargs)
            if own is not None:
                guarded(own.hook, getattr(instance, "model", None))
            scope = guarded(begin, self._recorder, instance, args, kwargs)
            return wrapped(*args, **kwargs) if scope is None else call_inside(scope, wrapped, args, kwargs)

        return wrapper
