"""Agents of Pydantic AI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import (
    Agent,
    BinaryContent,
    Embedder,
    ImageUrl,
    ModelRetry,
    NativeOutput,
    PromptedOutput,
    Tool,
    ToolOutput,
    ToolReturn,
)
from pydantic_ai.direct import model_request_stream
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.messages import (
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.models.test import TestModel
from pydantic_ai.providers.openai import OpenAIProvider

import pandaprobe_otel
import replayed_frameworks as replays
from agent_traces import SentTraces
from framework_cases import CONFORMANCE, EMBEDDING_MODEL, AgentApp, StartModel, embeddings_answer, holds
from library_members import has, needs
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint, ToolCall
from planting import Planted
from provider_server import ProviderServer, json_reply
from weather_model import weather, weather_model

Way = Callable[..., Any]
DIGEST = sha256(b"picture").hexdigest()


def provider(url: str) -> OpenAIProvider:
    """A client that does not retry and leaves no open connection to a closed event loop."""
    headers = {"Connection": "close"}
    return OpenAIProvider(
        openai_client=AsyncOpenAI(base_url=url, api_key="any", max_retries=0, default_headers=headers)
    )


def forecaster(url: str, kind: Any = OpenAIChatModel, model: str = "gpt-5-mini", **options: Any) -> Agent[Any, Any]:
    """An agent that knows the weather."""
    given = {"name": "forecaster", "instructions": "You know weather.", "tools": [weather], **options}
    return Agent(kind(model, provider=provider(url)), **given)


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any, kind: Any = OpenAIChatModel) -> None:
    """Ask an agent with this tool."""
    await forecaster(endpoint.base_url, kind, tools=[function]).run(question)


def ask_sync(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask without an event loop."""
    forecaster(endpoint.base_url, tools=[function]).run_sync(question)


def ask_streamed(endpoint: ScriptedEndpoint, question: str, function: Any, kind: Any = OpenAIChatModel) -> None:
    """Read the answer piece by piece."""
    streamed(forecaster(endpoint.base_url, kind, tools=[function]), question)


