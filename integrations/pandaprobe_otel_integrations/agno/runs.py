"""The span of one run of an agent or a team."""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.context import get_current

from pandaprobe_otel.capture.trace_context import attributes_in
from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._json import to_json
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._shape import items, obj, string
from pandaprobe_otel_integrations._span_writing import fail, present

from .scopes import STATUS_OUTCOMES, AgnoScope, text_of

_FAILED: Final = "RunError"
"""Agno's event for a failed run; it does not name the exception's class."""

_OUTCOMES: Final = {"RunCancelled": ours.CANCELLED, "RunPaused": ours.INTERRUPTED}
"""Events of a run that stopped before its end."""


_WORKED_WITH: Final = ("session_state", "dependencies", "knowledge_filters")
_FILES: Final = (("images", "image"), ("videos", "video"), ("audios", "audio"), ("files", "document"))


def begin_run(recorder: Recorder, agent: Any, kwargs: dict[str, Any]) -> RunScope:
    """Start the span, as a child of the current one: a member's run is below the tool call that asks the member."""
    run, response = kwargs.get("run_context"), kwargs.get("run_response")
    name = string(agent.name) or string(agent.id) or type(agent).__name__
    attributes = {
        ours.KIND: "AGENT",
        ours.OPERATION_NAME: "invoke_agent",
        names.AGENT_NAME: name,
        names.AGENT_ID: string(agent.id),
        ours.SPAN_METADATA: to_json(about) if (about := _about(run, with_content=False)) else None,
        **whose(run),
    }
    given = getattr(response, "input", None)
    asked = getattr(given, "input_content", None)
    span = recorder.tracer.start_span(name, attributes=present(attributes))
    if recorder.with_content and asked is not None:
        guarded(lambda: span.set_attributes(encoded({names.INPUT_MESSAGES: _task(asked, given)})))
    # The context of an agent in a workflow is the workflow's, and has the workflow's id.
    run_id = string(getattr(response, "run_id", None)) or string(getattr(run, "run_id", None))
    return RunScope(recorder, span, response, run_id, run)


def whose(run: Any) -> dict[str, str | None]:
    """Return session and user of a run from its `RunContext`; only the session if the app has set the user itself."""
    told = {names.CONVERSATION_ID: string(getattr(run, "session_id", None))}
    if ours.USER_ID not in (attributes_in(get_current()) or {}):
        told[ours.USER_ID] = string(getattr(run, "user_id", None))
    return told


class RunScope(AgnoScope):
    """A run.

    `response` is Agno's own record of the run, if Agno has started one; otherwise, events describe the run. `run` is
    its context, whose state Agno loads and tools change during the run.
    """

    def __init__(self, recorder: Recorder, span: Any, response: Any, run_id: str | None, run: Any) -> None:
        super().__init__(recorder, span)
        self._response = response
        self._run = run
        self._run_id = run_id
        self._said: list[str] = []
        self._failure: str | None = None
        self._outcome: str | None = None
        self._is_over = False

    def produced(self, item: Any, /) -> None:
        """Record an item of the stream: an event of this run, or its final record. Events of members are ignored."""
        guarded(self._read, item)

    def returned(self, value: Any, /) -> None:
        """Record the end of the run. If it failed, Agno's record says so."""
        if not self._is_over:
            self._is_over = True
            guarded(self._record, value if value is not None else self._response)
            guarded(self.span.end)

    def raised(self, error: BaseException, /) -> None:
        """End the run as failed or dropped, unless it has ended already.

        A workflow stops reading after the run's final record, which ends the run.
        """
        if not self._is_over:
            self._is_over = True
            super().raised(error)

    def _read(self, item: Any) -> None:
        if getattr(item, "run_id", None) != self._run_id:
            return
        kind, content = str(getattr(item, "event", "")).removeprefix("Team"), getattr(item, "content", None)
        if not kind:
            self.returned(item)
        elif self._response is not None:
            return
        elif kind == _FAILED:
            self._failure = text_of(content)
        elif kind in _OUTCOMES:
            self._outcome = _OUTCOMES[kind]
        elif kind == "RunContent" and content is not None:
            self._said.append(text_of(content))

    def _record(self, response: Any) -> None:
        status = str(getattr(getattr(response, "status", None), "value", ""))
        content = getattr(response, "content", None)
        said = text_of(content) if content is not None else "".join(self._said)
        if status == "ERROR" or self._failure is not None:
            told = self._failure or said or _FAILED
            fail(self.span, _FAILED, told if self.recorder.with_content else _FAILED)
        elif outcome := STATUS_OUTCOMES.get(status, self._outcome):
            self.span.set_attribute(ours.OUTCOME, outcome)
        if self.recorder.with_content and said:
            message = {"role": "assistant", "parts": [parts.text(said)], "finish_reason": "stop"}
            self.span.set_attributes(encoded({names.OUTPUT_MESSAGES: [message]}))
        if self.recorder.with_content:
            self.span.set_attributes(encoded({ours.SPAN_METADATA: _about(self._run, with_content=True)}))


def _about(run: Any, *, with_content: bool) -> dict[str, Any]:
    """Return the description of a run, and its values, even those that the model does not get."""
    found = dict(obj(getattr(run, "metadata", None)))
    for name in _WORKED_WITH if with_content else ():
        value = getattr(run, name, None)
        if name == "session_state":  # Agno puts the ids of the run into it
            value = {key: one for key, one in obj(value).items() if not key.startswith("current_")}
        if value:
            found.setdefault(name, value)
    return found


def _task(content: Any, given: Any) -> list[dict[str, Any]]:
    """Return the task: a text, an object of the app, or messages, with the files passed beside it."""
    asked = [_message(each) for each in (items(content) or [content])]
    for name, kind in _FILES:
        files = [_file(each, kind) for each in items(getattr(given, name, None))]
        asked[-1]["parts"] += [file for file in files if file is not None]
    return asked


def _file(file: Any, kind: str) -> dict[str, Any] | None:
    if url := string(getattr(file, "url", None)):
        return parts.media(url, kind)
    content = getattr(file, "content", None)
    mime_type = string(getattr(file, "mime_type", None))
    if isinstance(content, bytes):
        return parts.blob(content, kind, mime_type)
    path = getattr(file, "filepath", None)
    return None if path is None else {"type": "file", "modality": kind, "file_id": str(path)}


def _message(given: Any) -> dict[str, Any]:
    fields = obj(given)
    role = string(fields.get("role"))
    if role is None:
        return {"role": "user", "parts": [parts.text(text_of(given))]}
    return {"role": role, "parts": [parts.text(text_of(fields.get("content")))]}
