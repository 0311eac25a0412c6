"""Splitting and, if necessary, cutting of requests that are too large for a server or for a proxy in front of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import orjson

from pandaprobe_otel.delivery.outgoing_request import OutgoingRequest, Step
from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

SMALLEST_CAP: Final = 64 * 1024
"""Bytes below which a body is not made smaller, because a refusal is not about its size."""
_MARK: Final = "…[cut {} bytes: the server accepts no larger body]"
_CUTTABLE: Final = ("input", "output", "metadata", "model_parameters", "error")


def fit(request: OutgoingRequest, cap: int) -> tuple[OutgoingRequest, ...]:
    """Return the request in parts whose bodies have at most `cap` bytes: one request of its kind, then appends.

    A larger single span loses text of its largest fields, and a mark gives the number of bytes.
    """
    fields = _cut(request.fields, cap // 2) if len(request.fields) > cap // 2 else request.fields
    room = cap - len(fields) - 16
    groups: list[list[bytes]] = [[]]
    used = 0
    for span in request.spans:
        most = room if len(request.spans) == 1 else cap - 16
        span = _cut(span, most) if len(span) > most else span
        if groups[-1] and used + len(span) + 1 > room:
            groups.append([])
            used, room = 0, cap - 16
        if not groups[-1] and len(groups) == 1 and len(request.spans) > 1 and len(span) + 1 > room:
            groups.append([])  # the trace's own fields are part of the first request
            used, room = 0, cap - 16
        groups[-1].append(span)
        used += len(span) + 1
    first = replace(request, fields=fields, spans=EncodedSpans.of(groups[0]))
    return (
        first,
        *(replace(request, step=Step.APPEND, fields=fields, spans=EncodedSpans.of(group)) for group in groups[1:]),
    )


def _cut(encoded: bytes, cap: int) -> bytes:
    """Return the JSON object in at most `cap` bytes, with its largest fields replaced by the start of their text."""
    value: dict[str, Any] = orjson.loads(encoded)
    sizes = sorted(((len(orjson.dumps(value[name])), name) for name in _CUTTABLE if name in value), reverse=True)
    excess = len(encoded) - cap
    for size, name in sizes:
        if excess <= 0:
            break
        keep = max(size - excess - 128, 256)
        if keep >= size:
            continue
        text = value[name] if isinstance(value[name], str) else orjson.dumps(value[name]).decode()
        shown = text.encode()[:keep].decode("utf-8", "ignore")
        cut = _MARK.format(len(text.encode()) - len(shown.encode()))
        value[name] = {"cut": shown + cut} if name in ("metadata", "model_parameters") else shown + cut
        excess -= size - len(orjson.dumps(value[name]))
    return orjson.dumps(value)
