"""What Microsoft's Agent Framework leaves out of the spans that it makes itself."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from opentelemetry import trace

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, patch

from .content import ContentSwitch

__all__ = ["AgentFrameworkInstrumentor"]

_SCOPE: Final = "agent_framework"
_CONTENT_VARIABLE: Final = "ENABLE_SENSITIVE_DATA"
"""Agent Framework's own switch for messages in spans."""


class AgentFrameworkInstrumentor(Integration):
    """Runs of agents with their model calls and tools, and workflows, in the spans that Agent Framework makes itself.

    Added to them: messages, unless ENABLE_SENSITIVE_DATA says something or the app has turned telemetry off, and the
    session. The client of the model makes no second span. See `Integration` for the options of `instrument()`.
    """

    library = "agent_framework"
    makes_own_spans = True
    requirements = ("agent-framework-core >= 1.16",)
    hooked_modules = ("agent_framework.observability",)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        yield adopt(_SCOPE, is_on=lambda: self._open)
        if self._recorder.with_content and _CONTENT_VARIABLE not in os.environ:
            yield ContentSwitch.on(module.OBSERVABILITY_SETTINGS)
        if self._tracer_provider is not None and self._tracer_provider is not trace.get_tracer_provider():
            yield patch(module, "get_tracer", self._get_tracer)
        with_conversation = module._use_telemetry_conversation_id

        def agent_begins(wrapped: Callable[..., Any], agent: Any, args: Any, kwargs: Any) -> Any:
            """Around the call that describes the run; what it returns is awaited or read later."""
            session: Any = getattr(kwargs.get("session"), "session_id", None)
            if not self._open or not session or module._TELEMETRY_CONVERSATION_ID.get() is not None:
                return wrapped(*args, **kwargs)
            with with_conversation(str(session)):
                return wrapped(*args, **kwargs)

        yield patch(module.AgentTelemetryLayer, "_trace_agent_invocation", agent_begins)

    def _get_tracer(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        if not self._open:
            return wrapped(*args, **kwargs)
        return self._tracer_provider.get_tracer(_SCOPE)
