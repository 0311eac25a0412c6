"""A stored trace as a test plays it back: its calls and their places, and the refusal of one that lacks a part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, cast

from pandaprobe_otel.mapping.attributes import CANCELLED
from pandaprobe_otel.mapping.options import MASK_FAILED, MASKED
from pandaprobe_otel.replay.call_order import ordinal
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord
from pandaprobe_otel.transport.trace_file import EntryKind, read_entries, stand_in

MODELS: Final = "LLM"
TOOLS: Final = "TOOL"
_OF_A_ROOT: Final = ("name", "input", "output", "error", "metadata", "started_at", "ended_at")


class StoredTrace(TraceRecord):
    """A trace with the calls that a test plays back."""

    def span_bodies(self) -> Sequence[Mapping[str, Any]]:
        """Return all spans. A trace of the official SDK's `@trace` has no root span: then the trace itself is one."""
        found = super().span_bodies()
        roots = [span for span in found if span.get("parent_span_id") is None]
        if len(roots) < 2 or not _is_around(self.body, found):
            return found
        top = {name: self.body.get(name) for name in _OF_A_ROOT} | {
            "span_id": self.trace_id, "parent_span_id": None, "kind": "AGENT",
            "status": "ERROR" if self.failed else "OK",
        }  # fmt: skip
        return [top, *({**span, "parent_span_id": self.trace_id} if span in roots else span for span in found)]

    @property
    def root(self) -> SpanRecord:
        """The span that is above all others, or the first one."""
        return self.tree[0]

    @cached_property
    def model_calls(self) -> tuple[SpanRecord, ...]:
        """The model calls that got an answer, and that a test makes."""
        return tuple(span for span in self.spans if span.kind == MODELS and not _was_never_answered(span))

    @cached_property
    def played_tools(self) -> tuple[SpanRecord, ...]:
        """The tool calls that are played back: the outermost ones. Tools that call a model themselves run."""
        return tuple(
            span
            for span in self.spans
            if span.kind == TOOLS
            and span.outcome != CANCELLED
            and span.id not in self._ask_models
            and not self._is_in_played_tool(span)
        )

    @cached_property
    def _ask_models(self) -> frozenset[str]:
        """Return the ids of spans with a model call among their descendants."""
        return frozenset(one.id for span in self.spans if span.kind == MODELS for one in span.above)

    def _is_in_played_tool(self, span: SpanRecord) -> bool:
        return any(one.kind == TOOLS and one.id not in self._ask_models for one in span.above)

    def place_of(self, span: SpanRecord) -> str:
        """Return the names of a span and its ancestors, outermost first, with ordinals."""
        return " > ".join(self._names[one.id] for one in (*reversed(list(span.above)), span))

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """Return names, with ordinals for those that occur several times below the same span."""
        times: dict[tuple[str, str], int] = {}
        found: dict[str, str] = {}
        for span in self.spans:
            key = (str(span.body.get("parent_span_id")), span.name)
            number = times[key] = times.get(key, 0) + 1
            found[span.id] = span.name if number == 1 else f"{span.name} ({ordinal(number)})"
        return found

    def ended_before(self, span: SpanRecord) -> int:
        """Return the number of model calls that ended before a span began. A test of the span must make these calls."""
        return max((number for number, call in enumerate(self.model_calls, 1) if call.ended <= span.started), default=0)


def _is_around(body: Mapping[str, Any], spans: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a trace began before all of its spans and ended after them, as one that a function was around.

    A trace that consists of parts begins with its first span.
    """
    if not body.get("started_at") or not body.get("ended_at"):
        return False
    whole = SpanRecord(body)
    return all(whole.begin_us < span.begin_us and span.end_us < whole.end_us for span in map(SpanRecord, spans))


def _was_never_answered(span: SpanRecord) -> bool:
    """Return whether a call was abandoned before its answer, so that there is nothing to play back."""
    return span.outcome is not None and not span.output and not span.metadata.get("response_id")


def traces_in(path: Path) -> list[StoredTrace]:
    """Return the traces of a file that `init(local=FILE)` or `traces export` wrote.

    Raises ValueError for a file without traces, and OSError if it cannot be read.
    """
    bodies: dict[str, dict[str, Any]] = {}
    for entry in read_entries(path):
        if entry.kind is EntryKind.TRACE:
            before = bodies.get(entry.trace_id, {})
            bodies[entry.trace_id] = {**before, **entry.content, "spans": _united(before, entry.content["spans"])}
        elif entry.kind is EntryKind.SPANS:
            body = bodies.setdefault(entry.trace_id, stand_in(entry.trace_id, entry.content))
            body["spans"] = _united(body, entry.content)
        elif entry.kind is EntryKind.UPDATE and entry.trace_id in bodies:
            bodies[entry.trace_id].update(entry.content)
    if not bodies:
        raise ValueError(f"{path} contains no traces")
    return [StoredTrace(body) for body in bodies.values()]


def _united(body: Mapping[str, Any], more: list[Any]) -> list[Any]:
    return list({str(span["span_id"]): span for span in (*body.get("spans", ()), *more)}.values())


CUT: Final = re.compile(r"…\s?\[cut\b|\[cut \d+ of \d+ ")


class CannotCapture(ValueError):
    """A trace lacks something that a test needs. The text names the missing part and its place."""


def check_whole(value: Any, what: str) -> None:
    """Raise CannotCapture if part of a value was masked or cut."""
    for text in texts_in(value):
        if MASKED in text or MASK_FAILED in text:
            raise CannotCapture(f"{what} is masked")
        if CUT.search(text):
            raise CannotCapture(f"{what} is cut off")


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a value, including names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[str, Any]", value).items():
            yield name
            yield from texts_in(item)
    elif isinstance(value, Sequence):
        for item in cast("Iterable[Any]", value):
            yield from texts_in(item)
