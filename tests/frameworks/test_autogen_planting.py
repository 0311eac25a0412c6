"""Content planted in AutoGen's agents, teams, messages and tools appears in the trace."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent, BaseChatAgent, SocietyOfMindAgent, UserProxyAgent
from autogen_agentchat.base import Response
from autogen_agentchat.conditions import MaxMessageTermination, TextMentionTermination
from autogen_agentchat.messages import (
    HandoffMessage,
    MultiModalMessage,
    StopMessage,
    StructuredMessage,
    TextMessage,
    ToolCallSummaryMessage,
)
from autogen_agentchat.teams import RoundRobinGroupChat, SelectorGroupChat, Swarm
from autogen_agentchat.tools import AgentTool
from autogen_core import CancellationToken, FunctionCall, Image
from autogen_core.memory import ListMemory, MemoryContent, MemoryMimeType
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    RequestUsage,
    UserMessage,
)
from autogen_core.tools import BaseStreamTool, FunctionTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
from PIL import Image as Pillow
from pydantic import BaseModel

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message, Refusal, Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from planting import EndedReply, Planted


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str
    grade: str


def client(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """A client of the scripted model; its connections end with their calls."""
    headers = {"Connection": "close"}
    return OpenAIChatCompletionClient(
        model="gpt-4.1-mini-2025-04-14",
        base_url=endpoint.base_url,
        api_key="any",
        max_retries=0,
        default_headers=headers,
        **options,
    )


def agent(endpoint: ScriptedEndpoint, name: str = "planter", **options: Any) -> Any:
    """One of AutoGen's own agents."""
    return AssistantAgent(name, client(endpoint), **options)


async def awaited(running: Any, task: Any) -> Any:
    """Wait for the result."""
    return await running.run(task=task)


async def streamed(running: Any, task: Any) -> Any:
    """Read event by event."""
    return [event async for event in running.run_stream(task=task)][-1]


WAYS = [awaited, streamed]


def comes_out(planted: Planted, traces: SentTraces, running: Any, task: Any, way: Any = awaited) -> Any:
    """Run the agent, assert that its trace contains everything planted, and return the trace."""
    asyncio.run(way(running, task))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    return trace


class Speaker(BaseChatAgent):
    """An agent written by the app, with a scripted answer."""

    def __init__(self, message: Any, *, inner: Sequence[Any] = ()) -> None:
        super().__init__("speaker", "Says something.")
        self._message = message
        self._inner = inner

    @property
    def produced_message_types(self) -> Sequence[Any]:
        """The class of the scripted answer."""
        return (type(self._message),)

    async def on_messages(self, messages: Any, cancellation_token: Any) -> Response:
        """Return the scripted answer."""
        return Response(chat_message=self._message, inner_messages=list(self._inner))

    async def on_reset(self, cancellation_token: Any) -> None:
        """Do nothing, since the agent has no state."""


def every_message(planted: Planted) -> dict[str, Any]:
    """Return one message of each class that agents and teams exchange."""
    calls = [FunctionCall(id="call-1", name="look_up", arguments=f'{{"city": "{planted["a call"]}"}}')]
    results = [FunctionExecutionResult(content=planted["a result"], name="look_up", call_id="call-1", is_error=False)]
    context = [
        UserMessage(content=planted["an earlier question"], source=planted["who asked earlier"]),
        AssistantMessage(content=calls, thought=planted["a thought"], source="other"),
        FunctionExecutionResultMessage(content=results),
    ]
    beside: dict[str, Any] = {"source": planted["who says it"], "metadata": {"tenant": planted["beside it"]}}
    return {
        "text": TextMessage(content=planted["a text"], **beside),
        "stop": StopMessage(content=planted["a stop"], **beside),
        "hand-off": HandoffMessage(
            content=planted["a hand-off"], target=planted["a target"], context=context, **beside
        ),
        "summary": ToolCallSummaryMessage(content=planted["a summary"], tool_calls=calls, results=results, **beside),
        "structured": StructuredMessage[Verdict](
            content=Verdict(verdict=planted["the verdict"], grade=planted["the grade"]), **beside
        ),
    }


KINDS = ["text", "stop", "hand-off", "summary", "structured"]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.plants("BaseChatAgent.run", "BaseChatAgent.run_stream", "trace_invoke_agent_span")
def test_what_is_planted_comes_out(kind: str, way: Any, traces: SentTraces) -> None:
    """Each class of message appears in the trace, as the task of an agent and as its answer."""
    planted = Planted()
    told = every_message(planted)[kind]
    planted = _of(planted, told)
    comes_out(planted, traces, Speaker(TextMessage(content="Hi", source="speaker")), told, way)
    trace = comes_out(planted, traces, Speaker(told), "Hi", way)
    if kind == "structured":
        assert planted["the verdict"] in str(trace.spans[0]["output"])


