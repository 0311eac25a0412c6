"""Failures of a trace as text, each with its path, error and input, in full or as part of a group."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from pandaprobe_otel.compact.number_text import duration_text, kind_of, path_of, some_ranges
from pandaprobe_otel.compact.suspects import Suspect
from pandaprobe_otel.compact.tokens import tokens_in
from pandaprobe_otel.compact.tree_lines import name_of
from pandaprobe_otel.compact.value_text import clipped, one_line, readable, text_of
from pandaprobe_otel.traces.records import SpanRecord, TraceRecord

_PATH: Final = 3
"""Spans at each end of a long path that are shown."""
_LEAST: Final = 24
"""Minimum number of tokens of each value of a failure."""
_ERROR: Final = 0.45
"""Share of a failure's tokens that its error may use. The rest is for its input and its output."""
_NUMBERS: Final = re.compile(r"\d+")


def failure_lines(trace: TraceRecord, tokens: int) -> list[str]:
    """Return the failures of a trace in about this many tokens: in full as long as they fit, the others by number."""
    groups = list(_groups(trace.origins))
    for in_full in range(min(len(groups), 12), 1, -1):
        lines = _lines(trace, groups, in_full, tokens)
        if lines is not None:
            return lines
    return _lines(trace, groups, 1, tokens) or []


def suspect_lines(found: Sequence[Suspect], tokens: int) -> list[str]:
    """Return the suspects of a trace without a failure, in at most this many tokens."""
    each = max(tokens // max(len(found), 1), _LEAST * 2)
    lines: list[str] = []
    for place, suspect in enumerate(found):
        line = clipped(f"SUSPECT {one_line(suspect.place)}: {one_line(suspect.sign)}", each)
        cost = tokens_in(line) + 1
        if cost > tokens and lines:
            return [*lines, f"and {len(found) - place} more signs"]
        tokens -= cost
        lines.append(line)
    return lines


def path_text(span: SpanRecord) -> str:
    """Return the path from the root to a span. Of a long path, only both ends."""
    spans = path_of(span)
    left_out = max(len(spans) - 2 * _PATH, 0) if len(spans) > 2 * _PATH + 1 else 0
    ends = [*spans[:_PATH], *spans[-_PATH:]] if left_out else spans
    path = [f"#{one.number} {clipped(one_line(one.name), 12)}" for one in ends]
    if left_out:
        path.insert(_PATH, f"… {left_out} spans …")
    return " › ".join(path)


def _groups(origins: Sequence[SpanRecord]) -> Iterator[list[SpanRecord]]:
    """Yield groups of failures that are alike: same kind and name, and same error except for numbers."""
    groups: dict[tuple[str, str, str], list[SpanRecord]] = {}
    for span in origins:
        error = _NUMBERS.sub("#", (span.error or "").split("\n")[0][:200])
        groups.setdefault((kind_of(span), span.name, error), []).append(span)
    yield from groups.values()


def _lines(trace: TraceRecord, groups: Sequence[Sequence[SpanRecord]], in_full: int, tokens: int) -> list[str] | None:
    """Return this many failures in full; None if their values would become too short. A single failure always fits."""
    rest = [span for group in groups[in_full:] for span in group]
    last = [f"FAILED as well: {some_ranges(sorted(span.number for span in rest))}"] if rest else []
    heads = [_head(group) for group in groups[:in_full]]
    room = tokens - sum(tokens_in(line) + 1 for line in (*last, *(line for head in heads for line in head)))
    each = room // max(in_full, 1)
    if each < 3 * _LEAST and in_full > 1:
        return None
    lines: list[str] = []
    for group, head in zip(groups, heads, strict=False):
        lines += [*head, *_values(group[0], max(each, 2 * _LEAST))]
    return lines + last


def _head(group: Sequence[SpanRecord]) -> list[str]:
    span = group[0]
    lines = [f"FAILED #{span.number} {name_of(span)} {duration_text(span)}", f"  path: {path_text(span)}"]
    if len(group) > 1:
        lines.append(f"  alike: {len(group) - 1} more, {some_ranges(one.number for one in group[1:])}")
    return lines


def _values(span: SpanRecord, tokens: int) -> Iterator[str]:
    error = clipped(one_line(span.described_error or str(span.error)), max(int(tokens * _ERROR) - 4, _LEAST // 2))
    yield f"  error: {error}"
    left = tokens - tokens_in(error) - 8
    given = {name: span.body.get(name) for name in ("input", "output")}
    told = [name for name, value in given.items() if value not in (None, "", {}, [])]
    for place, name in enumerate(told):
        share = left // (len(told) - place) - 12
        whole = one_line(readable(given[name]))
        text = clipped(whole, max(share, _LEAST // 2))
        handle = "" if text == text_of(given[name]) else f" ⟨#{span.number}.{name}⟩"
        yield f"  {name}: {text}{handle}"
        left -= tokens_in(text) + 12
