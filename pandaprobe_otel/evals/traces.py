"""Traces as a test sees them: PandaProbe's form of the spans that ended, read without any server."""

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
from pandaprobe_otel.reporting.span_order import by_depth
from pandaprobe_otel.reporting.trace_display import trace_html, trace_text


@dataclass(frozen=True)
class SpanRecord:
    """One span: a model call, a tool call, a step."""

    body: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the span; of a tool call the tool's."""
        return str(self.body.get("name", ""))

    @property
    def kind(self) -> str:
        """AGENT, TOOL, LLM, RETRIEVER, CHAIN, EMBEDDING or OTHER."""
        return str(self.body.get("kind", "OTHER"))

    @property
    def input(self) -> Any:
        """The input; of a tool call its arguments by name."""
        return self.body.get("input")

    @property
    def output(self) -> Any:
        """The output."""
        return self.body.get("output")

    @property
    def model(self) -> str | None:
        """Name of the model that was asked."""
        return self.body.get("model")

    @property
    def error(self) -> str | None:
        """Text of the error; None for a span without one."""
        if self.body.get("status") != "ERROR":
            return None
        return str(self.body.get("error") or "failed without a message")

    @property
    def error_type(self) -> str | None:
        """Name of the exception's class, with its module; None for a span that did not fail, or does not say."""
        found: Mapping[str, Any] = self.body.get("metadata") or {}
        named = found.get("exception_type") or found.get("error_type")
        return str(named) if named and self.error is not None else None

    @property
    def outcome(self) -> str | None:
        """`cancelled`, `timed_out`, `interrupted` or `partial` for a span that neither succeeded nor failed."""
        return outcome_in(self.body)

    @property
    def arguments(self) -> Mapping[str, Any]:
        """The input as arguments by name; empty where it has no names."""
        value = self.input
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError:
                return {}
        return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}

    @property
    def tokens(self) -> int | None:
        """Prompt and completion tokens together, as PandaProbe adds them up; None when the span says nothing."""
        usage: Mapping[str, Any] = self.body.get("token_usage") or {}
        counts = [usage[name] for name in ("prompt_tokens", "completion_tokens") if isinstance(usage.get(name), int)]
        return sum(counts) if counts else None

    @property
    def cost(self) -> float | None:
        """Cost in US dollars; None when the span says nothing."""
        cost: Mapping[str, Any] = self.body.get("cost") or {}
        total = cost.get("total")
        return float(total) if isinstance(total, int | float) else None

    @cached_property
    def started(self) -> datetime:
        """The time of its start."""
        return datetime.fromisoformat(str(self.body["started_at"]))

    @cached_property
    def ended(self) -> datetime:
        """The time of its end."""
        return datetime.fromisoformat(str(self.body.get("ended_at") or self.body["started_at"]))


@dataclass(frozen=True)
class TraceRecord:
    """One trace, whole: the body of POST /traces."""

    body: Mapping[str, Any]

    @property
    def trace_id(self) -> str:
        """Its id in PandaProbe (UUID text)."""
        return str(self.body["trace_id"])

    @property
    def session_id(self) -> str | None:
        """Its session."""
        return self.body.get("session_id")

    @property
    def input(self) -> Any:
        """The question; of a conversation the last user message."""
        return _said(self.body.get("input"))

    @property
    def output(self) -> Any:
        """The answer; of a conversation the last assistant message."""
        return _said(self.body.get("output"))

    @property
    def outcome(self) -> str | None:
        """`cancelled`, `timed_out`, `interrupted` or `partial` for a trace that neither succeeded nor failed."""
        return outcome_in(self.body)

    @property
    def unfinished(self) -> str | None:
        """The outcome of a trace that is only a part: it was cancelled, timed out or left early."""
        return self.outcome if self.outcome in UNFINISHED else None

    @cached_property
    def spans(self) -> tuple[SpanRecord, ...]:
        """Its spans by start."""
        return tuple(SpanRecord(span) for span in self.body["spans"])

    @property
    def cost(self) -> float | None:
        """Cost of its spans in US dollars; None where none states it."""
        known = [span.cost for span in self.spans if span.cost is not None]
        return sum(known) if known else None

    @property
    def seconds(self) -> float:
        """From its start to its end."""
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


def _said(value: Any) -> Any:
    """Return the text of a conversation's last message, anything else as it is."""
    if not isinstance(value, Mapping):
        return value
    messages = cast("Mapping[str, list[Any] | None]", value).get("messages")
    if not isinstance(messages, list) or not messages:
        return cast("Any", value)
    last: Any = messages[-1]
    content: Any = cast("Mapping[str, Any]", last).get("content") if isinstance(last, Mapping) else None
    return cast("Any", value) if content is None else content


def walk(trace: TraceRecord) -> Iterator[tuple[int, SpanRecord]]:
    """Yield the spans of a trace with their depth, parents before children. A span without parent stands at the top."""
    return by_depth(trace.spans, body=lambda span: span.body)
