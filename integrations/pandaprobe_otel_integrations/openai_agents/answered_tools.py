"""Tools that a recording answers. The SDK handles their failures itself, so a replay has the same error texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.tool_answers import Form, is_replaying
from pandaprobe_otel_integrations._answered_tools import StandIn, asking, json_or_text, read_json
from pandaprobe_otel_integrations._patching import Undoable, patch

TOOLS: Final = ("agents.run_internal.tool_execution", "agents.realtime.session")
_INVOKING: Final = ("_invoke_function_tool_with_metadata", "invoke_function_tool")
"""Functions that call a tool, in the modules that import them from `agents.tool`, by version."""
_FUNCTION: Final = "on_invoke_tool"
_INSIDE: Final = "_invoke_tool_impl"
"""The function inside the SDK's handling of failures."""
_FORM: Final = Form(kept=json_or_text)


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook a module that calls tools."""
    for name in _INVOKING:
        if name in vars(module):
            yield patch(module, name, _invoking)


def _invoking(wrapped: Callable[..., Any], _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    tool = kwargs.get("function_tool")
    if tool is None or not is_replaying():
        return wrapped(*args, **kwargs)
    given = read_json(kwargs.get("arguments"))
    function = getattr(tool, _FUNCTION)
    call_id = getattr(kwargs.get("context"), "tool_call_id", None)
    inside = getattr(function, _INSIDE, None)
    if inside is None:
        instead: Any = asking(function, tool.name, lambda: given, _FORM, call_id=call_id)
    else:
        instead = _Invoker(function, _INSIDE, asking(inside, tool.name, lambda: given, _FORM, call_id=call_id))
    return wrapped(*args, **{**kwargs, "function_tool": StandIn(tool, _FUNCTION, instead)})


class _Invoker(StandIn):
    """The SDK's object that is called as a tool's function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return type(self.__wrapped__).__call__(self, *args, **kwargs)
