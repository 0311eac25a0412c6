"""The tool runner in `openai.lib`: it calls the model, runs the app's functions, and calls the model again."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

from opentelemetry.context import get_current

from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._shape import obj, string
from pandaprobe_otel_integrations._tool_loop import ToolLoop, ToolRun, loop_in, through, through_async

Wrapped = Callable[..., Any]
MODULE = "openai.lib.responses_tool_runner"


class ToolRunnerHooks:
    """Wrappers in wrapt's form. `gate` decides per run; if it is closed, they only pass calls on."""

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return patches of both runners: of the turns, which `run` reads too, and of each function call."""
        yield patch(module.ResponsesToolRunner, "iterate", self.iterate)
        yield patch(module.ResponsesToolRunner, "_execute_function", self.function)
        yield patch(module.AsyncResponsesToolRunner, "iterate", self.iterate_async)
        yield patch(module.AsyncResponsesToolRunner, "_execute_function", self.function_async)

    def iterate(self, wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the generator of turns."""
        return through(wrapped(*args, **kwargs), lambda: guarded(self._open, args, kwargs), _is_final)

    def iterate_async(self, wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the asynchronous generator of turns."""
        return through_async(wrapped(*args, **kwargs), lambda: guarded(self._open, args, kwargs), _is_final)

    def function(self, wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap one function call."""
        tool = guarded(self._open_function, args, kwargs)
        return wrapped(*args, **kwargs) if tool is None else tool.run(lambda: wrapped(*args, **kwargs))

    async def function_async(self, wrapped: Wrapped, _: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap one asynchronous function call."""
        tool = guarded(self._open_function, args, kwargs)
        if tool is None:
            return await wrapped(*args, **kwargs)
        return await tool.run_async(lambda: wrapped(*args, **kwargs))

    def _open(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolLoop | None:
        client = kwargs["client"] if "client" in kwargs else args[0]
        context = get_current()
        if loop_in(context) is not None or is_taken(context) or not self._gate(client):
            return None
        asked = obj(kwargs["params"] if "params" in kwargs else args[1])
        return ToolLoop(self._recorder, asked.get("model"))

    def _open_function(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ToolRun | None:
        if loop_in() is None:
            return None
        item = kwargs["item"] if "item" in kwargs else args[1]
        return ToolRun(self._recorder, item.name, item.arguments, call_id=string(item.call_id), result_of=_output)


def _is_final(turn: Any) -> bool:
    return turn.final is True  # `run` closes the generator there


def _output(made: Any) -> Any:
    return made["output"]
