"""Checks that every agent framework's tests apply to their agents (tests/frameworks/)."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, wraps
from inspect import iscoroutinefunction
from pathlib import Path
from types import FunctionType
from typing import Any, Final

import pytest
from pydantic import BaseModel
from wrapt import FunctionWrapper

import pandaprobe_otel
from agent_traces import AgentTrace, SentTraces, tokens_of
from example_runs import Example
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, Script, ScriptedEndpoint, ToolCall
from pandaprobe_otel.mapping.attributes import CANCELLED, PARTIAL
from planting import Planted
from span_recorder import SpanRecorder
from weather_model import WEATHER, weather, weather_model

StartModel = Callable[..., ScriptedEndpoint]
"""Type of the fixture `model`."""

CITIES = (*WEATHER,) * 3
"""Cities that concurrent runs ask about: "Weather in CITY?"."""

EMBEDDING_MODEL: Final = "text-embedding-3-small"

_SUPPORT = Path(__file__).resolve().parent
_FRAMEWORKS = _SUPPORT.parent / "frameworks"
_OURS = ("pandaprobe_otel_integrations.", "opentelemetry.trace.", "opentelemetry.sdk.", "opentelemetry.context.")
_WORKING = {"hooked", "adopted"}
_PATIENCE_S = 60.0
_WHOLE = "one two three four five six seven eight nine ten"


@contextmanager
def off(name: str) -> Generator[None]:
    """Remove our instrumentation from the framework within the block; afterwards instrument it as `init()` does."""
    pandaprobe_otel.uninstrument(name)
    try:
        yield
    finally:
        assert pandaprobe_otel.instrument(name).state in _WORKING


@contextmanager
def instrumented_with(name: str, **options: Any) -> Generator[None]:
    """Instrument the framework with these options within the block."""
    with off(name):
        assert pandaprobe_otel.instrument(name, **options).state in _WORKING
        try:
            yield
        finally:
            pandaprobe_otel.uninstrument(name)


@contextmanager
def recorded_apart(name: str, **options: Any) -> Generator[SpanRecorder]:
    """Record the framework's spans with a provider other than the global one within the block."""
    recorder = SpanRecorder()
    with instrumented_with(name, tracer_provider=recorder.provider, **options):
        yield recorder


def holds(planted: Planted, traces: SentTraces) -> AgentTrace:
    """Assert that the only new trace contains everything planted, and return it."""
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    return trace


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
    named: Any = (each if type(each) is FunctionType else type(each) for each in gc.get_objects())
    kinds = Counter(f"{each.__module__}.{each.__name__}" for each in named)
    return Counter({kind: found for kind, found in kinds.items() if kind.startswith(_OURS)})


def run_beside_another_vendor(framework: str, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `<framework>_rival.py`, an app that another vendor instruments too; return its report on our integration."""
    return _run_program(_FRAMEWORKS / f"{framework}_rival.py", *arguments, **variables)


def run_with_rival(framework: str, rival: str, *where: object) -> str:
    """Run a framework's `APP` beside another vendor's class, `module:Class`; return our integration's state."""
    return _run_program(_SUPPORT / "framework_rival.py", framework, rival, *where).stdout


def _run_program(program: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_SUPPORT), str(_FRAMEWORKS)]), **variables},
        capture_output=True,
        text=True,
        check=False,
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


