"""Pydantic AI's own instrumentation, turned on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from opentelemetry.trace import get_current_span

from pandaprobe_otel.mapping.attributes import OPERATION_NAME, OUTCOME, PARTIAL
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt, scope_of
from pandaprobe_otel_integrations._patching import Undoable, patch, replace
from pandaprobe_otel_integrations._span_writing import record_raised

from .answered_tools import TOOLS, hook_tools
from .span_additions import Beside

__all__ = ["PydanticAIInstrumentor"]

_SCOPE: Final = "pydantic-ai"
_INSTRUMENTED: Final = ("Agent", "Embedder")
_FORMAT: Final = 6
"""Version of the spans: the newest, in which tool results have the conventions' role."""
_DEFAULT: Final = "_instrument_default"
"""The attribute that `instrument_all` of a class sets. There is no public way to read its earlier value."""
_FIRST_CHUNK: Final = "time_to_first_chunk"
_ANSWER: Final = "handle_messages"
_LEFT: Final = frozenset({"incomplete", "interrupted"})
"""States of an answer whose stream the app has left. Older versions have no states."""


class PydanticAIInstrumentor(Integration):
    """Runs of agents with their model calls and tools, and embeddings, in the spans that Pydantic AI makes itself.

    An app that has called `instrument_all` keeps its settings, and so does an agent with its own. The model's client
    makes no second span. Messages have the digest of binary content, not the bytes. This adds parameters that have no
    attribute, and data that accompanies texts and files of a question. See `Integration` for the options of
    `instrument()`.
    """

    library = "pydantic_ai"
    makes_own_spans = True
    requirements = ("pydantic-ai-slim >= 1.103",)
    hooked_modules = ("pydantic_ai", TOOLS)

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == TOOLS:
            yield from hook_tools(module)
            return
        yield adopt(_SCOPE, is_on=lambda: self._open)
        settings = self._settings()
        for name in _INSTRUMENTED:
            kind: Any = getattr(module, name)
            if kind.__dict__[_DEFAULT] is False:
                yield replace(kind, _DEFAULT, settings)
        yield from self._hook_rest()
        models: Any = import_module("pydantic_ai.models")
        instrumented: Any = import_module("pydantic_ai.models.instrumented").InstrumentationSettings
        yield patch(instrumented, _ANSWER, self._answered)
        if _FIRST_CHUNK in vars(models.StreamedResponse):  # since 2.6
            yield patch(models.StreamedResponse, _FIRST_CHUNK, self._first_chunk)

    def _hook_rest(self) -> Iterable[Undoable]:
        """Yield hooks for parameters and messages that the spans leave out.

        Older versions have them in other places.
        """
        beside = Beside(is_on=lambda: self._open and self._recorder.with_content)
        messages: Any = import_module("pydantic_ai.messages")
        yield patch(messages.UserPromptPart, "otel_message_parts", beside.prompt)
        if hasattr(messages, "_convert_binary_to_otel_part"):
            yield patch(messages, "_convert_binary_to_otel_part", beside.binary_part)
        described: Any = sys.modules.get("pydantic_ai._instrumentation")
        for name, told in (
            ("model_settings_attributes", beside.settings),
            ("_redact_binary_content", beside.redacted),
            ("record_uncaught_errors", self._ending),
        ):
            if hasattr(described, name):
                yield patch(described, name, told)
        of_agents: Any = sys.modules.get("pydantic_ai.capabilities.instrumentation")
        if hasattr(of_agents, "_record_uncaught_errors"):  # its own name for the function, since 2.0
            yield patch(of_agents, "_record_uncaught_errors", self._ending)
        embedders: Any = import_module("pydantic_ai.embeddings.instrumented").InstrumentedEmbeddingModel
        if "_recorded_settings" in vars(embedders):
            yield patch(embedders, "_recorded_settings", beside.embedding_settings)

    @contextmanager
    def _ending(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Generator[Any]:
        """Wrap the block in which Pydantic AI records exceptions, to record cancellations and closed streams too."""
        with wrapped(*args, **kwargs) as entered:
            try:
                yield entered
            except Exception:
                raise
            except BaseException as error:
                if self._open and args:
                    guarded(record_raised, args[0], error, with_content=self._recorder.with_content)
                raise

    def _first_chunk(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the method that returns the time until the first chunk, which is called inside the span."""
        waited_s = wrapped(*args, **kwargs)
        if self._open and waited_s is not None:
            guarded(_record_first_chunk, waited_s)
        return waited_s

    def _answered(self, wrapped: Callable[..., Any], _: Any, args: Any, kwargs: Any) -> Any:
        """Wrap the method that describes an answer in its span."""
        answer = args[1] if len(args) > 1 else kwargs.get("response")
        if self._open and getattr(answer, "state", None) in _LEFT:
            guarded(_mark_left, args)
        return wrapped(*args, **kwargs)

    def _settings(self) -> Any:
        instrumented: Any = import_module("pydantic_ai.models.instrumented")  # the package has loaded it
        return instrumented.InstrumentationSettings(
            tracer_provider=self._tracer_provider,
            include_content=self._recorder.with_content,
            include_binary_content=False,
            version=_FORMAT,
        )


def _record_first_chunk(waited_s: float) -> None:
    span: Any = get_current_span()
    if scope_of(span) == _SCOPE and span.is_recording() and span.attributes.get(OPERATION_NAME) == "chat":
        span.set_attribute(names.TIME_TO_FIRST_CHUNK, waited_s)


def _mark_left(arguments: Sequence[Any]) -> None:
    """Mark the span among the arguments of the method, whose place differs between versions."""
    for span in arguments:
        if scope_of(span) == _SCOPE and span.is_recording():
            span.set_attribute(OUTCOME, PARTIAL)
