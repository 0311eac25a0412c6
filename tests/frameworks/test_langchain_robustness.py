"""What must hold besides the tree: no duplicates, no mixing, no growth, handlers of the app's own, and going back."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel
from agent_traces import SentTraces
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel_integrations._runs import OPEN_RUNS, OpenRuns, Run
from pandaprobe_otel_integrations.langchain import (
    DeepAgentsCallbackHandler,
    LangChainCallbackHandler,
    LangGraphCallbackHandler,
)
from span_recorder import SpanRecorder
from weather_model import WEATHER, weather_model

StartModel = Callable[[Script], ScriptedEndpoint]


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return WEATHER[city]


def forecaster(endpoint: ScriptedEndpoint) -> Any:
    """An agent with a tool."""
    llm = ChatOpenAI(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any", stream_usage=True)
    return create_agent(llm, [weather], name="forecaster")


def ask(question: str) -> dict[str, Any]:
    """The input of an agent."""
    return {"messages": [{"role": "user", "content": question}]}


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """After each test no run is open."""
    yield
    assert len(OPEN_RUNS) == 0


VENDORS = {
    "OpenInference": ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
    "OpenLLMetry": ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    "LangSmith": ("langsmith", ""),
}
SUPPORT = str(Path(weather_model.__code__.co_filename).parent)
LANGSMITH = {"LANGSMITH_TRACING": "true", "LANGSMITH_OTEL_ONLY": "true", "LANGSMITH_ENDPOINT": "http://127.0.0.1:9"}


@pytest.mark.parametrize("vendor", VENDORS)
def test_beside_another_vendors_instrumentation(
    vendor: str, server: LocalServer, traces: SentTraces, model: StartModel
) -> None:
    """Its spans are the traces; ours are not made, and the model's client makes none for the same calls."""
    endpoint = model(weather_model)
    app = Path(__file__).with_name("langchain_rival.py")
    done = subprocess.run(
        [sys.executable, app, *VENDORS[vendor], server.url, server.api_key, endpoint.base_url],
        env={**os.environ, "PYTHONPATH": SUPPORT, **(LANGSMITH if vendor == "LangSmith" else {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"skipped: {vendor} records these calls")
    # OpenLLMetry makes a trace of its own of the creation of an agent.
    made = traces.new(4 if vendor == "OpenLLMetry" else 3)
    found = [trace for trace in made if len(trace.spans) > 1]
    assert len(found) == 3
    for trace in found:
        assert {span["metadata"]["scope"] for span in trace.spans} == {VENDORS[vendor][0]}
        assert Counter(span["kind"] for span in trace.spans)["LLM"] == 2
        assert trace.only("TOOL")["output"] is not None
    tokens = sum(each.usage.prompt_tokens + each.usage.completion_tokens for each in endpoint.exchanges)
    assert (len(endpoint.exchanges), sum(trace.body["total_tokens"] for trace in found)) == (6, tokens)


@pytest.mark.parametrize("together", ["threads", "tasks"])
def test_runs_at_once_do_not_mix(together: str, traces: SentTraces, model: StartModel) -> None:
    """Each of several runs of one agent is a trace of its own, complete and with nothing of another's."""
    endpoint = model(weather_model)
    agent = forecaster(endpoint)
    cities = ["Oslo", "Łódź"] * 3

    async def gathered() -> None:
        await asyncio.gather(*(agent.ainvoke(ask(f"Weather in {city}?")) for city in cities))

    if together == "tasks":
        asyncio.run(gathered())
    else:
        with ThreadPoolExecutor(len(cities)) as pool:
            list(pool.map(lambda city: agent.invoke(ask(f"Weather in {city}?")), cities))

    found = traces.new(len(cities))
    assert sorted(trace.only("TOOL")["input"]["city"] for trace in found) == sorted(cities)
    for trace in found:
        city = trace.only("TOOL")["input"]["city"]
        assert trace.body["input"]["messages"][0]["content"] == f"Weather in {city}?"
        assert trace.body["output"]["messages"][0]["content"] == f"The station says: {WEATHER[city]}"
        assert Counter(span["kind"] for span in trace.spans) == {"AGENT": 1, "CHAIN": 3, "LLM": 2, "TOOL": 1}
        assert {span["input"]["messages"][0]["content"] for span in trace.all("LLM")} == {f"Weather in {city}?"}


@pytest.fixture
def provider(traces: SentTraces) -> Iterator[TracerProvider]:
    """A provider that keeps nothing, which LangChain is traced with during the test."""
    made = TracerProvider(shutdown_on_exit=False)
    pandaprobe_otel.uninstrument("langchain")
    assert pandaprobe_otel.instrument("langchain", tracer_provider=made).state == "hooked"
    yield made
    pandaprobe_otel.uninstrument("langchain")
    pandaprobe_otel.instrument("langchain")
    made.shutdown()


def test_a_thousand_runs_do_not_grow(provider: TracerProvider) -> None:
    """Well or badly ended, a run leaves no object behind."""

    def fails(text: Any) -> Any:
        raise ValueError("no")

    llm = FakeListChatModel(responses=["fine"])
    chain = RunnableLambda(lambda text: weather.invoke({"city": text}) and text) | llm
    failing = chain | RunnableLambda(fails)

    def runs(count: int) -> int:
        for number in range(count):
            if number % 10:
                chain.invoke("Oslo")
            else:
                with pytest.raises(ValueError, match="no"):
                    failing.invoke("Oslo")
        gc.collect()
        return len(gc.get_objects())

    runs(100)
    before = runs(100)
    after = runs(1000)
    assert len(OPEN_RUNS) == 0
    assert after - before < 200, f"{after - before} more objects after 1,000 runs"


def test_runs_that_never_end_are_bounded() -> None:
    """Too many open runs give up the oldest one, and it no longer hangs below its parent."""
    runs = OpenRuns(limit=3)
    root = Run(run_id=0, parent=None, context=pandaprobe_context())
    assert runs.add(root) is None
    children = [Run(run_id=number, parent=root, context=root.context) for number in (1, 2, 3)]
    assert [runs.add(child) for child in children] == [None, None, root]
    assert (len(runs), 0 in runs) == (3, False)


def pandaprobe_context() -> Any:
    """The current OpenTelemetry context."""
    from opentelemetry.context import get_current

    return get_current()


@pytest.mark.parametrize(
    "handler_class", [LangChainCallbackHandler, LangGraphCallbackHandler, DeepAgentsCallbackHandler]
)
def test_a_handler_of_the_apps_own(
    handler_class: type[LangChainCallbackHandler], traces: SentTraces, model: StartModel
) -> None:
    """Passed beside `init()`, it records each run once, and says whose the trace is."""
    endpoint = model(weather_model)
    handler = handler_class(session_id="s-1", user_id="ada", tags=["beta"], metadata={"team": "x"})
    forecaster(endpoint).invoke(ask("Weather in Oslo?"), {"callbacks": [handler]})

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    body = trace.body
    assert (body["session_id"], body["user_id"], body["tags"], body["metadata"]["team"]) == (
        "s-1",
        "ada",
        ["beta"],
        "x",
    )
    assert len(trace.spans) == 7


def test_a_handler_without_instrumentation(traces: SentTraces, model: StartModel) -> None:
    """It records what it is passed to also where nothing else does, and the model's client makes no span."""
    endpoint = model(weather_model)
    pandaprobe_otel.uninstrument("langchain")
    try:
        agent = forecaster(endpoint)
        agent.invoke(ask("Weather in Oslo?"), {"callbacks": [LangChainCallbackHandler()]})
        traces.one().is_sound(endpoint.exchanges)
    finally:
        pandaprobe_otel.instrument("langchain")


def test_uninstrumenting_puts_everything_back(model: StartModel, traces: SentTraces) -> None:
    """LangChain's hooks and functions are the ones from before, and only the client's own spans are made."""
    names = {"langchain_core.runnables.config", "langgraph._internal._runnable"}
    hooks = vars(sys.modules["langchain_core.tracers.context"])["_configure_hooks"]
    wrapped = {name: vars(sys.modules[name])["_set_config_context"] for name in names}
    before = len(hooks)
    pandaprobe_otel.uninstrument("langchain")
    try:
        assert len(hooks) == before - 1
        for name, was in wrapped.items():
            assert vars(sys.modules[name])["_set_config_context"] is was.__wrapped__
        endpoint = model(weather_model)
        forecaster(endpoint).invoke(ask("Hi"))
        assert [span["kind"] for span in traces.one().spans] == ["LLM"]
    finally:
        assert pandaprobe_otel.instrument("langchain").state == "hooked"


def test_content_is_left_out_when_it_is_not_wanted(traces: SentTraces, model: StartModel) -> None:
    """With `capture_content=False` the spans have names, models and tokens, and nothing that was said."""
    recorder = SpanRecorder()
    pandaprobe_otel.uninstrument("langchain")
    pandaprobe_otel.instrument("langchain", tracer_provider=recorder.provider, capture_content=False)
    try:
        with pytest.raises(Exception, match="Nowhere"):
            forecaster(model(weather_model)).invoke(ask("Weather in Nowhere?"))
        forecaster(model(weather_model)).invoke(ask("Weather in Oslo?"))
    finally:
        pandaprobe_otel.uninstrument("langchain")
        pandaprobe_otel.instrument("langchain")

    told = str([(span.name, dict(span.attributes or {}), span.status.description) for span in recorder.spans])
    assert len(recorder.spans) == 10
    assert "gen_ai.usage.input_tokens" in told
    assert [word for word in ("Oslo", "snowy", "Nowhere", "station says") if word in told] == []
