"""The spans of a turn of an agent and of a tool call."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import Content, encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._other_members import RESPONSE, told
from pandaprobe_otel_integrations._shape import items, obj, string
from pandaprobe_otel_integrations._span_scope import SpanScope
from pandaprobe_otel_integrations._span_writing import present, record_raised

from .inputs import file_part, input_part, input_value


class TurnScope(SpanScope):
    """A turn, from the question to an agent until its answer."""

    def returned(self, value: Any, /) -> None:
        """Record the agent's reply."""
        guarded(self._record, value)
        guarded(self.span.end)

    def _record(self, reply: Any) -> None:
        if not self.recorder.with_content:
            return
        body = string(reply.body)
        said = [*([parts.text(body)] if body is not None else []), *map(file_part, reply.files)]
        if said:
            reason = string(getattr(reply.response, "finish_reason", None)) or "stop"
            message = {"role": "assistant", "parts": said, "finish_reason": reason}
            self.span.set_attributes(encoded({names.OUTPUT_MESSAGES: [message]}))


class ToolScope(SpanScope):
    """A tool call."""

    def returned(self, value: Any, /) -> None:
        """Record AG2's event about the result or the exception of the tool."""
        guarded(self._record, value)
        guarded(self.span.end)

    def _record(self, event: Any) -> None:
        error = getattr(event, "error", None)
        if isinstance(error, Exception):
            record_raised(self.span, error, with_content=self.recorder.with_content)
        elif self.recorder.with_content:
            result = getattr(event, "result", None)
            found = [input_value(each) for each in items(getattr(result, "parts", None))]
            beside = obj(getattr(result, "metadata", None))
            more = {RESPONSE: {"response": {"metadata": told(dict(beside))}}} if beside else {}
            self.span.set_attributes(encoded({names.TOOL_CALL_RESULT: found[0] if len(found) == 1 else found, **more}))


class PersonScope(SpanScope):
    """A question for a person."""

    def returned(self, value: Any, /) -> None:
        """Record the person's answer."""
        if self.recorder.with_content:
            guarded(lambda: self.span.set_attributes(encoded({ours.OUTPUT: value.content})))
        guarded(self.span.end)


def begin_turn(recorder: Recorder, agent: Any, event: Any, context: Any) -> TurnScope:
    """Start the span of a turn, as a child of the current one: a sub-agent's turn is below the tool that calls it."""
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
        guarded(lambda: span.set_attributes(encoded(_input(event, context))))
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


def begin_question(recorder: Recorder, request: Any) -> PersonScope:
    """Start the span of a question for a person."""
    span = recorder.tracer.start_span("human input", attributes={ours.KIND: "OTHER"})
    if recorder.with_content:
        guarded(lambda: span.set_attributes(encoded({ours.INPUT: request.content})))
    return PersonScope(recorder, span)


def _input(event: Any, context: Any) -> Content:
    """Return the messages, and the variables that the app has set for them."""
    found = [input_part(each) for each in items(getattr(event, "parts", None))]
    messages = [{"role": "user", "parts": found}] if found else []
    variables = obj(getattr(context, "variables", None))
    if not variables:
        return {names.INPUT_MESSAGES: messages}
    return {names.INPUT_MESSAGES: messages, ours.INPUT: {"messages": messages, "variables": told(dict(variables))}}
