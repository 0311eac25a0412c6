"""Pipelines and agents of Haystack."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import iscoroutinefunction
from typing import Any

import pytest
from haystack import Document, Pipeline, component, tracing
from haystack.components.agents import Agent
from haystack.components.builders import ChatPromptBuilder
from haystack.components.embedders import OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.dataclasses import ChatMessage
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tools import Tool
from haystack.utils import Secret
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from framework_cases import (
    CITIES,
    CUTS,
    EMBEDDING_MODEL,
    AgentApp,
    StartModel,
    do_not_mix,
    embeddings_answer,
    growth_of_ours,
    in_tasks,
    in_threads,
    instrumented_with,
    parcel_talk,
    recorded_apart,
    run_beside_another_vendor,
    told_by,
)
from pandaprobe_otel.demo.completions import Reply
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel_integrations.haystack.tracer import HaystackTracer
from planting import Planted
from provider_server import ProviderServer, json_reply
from weather_model import WEATHER, weather, weather_model

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def generator(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """Haystack's client of OpenAI's API."""
    secret = Secret.from_token("any")
    return OpenAIChatGenerator(
        model="gpt-5-mini", api_base_url=endpoint.base_url, api_key=secret, max_retries=0, **options
    )


def forecaster(endpoint: ScriptedEndpoint, function: Callable[..., Any] = weather, **options: Any) -> Any:
    """An agent that knows the weather."""
    tool = Tool(name="weather", description="Tell the weather.", parameters=PARAMETERS, function=function)
    chat = generator(endpoint, **options.pop("generator", {}))
    return Agent(chat_generator=chat, tools=[tool], system_prompt="You know weather.", **options)


def run(agent: Any, asked: str) -> None:
    """Wait for the answer."""
    agent.run(messages=[ChatMessage.from_user(asked)])


def run_async(agent: Any, asked: str) -> None:
    """Run in an event loop."""
    asyncio.run(agent.run_async(messages=[ChatMessage.from_user(asked)]))


def streamed(agent: Any, asked: str) -> None:
    """Read the answer piece by piece."""
    pieces: list[Any] = []
    agent.run(messages=[ChatMessage.from_user(asked)], streaming_callback=pieces.append)
    assert len(pieces) > 2


@pytest.mark.parametrize("way", [run, run_async, streamed])
def test_an_agent_is_one_tree(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """Every way to run the agent makes the same tree, without Haystack's steps; each model call is one LLM span."""
    endpoint = model(weather_model)
    usage = {"generation_kwargs": {"stream_options": {"include_usage": True}}} if way is streamed else {}
    way(forecaster(endpoint, generator=usage), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace agent | COMPLETED | Weather in Oslo? > The station says: snowy
        AGENT agent | u > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Oslo"} > "snowy"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)


def test_what_the_spans_tell(traces: SentTraces, model: StartModel) -> None:
    """Messages and tools in the spans match those sent over the wire."""
    endpoint = model(weather_model)
    run(forecaster(endpoint, generator={"generation_kwargs": {"temperature": 0.5}}), "Weather in Oslo?")

    told = traces.one().all("LLM")[1]
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    (system, user, assistant, result) = told["input"]["messages"]
    assert (system["content"], user["content"]) == ("You know weather.", "Weather in Oslo?")
    assert (assistant["tool_calls"][0]["id"], result["tool_call_id"], result["content"]) == (wire_id, wire_id, "snowy")
    assert told["metadata"]["tools"][0]["name"] == "weather"


def question(endpoint: ScriptedEndpoint) -> Any:
    """A pipeline of retriever, prompt and model."""
    store = InMemoryDocumentStore()
    store.write_documents([Document(content="Oslo is in Norway."), Document(content="Łódź is in Poland.")])
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=1))
    template = [ChatMessage.from_user("{{ documents[0].content }} {{ question }}")]
    pipeline.add_component("prompt", ChatPromptBuilder(template=template, required_variables="*"))
    pipeline.add_component("llm", generator(endpoint))
    pipeline.connect("retriever.documents", "prompt.documents")
    pipeline.connect("prompt.prompt", "llm.messages")
    return pipeline


