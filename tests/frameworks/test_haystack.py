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

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import (
    CONFORMANCE,
    EMBEDDING_MODEL,
    AgentApp,
    StartModel,
    embeddings_answer,
    recorded_apart,
)
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel_integrations.haystack import HaystackTracer
from planting import Planted
from provider_server import ProviderServer, json_reply
from weather_model import weather, weather_model

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def generator(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """Haystack's client of OpenAI's API."""
    secret = Secret.from_token("any")
    return OpenAIChatGenerator(
        model="gpt-5-mini", api_base_url=endpoint.base_url, api_key=secret, max_retries=0, **options
    )


def forecaster(endpoint: ScriptedEndpoint, function: Callable[..., Any] = weather, **options: Any) -> Any:
    """An agent that knows the weather."""
    form = "async_function" if iscoroutinefunction(function) else "function"
    tool = Tool(name="weather", description="Tell the weather.", parameters=PARAMETERS, **{form: function})
    return Agent(chat_generator=generator(endpoint, **options), tools=[tool], system_prompt="You know weather.")


def message(text: str) -> Any:
    """Return the input of an agent."""
    return {"messages": [ChatMessage.from_user(text)]}


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool."""
    await forecaster(endpoint, function).run_async(**message(question))


def blocking(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask without an event loop."""
    forecaster(endpoint, function).run(**message(question))


def streamed(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Read the answer piece by piece."""
    pieces: list[Any] = []
    agent = forecaster(endpoint, function, generation_kwargs={"stream_options": {"include_usage": True}})
    agent.run(**message(question), streaming_callback=pieces.append)
    assert len(pieces) > 2


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading the stream of a pipeline after the first text of its agent."""
    pipeline = Pipeline()
    pipeline.add_component("agent", forecaster(endpoint))
    async for piece in pipeline.stream({"agent": message("Hi")}):
        if piece.content:
            break


APP = AgentApp(
    run=ask,
    ways=[blocking, streamed],
    leaves=[leave],
    name="haystack",
    tree="""
        trace agent | COMPLETED | Weather in Łódź? > The station says: sunny
        AGENT agent | u > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
    rivals={"openinference.instrumentation.haystack:HaystackInstrumentor": "skipped: OpenInference records"},
    rivals_count=False,
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """Haystack's agents are recorded as those of every framework."""
    if check.__name__ == "_leaves_no_hook":
        pytest.skip("Haystack calls a tracer")
    check(APP, traces, model)


def question(endpoint: ScriptedEndpoint) -> Any:
    """A pipeline of retriever, prompt and model."""
    store = InMemoryDocumentStore()
    store.write_documents([Document(content="Oslo is in Norway."), Document(content="Łódź is in Poland.")])
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=1))
    template = [ChatMessage.from_user("{{ documents[0].content }} {{ question }}")]
    names = ["documents", "question"]  # Haystack would read them into a set, whose order differs from run to run
    pipeline.add_component("prompt", ChatPromptBuilder(template=template, required_variables="*", variables=names))
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
    trace.is_like("""
        trace pipeline | COMPLETED | {"retriever":{"query":"Norway"},"prompt":{"question":"Where?"}} > {"llm":{"replies":[{"role":"assistant","content":"You said: Oslo is in Norway. Where?"}]}}
        CHAIN pipeline | {retriever,prompt} > {llm}
          RETRIEVER retriever | "Norway" > [1]
          CHAIN prompt | {documents,question} > {prompt}
          LLM chat gpt-5-mini @gpt-5-mini | u > a
    """)  # noqa: E501
    assert trace.only("RETRIEVER")["output"][0]["page_content"] == "Oslo is in Norway."
    assert trace.only("LLM")["input"]["messages"][0]["content"] == "Oslo is in Norway. Where?"


def test_a_component_that_raises(traces: SentTraces) -> None:
    """A component's exception reaches the app, and is the error of its span, with its inputs, and the pipeline's."""

    @component
    class Broken:
        @component.output_types(said=str)
        def run(self, city: str) -> dict[str, str]:
            raise LookupError(f"nothing about {city}")

    pipeline = Pipeline()
    pipeline.add_component("broken", Broken())
    with pytest.raises(Exception, match="nothing about Oslo"):
        pipeline.run({"broken": {"city": "Oslo"}})

    trace = traces.one()
    assert [(span["name"], span["status"]) for span in trace.spans] == [("pipeline", "ERROR"), ("broken", "ERROR")]
    assert trace.spans[1]["input"] == {"city": "Oslo"}


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


def test_planted_values_are_recorded(traces: SentTraces, model: StartModel) -> None:
    """Inputs, results, settings and states of agents, tools and retrievers are recorded."""
    planted = Planted()

    @component
    class Finder:
        """A retriever written by the app, recognised by its class's name."""

        @component.output_types(documents=list[Document])
        def run(self, query: str, top_k: int, filters: dict[str, Any]) -> dict[str, Any]:
            """Return one document."""
            return {"documents": [Document(content=planted["a document"], meta={"note": planted["of a document"]})]}

    Finder.__name__ = "FinderRetriever"
    look_up = Tool(
        name="look_up",
        description=planted["a tool's description"],
        parameters={"type": "object", "properties": {name: {"type": "string"} for name in ("city", "unit")}},
        function=planted.look_up,
    )
    agent = Agent(
        chat_generator=generator(model(planted.script)),
        tools=[look_up],
        system_prompt=planted["the instructions"],
        state_schema={"tenant": {"type": str}},
    )
    pipeline = Pipeline()
    pipeline.add_component("finder", Finder())
    pipeline.add_component("agent", agent)
    given = {
        "finder": {"query": planted["the query"], "top_k": 7_000_001, "filters": {"lang": planted["a filter"]}},
        "agent": {
            **message(planted["the question"]),
            "tenant": planted["the state"],
            "generation_kwargs": {"user": planted["a parameter"]},
        },
    }
    with recorded_apart("haystack") as recorder:
        pipeline.run(given)
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    spans = {span["name"]: span for span in map_trace(recorder.spans)["spans"]}
    assert spans["finder"]["kind"] == "RETRIEVER"
    assert spans["finder"]["input"]["top_k"] == 7_000_001
    for side in ("input", "output"):
        assert spans["agent"][side]["tenant"] == planted["the state"]
        assert "content" in spans["agent"][side]["messages"][-1]
