"""An encoded part of a trace, which assembly passes to delivery for one request."""

from __future__ import annotations

import uuid
import zlib
from array import array
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from pandaprobe_otel.mapping.encoded_spans import NO_SPANS, EncodedSpans

MAX_SPANS: Final = 500
"""Bound on the spans of a request; the server refuses more (measured, and in its published contract)."""

_ORPHANS: Final = uuid.UUID("6f9d5c1e-3f53-5a63-9f0e-2d0e5b1f7c11")

_OBJECTS: Final = 600
"""Bytes of a waiting request without its content: the request, its job, its line, and its entry in the queue."""

_PACKED_FROM: Final = 512
"""Bytes below which packing does not pay."""
_LEVEL: Final = 4
"""zlib takes 0.5 ms at this level for an agent's trace of 38 KB, and leaves 30 % of it (measured; level 1 takes 0.3 ms
and leaves a third, and zstd would be three times as fast, at the price of a dependency).
"""
_RAW_DEFLATE: Final = -15
_DICTIONARY: Final = (
    b'"total_tokens":"completion_tokens":"prompt_tokens":"error":"exception":"stacktrace":"tags":["environment":"'
    b'"release":"service.version":"model_parameters":{"temperature":"max_tokens":"top_p":"response_id":"'
    b'"finish_reasons":["stop"]"provider":"openai""tool_calls":[{"id":"call_","type":"function","function":{"name":"'
    b'"arguments":"{"role":"system","content":"{"role":"tool","tool_call_id":"'
    b'{"trace_id":"","name":"invoke_agent ","session_id":"","user_id":"","status":"COMPLETED","status":"ERROR",'
    b'"metadata":{"service.name":"unknown_service:python","telemetry.sdk.name":"opentelemetry",'
    b'"telemetry.sdk.language":"python","telemetry.sdk.version":"1."},"input":{"messages":[{"role":"user","content":"'
    b'"}]},"output":{"messages":[{"role":"assistant","content":"'
    b'{"span_id":"","name":"chat ","kind":"LLM","model":"gpt-","token_usage":{"kind":"AGENT","kind":"OTHER",'
    b'"metadata":{"agent_name":"","scope":"opentelemetry.instrumentation."},'
    b'{"span_id":"","name":"","kind":"CHAIN","kind":"TOOL","status":"OK","parent_span_id":"","metadata":{"scope":""},'
    b'"input":{"output":{"started_at":"2026-01-01T00:00:00.000000Z","ended_at":"2026-01-01T00:00:00.000000Z"}'
)
"""Text that every body contains: with it, a tiny trace of 1.4 KB shrinks to a fifth; without it, to a third."""


class Step(StrEnum):
    """The requests of a trace, in order."""

    CREATE = "create"
    """POST /traces: billed, and the only request with the limit of 100 a minute."""
    APPEND = "append"
    """POST /traces/{id}/spans: free; 404 until the trace is stored."""
    FINISH = "finish"
    """PATCH /traces/{id}: free; 404 until the trace is stored."""
    SCORE = "score"
    """POST /evaluations/trace-scores: free. It answers 500 until the trace is stored (measured), so the trace is looked
    up first.
    """


