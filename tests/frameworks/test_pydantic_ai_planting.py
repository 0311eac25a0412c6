"""Content planted in Pydantic AI's agents, messages, tools, models and embedders appears in the trace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import pytest
from openai import AsyncOpenAI
from pydantic import BaseModel, Field
from pydantic_ai import Agent, BinaryContent, Embedder, ImageUrl, ModelRetry, NativeOutput, PromptedOutput, ToolOutput
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
from pydantic_ai.providers.openai import OpenAIProvider

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message, Refusal, Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from planting import Planted
from provider_server import ProviderServer, json_reply

DIGEST = sha256(b"picture").hexdigest()


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str = Field(description="What is to be judged.")
    grade: str


def provider(url: str) -> Any:
    """A client that does not retry and leaves no open connection to a closed event loop."""
    headers = {"Connection": "close"}
    client = AsyncOpenAI(base_url=url, api_key="any", max_retries=0, default_headers=headers)
    return OpenAIProvider(openai_client=client)


def chat(endpoint: ScriptedEndpoint, kind: Any = OpenAIChatModel) -> Any:
    """A scripted model."""
    return kind("gpt-5-mini", provider=provider(endpoint.base_url))


def run_sync(agent: Any, asked: Any, **given: Any) -> Any:
    """Wait for the answer, without an event loop."""
    return agent.run_sync(asked, **given).output


def run(agent: Any, asked: Any, **given: Any) -> Any:
    """Wait for the answer in an event loop."""
    return asyncio.run(agent.run(asked, **given)).output


def streamed(agent: Any, asked: Any, **given: Any) -> Any:
    """Read the answer piece by piece."""

    async def consume() -> Any:
        async with agent.run_stream(asked, **given) as stream:
            return await stream.get_output()

    return asyncio.run(consume())


def by_nodes(agent: Any, asked: Any, **given: Any) -> Any:
    """Run the agent node by node."""

    async def consume() -> Any:
        async with agent.iter(asked, **given) as nodes:
            async for _ in nodes:
                pass
        return nodes.result.output

    return asyncio.run(consume())


WAYS = [run_sync, run, streamed, by_nodes]
KINDS = [OpenAIChatModel, OpenAIResponsesModel]


def comes_out(planted: Planted, traces: SentTraces) -> Any:
    """Assert that the trace contains everything planted, and return the trace."""
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    return trace


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.plants("Agent", "model_settings_attributes")
def test_what_is_planted_comes_out(way: Any, kind: Any, traces: SentTraces, model: StartModel) -> None:
    """Instructions, question, parameters, tool arguments, tool result, metadata and answer appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        return planted.look_up(city, unit)

    look_up.__doc__ = planted["what a tool does"]
    agent: Any = Agent(
        chat(model(planted.script), kind),
        name="planter",
        instructions=planted["the instructions"],
        system_prompt=planted["the system prompt"],
        tools=[look_up],
        model_settings={"temperature": 0.125, "parallel_tool_calls": False},
    )
    settings = {"openai_user": planted["a parameter"], "extra_body": {"deal": planted["another parameter"]}}
    way(agent, planted["the question"], model_settings=settings, metadata={"tenant": planted["metadata of the run"]})
    trace = comes_out(planted, traces)
    for call in trace.all("LLM"):
        assert call["model_parameters"]["temperature"] == 0.125
        assert planted["a parameter"] in str(call["model_parameters"])


@pytest.mark.plants("UserPromptPart.otel_message_parts", "_convert_binary_to_otel_part")
def test_every_part_comes_out(traces: SentTraces, model: StartModel) -> None:
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
    asked = [
        planted["the question"],
        BinaryContent(b"picture", media_type="image/png", vendor_metadata={"detail": planted["beside a picture"]}),
        ImageUrl("http://pictures.example/" + planted["an address"] + ".png"),
    ]
    run(Agent(chat(model(lambda _: Reply(text=planted["the answer"]))), name="planter"), asked, message_history=history)
    trace = comes_out(planted, traces)
    assert DIGEST in str(trace.only("LLM")["input"])
    assert DIGEST in str(trace.root["input"])


