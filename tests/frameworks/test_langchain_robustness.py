"""LangChain beside rivals and the app's handlers; concurrency, growth and uninstrumenting."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import FakeListChatModel
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel
from agent_traces import SentTraces, tokens_of
from framework_cases import (
    CITIES,
    OFFICIAL,
    StartModel,
    do_not_mix,
    growth,
    in_tasks,
    in_threads,
    instrumented_with,
    is_of_the_official_adapter,
    off,
    recorded_apart,
    run_beside_another_vendor,
    told_by,
)
from old_versions import has
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel_integrations._runs import OPEN_RUNS, OpenRuns, Run
from pandaprobe_otel_integrations.langchain import (
    DeepAgentsCallbackHandler,
    LangChainCallbackHandler,
    LangGraphCallbackHandler,
)
from weather_model import WEATHER, weather_model


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return WEATHER[city]


def forecaster(endpoint: ScriptedEndpoint) -> Any:
    """An agent with a tool."""
    llm = ChatOpenAI(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any", stream_usage=True)
    return create_agent(llm, [weather], name="forecaster")


def ask(question: str) -> dict[str, Any]:
    """Return the input of an agent."""
    return {"messages": [{"role": "user", "content": question}]}


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Check after each test that no run is open."""
    yield
    assert len(OPEN_RUNS) == 0