def do_not_mix(found: Sequence[AgentTrace], *kinds: str) -> None:
    """Assert that these traces of runs about all `CITIES` are complete, and that each mentions its own city only."""
    asked = [trace.all("TOOL")[0]["input"]["city"] for trace in found]
    assert Counter(asked) == Counter(CITIES)
    for trace, city in zip(found, asked, strict=True):
        assert Counter(span["kind"] for span in trace.spans) == Counter(kinds), str(trace)
        assert f"The station says: {WEATHER[city]}" in str(trace.body["output"])
        told = str(trace.body)
        assert f"Weather in {city}?" in told
        of_others = [word for other, said in WEATHER.items() if other != city for word in (other, said)]
        assert [word for word in of_others if word in told] == []


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
    def script(messages: Sequence[Message]) -> Reply:
        return Reply(text=_WHOLE)

    endpoint = model(script, seconds_per_chunk=0.02)
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
    """The runs of one framework, for `CONFORMANCE`.

    Attributes:
        run: Asks an agent at this endpoint, which knows "You know weather." and has this tool, sync or async:
            `run(endpoint, question, weather)`.
        ways: Other such functions, which may also block, and make the same tree. The first that blocks runs in threads.
        leaves: Read the streamed answer of an agent at this endpoint until its first text.
        script: A model like `weather_model`.
        adapt: Turns a script like `weather_model` into one for this framework's prompts.
        calls_by_text: True if the model calls tools by texts, without ids.
        tells_first: False if a version does not report when a streamed answer starts.
        sees_calls: False if a program of the framework's own calls the model, and reports its answers only.
        is_awaited: False if the framework's runs block, so that they cannot be cancelled.
        passes_stops: False if the framework runs tools where only an `Exception` gets out of them.
        passes_refusals: False if a run whose model refuses returns.
        name: The integration. This and the following are for other checks than `CUT_SHORT`.
        package: The framework's package, in which the integration puts its hooks.
        tree: The outline of a run that asks "Weather in Łódź?" and calls the tool, with `SESSION` for the session.
        tool: The name under which the model calls the tool.
        rivals: For each class of another vendor, `module:Class`, our integration's state while it records the runs.
        rivals_count: False if the other vendor records no tokens.
        adapter: The official SDK's adapter.
        example: The file of its example, without its ending, if it is not NAME_agent.
        hides_content: False if `capture_content=False` does not reach the framework's own spans.
    """

    run: Callable[[ScriptedEndpoint, str, Callable[..., Any]], Awaitable[object]]
    ways: Sequence[Callable[[ScriptedEndpoint, str, Callable[..., Any]], object]] = ()
    leaves: Sequence[Callable[[ScriptedEndpoint], Awaitable[object]]] = ()
    script: Script = weather_model
    adapt: Callable[[Script], Script] = lambda script: script
    calls_by_text: bool = False
    tells_first: bool = True
    sees_calls: bool = True
    is_awaited: bool = True
    passes_stops: bool = True
    passes_refusals: bool = True
    name: str = ""
    package: str = ""
    tree: str = ""
    tool: str = "weather"
    rivals: Mapping[str, str] = field(default_factory=dict[str, str])
    rivals_count: bool = True
    adapter: Any = None
    example: str = ""
    hides_content: bool = True

    @property
    def kinds(self) -> list[str]:
        """The kinds of the spans of `tree`."""
        return [line.split()[0] for line in self.tree.strip().splitlines()[1:]]


Check = Callable[[AgentApp, SentTraces, StartModel], None]


def _can_be_cancelled(app: AgentApp) -> None:
    if not app.is_awaited:
        pytest.skip("its runs block")


def _about(way: Any, endpoint: ScriptedEndpoint, city: str) -> Any:
    return way(endpoint, f"Weather in {city}?", weather)