def _of(planted: Planted, message: Any) -> Planted:
    """Return only the planted values that this message contains."""
    text = str(message.model_dump())
    return planted.only(lambda word: word in text)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.plants(
    "BaseGroupChat.run_stream", "ChatAgentContainer.handle_request", "ChatAgentContainer.publish_message"
)
def test_what_a_team_is_told_and_says_comes_out(kind: str, way: Any, traces: SentTraces) -> None:
    """Each class of message appears in the spans of a team and its member, as task and as answer."""
    planted = Planted()
    told = every_message(planted)[kind]
    planted = _of(planted, told)
    types = [StructuredMessage[Verdict]] if kind == "structured" else None
    team = RoundRobinGroupChat([Speaker(told)], max_turns=1, custom_message_types=types)
    trace = comes_out(planted, traces, team, "Hi", way)
    root, member = trace.spans[0], trace.spans[-1]
    assert planted.missing_in(root) == planted.missing_in(member) == []
    team = RoundRobinGroupChat(
        [Speaker(TextMessage(content="Hi", source="speaker"))], max_turns=1, custom_message_types=types
    )
    trace = comes_out(planted, traces, team, told, way)
    root, member = trace.spans[0], trace.spans[-1]
    assert planted.missing_in(root) == planted.missing_in(member) == []


def test_several_messages_come_out(traces: SentTraces) -> None:
    """A task of several messages, and an agent's intermediate messages, appear in the trace."""
    planted = Planted()
    asked = [TextMessage(content=planted[each], source="user") for each in ("the first", "the second")]
    speaker = Speaker(
        TextMessage(content=planted["the answer"], source="speaker", models_usage=RequestUsage(1, 2)),
        inner=[TextMessage(content=planted["on the way"], source="speaker")],
    )
    trace = comes_out(planted, traces, speaker, asked)
    assert len(trace.spans[0]["input"]["messages"]) == 2


def test_a_picture_comes_out(traces: SentTraces) -> None:
    """A picture appears in the trace as its digest, beside the text."""
    planted = Planted()
    picture = Image(Pillow.new("RGB", (2, 3), (1, 2, 3)))
    message = MultiModalMessage(content=[planted["beside a picture"], picture], source="user")
    data = base64.b64decode(picture.to_base64())
    assert Pillow.open(BytesIO(data)).size == (2, 3)
    silent = Speaker(TextMessage(content="Hi", source="speaker"))
    for running, task in ((silent, message), (Speaker(message), "Hi")):
        assert sha256(data).hexdigest() in str(comes_out(planted, traces, running, task).body)


class Pieces(BaseModel):
    """The arguments of a streaming tool."""

    city: str


class Piece(BaseModel):
    """A piece of a streaming tool's result."""

    found: str


class Streaming(BaseStreamTool[Pieces, Piece, Piece]):
    """A tool that streams pieces before its result."""

    def __init__(self, planted: Planted) -> None:
        super().__init__(Pieces, Piece, "look_up", planted["the description of a tool"])
        self._planted = planted

    async def run(self, args: Pieces, cancellation_token: CancellationToken) -> Piece:
        """Raise, since no test calls it."""
        raise NotImplementedError

    async def run_stream(self, args: Pieces, cancellation_token: CancellationToken) -> AsyncGenerator[Piece, None]:
        """Yield one piece, then the result."""
        yield Piece(found=self._planted["a piece"])
        yield Piece(found=self._planted["the answer of a tool"])


@pytest.mark.plants("BaseStreamTool.run_json_stream")
def test_a_tool_that_streams_comes_out(traces: SentTraces) -> None:
    """A streaming tool's arguments, pieces and result appear in the trace."""
    planted = Planted()

    async def call() -> None:
        stream = Streaming(planted).run_json_stream({"city": planted["an argument"]}, CancellationToken(), "call-1")
        assert len([each async for each in stream]) == 2

    asyncio.run(call())
    assert planted.missing_in(traces.one().body) == []


RESULTS: dict[str, Any] = {
    "text": lambda word: word,
    "list": lambda word: [word, {"deep": word}],
    "object": lambda word: {"found": {"deep": [word]}},
    "model": lambda word: Verdict(verdict=word, grade="1"),
    "models": lambda word: [Verdict(verdict=word, grade="1")],
}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.plants("BaseTool.run_json", "trace_tool_span")
def test_a_tools_result_comes_out(kind: str, traces: SentTraces) -> None:
    """A tool's result appears in the trace, and a structured result keeps its structure."""
    planted = Planted()

    async def look_up(city: str, unit: dict[str, str]) -> Any:
        """Look a city up."""
        return RESULTS[kind](planted["the result"])

    async def call() -> None:
        tool = FunctionTool(look_up, planted["the description"], name="look_up")
        arguments = {"city": planted["an argument"], "unit": {"of": planted["another argument"]}}
        await tool.run_json(arguments, CancellationToken(), "call-1")

    asyncio.run(call())
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    (span,) = trace.spans
    assert isinstance(span["output"], str) == (kind == "text")


def test_a_tool_that_fails_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A failed tool's arguments and error appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        raise LookupError(planted["the exception"])

    running = agent(model(planted.script), tools=[look_up], reflect_on_tool_use=True)
    trace = comes_out(planted, traces, running, planted["the question"])
    tool = trace.only("TOOL")
    assert planted["the exception"] in tool["error"]


