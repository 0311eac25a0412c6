"""Function tools that a recording answers. MCP's tools are answered by the MCP integration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.tool_answers import Form, call_async, is_replaying
from pandaprobe_otel_integrations._patching import Undoable, patch

TOOLS: Final = "pydantic_ai.toolsets.function"
_RETURN: Final = "$tool_return"
_STEERING: Final = ("CallDeferred", "ApprovalRequired", "SkipToolExecution")
"""Exceptions with which a tool waits for a person; they are not failures."""


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `pydantic_ai.toolsets.function`."""
    yield patch(module.FunctionToolset, "call_tool", _calling)


def _calling(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if not is_replaying():
        return wrapped(*args, **kwargs)
    name, given, call_id = _call(*args, **kwargs)
    return call_async(name, lambda: given, lambda: wrapped(*args, **kwargs), _FORM, call_id=call_id)


def _call(
    name: str, tool_args: Mapping[str, Any], ctx: Any = None, *_: Any, **__: Any
) -> tuple[str, Mapping[str, Any], str | None]:
    return name, tool_args, getattr(ctx, "tool_call_id", None)


def _kept(result: Any) -> Any:
    """Return a result as the model gets it, with the other data of a `ToolReturn`."""
    if type(result).__name__ == "ToolReturn":
        return {_RETURN: _adapter().dump_python(result, mode="json")}
    return import_module("pydantic_core").to_jsonable_python(result)


def _given(said: Any) -> Any:
    if isinstance(said, dict) and set(said) == {_RETURN}:  # pyright: ignore[reportUnknownArgumentType]
        return _adapter().validate_python(said[_RETURN])
    return said  # pyright: ignore[reportUnknownVariableType]


def _adapter() -> Any:
    kind: Any = import_module("pydantic_ai.messages").ToolReturn
    return import_module("pydantic").TypeAdapter(kind)


def _steers(error: BaseException) -> bool:
    return type(error).__name__ in _STEERING


_FORM: Final = Form(kept=_kept, given=_given, steers=_steers)
