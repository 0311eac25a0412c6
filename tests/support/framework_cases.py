"""Checks that every agent framework's tests apply to their agents (tests/frameworks/)."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

import pandaprobe_otel
from agent_traces import AgentTrace, SentTraces, tokens_of
from pandaprobe_otel.demo.completions import Message, Reply
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping.attributes import CANCELLED, PARTIAL
from span_recorder import SpanRecorder
from weather_model import WEATHER, weather, weather_model

StartModel = Callable[..., ScriptedEndpoint]
"""Type of the fixture `model`."""

CITIES = (*WEATHER,) * 3
"""Cities that concurrent runs ask about: "Weather in CITY?"."""

EMBEDDING_MODEL: Final = "text-embedding-3-small"

_SUPPORT = Path(__file__).resolve().parent
_OURS = ("pandaprobe_otel_integrations.", "opentelemetry.")
_WORKING = {"hooked", "adopted"}
_PATIENCE_S = 20.0
_WHOLE = "one two three four five six seven eight nine ten"


@contextmanager
def off(name: str) -> Iterator[None]:
    """Remove our instrumentation from the framework within the block; afterwards instrument it as `init()` does."""
    pandaprobe_otel.uninstrument(name)
    try:
        yield
    finally:
        assert pandaprobe_otel.instrument(name).state in _WORKING


@contextmanager
def instrumented_with(name: str, **options: Any) -> Iterator[None]:
    """Instrument the framework with these options within the block."""
    with off(name):
        assert pandaprobe_otel.instrument(name, **options).state in _WORKING
        try:
            yield
        finally:
            pandaprobe_otel.uninstrument(name)


@contextmanager
def recorded_apart(name: str, **options: Any) -> Iterator[SpanRecorder]:
    """Record the framework's spans with a provider other than the global one within the block."""
    recorder = SpanRecorder()
    with instrumented_with(name, tracer_provider=recorder.provider, **options):
        yield recorder


def told_by(recorder: SpanRecorder) -> str:
    """Return all content of the recorded spans, to search for values that must not be recorded."""
    return str(
        [(each.name, dict(each.attributes or {}), each.events, each.status.description) for each in recorder.spans]
    )


def growth(runs: Callable[[int], object], count: int, *, first: int = 50) -> int:
    """Return how many more objects are alive after `count` runs than after `first` runs, which are made twice.

    If the number grows, measure again and return the smaller growth: objects that another thread loads meanwhile (the
    local server seals traces) appear once, while objects that runs leave behind appear again.
    """
    runs(first)
    before = _objects_after(runs, first)
    after = _objects_after(runs, count)
    return after - before if after <= before else min(after - before, _objects_after(runs, count) - after)


def growth_of_ours(runs: Callable[[int], object], count: int, *, first: int) -> Counter[str]:
    """Return the growth by class of our and OpenTelemetry's objects, for frameworks that keep objects themselves."""
    runs(first)
    before = _ours_after(runs, first)
    return _ours_after(runs, count) - before


def _objects_after(runs: Callable[[int], object], count: int) -> int:
    runs(count)
    gc.collect()
    return len(gc.get_objects())


def _ours_after(runs: Callable[[int], object], count: int) -> Counter[str]:
    runs(count)
    gc.collect()
    kinds = Counter(f"{type(each).__module__}.{type(each).__name__}" for each in gc.get_objects())
    return Counter({kind: found for kind, found in kinds.items() if kind.startswith(_OURS)})


