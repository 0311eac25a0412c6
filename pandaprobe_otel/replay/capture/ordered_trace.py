"""A stored trace: its spans by their start, in their places, told apart by what a test can answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pandaprobe_otel.evals.traces import SpanRecord, TraceRecord
from pandaprobe_otel.mapping.attributes import CANCELLED
from pandaprobe_otel.replay.call_places import ordinal
from pandaprobe_otel.transport.trace_file import EntryKind, read_entries, stand_in

MODELS: Final = "LLM"
TOOLS: Final = "TOOL"


class StoredTrace(TraceRecord):
    """A trace, with the way from each of its spans to the root."""

    @cached_property
    def _by_id(self) -> Mapping[str, SpanRecord]:
        return {id_of(span): span for span in self.spans}

    @cached_property
    def in_order(self) -> tuple[SpanRecord, ...]:
        """All spans by their start."""
        return tuple(sorted(self.spans, key=lambda span: span.started))

    @cached_property
    def root(self) -> SpanRecord:
        """The span that all others stand below, or the first one."""
        return next((span for span in self.in_order if self.parent_of(span) is None), self.in_order[0])

    def parent_of(self, span: SpanRecord) -> SpanRecord | None:
        """The span around one; None for a root, and where it is missing."""
        return self._by_id.get(str(span.body.get("parent_span_id")))

    def above(self, span: SpanRecord) -> Iterator[SpanRecord]:
        """The spans around one, from the inside out."""
        seen = {id_of(span)}
        parent = self.parent_of(span)
        while parent is not None and id_of(parent) not in seen:
            seen.add(id_of(parent))
            yield parent
            parent = self.parent_of(parent)

    @cached_property
    def model_calls(self) -> tuple[SpanRecord, ...]:
        """The calls of models that a test asks for, and that were answered."""
        return tuple(span for span in self.in_order if span.kind == MODELS and not _was_never_answered(span))

    @cached_property
    def played_tools(self) -> tuple[SpanRecord, ...]:
        """The calls of tools that are answered, the outermost ones. Those that ask a model themselves run."""
        return tuple(
            span
            for span in self.in_order
            if span.kind == TOOLS
            and span.outcome != CANCELLED
            and id_of(span) not in self._ask_models
            and not self._is_in_played_tool(span)
        )

    @cached_property
    def _ask_models(self) -> frozenset[str]:
        """Ids of spans with a call of a model somewhere below."""
        return frozenset(id_of(one) for span in self.spans if span.kind == MODELS for one in self.above(span))

    def _is_in_played_tool(self, span: SpanRecord) -> bool:
        return any(one.kind == TOOLS and id_of(one) not in self._ask_models for one in self.above(span))

    def place_of(self, span: SpanRecord) -> str:
        """The names of the spans around one, outermost first, with ordinals."""
        return " > ".join(self._names[id_of(one)] for one in reversed(list(self.above(span))))

    @cached_property
    def _names(self) -> Mapping[str, str]:
        """Names with the ordinals of those that come again below the same span."""
        times: dict[tuple[str, str], int] = {}
        found: dict[str, str] = {}
        for span in self.in_order:
            key = (str(span.body.get("parent_span_id")), span.name)
            number = times[key] = times.get(key, 0) + 1
            found[id_of(span)] = span.name if number == 1 else f"{span.name} ({ordinal(number)})"
        return found

    def ended_before(self, span: SpanRecord) -> int:
        """The number of calls of models that had ended when a span began: the last one that a test of it must ask."""
        return max((number for number, call in enumerate(self.model_calls, 1) if call.ended <= span.started), default=0)


def id_of(span: SpanRecord) -> str:
    """The id of a span."""
    return str(span.body.get("span_id"))


def metadata_of(span: SpanRecord) -> Mapping[str, Any]:
    """Return the metadata of a span."""
    found: Any = span.body.get("metadata")
    return found if isinstance(found, Mapping) else {}  # pyright: ignore[reportUnknownVariableType]


def _was_never_answered(span: SpanRecord) -> bool:
    """Return whether a call was given up before its answer, so that there is nothing to play."""
    return span.outcome is not None and not span.output and not metadata_of(span).get("response_id")


def traces_in(path: Path) -> list[StoredTrace]:
    """Return the traces of a file: one that `init(local=FILE)` wrote, or an exported one.

    Raises ValueError for a file without traces, OSError for one that cannot be read.
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
        raise ValueError(f"{path} holds no traces")
    return [StoredTrace(body) for body in bodies.values()]


def _united(body: Mapping[str, Any], more: list[Any]) -> list[Any]:
    return list({str(span["span_id"]): span for span in (*body.get("spans", ()), *more)}.values())
