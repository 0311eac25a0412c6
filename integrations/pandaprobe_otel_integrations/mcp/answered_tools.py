"""A client's tool calls that an open recording answers or keeps."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from importlib import import_module
from typing import Any, Final

from pandaprobe_otel.capture import tool_answers


async def answered_call(
    wrapped: Callable[..., Coroutine[Any, Any, Any]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run `ClientSession.call_tool`, or answer it from a recording, if one is open and wants this tool."""
    name, arguments = _call(*args, **kwargs)
    return await tool_answers.call_async(name, arguments, lambda: wrapped(*args, **kwargs), _FORM)


def _call(name: str, arguments: Mapping[str, Any] | None = None, *_: Any, **__: Any) -> tuple[str, Any]:
    return name, lambda: dict(arguments or {})


def _kept(result: Any) -> Any:
    return result.model_dump(mode="json", by_alias=True, exclude_none=True)


def _given(said: Any) -> Any:
    """Return a result of the library's own class. A result that was made from a trace has only the text."""
    kind: Any = import_module("mcp.types").CallToolResult
    if isinstance(said, dict) and "content" in said:
        return kind.model_validate(said)
    return kind.model_validate({"content": [{"type": "text", "text": tool_answers.text_of(said)}]})


_FORM: Final = tool_answers.Form(kept=_kept, given=_given)
