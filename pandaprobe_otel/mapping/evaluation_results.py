"""Results of the app's own evaluations (`gen_ai.evaluation.result`), which become scores of their trace.

They arrive as log records or span events, with the attributes of the GenAI conventions. The server accepts only
numeric scores from 0 to 1 (measured on server 0.5.0), so any other number becomes a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pandaprobe_otel.mapping.clean import clean
from pandaprobe_otel.mapping.ids import trace_uuid
from pandaprobe_otel.mapping.options import MappingOptions, masked
from pandaprobe_otel.mapping.span_view import EventView, SpanView, read_log
from pandaprobe_otel.mapping.text import short_text, shrink
from pandaprobe_otel.mapping.values import number, text

NAME: Final = "gen_ai.evaluation.result"
MAX_TEXT: Final = 255


def evaluation_scores(
    views: Sequence[SpanView], log_records: Sequence[Any], options: MappingOptions
) -> list[dict[str, Any]]:
    """Return the bodies of POST /evaluations/trace-scores for the evaluations in these spans and records."""
    found = [(view.trace_id, event) for view in views for event in view.events]
    found += [(log.trace_id, log.event) for log in map(read_log, log_records) if log is not None]
    scores = [_score(trace_id, event, options) for trace_id, event in found if event.name == NAME]
    return [score for score in scores if score is not None]


def _score(trace_id: int, event: EventView, options: MappingOptions) -> dict[str, Any] | None:
    attributes = event.attributes
    name = _fit(attributes.get("gen_ai.evaluation.name"), options)
    value = number(attributes.get("gen_ai.evaluation.score.value"))
    label = _fit(attributes.get("gen_ai.evaluation.score.label"), options)
    is_share = value is not None and 0 <= value <= 1
    said = label if label is not None and not is_share else None if value is None else str(value)
    if name is None or said is None:
        return None
    body: dict[str, Any] = {
        "trace_id": trace_uuid(trace_id),
        "name": short_text(name, MAX_TEXT),
        "value": short_text(said, MAX_TEXT),
        "data_type": "NUMERIC" if is_share else "CATEGORICAL",
        "source": "PROGRAMMATIC",
    }
    reason = _fit(attributes.get("gen_ai.evaluation.explanation"), options)
    if reason is not None and options.capture == "all":
        body["reason"] = shrink(reason, options.max_field_bytes)
    response = _fit(attributes.get("gen_ai.response.id"), options)
    if response is not None and options.capture != "off":
        body["metadata"] = {"response_id": response}
    return body


def _fit(value: Any, options: MappingOptions) -> str | None:
    """Return a text masked and safe to send; None if there is no text."""
    said = text(clean(text(value)))
    if said is None or not options.masks:
        return said
    return text(clean(masked({"name": said}, options.masks)["name"]))
