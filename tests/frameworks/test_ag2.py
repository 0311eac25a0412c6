"""Agents of AG2."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from hashlib import sha256
from typing import Any

import pytest
from ag2 import Agent, Context
from ag2.config import OpenAIConfig
from ag2.events import BinaryInput, DataInput, FileIdInput, ImageInput, ModelMessageChunk, TextInput, ToolResult
from ag2.exceptions import UnsupportedInputError
from ag2.middleware.builtin.telemetry import TelemetryMiddleware
from pydantic import BaseModel

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import CONFORMANCE, AgentApp, StartModel
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint, ToolCall
from planting import EndedReply, Planted
from weather_model import weather, weather_model

# AG2 does not close its clients' connections; the garbage collector finds them while any other code runs.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

Ask = Callable[..., Any]


def config(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """A client of the scripted model."""
    return OpenAIConfig(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any", max_retries=0, **options)


def forecaster(endpoint: ScriptedEndpoint, *tools: Any, streaming: bool = False, **options: Any) -> Agent:
    """An agent that knows the weather."""
    given = {"prompt": "You know weather.", "config": config(endpoint, streaming=streaming), **options}
    return Agent("forecaster", tools=[*tools], **given)


async def answered(agent: Agent, *question: Any, **options: Any) -> str:
    """Return the agent's answer."""
    return str((await agent.ask(*question, **options)).body)


async def ran(agent: Agent, *question: Any, **options: Any) -> str:
    """Return the agent's answer, read through the handle of the run."""
    async with agent.run(*question, **options) as handle:
        return str((await handle.result()).body)


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any, way: Ask = answered, **options: Any) -> None:
    """Ask an agent with this tool."""
    await way(forecaster(endpoint, function, **options), question)


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading the events of a run after its first text."""
    async with forecaster(endpoint, streaming=True).run("Hi") as handle:
        with handle.stream.where(ModelMessageChunk).join(max_events=1) as pieces:
            handle.start()
            async for _ in pieces:
                pass


APP = AgentApp(
    run=ask,
    ways=[partial(ask, way=ran, streaming=True)],
    leaves=[leave],
    name="ag2",
    package="ag2",
    tree="""
        trace forecaster | COMPLETED | session SESSION | Weather in Łódź? > The station says: sunny
        AGENT forecaster | u > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """,
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """AG2's agents are recorded as those of every framework."""
    check(APP, traces, model)


ways = pytest.mark.parametrize("way", [answered, ran])
streams = pytest.mark.parametrize("streaming", [False, True])


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """The turns share AG2's own conversation as session, unless the app sets one."""

    async def talk() -> None:
        first = await forecaster(model(weather_model)).ask("Hi")
        await first.ask("Thanks")
        with pandaprobe_otel.session("mine"):
            await first.ask("Bye")

    asyncio.run(talk())
    first, second, third = traces.new(3)
    assert first.body["session_id"] == second.body["session_id"]
    assert third.body["session_id"] == "mine"


def test_its_own_middleware_counts_once(traces: SentTraces, model: StartModel) -> None:
    """The spans of AG2's own middleware are used: one for each model call, with tokens counted once."""
    endpoint = model(weather_model)
    own = TelemetryMiddleware(agent_name="forecaster")
    asyncio.run(answered(forecaster(endpoint, weather, middleware=[own]), "Weather in Oslo?"))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["kind"] for span in trace.children(trace.root)] == ["LLM", "TOOL", "LLM"]


def holds(
    planted: Planted, traces: SentTraces, agent: Agent, *question: Any, way: Ask = answered, **options: Any
) -> Any:
    """Run the agent, assert that its trace contains everything planted, and return the trace."""
    with suppress(UnsupportedInputError):  # OpenAI's chat accepts no bytes from tools
        asyncio.run(way(agent, *question, **options))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    return trace


