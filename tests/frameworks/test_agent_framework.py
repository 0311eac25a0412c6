"""Agents of Microsoft's Agent Framework."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from agent_framework import (
    Agent,
    Content,
    Executor,
    Message,
    WorkflowBuilder,
    WorkflowContext,
    handler,
    observability,
    tool,
)
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient, OpenAIEmbeddingClient
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import (
    CONFORMANCE,
    EMBEDDING_MODEL,
    AgentApp,
    StartModel,
    embeddings_answer,
    holds,
)
from pandaprobe_otel.demo.scripted_endpoint import Reply, ScriptedEndpoint
from planting import Planted
from provider_server import ProviderServer, json_reply
from weather_model import WEATHER, weather, weather_model

# Agent Framework makes the example's client and leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

PICTURE = b"picture" * 1000
DIGEST = sha256(PICTURE).hexdigest()


def client(url: str) -> AsyncOpenAI:
    """A client that leaves no open connection to a closed event loop."""
    return AsyncOpenAI(base_url=url, api_key="any", max_retries=0, default_headers={"Connection": "close"})


def forecaster(
    endpoint: ScriptedEndpoint,
    name: str = "forecaster",
    kind: Any = OpenAIChatCompletionClient,
    tools: Any = (weather,),
    instructions: str = "You know weather.",
    **options: Any,
) -> Any:
    """An agent that knows the weather."""
    model = kind(model="gpt-5-mini", async_client=client(endpoint.base_url))
    return Agent(model, instructions, name=name, tools=[*tools], **options)


async def read(agent: Any, question: Any, **options: Any) -> list[Any]:
    """Return the updates of a streamed answer."""
    return [update async for update in agent.run(question, stream=True, **options)]


def run(agent: Any, question: Any, **options: Any) -> None:
    """Wait for the answer."""
    asyncio.run(agent.run(question, **options))


def streamed(agent: Any, question: Any, **options: Any) -> None:
    """Read the answer update by update."""
    assert asyncio.run(read(agent, question, **options))


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any, **options: Any) -> None:
    """Ask an agent with this tool."""
    await forecaster(endpoint, tools=(function,), **options).run(question)


async def ask_streamed(endpoint: ScriptedEndpoint, question: str, function: Any, **options: Any) -> None:
    """Ask an agent with this tool, and read the updates."""
    await read(forecaster(endpoint, tools=(function,), **options), question)


async def leave(endpoint: ScriptedEndpoint, kind: Any = OpenAIChatCompletionClient) -> None:
    """Stop reading a streamed run after its first text."""
    async for update in forecaster(endpoint, kind=kind).run("Hi", stream=True):
        if update.text:
            break


RESPONSES: Any = {"kind": OpenAIChatClient, "default_options": {"store": False}}
"""Over the Responses API, without the service's memory of earlier turns."""
PROCESSOR = "openinference.instrumentation.agent_framework:AgentFrameworkToOpenInferenceProcessor"
APP = AgentApp(
    run=ask,
    ways=[ask_streamed, *(partial(way, **RESPONSES) for way in (ask, ask_streamed))],
    leaves=[leave, partial(leave, kind=OpenAIChatClient)],
    tells_first=False,
    name="agent_framework",
    package="agent_framework",
    tree="""
        trace invoke_agent forecaster | COMPLETED | Weather in Łódź? > The station says: sunny
        AGENT invoke_agent forecaster | su > cta
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
    rivals={PROCESSOR: "adopted"},
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """Agent Framework's agents are recorded as those of every framework."""
    check(APP, traces, model)


kinds = pytest.mark.parametrize("kind", [OpenAIChatCompletionClient, OpenAIChatClient])
ways = pytest.mark.parametrize("way", [run, streamed])


@kinds
def test_two_turns_are_one_session(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The trace has Agent Framework's session id, not the id of the answer; the app's own session wins."""
    agent = forecaster(model(weather_model), kind=kind)

    async def talk() -> None:
        session = agent.create_session(session_id="talk-7")
        await agent.run("Hi", session=session)
        await agent.run("Thanks", session=session)
        with pandaprobe_otel.context(session="mine", user="ada"):
            await agent.run("Bye", session=session)

    asyncio.run(talk())
    found = traces.new(3)
    assert [trace.body["session_id"] for trace in found] == ["talk-7", "talk-7", "mine"]
    assert found[2].body["user_id"] == "ada"
    if kind is OpenAIChatCompletionClient:  # the Responses API keeps earlier turns itself
        assert "You said: Hi" in str(found[1].only("LLM")["input"])


@ways
def test_a_workflow(way: Callable[..., None], traces: SentTraces, model: StartModel) -> None:
    """The trace has the workflow's name, question and answer; each executor is a step with its input and output."""
    endpoint = model(weather_model)
    one, two = forecaster(endpoint, "one"), forecaster(endpoint, "two", tools=())
    workflow = WorkflowBuilder(name="duo", start_executor=one).add_edge(one, two).build()

    way(workflow, "Weather in Oslo?")
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [len(trace.children(trace.only("AGENT", f"invoke_agent {name}"))) for name in ("one", "two")] == [3, 1]
    assert (trace.body["name"], trace.root["name"], trace.root["kind"]) == ("duo", "workflow.run", "CHAIN")
    steps = trace.children(trace.root)
    assert [(step["kind"], step["name"]) for step in steps] == [
        ("CHAIN", "executor.process one"),
        ("CHAIN", "executor.process two"),
    ]
    assert (trace.root["input"], steps[0]["input"]) == ("Weather in Oslo?", "Weather in Oslo?")
    answers = ["The station says: snowy", "You said: The station says: snowy"]
    assert [step["output"]["messages"][-1]["content"] for step in steps] == answers
    assert steps[1]["input"] == steps[0]["output"]
    said = [each["content"] for each in trace.root["output"]["messages"] if each["role"] == "assistant"]
    assert said == [None, *answers]
    assert trace.body["output"]["messages"][0]["content"] == answers[1]


class Order(BaseModel):
    """A value that an app passes from executor to executor."""

    city: str
    unit: str


@dataclass
class Forecast:
    """Another value that an app passes between executors."""

    order: Order
    text: str


class Asking(Executor):
    """The first of two executors, which looks the weather up."""

    @handler
    async def ask(self, order: Order, ctx: WorkflowContext[Forecast]) -> None:
        """Look the weather up, and pass it on."""
        await ctx.send_message(Forecast(order=order, text=WEATHER[order.city]))


class Telling(Executor):
    """The second executor, which reports the result."""

    @handler
    async def tell(self, forecast: Forecast, ctx: WorkflowContext[Any, str]) -> None:
        """Yield two outputs."""
        await ctx.yield_output(forecast.text)
        await ctx.yield_output(forecast.order.unit)


def two_executors(name: str | None = None) -> Any:
    """A workflow without an agent."""
    asking, telling = Asking(id="asking"), Telling(id="telling")
    return WorkflowBuilder(name=name, start_executor=asking).add_edge(asking, telling).build()


def test_a_workflow_of_the_apps_own_values(traces: SentTraces) -> None:
    """Data classes and models are recorded by their fields, several outputs in their order."""
    order = Order(city="Oslo", unit="C")
    asyncio.run(two_executors("forecast").run(order))

    trace = traces.one()
    told = {"city": "Oslo", "unit": "C"}
    assert [(span["name"], span["input"], span["output"]) for span in trace.spans] == [
        ("workflow.run", told, ["snowy", "C"]),
        ("executor.process asking", told, {"order": told, "text": "snowy"}),
        ("executor.process telling", {"order": told, "text": "snowy"}, ["snowy", "C"]),
    ]


def test_a_workflow_that_fails(traces: SentTraces) -> None:
    """The workflow and the executor that raised have the error and their inputs."""
    with pytest.raises(KeyError):
        asyncio.run(two_executors("forecast").run(Order(city="Atlantis", unit="C")))

    trace = traces.one()
    assert [span["status"] for span in trace.spans] == ["ERROR", "ERROR"]
    assert [span["input"]["city"] for span in trace.spans] == ["Atlantis", "Atlantis"]


def test_workflows_one_after_the_other_in_one_task(traces: SentTraces) -> None:
    """Several workflows in one task, even nested ones, keep their own results; the app's span is the root."""

    class Outer(Executor):
        @handler
        async def run_inner(self, order: Order, ctx: WorkflowContext[Any, str]) -> None:
            result = await two_executors("inner").run(order)
            await ctx.yield_output(f"inner said {result.get_outputs()[0]}")

    outer = WorkflowBuilder(name="outer", start_executor=Outer(id="o")).build()

    @pandaprobe_otel.agent(name="app")
    async def app() -> None:
        await two_executors("first").run(Order(city="Łódź", unit="F"))
        await outer.run(Order(city="Oslo", unit="C"))

    asyncio.run(app())
    trace = traces.one()
    assert trace.body["name"] == "app"
    runs = trace.all(name="workflow.run")
    assert [span["output"] for span in runs] == [["sunny", "F"], "inner said snowy", ["snowy", "C"]]


def test_the_apps_own_setting_stays(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Uninstrumenting restores the setting of content; instrumenting respects the app's ENABLE_SENSITIVE_DATA."""
    settings = observability.OBSERVABILITY_SETTINGS
    pandaprobe_otel.uninstrument("agent_framework")
    assert settings.enable_sensitive_data is False
    with monkeypatch.context() as variables:
        variables.setenv("ENABLE_SENSITIVE_DATA", "false")
        assert pandaprobe_otel.instrument("agent_framework").state == "adopted"
        assert settings.enable_sensitive_data is False
        run(forecaster(model(weather_model)), "Hi")
        pandaprobe_otel.uninstrument("agent_framework")
    pandaprobe_otel.instrument("agent_framework")
    assert settings.enable_sensitive_data is True
    assert "input" not in traces.one().only("LLM")


@kinds
@ways
def test_planted_settings_are_recorded(
    way: Callable[..., None], kind: Any, traces: SentTraces, model: StartModel
) -> None:
    """An agent's instructions, descriptions and parameters, and a picture that its tool returns, are recorded."""
    planted = Planted()

    @tool(name="look_up", description=planted["a tool's description"])
    def look_up(city: str, unit: str) -> Any:
        """Look a city up."""
        return [Content.from_text(planted["a tool's result"]), Content.from_data(PICTURE, "image/png")]

    agent = forecaster(
        model(planted.script),
        kind=kind,
        description=planted["the description"],
        instructions=planted["the instructions"],
        tools=[look_up],
    )
    options = {"temperature": 0.125, "user": planted["a parameter"], "metadata": {"deal": planted["metadata"]}}
    way(agent, planted["the question"], options=options)
    trace = holds(planted, traces)
    for call in trace.all("LLM"):
        assert call["model_parameters"]["temperature"] == 0.125
        assert planted["a parameter"] in str(call["model_parameters"])
    assert planted["a tool's result"] in str(trace.only("TOOL")["output"])
    assert DIGEST in str(trace.body)


@ways
def test_every_content_is_recorded(way: Callable[..., None], traces: SentTraces, model: StartModel) -> None:
    """Earlier turns, pictures (as digests) and the metadata of each message appear in the trace."""
    planted = Planted()
    more: dict[str, Any] = {"additional_properties": {"of": planted["metadata of a text"]}}
    cited = {"type": "citation", "title": planted["a title"], "url": "http://a/" + planted["a source"]}
    messages = [
        Message("user", [Content.from_text(planted["an earlier question"], **more)], author_name="ada"),
        Message(
            "assistant", [Content.from_function_call("call-1", "look_up", arguments={"a": planted["an argument"]})]
        ),
        Message("tool", [Content.from_function_result("call-1", result=planted["a result"])]),
        Message("assistant", [Content.from_text(planted["an earlier answer"], annotations=[cited])]),
        Message(
            "user",
            [
                Content.from_text(planted["the question"]),
                Content.from_data(PICTURE, "image/png", additional_properties={"of": planted["metadata of a picture"]}),
                Content.from_uri("http://pictures.example/" + planted["an address"], media_type="image/png"),
            ],
            additional_properties={"tenant": planted["metadata of a message"]},
        ),
    ]
    way(forecaster(model(lambda _: Reply(text=planted["the answer"])), tools=()), messages)
    trace = holds(planted, traces)
    assert DIGEST in str(trace.only("LLM")["input"])
    assert DIGEST in str(trace.root["input"])


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str = Field(description="planted in the schema")


@kinds
def test_structured_output_is_recorded(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    answer = Verdict(verdict="planted in the answer").model_dump_json()
    run(forecaster(model(lambda _: Reply(text=answer)), kind=kind), "Hi", options={"response_format": Verdict})
    body = str(traces.one().body)
    assert ("planted in the schema" in body, "planted in the answer" in body) == (True, True)


def test_an_embedding_is_recorded(traces: SentTraces) -> None:
    """The embedded texts and the parameters appear in the trace."""
    planted = Planted()
    with ProviderServer() as service:
        service.replies(json_reply(embeddings_answer(5)))
        embedder = OpenAIEmbeddingClient(model=EMBEDDING_MODEL, async_client=client(service.url + "/v1"))
        asyncio.run(embedder.get_embeddings([planted["a text"]], options={"user": planted["a parameter"]}))
    assert holds(planted, traces).root["kind"] == "EMBEDDING"
