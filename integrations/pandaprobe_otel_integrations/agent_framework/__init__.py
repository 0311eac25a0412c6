"""Additions to the spans that Microsoft's Agent Framework makes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from opentelemetry import trace

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, patch

from .content import ContentSwitch
from .model_calls import ModelCalls, marked_when_left
from .workflows import WorkflowHooks

__all__ = ["AgentFrameworkInstrumentor"]

_SCOPE: Final = "agent_framework"
_EXECUTORS: Final = "agent_framework._workflows._executor"
_EVENTS: Final = "agent_framework._workflows._runner_context"
_CONTENT_VARIABLE: Final = "ENABLE_SENSITIVE_DATA"
"""Agent Framework's own switch for messages in spans."""


def _says_messages() -> bool:
    """Return whether Agent Framework puts messages into spans. Its module is loaded when it runs."""
    return bool(sys.modules["agent_framework.observability"].OBSERVABILITY_SETTINGS.SENSITIVE_DATA_ENABLED)


class AgentFrameworkInstrumentor(Integration):
    """Runs of agents with their model calls and tools, and workflows, in the spans that Agent Framework makes itself.

    This adds the session, the messages (also those of workflows) and the parameters of model calls, unless the app sets
    ENABLE_SENSITIVE_DATA or turns telemetry off. The model's client makes no second span. See `Integration` for the
    options of `instrument()`.
    """

    library = "agent_framework"
    makes_own_spans = True
    requirements = ("agent-framework-core >= 1.16",)
    hooked_modules = ("agent_framework.observability", _EXECUTORS, _EVENTS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == _EXECUTORS:
            yield patch(module.Executor, "execute", self._workflows.execute)
        elif module.__name__ == _EVENTS:
            yield patch(module.InProcRunnerContext, "add_event", self._workflows.event)
        else:
            yield from self._hook_spans(module)

    @property
    def _workflows(self) -> WorkflowHooks:
        return WorkflowHooks(is_on=lambda: self._open, with_content=_says_messages)

    def _hook_spans(self, module: ModuleType) -> Iterable[Undoable]:
        yield adopt(_SCOPE, is_on=lambda: self._open)
        if self._recorder.with_content and _CONTENT_VARIABLE not in os.environ:
            yield ContentSwitch.on(module.OBSERVABILITY_SETTINGS)
        if self._tracer_provider is not None and self._tracer_provider is not trace.get_tracer_provider():
            yield patch(module, "get_tracer", self._get_tracer)
        with_conversation = module._use_telemetry_conversation_id

        def agent_begins(wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> Any:
            """Wrap the function that starts a run's span. Its result is awaited or read later."""
            session: Any = getattr(kwargs.get("session"), "session_id", None)
            if not self._open:
                return wrapped(*args, **kwargs)
            if not session or module._TELEMETRY_CONVERSATION_ID.get() is not None:
                return marked_when_left(wrapped, args, kwargs)
            with with_conversation(str(session)):
                return marked_when_left(wrapped, args, kwargs)

        yield patch(module.AgentTelemetryLayer, "_trace_agent_invocation", agent_begins)
        yield patch(module, "workflow_tracer", self._workflows.tracer)
        calls = ModelCalls(is_on=lambda: self._open, with_content=_says_messages)
        yield patch(module, "_get_span_attributes", calls.attributes)
        yield patch(module.ChatTelemetryLayer, "get_response", calls.chat)
        if hasattr(module, "_start_streaming_span"):
            yield patch(module, "_start_streaming_span", calls.stream_begins)
        yield patch(module.EmbeddingTelemetryLayer, "get_embeddings", calls.embedding)
        for name, told in (
            ("_to_otel_message_latest_experimental", calls.message),
            ("_to_otel_part_latest_experimental", calls.part),
        ):
            if hasattr(module, name):
                yield patch(module, name, told)

    def _get_tracer(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        if not self._open:
            return wrapped(*args, **kwargs)
        return self._tracer_provider.get_tracer(_SCOPE)
