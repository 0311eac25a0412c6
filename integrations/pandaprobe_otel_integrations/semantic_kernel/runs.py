"""The span of one run of an agent."""

from __future__ import annotations

from typing import Any

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import items, string
from pandaprobe_otel_integrations._span_scope import SpanScope
from pandaprobe_otel_integrations._span_writing import present


def begin_run(recorder: Recorder, args: tuple[Any, ...], kwargs: dict[str, Any]) -> RunScope:
    """Start the span, as a child of the current one: below the function call if the agent is another agent's tool."""
    agent, thread = args[0], kwargs.get("thread")
    name = string(agent.name) or type(agent).__name__
    attributes = {
        ours.KIND: "AGENT",
        ours.OPERATION_NAME: "invoke_agent",
        names.AGENT_NAME: name,
        names.AGENT_ID: string(agent.id),
        names.CONVERSATION_ID: _id_of(thread),
    }
    span = recorder.tracer.start_span(name, attributes=present(attributes))
    asked = args[1] if len(args) > 1 else kwargs.get("messages")
    if recorder.with_content and asked:
        guarded(lambda: span.set_attributes(encoded({names.INPUT_MESSAGES: _task(asked)})))
    return RunScope(recorder, span, thread)


class RunScope(SpanScope):
    """A run. A thread without an id gets one during the run. Without a thread, the run makes one."""

    def __init__(self, recorder: Recorder, span: Any, thread: Any) -> None:
        super().__init__(recorder, span)
        self._thread = thread
        self._said: list[str] = []

    def produced(self, item: Any, /) -> None:
        """Record an answer, or a piece of one."""
        guarded(self._read, item)

    def returned(self, value: Any, /) -> None:
        """Record the agent's answer: this value, or the yielded pieces."""
        if value is not None:
            guarded(self._read, value)
        guarded(self._record)
        guarded(self.span.end)

    def raised(self, error: BaseException, /) -> None:
        """Record that the run has failed, or that the app stops reading."""
        guarded(self._record)
        super().raised(error)

    def _read(self, item: Any) -> None:
        self._thread = item.thread
        if self.recorder.with_content:
            self._said.append(str(item.message))

    def _record(self) -> None:
        conversation = _id_of(self._thread)
        if conversation is not None:
            self.span.set_attribute(names.CONVERSATION_ID, conversation)
        said = "".join(self._said)
        if said:
            message = {"role": "assistant", "parts": [parts.text(said)], "finish_reason": "stop"}
            self.span.set_attributes(encoded({names.OUTPUT_MESSAGES: [message]}))


def _id_of(thread: Any) -> str | None:
    # The property `id` of a thread that is deleted raises.
    return None if thread is None or getattr(thread, "_is_deleted", False) else string(thread.id)


def _task(given: Any) -> list[dict[str, Any]]:
    """Return the task: a text, a message, or several of them."""
    return [_message(each) for each in (items(given) or [given])]


def _message(given: Any) -> dict[str, Any]:
    role = string(getattr(getattr(given, "role", None), "value", None)) or "user"
    return {"role": role, "parts": [parts.text(str(given))]}
