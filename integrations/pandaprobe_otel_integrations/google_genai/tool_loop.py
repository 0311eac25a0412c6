"""Automatic function calling: the client calls the app's functions between model calls.

The client does so only if the app has passed functions. Only then, one span surrounds all calls.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from opentelemetry.context import get_current

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import items
from pandaprobe_otel_integrations._tool_loop import ToolLoop, ToolRun, loop_in, through, through_async

Wrapped = Callable[..., Any]


class ToolLoopHooks:
    """Wrappers in wrapt's form. `gate` decides per call; if it is closed, they only pass calls on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate

    def generate(self, wrapped: Wrapped, models: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `Models.generate_content` and `Chat.send_message`."""
        loop = guarded(self._open, models, args, kwargs)
        return wrapped(*args, **kwargs) if loop is None else loop.run(lambda: wrapped(*args, **kwargs))

    async def generate_async(self, wrapped: Wrapped, models: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap `AsyncModels.generate_content` and `AsyncChat.send_message`."""
        loop = guarded(self._open, models, args, kwargs)
        if loop is None:
            return await wrapped(*args, **kwargs)
        return await loop.run_async(lambda: wrapped(*args, **kwargs))

    def stream(self, wrapped: Wrapped, models: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the streaming variants. They are generators, so nothing happens before they are iterated."""
        chunks = wrapped(*args, **kwargs)
        if not guarded(self._is_wanted, models, args, kwargs):
            return chunks
        return through(chunks, lambda: guarded(self._open, models, args, kwargs))

    async def stream_async(self, wrapped: Wrapped, models: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the asynchronous variants, which return an asynchronous generator."""
        chunks = await wrapped(*args, **kwargs)
        if not guarded(self._is_wanted, models, args, kwargs):
            return chunks
        return through_async(chunks, lambda: guarded(self._open, models, args, kwargs))

    def function(self, wrapped: Wrapped, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap one call of the app's function; the client awaits the asynchronous one."""
        tool = guarded(self._open_function, args, kwargs)
        if tool is None:
            return wrapped(*args, **kwargs)
        if inspect.iscoroutinefunction(wrapped):
            return tool.run_async(lambda: wrapped(*args, **kwargs))
        return tool.run(lambda: wrapped(*args, **kwargs))

    def _is_wanted(self, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        config = _config(owner, args, kwargs)
        if not config or not _has_functions(config):
            return False
        context = get_current()
        if loop_in(context) is not None or is_taken(context):
            return False
        return self._gate(getattr(owner, "_modules", owner)._api_client)  # pyright: ignore[reportPrivateUsage]

    def _open(self, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolLoop | None:
        if not self._is_wanted(owner, args, kwargs):
            return None
        return ToolLoop(self._recorder, kwargs.get("model") or getattr(owner, "_model", None))

    def _open_function(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolRun | None:
        if loop_in() is None:
            return None
        given = kwargs["args"] if "args" in kwargs else args[0]
        function = kwargs["function_to_invoke"] if "function_to_invoke" in kwargs else args[1]
        return ToolRun(self._recorder, getattr(function, "__name__", type(function).__name__), given)


def _config(owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the configuration of a call: the message's own, otherwise the chat's. Models only take keywords."""
    given = kwargs.get("config") or (args[1] if len(args) > 1 else None)
    return given or getattr(owner, "_config", None)


def _has_functions(config: Any) -> bool:
    """Return whether the client would call functions automatically."""
    tools = items(_member(config, "tools"))
    if not tools:
        return False
    automatic = _member(config, "automatic_function_calling")
    if _member(automatic, "disable"):
        return False
    return any(callable(tool) or hasattr(tool, "call_tool") for tool in tools)


def _member(thing: Any, name: str) -> Any:
    return cast("Any", thing).get(name) if isinstance(thing, dict) else getattr(thing, name, None)
