"""Function tools that a recording answers. A tool that takes the workflow's context has to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.tool_answers import Form
from pandaprobe_otel_integrations._answered_tools import asked, json_or_text
from pandaprobe_otel_integrations._patching import Undoable, patch

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


def _arguments(_: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    return {**({"args": list(args)} if args else {}), **kwargs}


def _takes_context(tool: Any) -> bool:
    """Return whether the tool changes the run through its context, as a hand-off does."""
    return bool(getattr(tool, "requires_context", False))
