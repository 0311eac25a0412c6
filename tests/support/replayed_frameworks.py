"""Checks of replay for every agent framework: a program is recorded, and then replayed without its endpoint.

A program is a function of its endpoint's URL and of `Parts`, of which a test changes one. Its tools note in `DONE` what
they did.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pandaprobe_otel
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint, ToolCall, text_of
from pandaprobe_otel.replay.cassette import load
from pandaprobe_otel.replay.divergence import Divergence

DONE: Final[list[str]] = []
_MADE_UP: Final = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|\bcall_\w+|\b[0-9a-f]{16,}\b|\badk-[\w-]+"
    r"|\d{4}-\d\d-\d\d[T ][\d:.+]+|127\.0\.0\.1:\d+|0x[0-9a-f]+"
)
_MEASURED: Final = re.compile(r"time|duration|\bid$|_id$|\.id$|port|fingerprint|thread|process|_s$")
TIMES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a program that a test can change."""

    instructions: str = "You know the weather, and the time."
    model: str = "gpt-5-mini"
    description: str = "Tell the weather in a city."
    questions: tuple[str, ...] = ("Weather in Oslo?", "Weather in Rome?")
    has_clock: bool = True


PARTS: Final = Parts()
CHANGES: Final[dict[str, tuple[Parts, int, str]]] = {
    "prompt": (replace(PARTS, instructions="You know nothing."), 1, "instructions|system|messages|input"),
    "schema": (replace(PARTS, description="Tell the weather of tomorrow."), 1, r"tools\.\w*weather"),
    "model": (replace(PARTS, model="gpt-5"), 1, "model"),
    "order": (replace(PARTS, questions=PARTS.questions[::-1]), 3, ""),
    "tool": (replace(PARTS, has_clock=False), 1, r"tools\.\w*clock"),
}
"""For each change: the changed parts, the call that reports it, and a pattern for the path that is reported."""

AT_ONCE: Final = replace(PARTS, questions=tuple(f"Weather in {city}?" for city in ("Oslo", "Rome", "Bern", "Lima")))
"""The parts of a program that asks all questions at once."""

Program = Callable[[str, Parts], Any]


def weather(city: str) -> str:
    """Tell the weather in a city."""
    DONE.append(f"weather {city}")
    return f"sunny in {city}"


def clock(city: str) -> str:
    """Tell the time in a city."""
    DONE.append(f"clock {city}")
    return f"noon in {city}"


def model(messages: Sequence[Message]) -> Reply:
    """Call both tools at once for the city of the question, then repeat their results; answer in JSON if asked to."""
    question = text_of(messages[-1]["content"])
    if messages[-1]["role"] == "tool":
        known = [text_of(message["content"]) for message in messages if message["role"] == "tool"]
        asks_for_json = any("as JSON" in text_of(message["content"]) for message in messages)
        return Reply(text='{"place": "Oslo", "degrees": 3}' if asks_for_json else " and ".join(known[-2:]))
    if "Weather in " not in question:
        return Reply(text=f"You said: {question}")
    city = question.rpartition("Weather in ")[2].partition("?")[0]
    return Reply(tool_calls=tuple(ToolCall(name=name, arguments={"city": city}) for name in ("weather", "clock")))


def _texts_of(spans: Sequence[ReadableSpan]) -> list[str]:
    """Return one text for each span with its ancestors' names, sorted: the order of parallel siblings may differ."""
    by_id = {span.context.span_id: span for span in spans if span.context is not None}
    texts: list[str] = []
    for span in spans:
        names, above = [span.name], span.parent
        while above is not None and above.span_id in by_id:
            names.append(by_id[above.span_id].name)
            above = by_id[above.span_id].parent
        content = sorted((k, str(v)) for k, v in (span.attributes or {}).items() if not _MEASURED.search(k))
        texts.append(_MADE_UP.sub("…", f"{' < '.join(names)} {span.status.status_code.name} {content}"))
    return sorted(texts)


_exporter: Final = InMemorySpanExporter()
_providers: Final[set[int]] = set()


def _spans_of(program: Callable[[], object]) -> list[str]:
    """Run a program, and return the texts of its spans."""
    provider: Any = trace.get_tracer_provider()
    if id(provider) not in _providers:  # a processor cannot be removed
        _providers.add(id(provider))
        provider.add_span_processor(SimpleSpanProcessor(_exporter))
    _exporter.clear()
    program()
    return _texts_of(_exporter.get_finished_spans())


def run(program: Program, url: str, path: Path, parts: Parts = PARTS) -> Any:
    """Run a program within a recording that includes its tools."""
    DONE.clear()
    with pandaprobe_otel.recording(path, tools=True):
        return program(url, parts)


def record(program: Program, path: Path, parts: Parts = PARTS) -> tuple[str, Any, list[str]]:
    """Record a program; return the URL of its endpoint, its result, and what its tools did."""
    with ScriptedEndpoint(model) as endpoint:
        result = run(program, endpoint.base_url, path, parts)
        return endpoint.base_url, result, list(DONE)


def is_replayed(program: Program, path: Path, parts: Parts = PARTS, *, times: int = TIMES) -> None:
    """Assert that replays without the endpoint always give the same result and spans, and run no tool."""
    results: list[Any] = []
    spans = _spans_of(lambda: results.extend(record(program, path, parts)))
    url, result, done = results
    assert result
    assert len(load(path).tools) == len(done) >= 2
    assert any("execute_tool weather" in text or "weather" in text.partition(" <")[0] for text in spans), spans
    for _ in range(times):
        assert _spans_of(lambda: results.append(run(program, url, path, parts))) == spans
        assert (results[-1], DONE) == (result, [])


def tells_changes(program: Program, path: Path) -> None:
    """Assert that each change of a program is reported as the first divergence, at the call that shows it."""
    url, _, _ = record(program, path)
    for name, (parts, call, where) in CHANGES.items():
        with pytest.raises(Divergence) as raised:
            run(program, url, path, parts)
        found = raised.value
        assert (found.call, DONE) == (call, []), f"{name}: {found}"
        assert re.match(where, found.path), f"{name}: {found.path}: {found}"


async def pause() -> None:
    """Wait as long as a database may take: a different time in each run."""
    await asyncio.sleep(random.choice((0, 0, 0.001, 0.004)))


def tells_changes_of_branches(program: Program, path: Path) -> None:
    """Assert that a change of a program that asks everything at once is reported, and the changed branch by name."""
    url, _, _ = record(program, path, AT_ONCE)
    for name in ("prompt", "schema", "model", "tool"):
        parts, _, where = CHANGES[name]
        with pytest.raises(Divergence) as raised:
            run(program, url, path, replace(parts, questions=AT_ONCE.questions))
        assert DONE == []
        assert re.match(where, raised.value.path), f"{name}: {raised.value.path}: {raised.value}"
    for number, question in enumerate(AT_ONCE.questions):
        changed = [*AT_ONCE.questions]
        changed[number] = "Weather in Quito?"
        with pytest.raises(Divergence) as raised:
            run(program, url, path, replace(AT_ONCE, questions=tuple(changed)))
        assert "Quito" in str(raised.value), f"{question}: {raised.value}"
