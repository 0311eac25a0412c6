"""The span of one function call: a plugin's function is a tool, and a prompt calls a model itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import items, obj, string
from pandaprobe_otel_integrations._span_scope import SpanScope
from pandaprobe_otel_integrations._span_writing import present

_PLAIN: Final[frozenset[type]] = frozenset({str, int, float, bool, list, tuple, dict})
"""Types that are recorded unchanged."""


def begin_function(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> FunctionScope:
    """Start the span of `invoke(function, kernel, arguments, metadata, **more_arguments)`, or of its streamed form."""
    function = args[0]
    given = args[2] if len(args) > 2 else kwargs.get("arguments")
    call = obj(args[3] if len(args) > 3 else kwargs.get("metadata"))  # the model's id, or empty
    name = str(function.fully_qualified_name)
    if function.is_prompt and not call:
        form = _PROMPT
        span = recorder.tracer.start_span(name, attributes={ours.KIND: "CHAIN"})
    else:
        form = _TOOL
        attributes = {
            ours.OPERATION_NAME: "execute_tool",
            ours.TOOL_NAME: name,
            names.TOOL_TYPE: "function",
            names.TOOL_CALL_ID: string(call.get("id")),
        }
        span = recorder.tracer.start_span(f"execute_tool {name}", attributes=present(attributes))
    if recorder.with_content:
        taken, more = guarded(_arguments, function, kwargs if given is None else given) or ({}, {})
        told: dict[str, Any] = {form.given: taken or "{}"}
        if more:
            told[ours.SPAN_METADATA] = {"more_arguments": more}
        guarded(lambda: span.set_attributes(encoded(told)))
    return FunctionScope(recorder, span, form.result)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Form:
    """The attributes of arguments and result."""

    given: str
    result: str


_PROMPT: Final = _Form(given=ours.INPUT, result=ours.OUTPUT)
_TOOL: Final = _Form(given=names.TOOL_CALL_ARGUMENTS, result=names.TOOL_CALL_RESULT)


class FunctionScope(SpanScope):
    """A call, whose result is in the attribute `result`. If the function yields, the call lasts until it is read."""

    def __init__(self, recorder: Recorder, span: Any, result: str) -> None:
        super().__init__(recorder, span)
        self._result = result
        self._pieces: list[str] = []

    def produced(self, item: Any, /) -> None:
        """Record a part of the result, or the whole result."""
        if self.recorder.with_content:
            guarded(self._read, item)

    def returned(self, value: Any, /) -> None:
        """Record the end of the function. If it yields, the value is None."""
        if self.recorder.with_content:
            guarded(self._record, value)
        guarded(self.span.end)

    def _read(self, item: Any) -> None:
        pieces = items(item) if isinstance(item, list) else [item]  # a prompt yields one for each requested answer
        self._pieces.extend(map(str, pieces))

    def _record(self, value: Any) -> None:
        told = "".join(self._pieces) if value is None else _plain(value)
        self.span.set_attributes(encoded({self._result: told}))


def _arguments(function: Any, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arguments for the function's parameters, and the kernel's other arguments."""
    known = {parameter.name for parameter in function.parameters}
    taken = {name: _described(value) for name, value in given.items() if name in known}
    return taken, {name: _described(value) for name, value in given.items() if name not in known}


def _plain(result: Any) -> Any:
    """Return the result of a function. For a prompt, return all requested answers, whose text is the result's text."""
    return str(result) if result.function.is_prompt else _described(result.value)


def _described(value: Any) -> Any:
    """Return the app's models and data classes by their fields, the library's own objects as text."""
    if type(value) in _PLAIN or value is None:
        return value
    if type(value).__module__.partition(".")[0] == "semantic_kernel":
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _described(getattr(value, each.name, None)) for each in fields(value)}
    return dict(obj(value)) or str(value)
