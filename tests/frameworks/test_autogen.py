"""Agents of AutoGen: AutoGen makes the spans of agents and tools, the model's client those of model calls."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncGenerator, Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from autogen_agentchat.agents import AssistantAgent, BaseChatAgent, SocietyOfMindAgent
from autogen_agentchat.base import Response
from autogen_agentchat.conditions import MaxMessageTermination
from autogen_agentchat.messages import (
    HandoffMessage,
    MultiModalMessage,
    StopMessage,
    StructuredMessage,
    TextMessage,
    ToolCallSummaryMessage,
)
from autogen_agentchat.teams import RoundRobinGroupChat
from autogen_agentchat.tools import AgentTool
from autogen_core import CancellationToken, FunctionCall, Image
from autogen_core.models import (
    AssistantMessage,
    FunctionExecutionResult,
    FunctionExecutionResultMessage,
    UserMessage,
)
from autogen_core.tools import BaseStreamTool, FunctionTool
from autogen_ext.models.openai import OpenAIChatCompletionClient
from opentelemetry.trace import INVALID_SPAN, get_current_span
from PIL import Image as Pillow
from pydantic import BaseModel

import pandaprobe_otel
from agent_traces import AgentTrace, SentTraces
from framework_cases import CONFORMANCE, AgentApp, StartModel
from pandaprobe_otel.demo.scripted_endpoint import Message, Refusal, Reply, ScriptedEndpoint, ToolCall
from planting import EndedReply, Planted
from weather_model import weather, weather_model

MODEL = "gpt-4.1-mini-2025-04-14"


def client(endpoint: ScriptedEndpoint) -> Any:
    """A client of the scripted model, which leaves no open connection to a closed event loop."""
    headers = {"Connection": "close"}
    return OpenAIChatCompletionClient(
        model=MODEL, base_url=endpoint.base_url, api_key="any", max_retries=0, default_headers=headers
    )


def agent(endpoint: ScriptedEndpoint, name: str = "planter", **options: Any) -> Any:
    """One of AutoGen's own agents."""
    return AssistantAgent(name, client(endpoint), **options)


