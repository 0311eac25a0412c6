"""The reader of a trace in the form of the API (`POST /traces`, `GET /traces/{id}`): its spans in order and as a tree.

Any program may have sent the trace. A span whose parent is missing, or that is its own ancestor, is a root, so that
each span is read exactly once. A time that cannot be read is the epoch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from pandaprobe_otel.mapping.outcomes import UNFINISHED, outcome_in
from pandaprobe_otel.traces.behaviour import behaviour_text
from pandaprobe_otel.traces.json_shapes import items, members

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class SpanRecord:
    """A span: a model call, a tool call, or another step.

    Attributes:
        body: The fields of the API.
        id: The span's id.
        parent_id: The parent's id, which may belong to a missing span.
        kind: AGENT, TOOL, LLM, RETRIEVER, CHAIN, EMBEDDING or OTHER.
        name: The name; for a tool call, that of the tool.
        metadata: The metadata.
        failed: True if the span ended with an error.
        begin_us: The start in microseconds since 1970: integers, since rounding would decide whether a span that begins
            at the end of another one begins before or after it.
        end_us: The end; of a running span, as far as it is known.
        is_timed: True if the duration is known.
        parent: The span above it in the trace.
        children: The spans directly below it, ordered by start.
        depth: The number of spans above it.
        number: The position in the tree, from 1. 0: the span was read without a trace.
        origin_us: The start of the trace.
    """

    def __init__(self, body: Mapping[str, Any]) -> None:
        get = body.get
        self.body = body
        self.id = str(get("span_id") or "")
        parent = get("parent_span_id")
        self.parent_id = None if parent is None else str(parent)
        self.kind = str(get("kind", "OTHER"))
        self.name = str(get("name", ""))
        self.metadata = members(get("metadata"))
        self.failed = get("status") == "ERROR"
        self.begin_us = self.origin_us = _microseconds(get("started_at"))
        ended, latency = get("ended_at"), get("latency_ms")
        self.is_timed = ended is not None or latency is not None
        if ended is None:  # A local server states how long a span has been running.
            self.end_us = self.begin_us + (0 if latency is None else max(round(latency * 1000), 0))
        else:
            self.end_us = max(_microseconds(ended), self.begin_us)
        self.parent: SpanRecord | None = None
        self.children: list[SpanRecord] = []
        self.depth = self.number = 0

    @property
    def input(self) -> Any:
        """Input; for a tool call, its arguments by name."""
        return self.body.get("input")

    @property
    def output(self) -> Any:
        """The output."""
        return self.body.get("output")

    @property
    def model(self) -> str | None:
        """Name of the requested model."""
        return self.body.get("model")

    @property
    def error(self) -> str | None:
        """Text of the error; None for a span without one."""
        return (self.error_text or "failed without a message") if self.failed else None

    @property
    def error_text(self) -> str:
        """Text of the error; empty if the span states none."""
        return str(self.body.get("error") or "") if self.failed else ""

    @property
    def error_type(self) -> str | None:
        """Qualified name of the exception's class. None: the span did not fail or does not state it."""
        named = self.metadata.get("exception_type") or self.metadata.get("error_type")
        return str(named) if named and self.failed else None

    @property
    def described_error(self) -> str | None:
        """Error, beginning with its type if the span names one; None without an error."""
        text, kind = self.body.get("error"), self.metadata.get("exception_type") or self.metadata.get("error_type")
        if not isinstance(kind, str) or not kind or (text and kind.rpartition(".")[2] in str(text)):
            return None if text is None else str(text)
        return f"{kind}: {text}" if text else kind

    @property
    def outcome(self) -> str | None:
        """`cancelled`, `timed_out`, `interrupted` or `partial` for a span that neither succeeded nor failed."""
        return outcome_in(self.body)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Input as arguments by name; empty if it has no names."""
        value = self.input
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                return {}
        return members(value)

    @property
    def tokens(self) -> int | None:
        """Prompt and completion tokens together, added as PandaProbe does. None: the span states none."""
        return None if self.usage is None else sum(self.usage)

    @property
    def usage(self) -> tuple[int, int] | None:
        """Prompt and completion tokens. None: the span states neither."""
        stated = members(self.body.get("token_usage"))
        prompt, completion = (_count(stated.get(name)) for name in ("prompt_tokens", "completion_tokens"))
        return None if prompt is None and completion is None else (prompt or 0, completion or 0)

    @property
    def cost(self) -> float | None:
        """Cost in US dollars. None: the span states none."""
        total = members(self.body.get("cost")).get("total")
        return float(total) if isinstance(total, int | float) else None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the model, as requested and as answered."""
        named = (self.body.get("model"), self.metadata.get("request_model"), self.metadata.get("response_model"))
        return tuple(name for name in named if isinstance(name, str) and name)

    @cached_property
    def role(self) -> str:
        """Name without that of the model, which may be another one in the next release."""
        if self.kind in ("LLM", "EMBEDDING"):
            for model in self.models:
                if model in self.name:
                    return " ".join(self.name.replace(model, " ").split())
        return self.name

    @cached_property
    def signature(self) -> tuple[str, str, str]:
        """Kind, name and input, by which the span is found in another run."""
        return self.kind, self.name, json.dumps(self.input, sort_keys=True, default=str)

    @property
    def started(self) -> datetime:
        """Start time."""
        return _EPOCH + timedelta(microseconds=self.begin_us)

    @property
    def ended(self) -> datetime:
        """End time."""
        return _EPOCH + timedelta(microseconds=self.end_us)

    @property
    def begin_ms(self) -> float:
        """Start in milliseconds after the start of the trace."""
        return (self.begin_us - self.origin_us) / 1000

    @property
    def end_ms(self) -> float:
        """End in milliseconds after the start of the trace."""
        return (self.end_us - self.origin_us) / 1000

    @property
    def duration_ms(self) -> float | None:
        """Duration in milliseconds; None while the span is running."""
        return (self.end_us - self.begin_us) / 1000 if self.is_timed else None

    @property
    def first_token_ms(self) -> float | None:
        """Time of the first token in milliseconds after the start of the trace; None if unknown."""
        at = self.body.get("completion_start_time")
        return None if at is None else max(_microseconds(at) - self.origin_us, 0) / 1000

    @property
    def self_ms(self) -> float:
        """Time in which no child was running, in milliseconds."""
        own, reached = self.end_us - self.begin_us, self.begin_us
        for child in self.children:
            begin, end = max(child.begin_us, reached), min(child.end_us, self.end_us)
            if end > begin:
                own -= end - begin
                reached = end
        return own / 1000

    @property
    def is_orphan(self) -> bool:
        """True if the span has a parent that is not above it in the trace."""
        return self.parent_id is not None and self.parent is None

    @property
    def above(self) -> Iterator[SpanRecord]:
        """The ancestors, innermost first."""
        parent = self.parent
        while parent is not None:
            yield parent
            parent = parent.parent

    @property
    def subtree(self) -> Iterator[SpanRecord]:
        """The span and its descendants, parents before children."""
        waiting: list[SpanRecord] = [self]
        while waiting:
            span = waiting.pop()
            yield span
            waiting.extend(reversed(span.children))

    def add_to(self, rows: list[SpanRecord], origin_us: int) -> None:
        """Append the span and its descendants to the rows of a tree."""
        waiting: list[SpanRecord] = [self]
        while waiting:
            span = waiting.pop()
            rows.append(span)
            span.number = len(rows)
            span.origin_us = origin_us
            if span.parent is not None:
                span.depth = span.parent.depth + 1
            if span.children:
                waiting.extend(reversed(span.children))

    def leave_circle(self) -> SpanRecord:
        """Make the first ancestor that is its own ancestor a root, and return it."""
        seen: set[SpanRecord] = set()
        one = self
        while one not in seen and one.parent is not None:
            seen.add(one)
            one = one.parent
        if one.parent is not None:
            one.parent.children.remove(one)
            one.parent = None
        return one


