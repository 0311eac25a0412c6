"""The parcel: an encoded part of a trace for one request, and the state of its delivery."""

from __future__ import annotations

import uuid
import zlib
from array import array
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pandaprobe_otel.delivery.budget import REQUEST_TIMEOUT_S, Lease
from pandaprobe_otel.mapping.encoded_spans import NO_SPANS, EncodedSpans
from pandaprobe_otel.transport.outcome import Request, for_ever

if TYPE_CHECKING:
    from pandaprobe_otel.delivery.outbox import Line

MAX_SPANS: Final = 500
"""Bound on the spans of a request; the server refuses more (measured, and in its published contract)."""

_ORPHANS: Final = uuid.UUID("6f9d5c1e-3f53-5a63-9f0e-2d0e5b1f7c11")

OBJECTS: Final = 600
"""Bytes of a waiting parcel without its content: the parcel, its line, and its entry in the outbox."""
_MOST_READ: Final = 128 << 10
"""Bytes read of an answer. An error that names five hundred refused fields takes 75 KB; a success is not read."""
_MOST_LOOKED_AT: Final = 16 << 20
"""Bytes read of a trace that is looked up. The spans of a larger one cannot be determined."""

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


@dataclass(slots=True, kw_only=True, eq=False)
class Parcel:
    """Part of a trace on its way to PandaProbe. From `put` on, it belongs to delivery, which changes it under its lock.

    `fields` is the JSON object of the trace's own fields; `spans` has one object for each span. They are separate, so
    that a body can be split, or a span repaired or left out, without decoding the rest. `dataclasses.replace` makes a
    new parcel of them, whose delivery has not begun.
    """

    step: Step
    trace_id: str
    fields: bytes = b"{}"
    spans: EncodedSpans = NO_SPANS
    name: str = ""
    project: str = ""
    """Project that gets it; empty for that of the settings."""
    is_error: bool = False
    is_remote: bool = False
    """True if the root is in another process: only that process may create the trace under the trace's own id."""
    duration_s: float = 0.0
    """Seconds from the first start to the last end in this part."""
    sample_rate: float = 1.0
    """Probability with which a trace like this one was sampled before it came here; also in its metadata."""

    # -- the place of its content
    packed: bytes = field(default=b"", init=False)
    """Fields and spans, compressed, instead of `fields` and `spans`."""
    is_bare: bool = field(default=False, init=False)
    """True if fields and spans are on disk only."""
    span_count: int = field(init=False)
    """Number of spans, also while they are packed or on disk."""
    counted: int = field(default=0, init=False)
    """Bytes of memory that it counts for in the outbox."""
    row: int = field(default=0, init=False)
    """Its row in the spool; 0 if it is in memory only. `stored`: the bytes that it counts for there."""
    stored: int = field(default=0, init=False)
    is_rewritten: bool = field(default=False, init=False)
    """True if the content on disk has to be replaced by this one."""

    # -- its turn
    line: Line | None = field(default=None, init=False, repr=False)
    """Line of its trace in the outbox; None before it is there, and once it is delivered or given up."""
    since: float = field(default=0.0, init=False)
    """Time at which it came."""
    is_slow: bool = field(default=False, init=False)
    """True if the trace took unusually long for its name. `is_first`: there was none of its name for ten minutes."""
    is_first: bool = field(default=False, init=False)
    in_flight: bool = field(default=False, init=False)
    lease: Lease | None = field(default=None, init=False)
    """The token of the newest attempt to send it."""
    is_check: bool = field(default=False, init=False)
    """True if that attempt only looks up whether the server has the trace. A look-up precedes a score, and the
    repetition of a create whose outcome is unknown.
    """

    # -- what is known of earlier attempts
    attempts: int = field(default=0, init=False)
    server_errors: int = field(default=0, init=False)
    """Server errors that came right after another request had succeeded."""
    in_doubt: bool = field(default=False, init=False)
    """True for a score and for a create without an answer: look the trace up before (re)sending."""
    repairs: int = field(default=0, init=False)
    not_found_since: float | None = field(default=None, init=False)
    came_in_overload: bool = field(default=False, init=False)
    """True if no token was free when the root was first looked for: its process may have left the trace out."""

    def __post_init__(self) -> None:
        self.span_count = self.spans.count

    @property
    def size(self) -> int:
        """Bytes of memory that it takes, with an allowance for the objects themselves."""
        return len(self.packed) + len(self.fields) + len(self.spans.joined) + OBJECTS

    @property
    def target(self) -> str:
        """HTTP method of the request, and its path below the endpoint."""
        return _TARGETS[self.step].format(self.trace_id)

    @property
    def tried(self) -> str:
        """HTTP method and path of the newest attempt, which may be a look-up."""
        return f"GET /traces/{self.trace_id}" if self.is_check else self.target

    def request(self, timeout_s: float = REQUEST_TIMEOUT_S) -> Request:
        """Return the HTTP request of the newest attempt."""
        method, path = self.tried.split(" ", 1)
        return Request(
            method=method,
            path=path,
            body=None if self.is_check else self.body(),
            timeout_s=timeout_s,
            most_read=_MOST_LOOKED_AT if self.is_check else _MOST_READ,
            project=self.project,
            time_left_s=for_ever if self.lease is None else self.lease.time_left_s,
        )

    def body(self) -> bytes:
        """Return the JSON body of the request."""
        if self.step is not Step.CREATE and self.step is not Step.APPEND:
            return self.fields
        spans = self.spans.joined
        if self.step is Step.APPEND:
            return b"".join((b"[", spans, b"]"))
        # Joined once, because `+` would copy the spans for each part.
        return b"".join((self.fields[:-1], b"," if len(self.fields) > 2 else b"", b'"spans":[', spans, b"]}"))

    def take_content(self, fields: bytes, spans: EncodedSpans) -> None:
        """Use this content from now on."""
        self.fields, self.spans, self.packed, self.is_bare = fields, spans, b"", False
        self.span_count = spans.count

    def drop_content(self) -> None:
        """Drop the content, which is on disk."""
        self.fields, self.spans, self.packed, self.is_bare = b"", NO_SPANS, b"", True

    def pack(self) -> None:
        """Compress the content if that saves memory."""
        if self.packed or len(self.fields) + len(self.spans.joined) < _PACKED_FROM:
            return
        head = array("I", [len(self.spans), len(self.fields)]).tobytes()
        compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE, zdict=_DICTIONARY)
        raw = b"".join((head, self.fields, self.spans.joined))
        self.packed = compressor.compress(raw) + compressor.flush()
        self.fields, self.spans = b"", NO_SPANS

    def unpack(self) -> None:
        """Decompress the content."""
        if self.packed:
            raw = zlib.decompressobj(_RAW_DEFLATE, zdict=_DICTIONARY).decompress(self.packed)
            start = 2 * array("I").itemsize
            count, length = array("I", raw[:start])
            self.take_content(raw[start : start + length], EncodedSpans(raw[start + length :], count))

    def split(self) -> tuple[Parcel, ...]:
        """Return a parcel with the spans that one request may have, and the appends with the others."""
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
        return replace(self.under(adopted_id(self.trace_id, self.project or project)), step=Step.CREATE)

    def under(self, trace_id: str) -> Parcel:
        """Return the parcel for the separate trace of this id."""
        fields = self.fields.replace(self.trace_id.encode(), trace_id.encode(), 1)
        return replace(self, trace_id=trace_id, fields=fields, is_remote=False)


def adopted_id(trace_id: str, project: str) -> str:
    """Return the id for spans whose root never arrives; it is the same in every process."""
    return str(uuid.uuid5(_ORPHANS, f"{trace_id}/{project}"))
