"""OpenTelemetry spans for DSPy, from a callback that DSPy calls."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.trace_context import TraceValues
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Undoable, patch
from pandaprobe_otel_integrations._rivals import Rival

from .callback import StepCallback

__all__ = ["DSPyInstrumentor"]

_SETTINGS: Final = "dspy.dsp.utils.settings"
_EXECUTION: Final = "dspy.clients.execution"


class DSPyInstrumentor(Integration):
    """Modules, agents, model calls, tools and retrievals, sync, async and streamed by `streamify`.

    Agents (such as `ReAct`) are AGENT spans, other modules CHAIN spans. One model call is one LLM span; the model's
    client makes no second one. An answer from DSPy's cache has no tokens, because the first call counted them. Each
    program run of an evaluation or an optimisation is a separate trace. See `Integration` for the options of
    `instrument()`.
    """

    library = "dspy"
    requirements = ("dspy >= 3.4",)
    hooked_modules = (_SETTINGS, _EXECUTION)
    rivals = (
        Rival(vendor="OpenInference", module="openinference.instrumentation.dspy", class_name="DSPyInstrumentor"),
        Rival(
            vendor="OpenTelemetry GenAI",
            module="opentelemetry.instrumentation.genai.dspy",
            class_name="DSPyInstrumentor",
        ),
    )
    values: TraceValues | None = None
    """Session, user, tags and metadata of new traces."""
    _callback: StepCallback

    def _instrument(self, **kwargs: Any) -> None:
        self._callback = StepCallback(self._active_recorder, values=lambda: self.values)
        super()._instrument(**kwargs)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if hasattr(module, "finalize"):
            yield patch(module, "finalize", self._finalizing)
        else:
            # DSPy reads the callbacks here before each call; the app's own callbacks stay unchanged.
            yield patch(module.Settings, "get", self._getting)

    def _getting(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        found = wrapped(*args, **kwargs)
        if args[:1] == ("callbacks",) and self._active_recorder() is not None:
            return [*(found or ()), self._callback]
        return found

    def _finalizing(
        self, wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        guarded(self._callback.answered, *args)
        return wrapped(*args, **kwargs)

    def _active_recorder(self) -> Recorder | None:
        return self._recorder if self._open and self._active_rival() is None else None