class TraceRecord:
    """A whole trace. `body` has the fields of the API."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        self.body = body

    @property
    def trace_id(self) -> str:
        """Id of the trace in PandaProbe (UUID text)."""
        return str(self.body.get("trace_id", ""))

    @property
    def name(self) -> str:
        """Name of the trace."""
        return str(self.body.get("name", ""))

    @property
    def session_id(self) -> str | None:
        """Session id."""
        return self.body.get("session_id")

    @property
    def input(self) -> Any:
        """The question; for a conversation, the last user message."""
        return _last_text(self.body.get("input"))

    @property
    def output(self) -> Any:
        """The answer; for a conversation, the last assistant message."""
        return _last_text(self.body.get("output"))

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata."""
        return members(self.body.get("metadata"))

    @property
    def failed(self) -> bool:
        """True if the trace ended with an error."""
        return self.body.get("status") == "ERROR"

    @property
    def outcome(self) -> str | None:
        """`cancelled`, `timed_out`, `interrupted` or `partial` for a trace that neither succeeded nor failed."""
        return outcome_in(self.body)

    @property
    def unfinished(self) -> str | None:
        """Outcome of an incomplete trace, which was cancelled, timed out or abandoned."""
        return self.outcome if self.outcome in UNFINISHED else None

    def span_bodies(self) -> Sequence[Mapping[str, Any]]:
        """Return the fields of its spans, as they were sent."""
        return [members(span) for span in items(self.body.get("spans"))]

    @property
    def spans(self) -> tuple[SpanRecord, ...]:
        """Spans of the trace, ordered by start; of spans that start together, the longer one precedes."""
        return self._read[0]

    @property
    def tree(self) -> tuple[SpanRecord, ...]:
        """Spans in the order of the tree: parents before children, siblings ordered by start."""
        return self._read[1]

    @cached_property
    def by_id(self) -> Mapping[str, SpanRecord]:
        """Spans by their ids. Of several spans with an id, the first."""
        return {span.id: span for span in reversed(self.spans) if span.id}

    @cached_property
    def _read(self) -> tuple[tuple[SpanRecord, ...], tuple[SpanRecord, ...]]:
        spans = [SpanRecord(body) for body in self.span_bodies()]
        spans.sort(key=lambda span: (span.begin_us, -span.end_us))
        known = {span.id: span for span in reversed(spans) if span.id}
        roots: list[SpanRecord] = []
        for span in spans:
            parent = span.parent = None if span.parent_id is None else known.get(span.parent_id)
            (roots if parent is None else parent.children).append(span)
        rows: list[SpanRecord] = []
        for span in roots:
            span.add_to(rows, spans[0].begin_us)
        for span in spans if len(rows) < len(spans) else ():
            if not span.number:  # Its ancestors are in a circle; the server accepts such spans.
                span.leave_circle().add_to(rows, spans[0].begin_us)
        return tuple(spans), tuple(rows)

    @property
    def roots(self) -> Sequence[SpanRecord]:
        """Spans without a parent, ordered by start."""
        return [span for span in self.tree if span.parent is None]

    @cached_property
    def length_ms(self) -> float:
        """Milliseconds from the start of the first span to the end of the last one."""
        return max((span.end_ms for span in self.tree), default=0.0)

    @cached_property
    def origins(self) -> Sequence[SpanRecord]:
        """Spans that failed without a failing child, which are the origins of failures."""
        return [span for span in self.tree if span.failed and not any(child.failed for child in span.children)]

    @cached_property
    def critical_path(self) -> frozenset[SpanRecord]:
        """Spans that the trace waited for: backwards from the end, always the span that ended last.

        Of several spans that ended at the same moment, it is the longest one.
        """
        found: set[SpanRecord] = set()
        waiting: list[tuple[Sequence[SpanRecord], int | None]] = [(self.roots, None)]
        while waiting:
            siblings, until = waiting.pop()
            for span in sorted(siblings, key=lambda one: (one.end_us, -one.begin_us), reverse=True):
                if until is not None and span.end_us > until:
                    continue  # It was still running when the next critical span began, so its end was not waited for.
                found.add(span)
                waiting.append((span.children, span.end_us))
                until = span.begin_us
        return frozenset(found)

    @property
    def cost(self) -> float | None:
        """Cost of its spans in US dollars. None: no span states any."""
        known = [span.cost for span in self.spans if span.cost is not None]
        return sum(known) if known else None

    @property
    def duration_ms(self) -> float | None:
        """Milliseconds from its own start to its own end; None while it is running."""
        begin, end = self.body.get("started_at"), self.body.get("ended_at")
        return None if not end else (_microseconds(end) - _microseconds(begin)) / 1000

    @property
    def seconds(self) -> float:
        """Seconds from start to end; 0 while it is running."""
        return (self.duration_ms or 0.0) / 1000

    def __str__(self) -> str:
        from pandaprobe_otel.traces.text import trace_text

        return trace_text(self)

    def _repr_html_(self) -> str:
        from pandaprobe_otel.traces.notebook import trace_html

        return trace_html(self)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the behaviour; see `behaviour_text`."""
        body = {**self.body, "spans": [span.body for span in self.spans]}
        return hashlib.sha256(behaviour_text(body).encode("utf-8", "surrogatepass")).hexdigest()


def _count(value: Any) -> int | None:
    """Return a number of tokens, which the server accepts as text, too; None for anything else."""
    if isinstance(value, str) and len(value) < 40 and value.isdecimal():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _last_text(value: Any) -> Any:
    """Return the text of a conversation's last message, or any other value unchanged."""
    messages = items(members(value).get("messages"))
    content = members(messages[-1]).get("content") if messages else None
    return value if content is None else content


def _microseconds(value: Any) -> int:
    """Return a moment in microseconds since 1970: from ISO 8601 text, a datetime, or the local store's microseconds."""
    try:
        if isinstance(value, int | float):
            return int(value)
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
        return ((moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND
    except (ValueError, OverflowError):
        return 0