@streams
@ways
def test_planted_settings_are_recorded(way: Ask, streaming: bool, traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, variables, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> str:
        return planted.look_up(city, unit)

    look_up.__doc__ = planted["a tool's description"]
    client = config(model(planted.script), streaming=streaming, user=planted["a parameter"], seed=7_000_001)
    agent = Agent("planter", prompt=planted["the instructions"], config=client, tools=[look_up])
    trace = holds(planted, traces, agent, planted["the question"], way=way, variables={"tenant": planted["a variable"]})
    assert [span["kind"] for span in trace.spans] == ["AGENT", "LLM", "TOOL", "LLM"]
    assert planted["a variable"] in str(trace.body["input"])


def test_every_input_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """Texts, data, addresses, files and the instructions of one question appear in the trace, bytes as their digest."""
    planted = Planted()
    trace = holds(
        planted,
        traces,
        forecaster(model(lambda _: Reply(text=planted["the answer"]))),
        TextInput(planted["a text"], metadata={"of": planted["metadata of a text"]}),
        DataInput({"deep": [planted["data"]]}),
        ImageInput("http://pictures.example/" + planted["an address"]),
        BinaryInput(b"picture", media_type="image/png", kind="image", vendor_metadata={"a": planted["of bytes"]}),
        prompt=[planted["the instructions"]],
    )
    assert sha256(b"picture").hexdigest() in str(trace.spans[0]["input"])
    assert base64.b64encode(b"picture").decode() not in str(trace)


def test_a_file_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """A file that the service stores appears in the trace by its id and name."""
    planted = Planted()
    with suppress(Exception):  # the client may refuse the file
        file = FileIdInput(planted["a file"], filename=planted["its name"])
        asyncio.run(answered(forecaster(model(weather_model)), "Hm?", file))
    assert planted.missing_in(traces.one().body) == []


@pytest.mark.parametrize("has_bytes", [False, True])
def test_every_result_is_recorded(has_bytes: bool, traces: SentTraces, model: StartModel) -> None:
    """The parts of a tool's result, and metadata that the model does not see, appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> Any:
        """Look a city up."""
        metadata = {"of": planted["metadata"]}
        if has_bytes:
            return ToolResult(BinaryInput(b"picture", media_type="image/png", kind="image", vendor_metadata=metadata))
        return ToolResult(planted["the result"], {"deep": planted["another result"]}, metadata=metadata)

    trace = holds(planted, traces, forecaster(model(planted.script), look_up), planted["the question"])
    output = str(trace.only("TOOL")["output"])
    assert planted["metadata" if has_bytes else "the result"] in output
    assert (sha256(b"picture").hexdigest() in output) == has_bytes


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str


def test_structured_output_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    planted = Planted()
    endpoint = model(lambda _: Reply(text=Verdict(verdict=planted["the verdict"]).model_dump_json()))
    agent = forecaster(endpoint, response_schema=Verdict)
    trace = holds(planted, traces, agent, planted["the question"])
    assert "verdict" in str(trace.only("LLM")["model_parameters"])


def test_a_person_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """A tool's question to a person, and the person's answer, appear in the trace."""
    planted = Planted()

    async def look_up(city: str, unit: str, context: Context) -> str:
        """Ask a person."""
        return f"{len(str(await context.input(planted['a question to a person'])))}"

    agent = forecaster(model(planted.script), look_up, hitl_hook=lambda event: planted["a person's answer"])
    holds(planted, traces, agent, planted["the question"])


def test_a_sub_agent_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """An agent used as a tool, and the second turn of a conversation, appear in the traces."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        if "lead" not in str(messages[0]["content"]):
            return Reply(text=planted["the expert's answer"])
        if messages[-1]["role"] == "tool":
            return Reply(text=planted["the answer"])
        if "again" in str(messages[-1]["content"]):
            return Reply(text=planted["the second answer"])
        arguments = {"objective": planted["the expert's task"], "context": planted["the expert's context"]}
        return Reply(tool_calls=(ToolCall(name="task_expert", arguments=arguments),))

    endpoint = model(script)
    expert = Agent("expert", prompt=planted["the expert's instructions"], config=config(endpoint))
    boss = forecaster(endpoint, expert.as_tool(description=planted["the expert's description"]), prompt="You lead.")

    async def talk() -> None:
        reply = await boss.ask(planted["the question"])
        await reply.ask("again " + planted["the second question"])

    asyncio.run(talk())
    first, second = traces.new(2)
    assert planted.missing_in([first.body, second.body]) == []
    assert [span["name"] for span in first.above(first.only("AGENT", "expert"))] == ["task_expert", "forecaster"]


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_how_an_answer_ends(reason: str, traces: SentTraces, model: StartModel) -> None:
    """An agent's answer has the finish reason of its model call."""
    planted = Planted()
    agent = forecaster(model(lambda _: EndedReply(text="It is", ended=reason)))
    trace = holds(planted, traces, agent, planted["the question"])
    assert [span["metadata"]["finish_reasons"] for span in trace.spans] == [[reason], [reason]]
