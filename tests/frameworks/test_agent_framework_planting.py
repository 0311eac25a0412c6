"""Content planted in Agent Framework's agents, messages, tools, models and workflows appears in the trace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from agent_framework import Agent, Content, Message, tool
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient, OpenAIEmbeddingClient
from openai import AsyncOpenAI
from pydantic import BaseModel, Field

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message as Said
from pandaprobe_otel.demo.completions import Refusal, Reply
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from planting import Planted
from provider_server import ProviderServer, json_reply

# The clients leave their connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

PICTURE = b"picture" * 1000
DIGEST = sha256(PICTURE).hexdigest()


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str = Field(description="What is to be judged.")
    grade: str


def client(url: str) -> Any:
    """A client that leaves no open connection to a closed event loop."""
    return AsyncOpenAI(base_url=url, api_key="any", max_retries=0, default_headers={"Connection": "close"})


def agent(endpoint: ScriptedEndpoint, kind: Any = OpenAIChatCompletionClient, **options: Any) -> Any:
    """An agent of the framework."""
    given = {"name": "planter", "instructions": "You know.", **options}
    return Agent(kind(model="gpt-5-mini", async_client=client(endpoint.base_url)), **given)


def run(running: Any, asked: Any, **given: Any) -> Any:
    """Wait for the answer."""
    return asyncio.run(running.run(asked, **given))


def streamed(running: Any, asked: Any, **given: Any) -> Any:
    """Read the answer update by update."""

    async def consume() -> list[Any]:
        return [update async for update in running.run(asked, stream=True, **given)]

    return asyncio.run(consume())


WAYS = [run, streamed]
KINDS = [OpenAIChatCompletionClient, OpenAIChatClient]


def comes_out(planted: Planted, traces: SentTraces) -> Any:
    """Assert that the trace contains everything planted, and return the trace."""
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    return trace


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.plants(
    "AgentTelemetryLayer._trace_agent_invocation", "ChatTelemetryLayer.get_response", "_get_span_attributes"
)
def test_what_is_planted_comes_out_of_an_agent(way: Any, kind: Any, traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, parameters, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()

    @tool(name="look_up", description=planted["what a tool does"])
    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        return planted.look_up(city, unit)

    running = agent(
        model(planted.script),
        kind,
        description=planted["the description"],
        instructions=planted["the instructions"],
        tools=[look_up],
    )
    options = {"temperature": 0.125, "user": planted["a parameter"], "metadata": {"deal": planted["metadata"]}}
    way(running, planted["the question"], options=options)
    trace = comes_out(planted, traces)
    for call in trace.all("LLM"):
        assert call["model_parameters"]["temperature"] == 0.125
        assert planted["a parameter"] in str(call["model_parameters"])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.plants("_to_otel_message_latest_experimental", "_to_otel_part_latest_experimental")
def test_every_content_comes_out(way: Any, traces: SentTraces, model: StartModel) -> None:
    """Earlier turns, pictures (as digests) and the metadata of each message appear in the trace."""
    planted = Planted()
    beside: dict[str, Any] = {"additional_properties": {"of": planted["beside a text"]}}
    cited = {"type": "citation", "title": planted["a title"], "url": "http://a/" + planted["what is cited"]}
    messages = [
        Message("user", [Content.from_text(planted["an earlier question"], **beside)], author_name="ada"),
        Message(
            "assistant", [Content.from_function_call("call-1", "look_up", arguments={"a": planted["an argument"]})]
        ),
        Message("tool", [Content.from_function_result("call-1", result=planted["a result"])]),
        Message("assistant", [Content.from_text(planted["an earlier answer"], annotations=[cited])]),
        Message(
            "user",
            [
                Content.from_text(planted["the question"]),
                Content.from_data(PICTURE, "image/png", additional_properties={"of": planted["beside a picture"]}),
                Content.from_uri("http://pictures.example/" + planted["an address"], media_type="image/png"),
            ],
            additional_properties={"tenant": planted["beside a message"]},
        ),
    ]
    way(agent(model(lambda _: Reply(text=planted["the answer"]))), messages)
    trace = comes_out(planted, traces)
    assert DIGEST in str(trace.only("LLM")["input"])
    assert DIGEST in str(trace.root["input"])


RESULTS: dict[str, Any] = {
    "text": lambda word: word,
    "object": lambda word: {"found": {"deep": [word]}},
    "model": lambda word: Verdict(verdict=word, grade="1"),
    "list": lambda word: [word, {"deep": word}],
    "contents": lambda word: [Content.from_text(word), Content.from_data(PICTURE, "image/png")],
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", RESULTS)
def test_a_tools_result_comes_out(kind: str, is_async: bool, traces: SentTraces, model: StartModel) -> None:
    """The result of a sync or async tool appears in the trace in its own form, pictures as digests."""
    planted = Planted()

    def look_up(city: str, unit: str) -> Any:
        """Look a city up."""
        return RESULTS[kind](planted["the result"])

    async def look_up_later(city: str, unit: str) -> Any:
        """Look a city up."""
        return look_up(city, unit)

    called = tool(name="look_up")(look_up_later if is_async else look_up)
    run(agent(model(planted.script), tools=[called]), planted["the question"])
    trace = comes_out(planted, traces)
    told = trace.only("TOOL")
    assert planted["the result"] in str(told["output"])
    if kind == "contents":
        assert DIGEST in str(trace.body)


def test_a_tool_that_fails_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A failed tool's arguments and error appear in the trace."""
    planted = Planted()

    @tool
    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        raise LookupError(planted["the exception"])

    run(agent(model(planted.script), tools=[look_up]), planted["the question"])
    trace = comes_out(planted, traces)
    assert planted["the exception"] in trace.only("TOOL")["error"]


