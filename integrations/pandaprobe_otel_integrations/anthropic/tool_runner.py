"""The tool runner of the beta messages: it calls the model, runs the app's functions, and calls the model again.

From 1.14, the client makes spans of a run and of each function call, by default without content. These spans are
adopted: the missing content is added. If the client makes none, this module makes the spans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any, Final

from opentelemetry.context import get_current
from opentelemetry.trace import get_current_span

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._llm_span import is_taken
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._patching import Patch, patch
from pandaprobe_otel_integrations._shape import obj
from pandaprobe_otel_integrations._tool_loop import (
    AdoptedLoop,
    ToolLoop,
    ToolRun,
    as_text,
    loop_in,
    through,
    through_async,
)

from .blocks import tool_result

Wrapped = Callable[..., Any]
MODULE: Final = "anthropic.lib.tools._beta_runner"
_OWN_SCOPE: Final = "com.anthropic.sdk.python"


class ToolRunnerHooks:
    """Wrappers in wrapt's form. `gate` decides per run.

    `makes_spans` returns whether a client makes the spans itself.
    """

    def __init__(self, recorder: Recorder, gate: Callable[[Any], bool], makes_spans: Callable[[Any], bool]) -> None:
        self._recorder = recorder
        self._gate = gate
        self._makes_spans = makes_spans

    def patches(self, module: ModuleType) -> Iterable[Patch]:
        """Return patches of the steps of both runners, and of each function call in versions where it is a method."""
        sync, asynchronous = module.BaseSyncToolRunner, module.BaseAsyncToolRunner
        yield patch(sync, "__run__", self.run)
        yield patch(asynchronous, "__run__", self.run_async)
        if "_run_tool" in sync.__dict__:
            yield patch(sync, "_run_tool", self.function)
            yield patch(asynchronous, "_run_tool", self.function_async)

    def run(self, wrapped: Wrapped, runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the generator of messages."""
        return through(wrapped(*args, **kwargs), lambda: guarded(self._open, runner))

    def run_async(self, wrapped: Wrapped, runner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wrap the asynchronous generator of messages."""
        return through_async(wrapped(*args, **kwargs), lambda: guarded(self._open, runner))

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

    def _open(self, runner: Any) -> ToolLoop | None:
        context = get_current()
        client = runner._client  # pyright: ignore[reportPrivateUsage]
        if loop_in(context) is not None or is_taken(context) or not self._gate(client):
            return None
        if self._makes_spans(client):
            return AdoptedLoop(self._recorder, lambda: getattr(runner, "_tool_runner_span", None))
        return ToolLoop(self._recorder, obj(runner._params).get("model"))  # pyright: ignore[reportPrivateUsage]

    def _open_function(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _AdoptedTool | ToolRun | None:
        loop = loop_in()
        if loop is None:
            return None
        asked = kwargs["tool_use"] if "tool_use" in kwargs else args[1]
        if isinstance(loop, AdoptedLoop):
            return _AdoptedTool(asked.input) if self._recorder.with_content else None
        return ToolRun(self._recorder, asked.name, asked.input, call_id=asked.id, result_of=_result)


class _AdoptedTool:
    """The client's span of a function call, which is current and lacks arguments and result."""

    def __init__(self, given: Any) -> None:
        span: Any = get_current_span()
        scope = getattr(getattr(span, "instrumentation_scope", None), "name", "")
        self._span = span if scope.startswith(_OWN_SCOPE) and span.is_recording() else None
        if self._span is not None:
            self._span.set_attributes(encoded({names.TOOL_CALL_ARGUMENTS: obj(given) or "{}"}))

    def run(self, call: Callable[[], Any]) -> Any:
        result = call()
        guarded(self._record, result)
        return result

    async def run_async(self, call: Callable[[], Any]) -> Any:
        result = await call()
        guarded(self._record, result)
        return result

    def _record(self, result: Any) -> None:
        if self._span is not None:
            self._span.set_attribute(names.TOOL_CALL_RESULT, as_text(_result(result)))


def _result(made: Any) -> Any:
    return tool_result(made["content"])
