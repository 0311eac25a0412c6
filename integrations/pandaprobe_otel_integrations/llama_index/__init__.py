"""OpenTelemetry spans for LlamaIndex, from handlers of its dispatcher."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.tool_answers import Form
from pandaprobe_otel_integrations._integration import Integration
from pandaprobe_otel_integrations._patching import OriginalCall, Undo, Undoable, patch
from pandaprobe_otel_integrations._rivals import OPENLLMETRY, Rival, known_rivals
from pandaprobe_otel_integrations._runs import asked, json_or_text
from pandaprobe_otel_integrations.llama_index.handler import RunHandler

__all__ = ["LlamaIndexInstrumentor"]


# -- function tools that a recording answers. A tool that takes the workflow's context has to run ----------------------

TOOLS: Final = "llama_index.core.tools.function_tool"
_FORM: Final = Form(kept=json_or_text)


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `llama_index.core.tools.function_tool`."""
    for method, function in (("call", "_fn"), ("acall", "_async_fn")):
        wrapper = asked(function, _arguments, name=_name, form=_form, unless=_takes_context)
        yield patch(module.FunctionTool, method, wrapper)


def _form(_: Any, __: dict[str, Any]) -> Form:
    return _FORM


def _name(tool: Any) -> str:
    return str(tool.metadata.get_name())


def _arguments(original: OriginalCall) -> Mapping[str, Any]:
    return {**({"args": list(original.args)} if original.args else {}), **original.kwargs}


def _takes_context(tool: Any) -> bool:
    """Return whether the tool changes the run through its context, as a hand-off does."""
    return bool(getattr(tool, "requires_context", False))


class LlamaIndexInstrumentor(Integration):
    """Agents, workflows, query and chat engines, retrievers, embeddings, tools and model calls, streamed or not.

    One model call is one LLM span; the model's client makes no second one. The spans of a streamed answer end when the
    app has read it, or at the next call if the app drops it. See `Integration` for the options of `instrument()`.
    """

    library = "llama_index"
    hooked_modules = ("llama_index_instrumentation", TOOLS)
    rivals = known_rivals("llama_index", Rival(vendor=OPENLLMETRY, module="opentelemetry.instrumentation.llamaindex"))

    def _hook(self, module: ModuleType) -> Iterable[Undoable]:
        if module.__name__ == TOOLS:
            yield from hook_tools(module)
            return
        handler: Any = RunHandler(self._recorder_if_on, claims_only=self._leaves_it_to_others)
        dispatcher = module.root_dispatcher
        dispatcher.add_span_handler(handler)
        dispatcher.add_event_handler(handler)

        def undo() -> None:
            """Remove the handler from the dispatcher, which has no API for this."""
            for name in ("span_handlers", "event_handlers"):
                setattr(dispatcher, name, [each for each in getattr(dispatcher, name) if each is not handler])

        yield Undo(undo)
