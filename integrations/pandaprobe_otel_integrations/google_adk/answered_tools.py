"""Function tools that a recording answers, with their changes to the session."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, Final

from pandaprobe_otel.capture.tool_answers import Form, is_replaying
from pandaprobe_otel_integrations._answered_tools import StandIn, asking, of
from pandaprobe_otel_integrations._patching import Undoable, patch
from pandaprobe_otel_integrations._shape import obj

TOOLS: Final = "google.adk.tools.function_tool"
_FUNCTION: Final = "_invoke_callable"
_ACTIONS: Final = "$actions"
_RESULT: Final = "result"


def hook_tools(module: ModuleType) -> Iterable[Undoable]:
    """Hook `google.adk.tools.function_tool`."""
    if _FUNCTION in vars(module.FunctionTool):
        yield patch(module.FunctionTool, "run_async", _running)


def _running(wrapped: Any, tool: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    given = kwargs.get("args")
    if not is_replaying() or not isinstance(given, Mapping):
        return wrapped(*args, **kwargs)
    said = obj(given)
    function: Callable[..., Any] = getattr(tool, _FUNCTION)
    context = kwargs.get("tool_context")
    call_id = getattr(context, "function_call_id", None)
    instead = asking(function, str(tool.name), lambda: said, _form(context), call_id=call_id)
    return of(wrapped, StandIn(tool, _FUNCTION, instead))(*args, **kwargs)


def _form(context: Any) -> Form:
    actions: Any = getattr(context, "actions", None)

    def kept(result: Any) -> Any:
        done = _done(actions)
        return {_RESULT: result, _ACTIONS: done} if done else result

    def given(said: Any) -> Any:
        if not isinstance(said, dict) or _ACTIONS not in said:
            return said  # pyright: ignore[reportUnknownVariableType]
        for name, value in obj(said[_ACTIONS]).items():
            if name == "state_delta":
                context.state.update(value)
            else:
                setattr(actions, name, value)
        return obj(said).get(_RESULT)

    return Form(kept=kept, given=given)


def _done(actions: Any) -> Mapping[str, Any]:
    """Return a tool's messages to the runner: changes of the state, transfers, and the like."""
    return {} if actions is None else obj(actions.model_dump(mode="json", exclude_defaults=True))