RESULTS: dict[str, Any] = {
    "text": lambda word: word,
    "object": lambda word: {"found": {"deep": [word]}},
    "model": lambda word: Verdict(verdict=word, grade="1"),
    "list": lambda word: [word, {"deep": word}],
    "picture": lambda word: [word, BinaryContent(b"picture", media_type="image/png")],
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.plants("_redact_binary_content")
def test_a_tools_result_comes_out(kind: str, is_async: bool, traces: SentTraces, model: StartModel) -> None:
    """The result of a sync or async tool appears in the trace in its own form, pictures as digests."""
    planted = Planted()

    def look_up(city: str, unit: str) -> Any:
        """Look a city up."""
        return RESULTS[kind](planted["the result"])

    async def look_up_later(city: str, unit: str) -> Any:
        """Look a city up."""
        return look_up(city, unit)

    def script(messages: Sequence[Message]) -> Reply:
        if any(message["role"] == "tool" for message in messages):
            return Reply(text=planted["the answer"])
        return planted.script(messages)

    agent: Any = Agent(chat(model(script)), name="planter")
    agent.tool_plain(name="look_up")(look_up_later if is_async else look_up)
    run(agent, planted["the question"])
    trace = comes_out(planted, traces)
    told = trace.only("TOOL")
    assert planted["the result"] in str(told["output"])
    if kind == "picture":
        assert DIGEST in str(told["output"])


def test_tools_that_fail_come_out(traces: SentTraces, model: StartModel) -> None:
    """A tool's request for another try, and a tool's exception, appear in the trace."""
    planted = Planted()
    tries = []

    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        tries.append(city)
        if len(tries) == 1:
            raise ModelRetry(planted["why again"])
        raise LookupError(planted["the exception"])

    def script(messages: Sequence[Message]) -> Reply:
        return planted.script([{"role": "user", "content": ""}])

    agent: Any = Agent(chat(model(script)), name="planter", tools=[look_up], retries=2)
    with pytest.raises(LookupError):
        run(agent, planted["the question"])
    trace = comes_out(planted, traces)
    assert planted["the exception"] in trace.root["error"]


@pytest.mark.parametrize("kind", [ToolOutput, NativeOutput, PromptedOutput])
def test_structured_output_comes_out(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    planted = Planted()
    Verdict.model_fields["verdict"].description = planted["of a field of the schema"]
    Verdict.model_rebuild(force=True)
    answer = {"verdict": planted["the verdict"], "grade": planted["the grade"]}

    def script(messages: Sequence[Message]) -> Reply:
        if kind is ToolOutput:
            return Reply(tool_calls=(ToolCall(name="final_result", arguments=answer),))
        return Reply(text=Verdict(**answer).model_dump_json())

    agent: Any = Agent(chat(model(script)), name="planter", output_type=kind(Verdict))
    assert run(agent, planted["the question"]) == Verdict(**answer)
    trace = comes_out(planted, traces)
    assert planted.only(lambda word: word in answer.values()).missing_in(trace.root) == []


def test_an_agent_in_a_tool_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The other agent's input and answer appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        if planted["the expert's instructions"] in str(messages):
            return Reply(text=planted["the expert's answer"])
        return planted.script(messages)

    endpoint = model(script)
    expert: Any = Agent(chat(endpoint), name="expert", instructions=planted["the expert's instructions"])
    boss: Any = Agent(chat(endpoint), name="boss")

    @boss.tool_plain
    async def look_up(city: str, unit: str) -> str:
        """Ask the expert."""
        return str((await expert.run(planted["the expert's question"])).output)

    run(boss, planted["the question"])
    comes_out(planted, traces)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.plants("record_uncaught_errors")
def test_a_refusal_comes_out(way: Any, traces: SentTraces, model: StartModel) -> None:
    """The error message of a refused call appears in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    with pytest.raises(Exception, match="planted"):
        way(Agent(chat(model(script)), name="planter"), planted["the question"])
    trace = comes_out(planted, traces)
    assert planted["the refusal"] in trace.root["error"]
    call = trace.only("LLM")  # Pydantic AI cancels the call of a refused stream
    assert call["metadata"].get("outcome") == "cancelled" or planted["the refusal"] in call["error"]


@pytest.mark.plants("Embedder", "_recorded_settings")
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
        embedder = Embedder(OpenAIEmbeddingModel("text-embedding-3-small", provider=provider(service.url + "/v1")))
        settings: Any = {"extra_body": {"user": planted["a parameter"]}, "dimensions": 7_000_001}
        asyncio.run(embedder.embed_query(planted["a text"], settings=settings))
    trace = comes_out(planted, traces)
    assert trace.root["kind"] == "EMBEDDING"
    assert "7000001" in str(trace.body)