_TARGETS: Final = {
    Step.CREATE: "POST /traces",
    Step.APPEND: "POST /traces/{}/spans",
    Step.FINISH: "PATCH /traces/{}",
    Step.SCORE: "POST /evaluations/trace-scores",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Parcel:
    """Part of a trace, ready to be sent.

    `fields` is the JSON object of the trace's own fields; `spans` has one object for each span. They are separate, so
    that a body can be split, or a span repaired or left out, without decoding the rest.
    """

    step: Step
    trace_id: str
    fields: bytes = b"{}"
    spans: EncodedSpans = NO_SPANS
    name: str = ""
    is_error: bool = False
    is_remote: bool = False
    """True if the root is in another process: only that process may create the trace under the trace's own id."""

    duration_s: float = 0.0
    """Seconds from the first start to the last end in this part."""
    sample_rate: float = 1.0
    """Probability with which a trace like this one is admitted; also in its metadata."""
    is_slow: bool = False
    """True if the trace took unusually long for its name."""

    packed: bytes = b""
    """Fields and spans, compressed, instead of `fields` and `spans`."""
    is_bare: bool = False
    """True if fields and spans are on disk only."""
    closed_spans: int = 0
    """Number of spans while they are packed or on disk."""

    @property
    def size(self) -> int:
        """Bytes of memory of the request, with an allowance for the objects themselves."""
        return len(self.packed) + len(self.fields) + len(self.spans.joined) + _OBJECTS

    @property
    def span_count(self) -> int:
        """Number of spans, also while they are packed or on disk."""
        return self.closed_spans or self.spans.count

    @property
    def line(self) -> str:
        """Key of its queue, whose requests are sent in order. A score has its own queue, because a score may precede
        its trace.
        """
        return f"{self.trace_id}/scores" if self.step is Step.SCORE else self.trace_id

    @property
    def target(self) -> str:
        """HTTP method of the request, and its path below the endpoint."""
        return _TARGETS[self.step].format(self.trace_id)

    def body(self) -> bytes:
        """Return the JSON body of the request."""
        if self.step is not Step.CREATE and self.step is not Step.APPEND:
            return self.fields
        spans = self.spans.joined
        if self.step is Step.APPEND:
            return b"".join((b"[", spans, b"]"))
        # Joined once, because `+` would copy the spans for each part.
        return b"".join((self.fields[:-1], b"," if len(self.fields) > 2 else b"", b'"spans":[', spans, b"]}"))

    def closed(self) -> Parcel:
        """Return this request with its content compressed if that saves memory; decompress it before use."""
        if self.packed or len(self.fields) + len(self.spans.joined) < _PACKED_FROM:
            return self
        packed = pack(self.fields, self.spans)
        return replace(self, fields=b"", spans=NO_SPANS, packed=packed, closed_spans=len(self.spans))

    def bare(self) -> Parcel:
        """Return this request without its content, which is on disk."""
        return replace(self, fields=b"", spans=NO_SPANS, packed=b"", is_bare=True, closed_spans=self.span_count)

    def opened(self) -> Parcel:
        """Return this request with its content decompressed."""
        if not self.packed:
            return self
        fields, spans = unpack(self.packed)
        return replace(self, fields=fields, spans=spans, packed=b"", closed_spans=0)

    def split(self) -> tuple[Parcel, ...]:
        """Return this request with the spans that one request may have, and the appends with the others."""
        first = replace(self, spans=self.spans[:MAX_SPANS])
        rest = (
            replace(self, step=Step.APPEND, spans=self.spans[start : start + MAX_SPANS])
            for start in range(MAX_SPANS, len(self.spans), MAX_SPANS)
        )
        return (first, *rest)

    def adopted(self, project: str) -> Parcel:
        """Return the same spans as a separate trace, under an id derived from the trace and the project.

        The original id is never used, because the process with the root may still post it. A trace id is also global on
        the server, so another project's trace could be overwritten (measured).
        """
        return replace(self.under(adopted_id(self.trace_id, project)), step=Step.CREATE)

    def under(self, trace_id: str) -> Parcel:
        """Return this request for the separate trace of this id."""
        fields = self.fields.replace(self.trace_id.encode(), trace_id.encode(), 1)
        return replace(self, trace_id=trace_id, fields=fields, is_remote=False)


def adopted_id(trace_id: str, project: str) -> str:
    """Return the id for spans whose root never arrives; it is the same in every process."""
    return str(uuid.uuid5(_ORPHANS, f"{trace_id}/{project}"))


def pack(fields: bytes, spans: EncodedSpans) -> bytes:
    """Return fields and spans as one compressed piece."""
    head = array("I", [len(spans), len(fields)]).tobytes()
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE, zdict=_DICTIONARY)
    return compressor.compress(b"".join((head, fields, spans.joined))) + compressor.flush()


def unpack(packed: bytes) -> tuple[bytes, EncodedSpans]:
    """Return the fields and spans of a packed piece."""
    raw = zlib.decompressobj(_RAW_DEFLATE, zdict=_DICTIONARY).decompress(packed)
    start = 2 * array("I").itemsize
    count, length = array("I", raw[:start])
    return raw[start : start + length], EncodedSpans(raw[start + length :], count)