def test_structured_output_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    planted = Planted()
    answer = Verdict(verdict=planted["the verdict"], grade=planted["the grade"])
    running = agent(
        model(lambda _: Reply(text=answer.model_dump_json())),
        output_content_type=Verdict,
        system_message=planted["the instructions"],
    )
    comes_out(planted, traces, running, planted["the question"])


def test_what_an_agent_remembers_comes_out(traces: SentTraces, model: StartModel) -> None:
    """Memory that AutoGen adds to the question appears in the trace."""
    planted = Planted()

    async def remember() -> Any:
        memory = ListMemory()
        content = MemoryContent(
            content=planted["a memory"], mime_type=MemoryMimeType.TEXT, metadata={"of": planted["beside a memory"]}
        )
        await memory.add(content)
        running = agent(model(lambda _: Reply(text=planted["the answer"])), memory=[memory])
        return await running.run(task=planted["the question"])

    asyncio.run(remember())
    assert planted.missing_in(traces.one().body) == []


def test_parameters_come_out(traces: SentTraces, model: StartModel) -> None:
    """The settings of the model appear in the trace."""
    planted = Planted()
    endpoint = model(lambda _: Reply(text=planted["the answer"]))
    running = AssistantAgent(
        "planter", client(endpoint, user=planted["a parameter"], temperature=0.125, seed=7_000_001)
    )
    trace = comes_out(planted, traces, running, planted["the question"])
    call = trace.only("LLM")
    assert (call["model_parameters"]["temperature"], call["model_parameters"]["seed"]) == (0.125, 7_000_001)


def test_a_refusal_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The error message of a refused call appears in every span of the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    running = RoundRobinGroupChat([agent(model(script))], max_turns=1)
    with pytest.raises(Exception, match="planted"):
        asyncio.run(awaited(running, planted["the question"]))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert all(planted["the refusal"] in span["error"] for span in trace.spans)


def test_a_hand_off_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A swarm's hand-off and the second agent's answer appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        if "second" in str(messages[0]["content"]):
            return Reply(text=planted["the answer"] + " TERMINATE")
        return Reply(tool_calls=(ToolCall(name="transfer_to_second"),))

    endpoint = model(script)
    first = agent(endpoint, "first", system_message=f"first {planted['the instructions']}", handoffs=["second"])
    second = agent(endpoint, "second", system_message=f"second {planted['other instructions']}")
    team = Swarm([first, second], termination_condition=TextMentionTermination("TERMINATE"))
    trace = comes_out(planted, traces, team, planted["the question"])
    assert "TERMINATE" in str(trace.body["output"])


def test_a_selector_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The prompt of a selecting team and the descriptions of its members appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        if planted["the selector's prompt"] in str(messages):
            return Reply(text="second")
        return Reply(text=planted["the answer"])

    endpoint = model(script)
    members = [agent(endpoint, name, description=planted[f"about {name}"]) for name in ("first", "second")]
    team = SelectorGroupChat(
        members,
        client(endpoint),
        selector_prompt=planted["the selector's prompt"] + " {roles} {history}",
        termination_condition=MaxMessageTermination(2),
    )
    comes_out(planted, traces, team, planted["the question"])


def test_agents_in_agents_come_out(traces: SentTraces, model: StartModel) -> None:
    """An agent used as a tool, and a team inside an agent, appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        if "expert" in str(messages[0]["content"]):
            return Reply(text=planted["the expert's answer"])
        if messages[-1]["role"] == "tool" or planted["the instructions of the mind"] in str(messages):
            return Reply(text=planted["the answer"])
        return Reply(tool_calls=(ToolCall(name="expert", arguments={"task": planted["the expert's task"]}),))

    endpoint = model(script)
    expert = agent(endpoint, "expert", system_message="expert", description=planted["about the expert"])
    boss = agent(endpoint, "boss", tools=[AgentTool(expert)], reflect_on_tool_use=True, system_message="boss")
    inner = RoundRobinGroupChat([boss], max_turns=1)
    mind = SocietyOfMindAgent("mind", inner, client(endpoint), instruction=planted["the instructions of the mind"])
    comes_out(planted, traces, mind, planted["the question"])


def test_a_person_comes_out(traces: SentTraces) -> None:
    """A person's answer in a team appears in the trace."""
    planted = Planted()
    person = UserProxyAgent("person", input_func=lambda _: planted["what the person says"])
    comes_out(planted, traces, RoundRobinGroupChat([person], max_turns=1), planted["the question"])


@pytest.mark.parametrize(("reason", "told"), [("stop", "stop"), ("length", "length")])
@pytest.mark.plants("AssistantAgent._call_llm")
def test_how_an_answer_ends(reason: str, told: str, traces: SentTraces, model: StartModel) -> None:
    """An agent's answer has the finish reason of its model call."""
    planted = Planted()
    running = agent(model(lambda _: EndedReply(text="It is", ended=reason)))
    trace = comes_out(planted, traces, running, planted["the question"])
    assert [span["metadata"]["finish_reasons"] for span in trace.spans] == [[told], [told]]