GIVEN = {"retriever": {"query": "Norway"}, "prompt": {"question": "Where?"}}


@pytest.mark.parametrize("way", ["run", "run_async"])
def test_a_pipeline_is_one_tree(way: str, traces: SentTraces, model: StartModel) -> None:
    """Each component is a step below the pipeline: the retriever, the prompt, and the model call."""
    endpoint = model(weather_model)
    pipeline = question(endpoint)
    if way == "run":
        pipeline.run(GIVEN)
    else:
        asyncio.run(pipeline.run_async(GIVEN))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [(span["kind"], span["name"]) for span in trace.spans] == [
        ("CHAIN", "pipeline"),
        ("RETRIEVER", "retriever"),
        ("CHAIN", "prompt"),
        ("LLM", "chat gpt-5-mini"),
    ]
    looked_up = trace.only("RETRIEVER")
    assert (looked_up["input"], looked_up["output"][0]["page_content"]) == ("Norway", "Oslo is in Norway.")
    assert trace.only("LLM")["input"]["messages"][0]["content"] == "Oslo is in Norway. Where?"
    assert {span["parent_span_id"] for span in trace.spans[1:]} == {trace.root["span_id"]}


def test_a_component_that_raises(traces: SentTraces, model: StartModel) -> None:
    """A component's exception reaches the app; every span is ended, pipeline and component with status ERROR."""

    @component
    class Broken:
        @component.output_types(said=str)
        def run(self, asked: str) -> dict[str, str]:
            raise LookupError(f"nothing about {asked}")

    pipeline = Pipeline()
    pipeline.add_component("broken", Broken())
    pipeline.add_component("agent", forecaster(model(weather_model)))
    with pytest.raises(Exception, match="nothing about Oslo"):
        pipeline.run({"broken": {"asked": "Oslo"}, "agent": {"messages": [ChatMessage.from_user("Hi")]}})

    trace = traces.one()
    assert [trace.only(name=name)["status"] for name in ("pipeline", "broken")] == ["ERROR", "ERROR"]
    assert {"ended_at" in span for span in trace.spans} == {True}


def test_two_turns_and_an_agent_as_a_tool(traces: SentTraces, model: StartModel) -> None:
    """A sub-agent and the app's spans are below their tool; all traces have the app's session."""
    endpoint = model(weather_model)

    def look_up(city: str) -> str:
        with pandaprobe_otel.span("look up"):
            return WEATHER[city]

    expert = forecaster(endpoint, look_up)

    def ask_expert(city: str) -> str:
        said = expert.run(messages=[ChatMessage.from_user(f"Weather in {city}?")])
        return str(said["messages"][-1].text)

    boss = forecaster(endpoint, ask_expert)
    with pandaprobe_otel.session("talk-1"):
        for asked in ("Weather in Oslo?", "Hi"):
            run(boss, asked)

    first, second = traces.new(2)
    assert (first.body["session_id"], second.body["session_id"]) == ("talk-1", "talk-1")
    first.is_sound(endpoint.exchanges[:-1])
    above = [span["name"] for span in first.above(first.only(name="look up"))]
    assert above == ["weather", "agent", "weather", "agent"]


