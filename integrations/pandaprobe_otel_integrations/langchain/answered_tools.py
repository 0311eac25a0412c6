"""Tools that a recording answers: the results of their functions, including messages and commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.tool_answers import Form
from pandaprobe_otel_integrations._answered_tools import asked, json_or_text
from pandaprobe_otel_integrations._patching import Undoable, patch
from pandaprobe_otel_integrations._shape import items, obj

TOOLS: Final = "langchain_core.tools.base"
_COMMAND: Final = "$command"
_DOCUMENT: Final = "$document"
_MESSAGE: Final = "$message"
_STEERING: Final = "GraphBubbleUp"
"""Base of the exceptions with which a tool waits for a person, or continues in a graph above."""


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `langchain_core.tools.base`."""
    for method, function in (("run", "_run"), ("arun", "_arun")):
        yield patch(module.BaseTool, method, asked(function, _arguments, form=_form))


def _arguments(tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Mapping[str, Any]:
    """Return the model's arguments, without those that LangChain adds."""
    given: Any = args[0] if args else kwargs.get("tool_input")
    if not isinstance(given, dict):
        return {"input": given}
    said = obj(given)
    without: Any = tool._filter_injected_args(said) if hasattr(tool, "_filter_injected_args") else said
    return {key: value for key, value in obj(without).items() if type(value).__name__ != "ToolRuntime"}


def _form(tool: Any, kwargs: dict[str, Any]) -> Form:
    has_artifact = getattr(tool, "response_format", None) == "content_and_artifact"
    is_for_model = bool(kwargs.get("tool_call_id"))

    def kept(result: Any) -> Any:
        found = _kept(result)
        return json_or_text(found) if is_for_model and not has_artifact else found

    def given(said: Any) -> Any:
        found = _given(said)
        if not has_artifact:
            return found
        return tuple(items(found)) if len(items(found)) == 2 else (found, None)

    return Form(kept=kept, given=given, steers=_steers)


def _steers(error: BaseException) -> bool:
    return any(base.__name__ == _STEERING for base in type(error).__mro__)


def _kept(value: Any) -> Any:
    """Return messages, documents and commands as JSON; anything else unchanged."""
    kinds = {base.__name__ for base in type(value).__mro__}
    if "BaseMessage" in kinds:
        return {_MESSAGE: import_module("langchain_core.messages").message_to_dict(value)}
    if "Document" in kinds:
        return {_DOCUMENT: value.model_dump(mode="json", exclude_none=True)}
    if is_dataclass(value) and type(value).__name__ in ("Command", "Send"):
        said = {each.name: _kept(getattr(value, each.name)) for each in fields(value)}
        return {_COMMAND: type(value).__name__, **{name: one for name, one in said.items() if one is not None}}
    if isinstance(value, dict):
        return {key: _kept(one) for key, one in obj(value).items()}
    if isinstance(value, (list, tuple)):
        return [_kept(one) for one in items(value)]
    return value


def _given(value: Any) -> Any:
    """Return JSON with its messages, documents and commands restored."""
    if isinstance(value, list):
        return [_given(one) for one in items(value)]
    if not isinstance(value, dict):
        return value
    said = obj(value)
    if set(said) == {_MESSAGE}:
        return import_module("langchain_core.messages").messages_from_dict([said[_MESSAGE]])[0]
    if set(said) == {_DOCUMENT}:
        return import_module("langchain_core.documents").Document.model_validate(said[_DOCUMENT])
    found = {name: _given(one) for name, one in said.items() if name != _COMMAND}
    if said.get(_COMMAND) in ("Command", "Send"):
        return getattr(import_module("langgraph.types"), str(said[_COMMAND]))(**found)
    return found
