"""Runs of teams. AutoGen makes no span for them, so each agent's turn would be a separate trace."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any, Final

from opentelemetry.trace import Span, set_span_in_context

from pandaprobe_otel.mapping import attributes as ours
from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._content import encoded
from pandaprobe_otel_integrations._guard import guarded
from pandaprobe_otel_integrations._model_call import Recorder
from pandaprobe_otel_integrations._span_writing import present, record_raised

from .current_spans import steps
from .endings import TeamEnding, of_team
from .messages import answered, asked

_STOP_REASON: Final = "autogen.stop_reason"


class TeamRuns:
    """A span for each run; the team starts the runtime of its agents below it."""

    def __init__(self, recorder: Recorder, is_ours: Callable[[], bool]) -> None:
        self._recorder = recorder
        self._is_ours = is_ours

    def run_stream(self, wrapped: Callable[..., Any], team: Any, args: Any, kwargs: Any) -> AsyncGenerator[Any, None]:
        """Wrap a run as a stream, which AutoGen's `run` reads too."""
        events: AsyncGenerator[Any, None] = wrapped(*args, **kwargs)
        return self._observed(events, team, kwargs.get("task")) if self._is_ours() else events

    async def _observed(self, events: AsyncGenerator[Any, None], team: Any, task: Any) -> AsyncGenerator[Any, None]:
        span = guarded(self._begin, team, task)
        if span is None:
            async for event in events:
                yield event
            return
        ending = TeamEnding()
        inner = steps(events, of_team(ending, set_span_in_context(span)))
        try:
            async for event in inner:
                guarded(self._record, span, event, ending)
                yield event
        except BaseException as error:
            guarded(record_raised, span, error, with_content=self._recorder.with_content)
            raise
        finally:
            try:
                await inner.aclose()
            finally:
                guarded(span.end)

    def _begin(self, team: Any, task: Any) -> Span:
        name = str(getattr(team, "name", None) or type(team).__name__)
        attributes = present(
            {
                ours.KIND: "AGENT",
                ours.OPERATION_NAME: "invoke_agent",
                names.AGENT_NAME: name,
                names.CONVERSATION_ID: getattr(team, "_team_id", None),
            }
        )
        if self._recorder.with_content:
            attributes |= encoded({names.INPUT_MESSAGES: asked(task)})
        return self._recorder.tracer.start_span(f"invoke_agent {name}", attributes=attributes)

    def _record(self, span: Span, event: Any, ending: TeamEnding) -> None:
        if type(event).__name__ != "TaskResult":
            return
        if event.stop_reason:
            span.set_attribute(_STOP_REASON, str(event.stop_reason))
        if self._recorder.with_content and event.messages:
            span.set_attributes(encoded({names.OUTPUT_MESSAGES: answered(event.messages, ending.reason)}))
