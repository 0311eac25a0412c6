"""The limits and markers in `docs/recorded.md`, each tested at its limit."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from pandaprobe_otel.mapping import EventView, LinkView
from views import mapped, only_span, view

CHAT = {"gen_ai.operation.name": "chat"}


def test_errors() -> None:
    """A long error keeps its beginning, with the length of the omitted part."""
    failed = view("work", CHAT, status_code="ERROR", status_description="e" * 20_000)
    assert only_span(mapped(failed))["error"] == f"{'e' * 16_384}…[cut 3616 of 20000 characters]"


def test_links_and_events() -> None:
    """The first links and events are kept, with the number of the others."""
    links = tuple(LinkView(number, number) for number in range(1, 41))
    events = [EventView(f"step {number}", 5, {}) for number in range(200)]
    metadata = only_span(mapped(view("work", CHAT, links=links, events=events)))["metadata"]
    assert (len(metadata["links"]), metadata["left_out_links"]) == (32, 8)
    assert (len(metadata["events"]), metadata["events"][-1]) == (129, {"name": "[72 more of 200 events]"})


def test_ids() -> None:
    """A name or id too long for the server is cut, and the whole is in the metadata."""
    long = {"session.id": "s" * 300, "user.id": "u" * 300, "gen_ai.request.model": "m" * 300}
    body = mapped(view("n" * 600, {**CHAT, **long}))
    span = only_span(body)
    assert [len(text) for text in (body["name"], body["session_id"], body["user_id"])] == [512, 255, 255]
    assert (len(span["name"]), len(span["model"])) == (512, 255)
    assert (span["metadata"]["full_name"], span["metadata"]["full_model"]) == ("n" * 600, "m" * 300)
    assert (body["metadata"]["full_session_id"], body["metadata"]["full_user_id"]) == ("s" * 300, "u" * 300)


def test_queries_of_databases() -> None:
    """Database queries are metadata, with a limit for long texts."""
    metadata = only_span(mapped(view("SELECT", {"db.system": "postgresql", "db.query.text": "q" * 5000})))["metadata"]
    assert metadata["db.query.text"] == f"{'q' * 2048}…[cut 2952 of 5000 characters]"


def test_nesting() -> None:
    """Nesting is cut, because the server loses deeper traces."""
    value: Any = "the deepest"
    for _ in range(300):
        value = {"a": value}
    given = {"pandaprobe.span.kind": "TOOL", "pandaprobe.input": json.dumps(value)}
    assert "…[cut: dict nested too deeply]" in str(only_span(mapped(view("work", given)))["input"])


@pytest.mark.parametrize("name", ["pandaprobe.output", "gen_ai.tool.call.result"])
def test_nan_and_lone_surrogates_do_not_break_json(name: str) -> None:
    """NaN in JSON from Python, and lone surrogates in JSON from JavaScript, do not break the structure."""
    value = {"score": math.nan, "best": -math.inf, "text": "cut \ud83d", "n": 1}
    span = only_span(mapped(view("work", {"pandaprobe.span.kind": "TOOL", name: json.dumps(value)})))
    assert span["output"] == {"score": None, "best": None, "text": "cut \ufffd", "n": 1}
    for plain in ("NaN is no number", "[NaN", '{"a": NaN'):
        span = only_span(mapped(view("work", {"pandaprobe.span.kind": "TOOL", "gen_ai.tool.call.result": plain})))
        assert span["output"] == plain