VENDORS = {
    "OpenInference": ("openinference.instrumentation.langchain", "LangChainInstrumentor"),
    "OpenLLMetry": ("opentelemetry.instrumentation.langchain", "LangchainInstrumentor"),
    "LangSmith": ("langsmith", ""),
}
LANGSMITH = {
    "LANGSMITH_TRACING": "true",
    "LANGSMITH_OTEL_ENABLED": "true",
    "LANGSMITH_OTEL_ONLY": "true",  # has no effect alone in versions of early 2026
    "LANGSMITH_ENDPOINT": "http://127.0.0.1:9",
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_beside_another_vendors_instrumentation(
    vendor: str, server: LocalServer, traces: SentTraces, model: StartModel
) -> None:
    """Beside a rival, traces have only the rival's spans: none of ours, and none of the model's client."""
    endpoint = model(weather_model)
    variables: dict[str, Any] = LANGSMITH if vendor == "LangSmith" else {}
    where = (server.url, server.api_key, endpoint.base_url)
    done = run_beside_another_vendor("langchain", *VENDORS[vendor], *where, **variables)
    assert done.stdout.startswith(f"skipped: {vendor} records these calls")
    # OpenLLMetry, since 0.53, makes a separate trace for the creation of an agent.
    makes_one = vendor == "OpenLLMetry" and has("opentelemetry-instrumentation-langchain", "0.53")
    made = traces.new(4 if makes_one else 3)
    found = [trace for trace in made if len(trace.spans) > 1]
    assert len(found) == 3
    for trace in found:
        assert {span["metadata"]["scope"] for span in trace.spans} == {VENDORS[vendor][0]}
        assert Counter(span["kind"] for span in trace.spans)["LLM"] == 2
        assert trace.only("TOOL")["output"] is not None
    tokens = tokens_of(endpoint.exchanges)
    assert (len(endpoint.exchanges), sum(trace.body["total_tokens"] for trace in found)) == (6, tokens)


@pytest.mark.parametrize("together", ["threads", "tasks"])
def test_runs_at_once_do_not_mix(together: str, traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs of one agent is a separate, complete trace with no spans of the others."""
    agent = forecaster(model(weather_model))
    if together == "tasks":
        in_tasks(lambda city: agent.ainvoke(ask(f"Weather in {city}?")))
    else:
        in_threads(lambda city: agent.invoke(ask(f"Weather in {city}?")))

    do_not_mix(traces.new(len(CITIES)), "AGENT", "CHAIN", "CHAIN", "CHAIN", "LLM", "LLM", "TOOL")


def test_a_thousand_runs_do_not_grow(traces: SentTraces) -> None:
    """Neither a successful nor a failed run leaves objects behind."""

    def fails(text: Any) -> Any:
        raise ValueError("no")

    llm = FakeListChatModel(responses=["fine"])
    chain = RunnableLambda(lambda text: weather.invoke({"city": text}) and text) | llm
    failing = chain | RunnableLambda(fails)

    def runs(count: int) -> None:
        for number in range(count):
            if number % 10:
                chain.invoke("Oslo")
            else:
                with pytest.raises(ValueError, match="no"):
                    failing.invoke("Oslo")

    with instrumented_with("langchain", tracer_provider=TracerProvider(shutdown_on_exit=False)):
        assert growth(runs, 1000, first=100) < 200
    assert len(OPEN_RUNS) == 0


def test_runs_that_never_end_are_bounded() -> None:
    """Beyond the limit of open runs, the oldest run is given up and removed."""
    runs = OpenRuns(limit=3)
    root = Run(run_id=0, parent=None, context=pandaprobe_context())
    assert runs.add(root) is None
    children = [Run(run_id=number, parent=root, context=root.context) for number in (1, 2, 3)]
    assert [runs.add(child) for child in children] == [None, None, root]
    assert (len(runs), 0 in runs) == (3, False)


def pandaprobe_context() -> Any:
    """Return the current OpenTelemetry context."""
    from opentelemetry.context import get_current

    return get_current()


@pytest.mark.parametrize(
    "handler_class", [LangChainCallbackHandler, LangGraphCallbackHandler, DeepAgentsCallbackHandler]
)
def test_a_handler_of_the_apps_own(
    handler_class: type[LangChainCallbackHandler], traces: SentTraces, model: StartModel
) -> None:
    """A handler passed by the app, beside `init()`, records each run once, with the handler's session and user."""
    endpoint = model(weather_model)
    handler = handler_class(client=pandaprobe_otel.get_client(), **OFFICIAL)
    forecaster(endpoint).invoke(ask("Weather in Oslo?"), {"callbacks": [handler]})

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    is_of_the_official_adapter(trace)
    assert len(trace.spans) == 7


@pytest.mark.parametrize(
    ("handler_class", "name"),
    [
        (LangChainCallbackHandler, "LangChain"),
        (LangGraphCallbackHandler, "LangGraph"),
        (DeepAgentsCallbackHandler, "DeepAgents"),
    ],
)
def test_a_trace_has_the_name_that_the_official_handler_gives_it(
    handler_class: type[LangChainCallbackHandler], name: str, traces: SentTraces, model: StartModel
) -> None:
    """The handler names the trace of an agent without a name, but not a trace that the app has named."""
    endpoint = model(weather_model)
    agent = create_agent(ChatOpenAI(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any"), [])
    agent.invoke(ask("Hi"), {"callbacks": [handler_class()]})
    trace = traces.one()
    assert (trace.body["name"], trace.root["name"]) == (name, "LangGraph")
    with pandaprobe_otel.start_trace("the app's own"):
        agent.invoke(ask("Hi"), {"callbacks": [handler_class()]})
    assert traces.one().body["name"] == "the app's own"


def test_a_handler_without_instrumentation(traces: SentTraces, model: StartModel) -> None:
    """Without the instrumentation, a handler records its run, and the model's client makes no spans."""
    endpoint = model(weather_model)
    with off("langchain"):
        agent = forecaster(endpoint)
        agent.invoke(ask("Weather in Oslo?"), {"callbacks": [LangChainCallbackHandler()]})
        traces.one().is_sound(endpoint.exchanges)


def test_uninstrumenting_puts_everything_back(model: StartModel, traces: SentTraces) -> None:
    """Uninstrumenting restores LangChain's hooks and functions; then only the client makes spans."""
    names = {"langchain_core.runnables.config", "langgraph._internal._runnable"}
    hooks = vars(sys.modules["langchain_core.tracers.context"])["_configure_hooks"]
    wrapped = {name: vars(sys.modules[name])["_set_config_context"] for name in names}
    before = len(hooks)
    with off("langchain"):
        assert len(hooks) == before - 1
        for name, was in wrapped.items():
            assert vars(sys.modules[name])["_set_config_context"] is was.__wrapped__
        forecaster(model(weather_model)).invoke(ask("Hi"))
        assert [span["kind"] for span in traces.one().spans] == ["LLM"]


def test_content_is_left_out_when_it_is_not_wanted(traces: SentTraces, model: StartModel) -> None:
    """With `capture_content=False`, spans have names, models and tokens, but no content."""
    with recorded_apart("langchain", capture_content=False) as recorded:
        with pytest.raises(Exception, match="Nowhere"):
            forecaster(model(weather_model)).invoke(ask("Weather in Nowhere?"))
        forecaster(model(weather_model)).invoke(ask("Weather in Oslo?"))

    told = told_by(recorded)
    assert len(recorded.spans) == 10
    assert "gen_ai.usage.input_tokens" in told
    assert [word for word in ("Oslo", "snowy", "Nowhere", "station says") if word in told] == []