@pytest.mark.parametrize("together", ["threads", "tasks"])
def test_runs_at_once_do_not_mix(together: str, traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs is a separate, complete trace with no spans of the others."""
    agent = forecaster(model(weather_model))
    if together == "tasks":
        in_tasks(lambda city: agent.run_async(messages=[ChatMessage.from_user(f"Weather in {city}?")]))
    else:
        in_threads(lambda city: run(agent, f"Weather in {city}?"))

    do_not_mix(traces.new(len(CITIES)), "AGENT", "LLM", "TOOL", "LLM")


def test_an_embedder_is_one_span(traces: SentTraces) -> None:
    """The call of an embedder's client is the embedder's span, with its tokens and model."""
    with ProviderServer() as service:
        service.replies(json_reply(embeddings_answer(5)))
        pipeline = Pipeline()
        secret = Secret.from_token("any")
        pipeline.add_component("embedder", OpenAITextEmbedder(api_key=secret, api_base_url=f"{service.url}/v1"))
        pipeline.run({"embedder": {"text": "Snow?"}})

    (embedded,) = traces.one().spans[1:]
    assert (embedded["kind"], embedded["name"], embedded["model"]) == ("EMBEDDING", "embedder", EMBEDDING_MODEL)
    assert embedded["token_usage"]["prompt_tokens"] == 5
    assert "Snow?" in embedded["input"]


async def asked(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool."""
    form = "async_function" if iscoroutinefunction(function) else "function"
    tool = Tool(name="weather", description="Tell the weather.", parameters=PARAMETERS, **{form: function})
    await Agent(chat_generator=generator(endpoint), tools=[tool]).run_async(messages=[ChatMessage.from_user(question)])


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading the stream of a pipeline after the first text of its agent."""
    pipeline = Pipeline()
    pipeline.add_component("agent", forecaster(endpoint))
    async for piece in pipeline.stream({"agent": {"messages": [ChatMessage.from_user("Hi")]}}):
        if piece.content:
            break


@CUTS
def test_a_run_that_is_cut_short(cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled, left or refused is one trace with the true status and outcome."""
    cut(AgentApp(run=asked, leave=leave), traces, model)


def test_a_thousand_runs_do_not_grow(traces: SentTraces) -> None:
    """Neither a successful nor a failed run leaves objects of ours or of OpenTelemetry behind."""

    @component
    class Parrot:
        @component.output_types(said=str)
        def run(self, number: int) -> dict[str, str]:
            if number % 10 == 0:
                raise LookupError("no")
            return {"said": "Squawk"}

    pipeline = Pipeline()
    pipeline.add_component("parrot", Parrot())

    def runs(count: int) -> None:
        for number in range(count):
            if number % 10:
                pipeline.run({"parrot": {"number": number}})
            else:
                with pytest.raises(Exception, match="no"):
                    pipeline.run({"parrot": {"number": number}})

    with instrumented_with("haystack", tracer_provider=TracerProvider(shutdown_on_exit=False)):
        assert growth_of_ours(runs, 1000, first=100) == {}


def test_beside_another_vendor(traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """While OpenInference records the runs, our integration is skipped, and each call is recorded once."""
    endpoint = model(weather_model)
    done = run_beside_another_vendor("haystack", server.url, server.api_key, endpoint.base_url)
    assert done.stdout.startswith("skipped: OpenInference records these calls")
    trace = traces.one()
    assert {span["metadata"]["scope"] for span in trace.spans} == {"openinference.instrumentation.haystack"}
    assert len(trace.all("LLM")) == len(endpoint.exchanges) == 1


def test_content_is_left_out_when_it_is_not_wanted(traces: SentTraces, model: StartModel) -> None:
    """With `capture_content=False`, spans have names, models and tokens, but no content."""
    agent = forecaster(model(weather_model))
    with recorded_apart("haystack", capture_content=False) as recorded:
        for city in ("Oslo", "Atlantis"):
            run(agent, f"Weather in {city}?")
        with pytest.raises(Exception, match="Nowhere"):
            run(agent, "Weather in Nowhere?")

    told = told_by(recorded)
    assert "gen_ai.usage.input_tokens" in told
    assert [word for word in ("Oslo", "snowy", "Nowhere", "Atlantis", "You know") if word in told] == []


def test_the_apps_own_tracer_stays(traces: SentTraces) -> None:
    """Our integration is skipped if the app sets its own tracer, and uninstrumenting leaves that tracer in place."""
    ours = tracing.tracer.actual_tracer
    assert isinstance(ours, HaystackTracer)
    theirs = tracing.tracer.actual_tracer = type(ours)(lambda: None)
    try:
        assert pandaprobe_otel.status().instrumented["haystack"] == "skipped: Haystack has been given another tracer"
        pandaprobe_otel.uninstrument("haystack")
        assert tracing.tracer.actual_tracer is theirs
    finally:
        tracing.disable_tracing()
        assert pandaprobe_otel.instrument("haystack").state == "hooked"


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, without a key, makes two turns of one session."""
    example = Example("haystack_agent")
    endpoint = model(example.script)
    example.run(endpoint, monkeypatch)

    asked, thanked = parcel_talk(traces)
    assert asked.body["session_id"] == "conversation-1"
    assert len(asked.all("LLM")) + len(thanked.all("LLM")) == len(endpoint.exchanges)


@pytest.mark.plants(
    "haystack.agent.run", "haystack.agent.step.llm", "haystack.agent.step.tool", "haystack.pipeline.run"
)
def test_what_is_planted_comes_out(traces: SentTraces, model: StartModel) -> None:
    """Inputs of an agent and a component, tool arguments, tool result and answers are recorded."""
    planted = Planted()

    @component
    class Grader:
        """A component written by the app."""

        @component.output_types(grade=str, reply=str)
        def run(self, messages: list[ChatMessage], tenant: str) -> dict[str, str]:
            """Grade the agent's answer."""
            return {"grade": planted["a component's result"], "reply": planted["another result"]}

    properties = {"city": {"type": "string"}, "unit": {"type": "string"}}
    look_up = Tool(
        name="look_up",
        description=planted["a tool's description"],
        parameters={"type": "object", "properties": properties},
        function=planted.look_up,
    )
    pipeline = Pipeline()
    agent = Agent(
        chat_generator=generator(model(planted.script)), tools=[look_up], system_prompt=planted["the instructions"]
    )
    pipeline.add_component("agent", agent)
    pipeline.add_component("grader", Grader())
    pipeline.connect("agent.messages", "grader.messages")
    with recorded_apart("haystack") as recorder:
        asked = [ChatMessage.from_user(planted["the question"])]
        pipeline.run({"agent": {"messages": asked}, "grader": {"tenant": planted["a component's input"]}})
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []


def test_what_stands_beside_messages_and_queries_comes_out(traces: SentTraces, model: StartModel) -> None:
    """An agent's state, a retriever's settings and results, and model parameters are recorded."""
    planted = Planted()

    @component
    class Finder:
        """A retriever written by the app, recognised by its class's name."""

        @component.output_types(documents=list[Document])
        def run(self, query: str, top_k: int, filters: dict[str, Any]) -> dict[str, Any]:
            """Return one document."""
            return {"documents": [Document(content=planted["a document"], meta={"note": planted["of a document"]})]}

    Finder.__name__ = "FinderRetriever"
    pipeline = Pipeline()
    settings = {"generation_kwargs": {"user": planted["a parameter"]}}
    agent = Agent(
        chat_generator=generator(model(lambda _: Reply(text=planted["the answer"]))),
        tools=[],
        state_schema={"tenant": {"type": str}},
    )
    pipeline.add_component("finder", Finder())
    pipeline.add_component("agent", agent)
    asked = {"messages": [ChatMessage.from_user(planted["the question"])], "tenant": planted["the state"], **settings}
    with recorded_apart("haystack") as recorder:
        query = {"query": planted["the query"], "top_k": 7_000_001, "filters": {"lang": planted["a filter"]}}
        pipeline.run({"finder": query, "agent": asked})
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    spans = {span["name"]: span for span in map_trace(recorder.spans)["spans"]}
    assert spans["finder"]["kind"] == "RETRIEVER"
    assert spans["finder"]["input"]["top_k"] == 7_000_001
    for side in ("input", "output"):
        assert spans["agent"][side]["tenant"] == planted["the state"]
        assert "content" in spans["agent"][side]["messages"][-1]