def forecaster(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """An agent that knows the weather."""
    given = {"name": "forecaster", "tools": [weather], "reflect_on_tool_use": True, **options}
    return agent(endpoint, system_message="You know weather.", **given)


async def run(agent: Any, task: Any) -> Any:
    """Wait for the result."""
    return await agent.run(task=task)


async def streamed(agent: Any, task: Any) -> Any:
    """Return the result, read event by event."""
    events = [event async for event in agent.run_stream(task=task)]
    assert len(events) > 2
    return events[-1]


WAYS = pytest.mark.parametrize("way", [run, streamed])


async def ask(endpoint: ScriptedEndpoint, question: str, weather: Any, way: Any = run) -> None:
    """Ask an agent with this tool."""
    await way(forecaster(endpoint, tools=[weather]), question)


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    events = forecaster(endpoint, model_client_stream=True).run_stream(task="Hi")
    async for event in events:
        if type(event).__name__ == "ModelClientStreamingChunkEvent":
            break


APP = AgentApp(
    run=ask,
    ways=[partial(ask, way=streamed)],
    leaves=[leave],
    passes_stops=False,
    name="autogen",
    package="autogen_agentchat",
    tree="""
        trace invoke_agent forecaster | COMPLETED | session SESSION | Weather in Łódź? > The station says: sunny
        AGENT invoke_agent forecaster | u > a
          LLM chat gpt-4.1-mini-2025-04-14 @gpt-4.1-mini-2025-04-14 | su > c
          TOOL weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-4.1-mini-2025-04-14 @gpt-4.1-mini-2025-04-14 | suct > a
    """,
    rivals={
        "openinference.instrumentation.autogen_agentchat:AutogenAgentChatInstrumentor": "skipped: OpenInference records"
    },
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """AutoGen's agents are recorded as those of every framework."""
    check(APP, traces, model)


async def team(endpoint: ScriptedEndpoint) -> Any:
    """Run a team of two agents, one after the other."""
    both = [forecaster(endpoint), forecaster(endpoint, name="commentator", tools=[])]
    group = RoundRobinGroupChat(both, name="pair", termination_condition=MaxMessageTermination(5))
    return await group.run(task="Weather in Oslo?")


def test_an_agents_runs_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """The runs of one agent share a session, those of another agent do not; the app's own session wins."""
    endpoint = model(weather_model)
    one, other = forecaster(endpoint), forecaster(endpoint)

    async def talk() -> None:
        await run(one, "Weather in Oslo?")
        await streamed(one, "Weather in Oslo?")
        await run(other, "Weather in Oslo?")
        with pandaprobe_otel.session("mine"):
            await run(one, "Weather in Oslo?")

    asyncio.run(talk())
    first, second, third, fourth = (trace.body["session_id"] for trace in traces.new(4))
    assert len(first) == 32
    assert (second, fourth) == (first, "mine")
    assert third not in {first, fourth}


def test_a_team_is_one_trace(traces: SentTraces, model: StartModel) -> None:
    """A team's agents, which AutoGen runs in other tasks, are all below the team, and the trace has a session."""
    endpoint = model(weather_model)
    result = asyncio.run(team(endpoint))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["name"], trace.root["kind"]) == ("invoke_agent pair", "AGENT")
    assert trace.body["session_id"]
    assert trace.body["input"]["messages"][-1]["content"] == "Weather in Oslo?"
    assert trace.body["output"]["messages"][-1]["content"] == result.messages[-1].to_text()
    members = [span for span in trace.all("AGENT") if span is not trace.root]
    assert {span["name"] for span in members} == {"invoke_agent forecaster", "invoke_agent commentator"}
    assert {span["parent_span_id"] for span in members} == {trace.root["span_id"]}
    said = [[each["content"] for each in span["input"]["messages"] + span["output"]["messages"]] for span in members]
    texts = [each.to_text() for each in result.messages if type(each).__name__ == "TextMessage"]
    assert said[:2] == [texts[:2], texts[:3]]


def test_teams_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Concurrent teams have separate traces and sessions; a team's second run has the session of its first."""
    endpoint = model(weather_model)
    teams = [RoundRobinGroupChat([forecaster(endpoint)], max_turns=1) for _ in range(2)]

    async def gathered() -> None:
        for _ in range(2):
            await asyncio.gather(*(each.run(task="Weather in Oslo?") for each in teams))

    asyncio.run(gathered())
    found = traces.new(4)
    for trace in found:
        assert [span["kind"] for span in trace.spans] == ["AGENT", "AGENT", "LLM", "TOOL", "LLM"]
    sessions = [trace.body["session_id"] for trace in found]
    assert {sessions.count(each) for each in sessions} == {2}


def test_a_team_in_a_span_of_the_app(traces: SentTraces, model: StartModel) -> None:
    """In a span of the app, the team and the creation of its agents are below that span; the app's session wins."""
    endpoint = model(weather_model)

    async def run_team() -> None:
        with pandaprobe_otel.session("talk-1"), pandaprobe_otel.span("desk", kind="AGENT"):
            await team(endpoint)

    asyncio.run(run_team())

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert trace.body["session_id"] == "talk-1"
    below = [span["name"] for span in trace.children(trace.root)]
    assert below == ["create_agent forecaster", "create_agent commentator", "invoke_agent pair"]


def test_between_two_events_nothing_is_current(traces: SentTraces, model: StartModel) -> None:
    """Between two events, no span of ours is current, even if the app stops reading; every span is ended."""
    endpoint = model(weather_model)

    async def drop() -> None:
        for runs in (forecaster(endpoint), RoundRobinGroupChat([forecaster(endpoint)], max_turns=1)):
            events = runs.run_stream(task="Weather in Oslo?")
            async for _ in events:
                assert get_current_span() is INVALID_SPAN
                break
            assert get_current_span() is INVALID_SPAN
            await events.aclose()

    asyncio.run(drop())
    for trace in traces.new(2):
        assert all("ended_at" in span and span["status"] != "ERROR" for span in trace.spans)


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str
    grade: str


def is_recorded(planted: Planted, traces: SentTraces, running: Any, task: Any, way: Any = run) -> AgentTrace:
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


@WAYS
@pytest.mark.parametrize("kind", KINDS)
def test_planted_messages_are_recorded(kind: str, way: Any, traces: SentTraces) -> None:
    """Each class of message appears in the spans of an agent, and of a team and its member, as task and as answer."""
    planted = Planted()
    message = every_message(planted)[kind]
    planted = planted.only(lambda word: word in str(message.model_dump()))
    plain = TextMessage(content="Hi", source="speaker")
    for answer, task in ((plain, message), (message, "Hi")):
        is_recorded(planted, traces, Speaker(answer), task, way)
        team = RoundRobinGroupChat([Speaker(answer)], max_turns=1, custom_message_types=[StructuredMessage[Verdict]])
        trace = is_recorded(planted, traces, team, task, way)
        assert planted.missing_in(trace.spans[0]) == planted.missing_in(trace.spans[-1]) == []


def test_several_messages_are_recorded(traces: SentTraces) -> None:
    """All messages of a task and an agent's intermediate ones appear in the trace, with pictures as digests."""
    planted = Planted()
    picture = Image(Pillow.new("RGB", (2, 3), (1, 2, 3)))
    message = MultiModalMessage(content=[planted["a text with a picture"], picture], source="user")
    speaker = Speaker(message, inner=[TextMessage(content=planted["an intermediate text"], source="speaker")])
    trace = is_recorded(planted, traces, speaker, [TextMessage(content=planted["the first"], source="user"), message])
    (span,) = trace.spans
    assert len(span["input"]["messages"]) == 2
    digest = sha256(base64.b64decode(picture.to_base64())).hexdigest()
    assert digest in str(span["input"])
    assert digest in str(span["output"])


class Piece(BaseModel):
    """The arguments, a piece and the result of a streaming tool."""

    text: str


class Streaming(BaseStreamTool[Piece, Piece, Piece]):
    """A tool that streams a piece before its result."""

    def __init__(self, planted: Planted) -> None:
        super().__init__(Piece, Piece, "look_up", planted["the description of a tool"])
        self._planted = planted

    async def run(self, args: Piece, cancellation_token: CancellationToken) -> Piece:
        """Raise, since no test calls it."""
        raise NotImplementedError

    async def run_stream(self, args: Piece, cancellation_token: CancellationToken) -> AsyncGenerator[Piece, None]:
        """Yield one piece, then the result."""
        yield Piece(text=self._planted["a piece"])
        yield Piece(text=self._planted["the answer of a tool"])


def test_a_tool_that_streams_is_recorded(traces: SentTraces) -> None:
    """A streaming tool's arguments, pieces and result appear in the trace."""
    planted = Planted()

    async def call() -> None:
        stream = Streaming(planted).run_json_stream({"text": planted["an argument"]}, CancellationToken(), "call-1")
        assert len([each async for each in stream]) == 2

    asyncio.run(call())
    assert planted.missing_in(traces.one().body) == []


@pytest.mark.parametrize("result", [["text", {"deep": 1}], {"deep": ["text"]}, Piece(text="text")])
def test_a_tools_result_keeps_its_structure(result: Any, traces: SentTraces) -> None:
    """A tool's structured arguments and result have their structure in the trace."""

    async def look_up(unit: dict[str, str]) -> Any:
        return result

    given = {"unit": {"of": "heat"}}
    asyncio.run(FunctionTool(look_up, "Looks up.").run_json(given, CancellationToken(), "call-1"))
    tool = traces.one().only("TOOL")
    assert (tool["input"], tool["output"]) == (given, getattr(result, "model_dump", lambda: result)())


def test_a_refusal_in_a_team_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """The error message of a refused call appears in every span of the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    running = RoundRobinGroupChat([agent(model(script))], max_turns=1)
    with pytest.raises(Exception, match="planted"):
        asyncio.run(run(running, planted["the question"]))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert all(planted["the refusal"] in span["error"] for span in trace.spans)


def test_agents_in_agents_are_recorded(traces: SentTraces, model: StartModel) -> None:
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
    is_recorded(planted, traces, mind, planted["the question"])


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_how_an_answer_ends(reason: str, traces: SentTraces, model: StartModel) -> None:
    """An agent's answer has the finish reason of its model call."""
    planted = Planted()
    running = agent(model(lambda _: EndedReply(text="It is", ended=reason)))
    trace = is_recorded(planted, traces, running, planted["the question"])
    assert [span["metadata"]["finish_reasons"] for span in trace.spans] == [[reason], [reason]]
