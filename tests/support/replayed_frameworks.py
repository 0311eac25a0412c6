"""Rules for replays of every agent framework: a program is recorded, and played with its endpoint gone.

A program is a function of the URL of its endpoint and of `Parts`, of which a test changes one. Its tools count in
`DONE` what they do to the world.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pandaprobe_otel
from pandaprobe_otel import Divergence
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall, text_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.replay.cassette import load

DONE: Final[list[str]] = []
_MADE_UP: Final = re.compile(
    r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}|\bcall_\w+|\b[0-9a-f]{16,}\b|\badk-[\w-]+"
    r"|\d{4}-\d\d-\d\d[T ][\d:.+]+|127\.0\.0\.1:\d+|0x[0-9a-f]+"
)
_MEASURED: Final = re.compile(r"time|duration|\bid$|_id$|\.id$|port|fingerprint|thread|process|_s$")
TIMES: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a program."""

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
"""A change -> the parts, the call at which it is told, and a pattern of the path that it is told by."""

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
    """Ask both tools at once about the city of the question, then tell what they say; JSON for who asks for JSON."""
    said = text_of(messages[-1]["content"])
    if messages[-1]["role"] == "tool":
        known = [text_of(message["content"]) for message in messages if message["role"] == "tool"]
        asks_for_json = any("as JSON" in text_of(message["content"]) for message in messages)
        return Reply(text='{"place": "Oslo", "degrees": 3}' if asks_for_json else " and ".join(known[-2:]))
    if "Weather in " not in said:
        return Reply(text=f"You said: {said}")
    city = said.rpartition("Weather in ")[2].partition("?")[0]
    return Reply(tool_calls=tuple(ToolCall(name=name, arguments={"city": city}) for name in ("weather", "clock")))


class Spans:
    """The spans of a run, each with the names above it; siblings that ran side by side may swap."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    def clear(self) -> None:
        """Forget what has been recorded so far."""
        self._exporter.clear()

    def told(self) -> list[str]:
        """Return a text for each span."""
        spans = self._exporter.get_finished_spans()
        by_id = {span.context.span_id: span for span in spans if span.context is not None}
        texts: list[str] = []
        for span in spans:
            names, above = [span.name], span.parent
            while above is not None and above.span_id in by_id:
                names.append(by_id[above.span_id].name)
                above = by_id[above.span_id].parent
            said = sorted((k, str(v)) for k, v in (span.attributes or {}).items() if not _MEASURED.search(k))
            texts.append(_MADE_UP.sub("…", f"{' < '.join(names)} {span.status.status_code.name} {said}"))
        return sorted(texts)


_exporter: Final = InMemorySpanExporter()
_heard: Final[set[int]] = set()


@contextmanager
def spans_recorded() -> Iterator[Spans]:
    """Keep the spans of the process within the block."""
    provider: Any = trace.get_tracer_provider()
    if id(provider) not in _heard:  # no processor can be taken off
        _heard.add(id(provider))
        provider.add_span_processor(SimpleSpanProcessor(_exporter))
    _exporter.clear()
    yield Spans(_exporter)
    _exporter.clear()


def run(program: Program, url: str, path: Path, parts: Parts = PARTS) -> Any:
    """Run a program in a recording, with its tools."""
    DONE.clear()
    with pandaprobe_otel.recording(path, tools=True):
        return program(url, parts)


def record(program: Program, path: Path) -> tuple[str, Any, list[str]]:
    """Record a program: where its endpoint was, what it returned, and what its tools have done."""
    with ScriptedEndpoint(model) as endpoint:
        result = run(program, endpoint.base_url, path)
        return endpoint.base_url, result, list(DONE)


def is_replayed(program: Program, path: Path, *, times: int = TIMES) -> None:
    """Assert that a program does the same again and again, with its endpoint gone, and that no tool runs."""
    with spans_recorded() as spans:
        url, result, done = record(program, path)
        told = spans.told()
        assert result
        assert len(load(path).tools) == len(done) >= 2
        assert any("execute_tool weather" in text or "weather" in text.partition(" <")[0] for text in told), told
        for _ in range(times):
            spans.clear()
            assert run(program, url, path) == result
            assert spans.told() == told
            assert DONE == []


def tells_changes(program: Program, path: Path) -> None:
    """Assert that each change of a program is told, as the first divergence, at the call where it is seen."""
    url, _, _ = record(program, path)
    for name, (parts, call, where) in CHANGES.items():
        with pytest.raises(Divergence) as raised:
            run(program, url, path, parts)
        found = raised.value
        assert (found.call, DONE) == (call, []), f"{name}: {found}"
        assert re.match(where, found.path), f"{name}: {found.path}: {found}"
