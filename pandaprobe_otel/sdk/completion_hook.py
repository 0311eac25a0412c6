"""Completion hook of OpenTelemetry's GenAI instrumentations: content for PandaProbe that no span has.

`opentelemetry-util-genai` loads it by its entry point if `OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK=pandaprobe`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry._logs import LogRecord

from pandaprobe_otel.mapping.dialects.events import DETAILS
from pandaprobe_otel.mapping.span_view import plain
from pandaprobe_otel.process.guard import failed, mistake
from pandaprobe_otel.sdk.span_receivers import receivers_in

if TYPE_CHECKING:
    from opentelemetry.trace import Span

HOOK: Final = "OTEL_INSTRUMENTATION_GENAI_COMPLETION_HOOK"


class PandaProbeCompletionHook:
    """Hook that passes the messages of a model call to PandaProbe, and leaves its span as it is.

    So other exporters of the same spans get no content. `capture`, `mask` and the size limits apply as always.
    """

    def on_completion(
        self,
        *,
        inputs: Any,
        outputs: Any,
        system_instruction: Any,
        tool_definitions: Any = None,
        span: Span | None = None,
        log_record: LogRecord | None = None,
        **others: Any,
    ) -> None:
        """Join the content to the span of the call. Never raises; `others` are for arguments of later versions."""
        try:
            content = {
                "gen_ai.input.messages": inputs,
                "gen_ai.output.messages": outputs,
                "gen_ai.system_instructions": system_instruction,
                "gen_ai.tool.definitions": tool_definitions,
            }
            _join(span, {name: _plain(value) for name, value in content.items() if value})
        except Exception as error:  # noqa: BLE001 - protects the app: its call must end, whatever the messages hold
            failed("the completion hook", error)


def _join(span: Span | None, content: Mapping[str, Any]) -> None:
    if span is None or not span.is_recording() or not content:
        return
    found = receivers_in(getattr(span, "_span_processor", None))
    receivers = [receiver for receiver in found if not receiver.stands_aside]
    if not receivers:
        mistake(
            f"{HOOK}=pandaprobe has no effect before init(), so messages of model calls are missing: call init() first."
        )
        return
    record, context = LogRecord(attributes={"event.name": DETAILS, **content}), span.get_span_context()
    record.trace_id, record.span_id = context.trace_id, context.span_id
    for receiver in receivers:
        receiver.pipeline.logged(record)


def _plain(value: Any) -> Any:
    """Return dataclasses as dicts without fields that are None, and everything else as the mapping reads it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
        return {name: _plain(inner) for name, inner in fields.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in cast("list[Any]", value)]
    return plain(value)