def _cancelled_in_the_model(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    _can_be_cancelled(app)
    cancel_in_the_model(model, lambda endpoint: app.run(endpoint, "Hi", weather))
    _is_cut_short(traces.one(), "LLM" if app.sees_calls else "AGENT", CANCELLED)


def _cancelled_in_a_tool(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    _can_be_cancelled(app)
    endpoint = model(app.script)
    asyncio.run(cancel_in_a_tool(lambda slow: app.run(endpoint, "Weather in Oslo?", slow)))
    _is_cut_short(traces.one(), "TOOL", CANCELLED)


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


def _by_each_way(check: Check) -> Check:
    """Return the check of each way to run the app that can be cancelled."""

    @wraps(check)
    def checked(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
        for way in (app.run, *(each for each in app.ways if iscoroutinefunction(each))):
            check(replace(app, run=way), traces, model)

    return checked


def _left(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    if not app.leaves:
        pytest.skip("it has no streams")
    for leave in app.leaves:
        left_after_a_word(model, leave)
        _is_cut_short(traces.one(), "LLM", PARTIAL, CANCELLED)  # frameworks cancel the work that nobody waits for


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


def _is_cut_short(trace: AgentTrace, kind: str, *outcomes: str | None) -> None:
    """Assert that a trace shows at which span of this kind its run was cut short, and how, without an error.

    A model call or tool that had its whole answer is not cut short, although the run around it is.
    """
    found = {f"{span['kind']} {span['name']}": span["metadata"].get("outcome") for span in trace.spans}
    told = f"{found}\n{trace}"
    assert [span["name"] for span in trace.spans if "ended_at" not in span or span["status"] == "ERROR"] == [], told
    assert trace.root["metadata"].get("outcome") in outcomes, told
    assert trace.body["metadata"].get("outcome") == trace.root["metadata"].get("outcome"), told
    cut = trace.only(kind)
    assert cut["metadata"].get("outcome", ...) in outcomes or _WHOLE in str(cut.get("output")), told


_BY_EACH_WAY = (_cancelled_in_the_model, _cancelled_in_a_tool, _refused, _raised_in_a_tool, _stopped_in_a_tool)
CUT_SHORT: Final = (*map(_by_each_way, _BY_EACH_WAY), _left)
"""Ways in which a run ends early. Each has one trace with the true status and outcome."""


def _ask(app: AgentApp, endpoint: ScriptedEndpoint, question: str, tool: Callable[..., Any] = weather) -> None:
    _ask_by(app.run, endpoint, question, tool)


def _ask_by(way: Any, endpoint: ScriptedEndpoint, question: str, tool: Callable[..., Any] = weather) -> None:
    async def asked() -> None:
        await way(endpoint, question, tool)

    if iscoroutinefunction(way):
        asyncio.run(asked())
    else:
        way(endpoint, question, tool)


def _matches_the_wire(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    for way in (app.run, *app.ways):
        endpoint = model(app.script)
        _ask_by(way, endpoint, "Weather in Łódź?")
        trace = traces.one()
        trace.is_sound(endpoint.exchanges)
        trace.is_like(app.tree.replace("SESSION", str(trace.body.get("session_id"))))
        tool, calls = trace.all("TOOL")[0], trace.all("LLM")
        assert (tool["input"], "sunny" in str(tool["output"])) == ({"city": "Łódź"}, True)
        for call, exchange in zip(calls, endpoint.exchanges, strict=True):
            first = call.get("completion_start_time")
            assert (first is not None) == exchange.streamed or not app.tells_first
            assert first is None or call["started_at"] <= first <= call["ended_at"]
        if not app.calls_by_text:
            (wire_id,) = {each["tool_call_id"] for each in endpoint.exchanges[1].conversation if each["role"] == "tool"}
            system, *_, user, assistant, result = calls[1]["input"]["messages"]
            assert "You know weather." in str(system["content"])
            assert "Weather in Łódź?" in str(user["content"])
            assert [each["id"] for each in assistant["tool_calls"]] == [result["tool_call_id"]] == [wire_id]
            assert "sunny" in str(result["content"])
            assert calls[1]["output"]["messages"][0]["content"] == "The station says: sunny"
        for found in (trace.body, trace.root):
            assert "Weather in Łódź?" in str(found["input"])
            assert "The station says: sunny" in str(found["output"])


class Found(BaseModel):
    """The result of a tool."""

    found: str
    unit: str


RESULTS: Final[Mapping[str, Callable[[str], Any]]] = {
    "text": lambda word: word,
    "object": lambda word: {"found": {"deep": [word]}},
    "list": lambda word: [word, {"deep": word}],
    "model": lambda word: Found(found=word, unit="C"),
}


def _keeps_planted_words(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    for kind in RESULTS:
        _keeps_result(kind, app, traces, model)


def _keeps_result(kind: str, app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    planted = Planted()

    def weather(city: str) -> Any:
        """Tell the weather in a city."""
        return RESULTS[kind](planted["a tool's result"])

    async def weather_later(city: str) -> Any:
        """Tell the weather in a city."""
        return weather(city)

    def script(messages: Sequence[Message]) -> Reply:
        if any(each["role"] == "tool" for each in messages):
            return Reply(text=f"It is {planted['the answer']}.")
        return Reply(tool_calls=(ToolCall(name=app.tool, arguments={"city": planted["a tool's argument"]}),))

    weather_later.__name__ = "weather"
    look_up = weather_later if kind in ("text", "object") else weather
    _ask(app, model(app.adapt(script)), planted["the question"], look_up)
    tool = holds(planted, traces).all("TOOL")[0]
    assert planted["a tool's argument"] in str(tool["input"])
    assert planted["a tool's result"] in str(tool["output"])


def _keeps_runs_apart(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    endpoint = model(app.script)
    in_tasks(lambda city: app.run(endpoint, f"Weather in {city}?", weather))
    found = traces.new(len(CITIES))
    do_not_mix(found, *app.kinds)
    sessions = {trace.body.get("session_id") for trace in found}
    assert sessions == {None} or len(sessions) == len(CITIES)
    for way in [each for each in app.ways if not iscoroutinefunction(each)][:1]:
        in_threads(partial(_about, way, endpoint))
        do_not_mix(traces.new(len(CITIES)), *app.kinds)


def _nests_in_a_tool(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    endpoint = model(app.script)
    look_up = pandaprobe_otel.span(name="look up")(weather)

    async def ask(city: str) -> str:
        """Ask another agent for the weather in a city."""
        await app.run(endpoint, f"Weather in {city}?", look_up)
        return "snowy, they say"

    ask.__name__ = "weather"
    _ask(app, endpoint, "Weather in Oslo?", ask)
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    above = [span["kind"] for span in trace.above(trace.only(name="look up"))]
    assert [kind for kind in above if kind != "CHAIN"][:4] == ["TOOL", "AGENT"] * 2, str(trace)


def _leaves_no_hook(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    before = _hooks_in(app.package)
    assert before, app.package
    with off(app.name):
        left = _hooks_in(app.package)
        assert left == set(), left
    assert _hooks_in(app.package) == before
    _ask(app, model(app.script), "Weather in Oslo?")
    assert Counter(span["kind"] for span in traces.one().spans) == Counter(app.kinds)


def _hooks_in(package: str) -> set[str]:
    """Return the functions and objects of our integrations in a package's modules and classes.

    A copy that another module has imported is not restored; its wrapper then passes calls through.
    """
    modules = [module for name, module in [*sys.modules.items()] if f"{name}.".startswith(f"{package}.")]
    found = {each for module in modules for each in [*vars(module).values()] if issubclass(type(each), type)}
    owners = [*modules, *(each for each in found if f"{each.__module__}.".startswith(f"{package}."))]
    return {
        f"{owner.__name__}.{name}"
        for owner in owners
        for name, value in [*vars(owner).items()]
        if _is_ours(value, home=getattr(owner, "__module__", owner.__name__))
    }


def _is_ours(value: Any, *, home: str) -> bool:
    if type(value) is FunctionWrapper:  # LlamaIndex wraps its own functions so too
        wrapper = value._self_wrapper
        made_by = getattr(wrapper, "__module__", None) or type(wrapper).__module__
        return bool(value.__module__ == home) and made_by.startswith("pandaprobe_otel")
    if type(value) is property:
        value = value.fget
    if type(value) is FunctionType and value.__module__ not in (home, value.__globals__["__name__"]):
        return False
    name = value.__globals__["__name__"] if type(value) is FunctionType else type(value).__module__
    return str(name).startswith("pandaprobe_otel")


def _hides_content(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    if not app.hides_content:
        pytest.skip("the framework's own spans have its content")
    endpoint = model(app.script)
    with recorded_apart(app.name, capture_content=False) as recorder:
        _ask(app, endpoint, "Weather in Oslo?")
        for city in ("Nowhere", "Atlantis"):  # the model refuses one, and the tool fails for the other
            asyncio.run(_outcome(app.run(endpoint, f"Weather in {city}?", weather)))
    found = told_by(recorder)
    assert recorder.spans
    assert [word for word in ("You know", "Oslo", "snowy", "Nowhere", "Atlantis") if word in found] == []


def _does_not_grow(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    if not app.sees_calls:
        pytest.skip("each run is a process")
    endpoint = model(app.script)

    async def runs(count: int) -> None:
        for number in range(count):
            await _outcome(app.run(endpoint, f"Weather in {'Oslo' if number % 10 else 'Nowhere'}?", weather))
        assert pandaprobe_otel.flush(20)

    logging.disable()  # pytest keeps log records, with the frames of every failure
    try:
        found = growth_of_ours(lambda count: asyncio.run(runs(count)), 30, first=10)
        assert found == {}, found
    finally:
        logging.disable(logging.NOTSET)


def _has_an_example(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    example = Example(app.example or f"{app.name}_agent")
    with pytest.MonkeyPatch.context() as variables:
        example.run(model(example.script), variables)
    parcel_talk(traces)


def _counts_once_with_a_rival(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    if not app.rivals:
        pytest.skip("no other vendor has an instrumentation")
    for rival, state in app.rivals.items():
        endpoint, server = model(app.script), traces.server
        where = (server.url, server.api_key, endpoint.url)
        assert run_with_rival(app.name, rival, *where).startswith(state)
        trace = traces.one()
        if not app.rivals_count:
            assert len(trace.all("LLM")) == len(endpoint.exchanges)
        elif app.sees_calls:
            counted = [span["token_usage"]["prompt_tokens"] for span in trace.spans if "token_usage" in span]
            assert counted == [each.usage.prompt_tokens for each in endpoint.exchanges], str(trace)
            assert trace.body["total_tokens"] == tokens_of(endpoint.exchanges)
            assert len(trace.all("TOOL")) == app.kinds.count("TOOL")
        is_silent = f"pandaprobe_otel.{app.name}" not in {span["metadata"]["scope"] for span in trace.spans}
        assert is_silent or not state.startswith("skipped")


def _has_an_adapter(app: AgentApp, traces: SentTraces, model: StartModel) -> None:
    if app.adapter is None:
        pytest.skip("the official SDK has no adapter for it")
    app.adapter(**OFFICIAL).instrument()
    try:
        _ask(app, model(app.script), "Hi")
    finally:
        app.adapter.instrumentor().values = None
    is_of_the_official_adapter(traces.one())


AT_THE_CLIENT: Final = (*CUT_SHORT, _matches_the_wire)
"""Those of `CONFORMANCE` that may differ by the model's client."""
CONFORMANCE: Final = pytest.mark.parametrize(
    "check",
    [
        *CUT_SHORT,
        _matches_the_wire,
        _keeps_planted_words,
        _keeps_runs_apart,
        _nests_in_a_tool,
        _leaves_no_hook,
        _hides_content,
        _does_not_grow,
        _has_an_example,
        _counts_once_with_a_rival,
        _has_an_adapter,
    ],
    ids=lambda check: check.__name__[1:],
)
"""Checks that hold for every framework; each takes the `AgentApp`, the fixture `traces` and the fixture `model`."""


def embeddings_answer(tokens: int) -> dict[str, Any]:
    """Return an embeddings service's answer to a question of one text."""
    item = {"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": EMBEDDING_MODEL, "data": [item], "usage": usage}


def parcel_talk(traces: SentTraces, *, tool: str | None = None) -> tuple[AgentTrace, AgentTrace]:
    """Return the two traces of each framework's example: a question about a parcel and a thank-you, in one session."""
    asked, thanked = traces.new(2)
    assert asked.body["session_id"] == thanked.body["session_id"]
    assert asked.all("TOOL", tool)[0]["input"] == {"parcel": "P-4711"}
    assert "You are welcome." in str(thanked.body["output"])
    return asked, thanked


OFFICIAL: dict[str, Any] = {"session_id": "s-1", "user_id": "ada", "tags": ["beta"], "metadata": {"team": "x"}}
"""Arguments for the official SDK's adapters."""


def is_of_the_official_adapter(trace: AgentTrace) -> None:
    """Assert that the trace has the values of `OFFICIAL`."""
    body = trace.body
    assert (body["session_id"], body["user_id"], body["tags"]) == ("s-1", "ada", ["beta"])
    assert body["metadata"]["team"] == "x"