def run_beside_another_vendor(
    framework: str, *arguments: object, timeout_s: float = 100.0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run `<framework>_rival.py`, an app that another vendor instruments too; return its report on our integration."""
    app = _SUPPORT.parent / "frameworks" / f"{framework}_rival.py"
    done = subprocess.run(
        [sys.executable, app, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(_SUPPORT), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )
    assert done.returncode == 0, done.stderr
    return done


def in_tasks(run: Callable[[str], Awaitable[object]]) -> None:
    """Run the function for each of `CITIES`, each in its own task of one event loop."""

    async def gathered() -> None:
        await asyncio.gather(*map(run, CITIES))

    asyncio.run(gathered())


def in_threads(run: Callable[[str], object]) -> None:
    """Run the function for each of `CITIES`, each in its own thread."""
    with ThreadPoolExecutor(len(CITIES)) as pool:
        list(pool.map(run, CITIES))


def is_silent_beside_another_vendor(
    framework: str, traces: SentTraces, server: LocalServer, endpoint: ScriptedEndpoint
) -> AgentTrace:
    """Assert that our integration reports why it makes no spans beside OpenInference, and that tokens count once.

    Return the trace.
    """
    done = run_beside_another_vendor(framework, server.url, server.api_key, endpoint.base_url)
    assert done.stdout.startswith("skipped: OpenInference records these calls")
    trace = traces.one()
    assert f"pandaprobe_otel.{framework}" not in {span["metadata"]["scope"] for span in trace.spans}
    assert trace.body["total_tokens"] == tokens_of(endpoint.exchanges) > 0
    return trace


def do_not_mix(found: Sequence[AgentTrace], *kinds: str) -> None:
    """Assert that these traces of runs about all `CITIES` are complete, and that each mentions its own city only."""
    asked = [trace.only("TOOL")["input"]["city"] for trace in found]
    assert Counter(asked) == Counter(CITIES)
    for trace, city in zip(found, asked, strict=True):
        assert Counter(span["kind"] for span in trace.spans) == Counter(kinds), str(trace)
        assert f"The station says: {WEATHER[city]}" in str(trace.body["output"])
        told = str(trace.body)
        assert f"Weather in {city}?" in told
        of_others = [word for other, said in WEATHER.items() if other != city for word in (other, said)]
        assert [word for word in of_others if word in told] == []


def ended_without_error(trace: AgentTrace, *kinds: str, outcome: str | None = CANCELLED) -> None:
    """Assert that the trace of a cancelled or abandoned run has spans of these kinds, ended and without errors.

    The trace, its root, and every span that has no output show the outcome; of a left stream, also the last span.
    """
    assert [span["kind"] for span in trace.spans] == [*kinds], str(trace)
    assert [span["name"] for span in trace.spans if "ended_at" not in span or span["status"] == "ERROR"] == []
    assert trace.body["metadata"].get("outcome") == outcome, str(trace)
    assert trace.root["metadata"].get("outcome") == outcome, str(trace)
    unfinished = [span for span in trace.spans if "output" not in span]
    if outcome == PARTIAL:
        unfinished.append(trace.spans[-1])
    assert [span["name"] for span in unfinished if span["metadata"].get("outcome") != outcome] == [], str(trace)


def cancel_in_the_model(model: StartModel, run: Callable[[ScriptedEndpoint], Awaitable[object]]) -> None:
    """Cancel a run while its model answers, as `asyncio.wait_for` does; the app gets the cancellation."""
    asked, answer = threading.Event(), threading.Event()

    def slow(messages: Sequence[Message]) -> Reply:
        asked.set()
        answer.wait(_PATIENCE_S)
        return Reply(text=_WHOLE)

    async def cancelled() -> None:
        task = asyncio.ensure_future(run(endpoint))
        await asyncio.to_thread(asked.wait, _PATIENCE_S)
        task.cancel()
        (result,) = await asyncio.gather(task, return_exceptions=True)
        answer.set()  # the loop waits at its end for a thread that goes on
        assert isinstance(result, asyncio.CancelledError)

    endpoint = model(slow)
    try:
        asyncio.run(cancelled())
    finally:
        answer.set()


def left_after_a_word(model: StartModel, leave: Callable[[ScriptedEndpoint], Awaitable[object]]) -> ScriptedEndpoint:
    """Run `leave`, which stops reading the stream of a run after its first text, and return the model's endpoint."""
    # Without pauses, some frameworks have read a whole answer before the app gets its first text.
    endpoint = model(lambda messages: Reply(text=_WHOLE), seconds_per_chunk=0.02)
    asyncio.run(_leaving(leave, endpoint))
    gc.collect()
    return endpoint


async def _leaving(leave: Callable[[ScriptedEndpoint], Awaitable[object]], endpoint: ScriptedEndpoint) -> None:
    await leave(endpoint)
    gc.collect()
    await asyncio.sleep(0)  # the loop closes the generators that were dropped in tasks of its own
    if closing := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(closing, timeout=_PATIENCE_S)


async def cancel_in_a_tool(run: Callable[[Callable[[str], Awaitable[str]]], Awaitable[object]]) -> None:
    """Cancel a run while its tool works. `run` gets the tool, and must ask for the weather."""
    called, answer = threading.Event(), threading.Event()

    async def weather(city: str) -> str:
        """Tell the weather in a city."""
        called.set()
        await asyncio.to_thread(answer.wait, _PATIENCE_S)
        return _WHOLE

    task = asyncio.ensure_future(run(weather))
    await asyncio.to_thread(called.wait, _PATIENCE_S)
    task.cancel()
    (result,) = await asyncio.gather(task, return_exceptions=True)
    answer.set()  # some frameworks run tools in threads, which no cancellation reaches
    assert isinstance(result, asyncio.CancelledError)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentApp:
    """The runs of one framework, for `CUTS`.

    Attributes:
        run: Asks an agent at this endpoint, which has this tool: `run(endpoint, question, weather)`.
        leave: Reads the streamed answer of an agent at this endpoint until its first text.
        script: A model like `weather_model`.
        sees_calls: False if a program of the framework's own calls the model, and reports its answers only.
        is_awaited: False if the framework's runs block, so that they cannot be cancelled.
        passes_stops: False if the framework runs tools where only an `Exception` gets out of them.
        passes_refusals: False if a run whose model refuses returns.
    """

    run: Callable[[ScriptedEndpoint, str, Callable[..., Any]], Awaitable[object]]
    leave: Callable[[ScriptedEndpoint], Awaitable[object]] | None = None
    script: Script = weather_model
    sees_calls: bool = True
    is_awaited: bool = True
    passes_stops: bool = True
    passes_refusals: bool = True


def _can_be_cancelled(app: AgentApp) -> None:
    if not app.is_awaited:
        pytest.skip("its runs block")


def _cancelled_in_the_model(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    _can_be_cancelled(app)
    cancel_in_the_model(model, lambda endpoint: app.run(endpoint, "Hi", weather))
    _is_cut_short(traces.one(), "LLM" if app.sees_calls else "AGENT", CANCELLED)


def _cancelled_in_a_tool(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    _can_be_cancelled(app)
    endpoint = model(app.script)
    asyncio.run(cancel_in_a_tool(lambda slow: app.run(endpoint, "Weather in Oslo?", slow)))
    _is_cut_short(traces.one(), "TOOL", CANCELLED)


def _left(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    if app.leave is None:
        pytest.skip("it has no streams")
    left_after_a_word(model, app.leave)
    _is_cut_short(traces.one(), "LLM", PARTIAL, CANCELLED)  # frameworks cancel the work that nobody waits for


def _refused(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    outcome = asyncio.run(_outcome(app.run(model(app.script), "Weather in Nowhere?", weather)))
    assert (isinstance(outcome, Exception) and "There is no Nowhere" in str(outcome)) == app.passes_refusals, outcome
    trace = traces.one()
    failed = [trace.root, trace.only("LLM")]
    assert [span["name"] for span in failed if span["status"] != "ERROR"] == [], str(trace)
    assert "There is no Nowhere" in failed[1]["error"]
    assert trace.body["status"] == "ERROR"
    assert [span["name"] for span in trace.spans if "ended_at" not in span] == []


def _raised_in_a_tool(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    tool_raises(app, traces, model, ValueError)


def _stopped_in_a_tool(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    if not app.passes_stops:
        pytest.skip("its tools run apart from its agents")
    tool_raises(app, traces, model, Stop)


class Stop(BaseException):
    """An exception that frameworks do not give to the model."""


def tool_raises(app: AgentApp, traces: SentTraces, model: StartModel, kind: type[BaseException]) -> None:
    """Assert that a tool's exception is the error of its span, and of the whole run only if it leaves the run."""

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        raise kind(f"no station in {city}")

    outcome = asyncio.run(_outcome(app.run(model(app.script), "Weather in Oslo?", weather)))
    trace = traces.one()
    told = str(trace)
    tool = next(span for span in trace.spans if span["kind"] == "TOOL")
    assert (tool["status"], "no station in Oslo" in tool.get("error", "")) == ("ERROR", True), told
    assert [span["name"] for span in trace.spans if "ended_at" not in span] == [], told
    assert [span["name"] for span in trace.spans if span["kind"] == "LLM" and span["status"] == "ERROR"] == [], told
    is_failed = isinstance(outcome, BaseException)
    assert (trace.root["status"], trace.body["status"]) == (("ERROR",) * 2 if is_failed else ("OK", "COMPLETED")), told
    assert is_failed or kind is not Stop


async def _outcome(one: Awaitable[object]) -> object:
    """Return the result, or the exception that the app gets."""
    (outcome,) = await asyncio.gather(one, return_exceptions=True)
    return outcome


def _is_cut_short(trace: AgentTrace, kind: str, *outcomes: str) -> None:
    """Assert that a trace shows at which span of this kind its run was cut short, and how, without an error.

    A model call or tool that had its whole answer is not cut short, although the run around it is.
    """
    found = {f"{span['kind']} {span['name']}": span["metadata"].get("outcome") for span in trace.spans}
    told = f"{found}\n{trace}"
    assert [span["name"] for span in trace.spans if "ended_at" not in span or span["status"] == "ERROR"] == [], told
    assert trace.root["metadata"].get("outcome") in outcomes, told
    assert trace.body["metadata"].get("outcome") == trace.root["metadata"].get("outcome"), told
    cut = trace.only(kind)
    assert cut["metadata"].get("outcome") in outcomes or _WHOLE in str(cut.get("output")), told


RAISES: Final = pytest.mark.parametrize("kind", [ValueError, Stop])
"""Exceptions for `tool_raises`."""
CUTS: Final = pytest.mark.parametrize(
    "cut",
    [_cancelled_in_the_model, _cancelled_in_a_tool, _left, _refused, _raised_in_a_tool, _stopped_in_a_tool],
    ids=lambda cut: cut.__name__[1:],
)
"""Ways in which a run ends early. Each has one trace with the true status and outcome."""


def embeddings_answer(tokens: int) -> dict[str, Any]:
    """Return an embeddings service's answer to a question of one text."""
    item = {"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": EMBEDDING_MODEL, "data": [item], "usage": usage}


def parcel_talk(traces: SentTraces, *, tool: str | None = None) -> tuple[AgentTrace, AgentTrace]:
    """Return the two traces of each framework's example: a question about a parcel and a thank-you, in one session."""
    asked, thanked = traces.new(2)
    assert asked.body["session_id"] == thanked.body["session_id"]
    assert asked.only("TOOL", tool)["input"] == {"parcel": "P-4711"}
    assert "You are welcome." in str(thanked.body["output"])
    return asked, thanked


OFFICIAL: dict[str, Any] = {"session_id": "s-1", "user_id": "ada", "tags": ["beta"], "metadata": {"team": "x"}}
"""Arguments for the official SDK's adapters."""


def is_of_the_official_adapter(trace: AgentTrace) -> None:
    """Assert that the trace has the values of `OFFICIAL`."""
    body = trace.body
    assert (body["session_id"], body["user_id"], body["tags"]) == ("s-1", "ada", ["beta"])
    assert body["metadata"]["team"] == "x"
