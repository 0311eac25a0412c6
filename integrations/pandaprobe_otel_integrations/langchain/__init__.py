"""OpenTelemetry spans for LangChain, LangGraph and DeepAgents, from the callbacks of `langchain_core`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextvars import ContextVar
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from pandaprobe_otel.capture.tracers import state
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import OriginalCall, Undo, Undoable, patch
from pandaprobe_otel_integrations._rivals import LangfuseModule, LangSmithTracing, Watch, known_rivals
from pandaprobe_otel_integrations.langchain.callbacks import SETTER, entering_body, retrieving, retrieving_async
from pandaprobe_otel_integrations.langchain.messages import TOOLS, hook_tools

from .callbacks import RunCallbacks

if TYPE_CHECKING:
    from .handlers import DeepAgentsCallbackHandler as DeepAgentsCallbackHandler
    from .handlers import LangChainCallbackHandler as LangChainCallbackHandler
    from .handlers import LangGraphCallbackHandler as LangGraphCallbackHandler

__all__ = [
    "DeepAgentsCallbackHandler",
    "LangChainCallbackHandler",
    "LangChainInstrumentor",
    "LangGraphCallbackHandler",
]
_RETRIEVERS: Final = "langchain_core.retrievers"
_MANAGERS: Final = "langchain_core.callbacks.manager"
_LANGFUSE: Final = LangfuseModule(module="langfuse.langchain.CallbackHandler")
"""Its handler records only the runs that the app gives it to."""


class LangChainInstrumentor(Integration):
    """Chains, graphs, agents, model calls, tools and retrievers, sync, async and streamed.

    Every run built on `langchain_core` is a span: an AGENT span for a graph or agent, a CHAIN span for a node or other
    runnable. One model call is one LLM span; the model's client makes no second one. Runs that LangGraph hides are left
    out. `thread_id` is the conversation. Interrupts and commands of a graph are not errors. See `Integration` for the
    options of `instrument()`.
    """

    library = "langchain"
    hooked_modules = (
        "langchain_core.runnables.config",
        "langchain_core.tracers.context",
        "langgraph._internal._runnable",
        _RETRIEVERS,
        _MANAGERS,
        TOOLS,
    )
    rivals = known_rivals("langchain", LangSmithTracing())

    _claiming: Any = None
    """The handler that only keeps the clients below from recording the model calls of a run."""

    def recorder(self) -> Recorder:
        """Return the recorder for a handler that the app has made itself, even if LangChain is not instrumented."""
        return self._recorder if self._open else self._make_recorder(state.chosen, None)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _RETRIEVERS:
            yield patch(module.BaseRetriever, "invoke", retrieving)
            yield patch(module.BaseRetriever, "ainvoke", retrieving_async)
        elif module.__name__ == _MANAGERS:
            yield patch(module, "_configure", self._configuring)
        elif module.__name__ == TOOLS:
            yield from hook_tools(module)
        elif hasattr(module, SETTER):
            yield patch(module, SETTER, entering_body)
        else:
            yield self._register(module)

    def _register(self, module: ModuleType) -> Undoable:
        base: Any = import_module("langchain_core.callbacks.base").BaseCallbackHandler
        kind: Any = type("PandaProbeCallbackHandler", (RunCallbacks, base), {})
        handler = kind(self._recorder_if_on, claims_only=self._leaves_it_to_others)
        self._claiming = kind(self._recorder_if_on, claims_only=lambda: True)
        # The variable's default applies in every thread and task. The class keeps our handler from being added to runs
        # that already have one of ours.
        variable: ContextVar[Any] = ContextVar("pandaprobe_langchain_handler", default=handler)
        module.register_configure_hook(variable, inheritable=True, handle_class=RunCallbacks)
        hooks = module._configure_hooks  # pyright: ignore[reportPrivateUsage]
        entry = hooks[-1]

        def undo() -> None:
            """Remove the handler from LangChain's list, which has no API for this."""
            hooks[:] = [each for each in hooks if each is not entry]

        return Undo(undo)

    def _configuring(self, original: OriginalCall) -> Any:
        """Wrap the function that gathers a run's handlers: the runs of Langfuse's handler are left to it."""
        manager = original()
        if _LANGFUSE.module in sys.modules and self._open and not self._beside_others:
            guarded(self._leave_to_langfuse, manager)
        return manager

    def _leave_to_langfuse(self, manager: Any) -> None:
        kind = getattr(sys.modules[_LANGFUSE.module], "LangchainCallbackHandler", ())
        if not any(isinstance(each, kind) for each in manager.handlers):
            return
        if Watch(rivals=(_LANGFUSE,), tracer=self._recorder.tracer).active() is None:
            return
        for handler in [each for each in manager.handlers if isinstance(each, RunCallbacks)]:
            if handler is not self._claiming:
                manager.remove_handler(handler)
                manager.add_handler(self._claiming, inherit=True)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.handlers"), name)
