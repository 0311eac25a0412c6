"""Pydantic AI's own instrumentation, turned on."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._native_spans import adopt
from pandaprobe_otel_integrations._patching import Undoable, replace

__all__ = ["PydanticAIInstrumentor"]

_SCOPE: Final = "pydantic-ai"
_INSTRUMENTED: Final = ("Agent", "Embedder")
_FORMAT: Final = 6
"""Version of the spans: the newest, in which results of tools have the role that the conventions give them."""
_DEFAULT: Final = "_instrument_default"
"""What `instrument_all` of a class sets. It is set directly, since there is no public way to see what it was."""


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

    def _settings(self) -> Any:
        instrumented: Any = import_module("pydantic_ai.models.instrumented")  # the package has loaded it
        return instrumented.InstrumentationSettings(
            tracer_provider=self._tracer_provider,
            include_content=self._recorder.with_content,
            include_binary_content=False,
            version=_FORMAT,
        )
