"""OpenTelemetry spans for Haystack, from a tracer that Haystack calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from pandaprobe_otel.capture.trace_context import TraceValues
from pandaprobe_otel_integrations._integration import Integration, Outcome
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Undoable
from pandaprobe_otel_integrations._rivals import Rival

from .tracer import HaystackTracer

__all__ = ["HaystackInstrumentor"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Registration:
    """Our tracer, set as Haystack's tracer. The app may have replaced it since."""

    module: Any
    tracer: HaystackTracer

    @property
    def is_in_place(self) -> bool:
        """Return whether Haystack uses our tracer."""
        return self.module.tracer.actual_tracer is self.tracer

    def undo(self) -> None:
        """Turn Haystack's tracing off again."""
        if self.is_in_place:
            self.module.disable_tracing()


class HaystackInstrumentor(Integration):
    """Pipelines, components, agents, model calls, tools and retrievals, sync and async.

    Pipelines and their components are CHAIN spans, except retrievers and rankers (RETRIEVER), embedders (EMBEDDING)
    and generators (LLM). The model's client makes no second LLM span. If the app has given Haystack a tracer, it stays.
    See `Integration` for the options of `instrument()`.
    """

    library = "haystack"
    requirements = ("haystack-ai >= 3.4",)
    hooked_modules = ("haystack.tracing.tracer",)
    rivals = (
        Rival(
            vendor="OpenInference", module="openinference.instrumentation.haystack", class_name="HaystackInstrumentor"
        ),
        Rival(vendor="OpenLLMetry", module="opentelemetry.instrumentation.haystack", class_name="HaystackInstrumentor"),
    )
    values: TraceValues | None = None
    """Session, user, tags and metadata of new traces."""

    @property
    def outcome(self) -> Outcome:
        """The current state of the instrumentation; it is also disabled while the app's own tracer is set."""
        replaced = [one for one in self._registrations() if not one.is_in_place] if self._open else []
        if replaced:
            return Outcome(state="skipped", reason="Haystack has been given another tracer")
        return super().outcome

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        tracer = HaystackTracer(
            self._active_recorder, claims_only=self._leaves_it_to_others, values=lambda: self.values
        )
        if not module.is_tracing_enabled():
            module.enable_tracing(tracer)
        yield _Registration(module=module, tracer=tracer)

    def _registrations(self) -> list[_Registration]:
        return [each for each in self._patches if isinstance(each, _Registration)]

    def _active_recorder(self) -> Recorder | None:
        return self._recorder if self._open and not self._leaves_it_to_others() else None

    def _leaves_it_to_others(self) -> bool:
        return self._open and self._active_rival() is not None
