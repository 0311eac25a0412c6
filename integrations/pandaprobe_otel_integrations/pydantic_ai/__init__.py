"""Pydantic AI's own instrumentation, turned on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from opentelemetry.trace import get_current_span

from pandaprobe_otel.mapping.attributes import OPERATION_NAME
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt, scope_of
from pandaprobe_otel_integrations._patching import Undoable, patch, replace

__all__ = ["PydanticAIInstrumentor"]

_SCOPE: Final = "pydantic-ai"
_INSTRUMENTED: Final = ("Agent", "Embedder")
_FORMAT: Final = 6
"""Version of the spans: the newest, in which results of tools have the role that the conventions give them."""
_DEFAULT: Final = "_instrument_default"
"""What `instrument_all` of a class sets. It is set directly, since there is no public way to see what it was."""
_FIRST_CHUNK: Final = "time_to_first_chunk"


class PydanticAIInstrumentor(Integration):
    """Runs of agents with their model calls and tools, and embeddings, in the spans that Pydantic AI makes itself.

    An app that has called `instrument_all` keeps its settings, and so does an agent that says its own. The client of
    the model makes no second span. Binary content is named in messages, and not carried. See `Integration` for the
    options of `instrument()`.
    """

    library = "pydantic_ai"
    makes_own_spans = True
    requirements = ("pydantic-ai-slim >= 1.103",)
    hooked_modules = ("pydantic_ai",)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        yield adopt(_SCOPE, is_on=lambda: self._open)
        settings = self._settings()
        for name in _INSTRUMENTED:
            kind: Any = getattr(module, name)
            if kind.__dict__[_DEFAULT] is False:
                yield replace(kind, _DEFAULT, settings)
        stream: Any = import_module("pydantic_ai.models").StreamedResponse
        if _FIRST_CHUNK in vars(stream):  # since 2.6
            yield patch(stream, _FIRST_CHUNK, self._first_chunk)

    def _first_chunk(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Around the question how long an answer has kept its reader waiting, which is asked inside of its span."""
        waited_s = wrapped(*args, **kwargs)
        if self._open and waited_s is not None:
            guarded(_tell_first_chunk, waited_s)
        return waited_s

    def _settings(self) -> Any:
        instrumented: Any = import_module("pydantic_ai.models.instrumented")  # the package has loaded it
        return instrumented.InstrumentationSettings(
            tracer_provider=self._tracer_provider,
            include_content=self._recorder.with_content,
            include_binary_content=False,
            version=_FORMAT,
        )


def _tell_first_chunk(waited_s: float) -> None:
    span: Any = get_current_span()
    if scope_of(span) == _SCOPE and span.is_recording() and span.attributes.get(OPERATION_NAME) == "chat":
        span.set_attribute(names.TIME_TO_FIRST_CHUNK, waited_s)