@pytest.mark.parametrize("kind", KINDS)
def test_structured_output_comes_out(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    planted = Planted()
    Verdict.model_fields["verdict"].description = planted["of a field of the schema"]
    Verdict.model_rebuild(force=True)
    answer = Verdict(verdict=planted["the verdict"], grade=planted["the grade"])
    running = agent(model(lambda _: Reply(text=answer.model_dump_json())), kind)
    run(running, planted["the question"], options={"response_format": Verdict})
    comes_out(planted, traces)


def test_a_session_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The second turn's input contains the messages of the first turn."""
    planted = Planted()
    running = agent(model(lambda messages: Reply(text=planted[f"answer {len(messages)}"])))

    async def talk() -> None:
        session = running.create_session()
        await running.run(planted["the first question"], session=session)
        await running.run(planted["the second question"], session=session)

    asyncio.run(talk())
    first, second = traces.new(2)
    assert planted.missing_in([first.body, second.body]) == []
    assert planted["the first question"] in str(second.only("LLM")["input"])
    assert first.body["session_id"] == second.body["session_id"]


def test_an_agent_as_a_tool_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The other agent's input and answer appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Said]) -> Reply:
        if planted["the expert's instructions"] in str(messages):
            return Reply(text=planted["the expert's answer"])
        return planted.script(messages)

    endpoint = model(script)

    @tool(name="look_up")
    async def look_up(city: str, unit: str) -> str:
        """Ask an expert."""
        expert = agent(endpoint, name="expert", instructions=planted["the expert's instructions"])
        return str(await expert.run(planted["the expert's question"]))

    run(agent(endpoint, tools=[look_up]), planted["the question"])
    comes_out(planted, traces)


@pytest.mark.parametrize("way", WAYS)
def test_a_refusal_comes_out(way: Any, traces: SentTraces, model: StartModel) -> None:
    """The error message of a refused call appears in the trace."""
    planted = Planted()

    def script(messages: Sequence[Said]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    with pytest.raises(Exception, match="planted"):
        way(agent(model(script)), planted["the question"])
    trace = comes_out(planted, traces)
    assert all(planted["the refusal"] in span["error"] for span in trace.spans)


@pytest.mark.plants("EmbeddingTelemetryLayer.get_embeddings")
def test_an_embedding_comes_out(traces: SentTraces) -> None:
    """The embedded texts and the parameters appear in the trace."""
    planted = Planted()
    answer = {
        "object": "list",
        "model": "text-embedding-3-small",
        "data": [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}],
        "usage": {"prompt_tokens": 5, "total_tokens": 5},
    }
    with ProviderServer() as service:
        service.replies(json_reply(answer))
        embedder = OpenAIEmbeddingClient(model="text-embedding-3-small", async_client=client(service.url + "/v1"))
        asyncio.run(embedder.get_embeddings([planted["a text"]], options={"user": planted["a parameter"]}))
    trace = comes_out(planted, traces)
    assert trace.root["kind"] == "EMBEDDING"
