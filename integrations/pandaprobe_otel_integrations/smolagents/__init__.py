"""OpenTelemetry spans for smolagents, by patches of its agents, tools and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Undoable, patch, replace
from pandaprobe_otel_integrations._rivals import Rival

from .runs import ContextExecutor, agent_run, model_call, tool_call

__all__ = ["SmolagentsInstrumentor"]

_MODELS: Final = ("InferenceClientModel", "TransformersModel", "VLLMModel", "MLXModel")
"""Models whose client no integration of ours records; of the others, the client's span is that of the call."""

Around = Callable[[Recorder, Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


class SmolagentsInstrumentor(Integration):
    """Runs of agents with their managed agents, tools and model calls, streamed or not.

    A model call is the span of the client that it goes through (openai, litellm, Bedrock); of models that run here or
    at Hugging Face, it is one of ours. See `Integration` for the options of `instrument()`.
    """

    library = "smolagents"
    requirements = ("smolagents >= 1.26",)
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
    )

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == "smolagents.agents":
            yield patch(module.MultiStepAgent, "run", self._around(agent_run))
        elif module.__name__ == "smolagents.tools":
            yield patch(module.Tool, "__call__", self._around(tool_call))
        elif module.__name__ == "smolagents.models":
            for owner in (getattr(module, name) for name in _MODELS):
                for method in ("generate", "generate_stream"):
                    if method in owner.__dict__:
                        yield patch(owner, method, self._around(model_call))
        else:
            yield replace(module, "ThreadPoolExecutor", ContextExecutor)

    def _around(self, observe: Around) -> Callable[..., Any]:
        def wrapper(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            if not self._lets_through(instance):
                return wrapped(*args, **kwargs)
            return observe(self._recorder, wrapped, instance, args, kwargs)

        return wrapper
