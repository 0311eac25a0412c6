"""The spans of a turn of an agent and of a tool call."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import items, string
from pandaprobe_otel_integrations._span_scope import SpanScope
from pandaprobe_otel_integrations._span_writing import present, record_raised


class TurnScope(SpanScope):
    """A turn, from what the agent is asked to its answer."""

    def returned(self, value: Any, /) -> None:
        """The agent's reply."""
        guarded(self._tell, string(value.body))
        guarded(self.span.end)

    def _tell(self, said: str | None) -> None:
        if self.recorder.with_content and said is not None:
            message = {"role": "assistant", "parts": [parts.text(said)], "finish_reason": "stop"}
            self.span.set_attributes(encoded({names.OUTPUT_MESSAGES: [message]}))


class ToolScope(SpanScope):
    """A tool call."""

    def returned(self, value: Any, /) -> None:
        """The event that AG2 makes of the result, or of what the tool has raised."""
        guarded(self._tell, value)
        guarded(self.span.end)

    def _tell(self, event: Any) -> None:
        error = getattr(event, "error", None)
        if isinstance(error, Exception):
            record_raised(self.span, error, with_content=self.recorder.with_content)
        elif self.recorder.with_content:
            told = [_content(each) for each in items(getattr(getattr(event, "result", None), "parts", None))]
            self.span.set_attributes(encoded({names.TOOL_CALL_RESULT: told[0] if len(told) == 1 else told}))


def begin_turn(recorder: Recorder, agent: Any, event: Any, context: Any) -> TurnScope:
    """Start the span of a turn, as a child of the current one: a sub-agent's below the tool that asks it."""
    name = string(agent.name) or type(agent).__name__
    stream = getattr(getattr(context, "stream", None), "id", None)
    attributes = {
        ours.KIND: "AGENT",
        ours.OPERATION_NAME: "invoke_agent",
        names.AGENT_NAME: name,
        names.CONVERSATION_ID: None if stream is None else str(stream),
    }
    span = recorder.tracer.start_span(name, attributes=present(attributes))
    if recorder.with_content:
        guarded(lambda: span.set_attributes(encoded({names.INPUT_MESSAGES: _asked(event)})))
    return TurnScope(recorder, span)


def begin_tool(recorder: Recorder, call: Any) -> ToolScope:
    """Start the span of a tool call."""
    attributes = {
        ours.OPERATION_NAME: "execute_tool",
        ours.TOOL_NAME: string(call.name),
        names.TOOL_TYPE: "function",
        names.TOOL_CALL_ID: string(call.id),
    }
    span = recorder.tracer.start_span(f"execute_tool {call.name}", attributes=present(attributes))
    if recorder.with_content:
        given = parts.decoded_arguments(call.arguments)
        guarded(lambda: span.set_attributes(encoded({names.TOOL_CALL_ARGUMENTS: given})))
    return ToolScope(recorder, span)


def _asked(event: Any) -> list[dict[str, Any]]:
    asked = [_content(each) for each in items(getattr(event, "parts", None))]
    told = [parts.text(each if isinstance(each, str) else to_json(each)) for each in asked]
    return [{"role": "user", "parts": told}] if told else []


def _content(part: Any) -> Any:
    """A text, plain data or an address as it is; of bytes and files, what sort of thing they are."""
    for name in ("content", "data", "url"):
        found = getattr(part, name, None)
        if found is not None and not isinstance(found, bytes):
            return found
    return f"[{type(part).__name__}]"
