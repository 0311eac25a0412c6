"""Additions to the spans that Google's Agent Development Kit makes."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Final

from opentelemetry import trace

from pandaprobe_otel.capture.trace_context import TraceValues
from pandaprobe_otel_integrations._adapter import Adapter
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, patch
from pandaprobe_otel_integrations._rivals import Rival

from .answered_tools import TOOLS, hook_tools
from .span_hooks import SCOPE, SpanHooks, Unanswered
from .tracer import TracerSwap

__all__ = ["GoogleADKAdapter", "GoogleADKInstrumentor"]

_MESSAGES: Final = "google.adk.telemetry._experimental_semconv"
"""The module that describes messages; the module of the spans loads it."""
_BLOCKS: Final = "google.adk.telemetry._instrumentation"
"""The module with the blocks in which agents and runs work."""


class GoogleADKInstrumentor(Integration):
    """Runs of agents, workflows, model calls and tools, in the spans that ADK makes itself.

    This adds the session's user and state, inputs and answers of agents, parameters of model calls, citations and
    other data of answers, failures, and the time of the first token. The model's client makes no second span. ADK's
    own setting decides whether spans have messages; `init()` turns it on unless the app has set it, and
    `capture_content` does not change it. See `Integration` for the other options of `instrument()`.
    """

    library = "google_adk"
    makes_own_spans = True
    requirements = ("google-adk >= 2.13",)
    hooked_modules = ("google.adk.telemetry.tracing", _BLOCKS, TOOLS)
    rivals = (
        Rival(
            vendor="OpenInference",
            module="openinference.instrumentation.google_adk",
            class_name="GoogleADKInstrumentor",
        ),
    )
    values: TraceValues | None = None
    """Session, user, tags and metadata of new traces; the adapter sets them."""
    _unanswered = Unanswered()

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == TOOLS:
            yield from hook_tools(module)
            return
        if module.__name__ == _BLOCKS:
            yield patch(module, "_recording_span", self._unanswered.recording)
            return
        yield adopt(SCOPE, is_on=self._is_on)
        if self._tracer_provider is not None and self._tracer_provider is not trace.get_tracer_provider():
            yield TracerSwap.made(module, self._tracer_provider)
        hooks = SpanHooks(
            is_on=self._is_on,
            values=lambda: self.values,
            content_of=lambda context: module._telemetry_config_from_invocation_context(context),
            unanswered=self._unanswered,
        )
        yield patch(module, "trace_agent_invocation", hooks.agent_begins)
        yield patch(module, "use_inference_span", hooks.model_call)
        yield patch(module, "trace_inference_result", hooks.model_answers)
        yield patch(module, "trace_tool_call", hooks.tool_called)
        yield patch(import_module(_MESSAGES), "_to_part", hooks.part)

    def _is_on(self) -> bool:
        return self._open and self._active_rival() is None

    def _uninstrument(self, **kwargs: object) -> None:
        self.values = None
        super()._uninstrument(**kwargs)


class GoogleADKAdapter(Adapter):
    """The official SDK's adapter; see `Adapter`. The session of a run is ADK's, unless one is given."""

    instrumentor = GoogleADKInstrumentor
