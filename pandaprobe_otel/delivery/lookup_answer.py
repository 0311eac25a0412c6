"""Comparison of a looked-up trace with a request that may have arrived."""

from __future__ import annotations

from typing import Any, cast

import orjson

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest
from pandaprobe_otel.transport.request_outcome import Answer, Outcome


def lacks_spans(outcome: Outcome, request: OutgoingRequest) -> bool:
    """Return whether the stored trace lacks spans of the request: another process, or an earlier part, posted it.

    Return False too if the answer has no list of spans, because nothing can be compared.
    """
    shown = _spans(outcome.body) if isinstance(outcome, Answer) else None
    if shown is None:
        return False
    found = (cast("dict[str, Any]", span).get("span_id") for span in shown if isinstance(span, dict))
    ids = {span_id for span_id in found if isinstance(span_id, str)}
    return any(orjson.loads(span).get("span_id") not in ids for span in request.opened().spans)


def _spans(body: bytes) -> list[Any] | None:
    try:
        trace: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    spans: list[Any] | None = cast("dict[str, Any]", trace).get("spans") if isinstance(trace, dict) else None
    return spans if isinstance(spans, list) else None
