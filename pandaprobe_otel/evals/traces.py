"""Traces as tests see them: the ended spans in PandaProbe's form, read without a server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, cast

from pandaprobe_otel.evals.behaviour import behaviour_text
from pandaprobe_otel.mapping.outcomes import UNFINISHED, outcome_in
from pandaprobe_otel.reporting.trace_display import trace_html, trace_text
from pandaprobe_otel.reporting.trace_tree import by_depth


@dataclass(frozen=True)
class SpanRecord:
    """A span: a model call, a tool call, or another step."""

    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the span; for a tool call, the name of the tool."""
        return str(self.body.get("name", ""))

    @property
    def kind(self) -> str:
        """AGENT, TOOL, LLM, RETRIEVER, CHAIN, EMBEDDING or OTHER."""
        return str(self.body.get("kind", "OTHER"))

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
        if self.body.get("status") != "ERROR":
            return None
        return str(self.body.get("error") or "failed without a message")

    @property
    def error_type(self) -> str | None:
        """Qualified name of the exception's class. None: the span did not fail or does not state it."""
        found: Mapping[str, Any] = self.body.get("metadata") or {}
        named = found.get("exception_type") or found.get("error_type")
        return str(named) if named and self.error is not None else None

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
            except ValueError:
                return {}
        return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}

    @property
    def tokens(self) -> int | None:
        """Prompt and completion tokens together, added as PandaProbe does. None: the span states none."""
        usage: Mapping[str, Any] = self.body.get("token_usage") or {}
        counts = [usage[name] for name in ("prompt_tokens", "completion_tokens") if isinstance(usage.get(name), int)]
        return sum(counts) if counts else None

    @property
    def cost(self) -> float | None:
        """Cost in US dollars. None: the span states none."""
        cost: Mapping[str, Any] = self.body.get("cost") or {}
        total = cost.get("total")
        return float(total) if isinstance(total, int | float) else None

    @cached_property
    def started(self) -> datetime:
        """Start time."""
        return datetime.fromisoformat(str(self.body["started_at"]))

    @cached_property
    def ended(self) -> datetime:
        """End time."""
        return datetime.fromisoformat(str(self.body.get("ended_at") or self.body["started_at"]))


@dataclass(frozen=True)
class TraceRecord:
    """A whole trace: the body of POST /traces."""

    body: Mapping[str, Any]

    @property
    def trace_id(self) -> str:
        """Id of the trace in PandaProbe (UUID text)."""
        return str(self.body["trace_id"])

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
    def outcome(self) -> str | None:
        """`cancelled`, `timed_out`, `interrupted` or `partial` for a trace that neither succeeded nor failed."""
        return outcome_in(self.body)

    @property
    def unfinished(self) -> str | None:
        """Outcome of an incomplete trace, which was cancelled, timed out or abandoned."""
        return self.outcome if self.outcome in UNFINISHED else None

    @cached_property
    def spans(self) -> tuple[SpanRecord, ...]:
        """Spans of the trace, ordered by start."""
        return tuple(SpanRecord(span) for span in self.body["spans"])

    @property
    def cost(self) -> float | None:
        """Cost of its spans in US dollars. None: no span states any."""
        known = [span.cost for span in self.spans if span.cost is not None]
        return sum(known) if known else None

    @property
    def seconds(self) -> float:
        """Seconds from start to end."""
        if not self.body.get("ended_at"):
            return 0.0
        ends = [datetime.fromisoformat(str(self.body[name])) for name in ("started_at", "ended_at")]
        return (ends[1] - ends[0]).total_seconds()

    def __str__(self) -> str:
        return trace_text(self.body)

    def _repr_html_(self) -> str:
        return trace_html(self.body)

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of the behaviour; see `behaviour_text`."""
        body = {**self.body, "spans": [span.body for span in self.spans]}
        return hashlib.sha256(behaviour_text(body).encode("utf-8", "surrogatepass")).hexdigest()


def _last_text(value: Any) -> Any:
    """Return the text of a conversation's last message, or any other value unchanged."""
    if not isinstance(value, Mapping):
        return value
    messages = cast("Mapping[str, list[Any] | None]", value).get("messages")
    if not isinstance(messages, list) or not messages:
        return cast("Any", value)
    last: Any = messages[-1]
    content: Any = cast("Mapping[str, Any]", last).get("content") if isinstance(last, Mapping) else None
    return cast("Any", value) if content is None else content


def walk(trace: TraceRecord) -> Iterator[tuple[int, SpanRecord]]:
    """Yield the spans of a trace with their depth, parents before children. Spans without a parent are roots."""
    return by_depth(trace.spans, body=lambda span: span.body)