def by_nodes(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Run the agent node by node."""

    async def consume() -> None:
        async with forecaster(endpoint.base_url, tools=[function]).iter(question) as nodes:
            async for node in nodes:
                if Agent.is_model_request_node(node):
                    async with node.stream(nodes.ctx) as stream:
                        assert [event async for event in stream]

    asyncio.run(consume())


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    async with forecaster(endpoint.base_url).run_stream("Hi") as result:
        async for _ in result.stream_text(delta=True, debounce_by=None):
            break


APP = AgentApp(
    run=ask,
    ways=[ask_sync, ask_streamed, by_nodes, *(partial(way, kind=OpenAIResponsesModel) for way in (ask, ask_streamed))],
    tells_first=has("pydantic-ai-slim", "2.6"),
    leaves=[leave],
    name="pydantic_ai",
    package="pydantic_ai",
    tree="""
        trace forecaster run | COMPLETED | session SESSION | Weather in Łódź? > The station says: sunny
        AGENT forecaster run | su > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
    rivals={"openinference.instrumentation.pydantic_ai:OpenInferenceSpanProcessor": "adopted"},
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """Pydantic AI's agents are recorded as those of every framework."""
    check(APP, traces, model)


def run_sync(agent: Agent[Any, Any], question: Any, **given: Any) -> Any:
    """Wait for the answer, without an event loop."""
    return agent.run_sync(question, **given).output


def run(agent: Agent[Any, Any], question: Any, **given: Any) -> Any:
    """Wait for the answer in an event loop."""
    return asyncio.run(agent.run(question, **given)).output


async def read(agent: Agent[Any, Any], question: Any, **given: Any) -> str:
    """Return the answer, read piece by piece."""
    async with agent.run_stream(question, **given) as stream:
        return "".join([piece async for piece in stream.stream_text(delta=True, debounce_by=None)])


def streamed(agent: Agent[Any, Any], question: Any, **given: Any) -> Any:
    """Read the answer piece by piece."""
    return asyncio.run(read(agent, question, **given))


def direct(agent: Agent[Any, Any], question: str) -> None:
    """Call the model directly, without an agent."""

    async def consume() -> None:
        request = [ModelRequest.user_text_prompt(question)]
        async with model_request_stream(agent.model, request, instrument=True) as stream:
            assert [event async for event in stream]

    asyncio.run(consume())


ways = pytest.mark.parametrize("way", [run_sync, run, streamed])
kinds = pytest.mark.parametrize("kind", [OpenAIChatModel, OpenAIResponsesModel])


@needs("pydantic-ai-slim", "2.6", "time of the first chunk")
def test_the_first_token_of_a_direct_call(traces: SentTraces, model: StartModel) -> None:
    """A streamed call of the model without an agent has the time of its first token."""
    direct(forecaster(model(weather_model).base_url), "Weather in Oslo?")
    assert "completion_start_time" in traces.one().only("LLM")


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """A continued conversation has the session of its first turn; the app's own session wins."""
    agent = forecaster(model(weather_model).base_url)
    first = agent.run_sync("Hi", conversation_id="talk-7")
    agent.run_sync("Weather in Oslo?", message_history=first.all_messages())
    with pandaprobe_otel.context(session="mine", user="grace"):
        agent.run_sync("Hi")

    found = traces.new(3)
    assert [trace.body["session_id"] for trace in found] == ["talk-7", "talk-7", "mine"]
    assert found[2].body["user_id"] == "grace"
    assert [trace.body["input"]["messages"][0]["content"] for trace in found] == ["Hi", "Weather in Oslo?", "Hi"]


def test_settings_of_the_apps_own_stay(traces: SentTraces) -> None:
    """Settings that the app made for all agents, or for one, stay."""
    ours = vars(Agent)["_instrument_default"]
    pandaprobe_otel.uninstrument("pydantic_ai")
    assert vars(Agent)["_instrument_default"] is vars(Embedder)["_instrument_default"] is False
    Agent.instrument_all(True)
    try:
        assert pandaprobe_otel.instrument("pydantic_ai").state == "adopted"
        assert vars(Agent)["_instrument_default"] is True
    finally:
        pandaprobe_otel.uninstrument("pydantic_ai")
        Agent.instrument_all(False)
        pandaprobe_otel.instrument("pydantic_ai")
    assert type(vars(Agent)["_instrument_default"]) is type(ours)
    silent = Agent(TestModel(), name="silent")
    silent.instrument = False
    silent.run_sync("Hi")
    assert traces.new(0) == []


@kinds
@ways
def test_planted_settings_are_recorded(way: Way, kind: Any, traces: SentTraces, model: StartModel) -> None:
    """Instructions, question, parameters, tool arguments, tool result, metadata and answer appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> str:
        return planted.look_up(city, unit)

    look_up.__doc__ = planted["a tool's description"]
    agent = forecaster(
        model(planted.script).base_url,
        kind,
        instructions=planted["the instructions"],
        system_prompt=planted["the system prompt"],
        tools=[look_up],
        model_settings={"temperature": 0.125, "parallel_tool_calls": False},
    )
    settings = {"openai_user": planted["a parameter"], "extra_body": {"deal": planted["another parameter"]}}
    way(agent, planted["the question"], model_settings=settings, metadata={"tenant": planted["metadata of the run"]})
    for call in holds(planted, traces).all("LLM"):
        assert call["model_parameters"]["temperature"] == 0.125
        assert planted["a parameter"] in str(call["model_parameters"])


def test_every_part_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """Earlier turns, thoughts, pictures (as digests) and the metadata of parts appear in the trace."""
    planted = Planted()
    history = [
        ModelRequest([SystemPromptPart(planted["the system prompt"]), UserPromptPart(planted["an earlier question"])]),
        ModelResponse(
            [
                ThinkingPart(planted["a thought"]),
                TextPart(planted["an earlier answer"]),
                ToolCallPart("look_up", {"city": planted["an earlier argument"]}, tool_call_id="call-1"),
            ]
        ),
        ModelRequest([ToolReturnPart("look_up", {"found": planted["an earlier result"]}, tool_call_id="call-1")]),
        ModelResponse([TextPart(planted["another earlier answer"])]),
    ]
    question = [
        planted["the question"],
        BinaryContent(b"picture", media_type="image/png", vendor_metadata={"detail": planted["a detail"]}),
        ImageUrl("http://pictures.example/" + planted["an address"] + ".png"),
    ]
    run(forecaster(model(lambda _: Reply(text=planted["the answer"])).base_url), question, message_history=history)
    trace = holds(planted, traces)
    assert DIGEST in str(trace.only("LLM")["input"])
    assert DIGEST in str(trace.root["input"])


def test_a_picture_and_a_retry_of_a_tool_are_recorded(traces: SentTraces, model: StartModel) -> None:
    """A tool's request for another try, and the picture that it returns then, appear in the trace."""
    planted = Planted()
    tries: list[str] = []

    def look_up(city: str, unit: str) -> Any:
        """Look a city up."""
        tries.append(city)
        if len(tries) == 1:
            raise ModelRetry(planted["the reason of a retry"])
        return [planted["the result"], BinaryContent(b"picture", media_type="image/png")]

    def script(messages: Sequence[Message]) -> Reply:
        is_done = planted["the result"] in str(messages)
        return Reply(text="Done.") if is_done else planted.script([{"role": "user", "content": ""}])

    run(forecaster(model(script).base_url, tools=[look_up], retries=2), planted["the question"])
    last = holds(planted, traces).all("TOOL")[-1]
    assert planted["the result"] in str(last["output"])
    assert DIGEST in str(last["output"])


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str = Field(description="planted in the schema")


@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput, PromptedOutput])
def test_structured_output_is_recorded(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    answer = Verdict(verdict="planted in the answer")

    def script(messages: Sequence[Message]) -> Reply:
        if kind is ToolOutput:
            return Reply(tool_calls=(ToolCall(name="final_result", arguments=answer.model_dump()),))
        return Reply(text=answer.model_dump_json())

    assert run(forecaster(model(script).base_url, output_type=kind(Verdict)), "Hi") == answer
    trace = traces.one()
    assert "planted in the schema" in str(trace.body)
    assert answer.verdict in str(trace.root["output"])


def test_an_embedding_is_recorded(traces: SentTraces) -> None:
    """The embedded texts and the parameters appear in the trace."""
    planted = Planted()
    with ProviderServer() as service:
        service.replies(json_reply(embeddings_answer(5)))
        embedder = Embedder(OpenAIEmbeddingModel(EMBEDDING_MODEL, provider=provider(service.url + "/v1")))
        settings: Any = {"extra_body": {"user": planted["a parameter"]}, "dimensions": 7_000_001}
        asyncio.run(embedder.embed_query(planted["a text"], settings=settings))
    trace = holds(planted, traces)
    assert trace.root["kind"] == "EMBEDDING"
    assert "7000001" in str(trace.body)


def replayed_agent(url: str, parts: replays.Parts, kind: Any, tools: Any = None) -> Agent[Any, Any]:
    """An agent of a program that is replayed."""
    given = [Tool(replays.weather, description=parts.description), *([Tool(replays.clock)] if parts.has_clock else [])]
    return forecaster(url, kind, parts.model, instructions=parts.instructions, tools=tools or given)


def responses(url: str, parts: replays.Parts) -> list[str]:
    """Ask over the Responses API, synchronously."""
    agent = replayed_agent(url, parts, OpenAIResponsesModel)
    return [run_sync(agent, question) for question in parts.questions]


def chat_streamed(url: str, parts: replays.Parts) -> list[str]:
    """Ask over chat completions, with asynchronous streams."""
    agent = replayed_agent(url, parts, OpenAIChatModel)

    async def ask_all() -> list[str]:
        return [await read(agent, question) for question in parts.questions]

    return asyncio.run(ask_all())


@pytest.mark.parametrize("program", [responses, chat_streamed])
def test_a_program_is_replayed(program: Any, traces: SentTraces, tmp_path: Path) -> None:
    """Replays give the recorded result and spans and run no tool; each change is reported at its first call."""
    replays.is_replayed(program, tmp_path / "one.yaml")
    replays.tells_changes(program, tmp_path / "two.yaml")


def rich(url: str, parts: replays.Parts) -> str:
    """Ask an agent with a tool that returns a picture beside its result, and a tool that requests a retry."""

    def weather(city: str) -> Any:
        """Tell the weather in a city."""
        replays.DONE.append(city)
        picture = BinaryContent(data=b"\x89PNG", media_type="image/png")
        return ToolReturn(return_value={"city": city}, content=["See", picture], metadata={"from": "station"})

    def clock(city: str) -> str:
        """Tell the time in a city."""
        raise ModelRetry(f"no clock in {city}")

    agent = replayed_agent(url, parts, OpenAIChatModel, [Tool(weather), Tool(clock, max_retries=3)])
    return str(agent.run_sync(parts.questions[0]).all_messages_json())


def test_results_of_every_kind_come_back(traces: SentTraces, tmp_path: Path) -> None:
    """Replays return values for the model, values that accompany them, and requests for a retry."""
    path = tmp_path / "one.yaml"
    url, _, done = replays.record(rich, path)
    assert done == ["Oslo"]
    found = replays.run(rich, url, path)
    assert replays.DONE == []
    assert all(text in found for text in ("no clock in Oslo", "image/png", '"from":"station"'))
