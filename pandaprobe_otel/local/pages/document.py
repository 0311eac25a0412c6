"""One static HTML file of traces, which needs no server, loads nothing, and runs only its own script.

Its parts are those of the server's pages. Content that the pages request later is in `template` elements here. Browsers
do not show these until the script copies one.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from markupsafe import Markup

from pandaprobe_otel.local.pages.rendering import STATIC, rendered
from pandaprobe_otel.local.pages.trace_facts import facts_of, tool_uses
from pandaprobe_otel.traces.conversation import preview, turns_of
from pandaprobe_otel.traces.markdown import part_heading, span_block, trace_heading
from pandaprobe_otel.traces.records import TraceRecord

MAX_TRACES: Final = 500
"""Maximum number of traces in a file, since browsers open larger files slowly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredTrace:
    """A trace as returned by `GET /traces/{id}`, with the records of its scores."""

    trace: Mapping[str, Any]
    scores: Sequence[Mapping[str, Any]] = field(default_factory=list[Mapping[str, Any]])


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    record: TraceRecord
    facts: Mapping[str, Any]
    asked: str
    answered: str
    html: Markup


def html_document(records: Sequence[ScoredTrace], title: str, *, total: int = 0) -> str:
    """Return a complete page of traces in the given order; if there are more than `MAX_TRACES`, of the last ones.

    total: the number of all traces, if not all are given. The page states how many are omitted.
    """
    shown = records[-MAX_TRACES:]
    views = [_view(number, record, many=len(shown) > 1) for number, record in enumerate(shown, 1)]
    style = (STATIC / "app.css").read_text(encoding="utf-8")
    script = (STATIC / "app.js").read_text(encoding="utf-8")
    logo = base64.b64encode((STATIC / "panda.svg").read_bytes()).decode()
    return rendered(
        "document.html",
        static=True,
        title=title,
        exported=f"exported {datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        views=views,
        left_out=max(total, len(records)) - len(shown),
        style=Markup(style),
        script=Markup(script),
        logo=f"data:image/svg+xml;base64,{logo}",
        policy=(
            f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:; "
            "media-src data:; base-uri 'none'; form-action 'none'"
        ),
    )


def _view(number: int, scored: ScoredTrace, *, many: bool) -> _View:
    place = f"t{number}"
    trace, record = scored.trace, TraceRecord(scored.trace)
    facts = facts_of(record)
    html = rendered(
        "_document_trace.html",
        static=True,
        place=place,
        many=many,
        trace=trace,
        record=record,
        axis_ms=record.length_ms,
        facts=facts,
        scores=scored.scores,
        turns=turns_of(record.tree),
        tools=tool_uses(record.tree),
        selected=None,
        hits=None,
        q="",
        json_text=json.dumps(trace, ensure_ascii=False, indent=2),
        trace_markdown=trace_heading(record),
        part_markdown=part_heading(record),
        span_markdown=span_block,
        span_link=partial(_link, place),
        detail_link=partial(_stored, f"{place}-d"),
        markdown_link=partial(_stored, f"{place}-m"),
    )
    return _View(
        record=record,
        facts=facts,
        asked=preview(trace["input"]),
        answered=preview(trace["output"]),
        html=Markup(html),  # The template above has rendered and escaped it.
    )


def _link(name: str, span_id: str | None = None) -> str:
    return f"#{name}" if span_id is None else f"#{name}-{span_id}"


def _stored(name: str, _trace_id: str, span_id: str | None = None) -> str:
    return _link(name, span_id)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
