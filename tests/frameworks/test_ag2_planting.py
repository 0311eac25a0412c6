"""Content planted in AG2's agents, inputs and tools appears in the trace."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from ag2 import Agent, Context
from ag2.config import OpenAIConfig
from ag2.events import BinaryInput, DataInput, FileIdInput, ImageInput, TextInput, ToolResult
from ag2.exceptions import UnsupportedInputError
from ag2.tools import tool
from pydantic import BaseModel

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message, Refusal, Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from planting import EndedReply, Planted

# AG2 does not close its clients' connections; the garbage collector finds them while any other code runs.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str
    grade: str


def config(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """A client of the scripted model."""
    return OpenAIConfig(model="gpt-5-mini", base_url=endpoint.base_url, api_key="any", max_retries=0, **options)


async def asked(agent: Any, *task: Any, **options: Any) -> Any:
    """Return the agent's reply."""
    return await agent.ask(*task, **options)


async def ran(agent: Any, *task: Any, **options: Any) -> Any:
    """Return the agent's reply, read through the handle of the run."""
    async with agent.run(*task, **options) as handle:
        return await handle.result()


WAYS = [asked, ran]


def comes_out(planted: Planted, traces: SentTraces, way: Any, agent: Any, *task: Any, **options: Any) -> Any:
    """Run the agent, assert that its trace contains everything planted, and return the trace."""
    asyncio.run(way(agent, *task, **options))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    return trace


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.plants("Agent._drive_scope")
def test_what_is_planted_comes_out(way: Any, streaming: bool, traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> str:
        return planted.look_up(city, unit)

    look_up.__doc__ = planted["what a tool does"]
    agent = Agent(
        "planter",
        prompt=planted["the instructions"],
        config=config(model(planted.script), streaming=streaming, user=planted["a parameter"], seed=7_000_001),
        tools=[look_up],
    )
    variables = {"tenant": planted["a variable"]}
    trace = comes_out(planted, traces, way, agent, planted["the question"], variables=variables)
    assert [span["kind"] for span in trace.spans] == ["AGENT", "LLM", "TOOL", "LLM"]
    assert planted["a variable"] in str(trace.body["input"])


def test_instructions_of_a_question_come_out(traces: SentTraces, model: StartModel) -> None:
    """Instructions given for one question, in place of the agent's, appear in the trace."""
    planted = Planted()
    agent = Agent("planter", prompt="Unused.", config=config(model(lambda _: Reply(text=planted["the answer"]))))
    comes_out(planted, traces, asked, agent, planted["the question"], prompt=[planted["the instructions"]])


def test_every_input_comes_out(traces: SentTraces, model: StartModel) -> None:
    """Texts, data, addresses and files appear in the trace with their metadata, bytes as their digest."""
    planted = Planted()
    agent = Agent("planter", config=config(model(lambda _: Reply(text=planted["the answer"]))))
    beside = {"metadata": {"of": planted["beside a text"]}}
    trace = comes_out(
        planted,
        traces,
        asked,
        agent,
        TextInput(planted["a text"], **beside),
        DataInput({"deep": [planted["data"]]}),
        ImageInput("http://pictures.example/" + planted["an address"]),
        BinaryInput(b"picture", media_type="image/png", kind="image", vendor_metadata={"a": planted["beside bytes"]}),
    )
    assert sha256(b"picture").hexdigest() in str(trace.spans[0]["input"])
    assert base64.b64encode(b"picture").decode() not in str(trace)


def test_a_file_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A file that the service stores appears in the trace by its id and name."""
    planted = Planted()
    agent = Agent("planter", config=config(model(lambda _: Reply(text="Hm."))))
    with suppress(Exception):  # the client may refuse the file
        asyncio.run(agent.ask("Hm?", FileIdInput(planted["a file"], filename=planted["its name"])))
    assert planted.missing_in(traces.one().body) == []


RESULTS: dict[str, Any] = {
    "text": lambda word: word,
    "object": lambda word: {"found": {"deep": [word]}},
    "list": lambda word: [word, {"deep": word}],
    "model": lambda word: Verdict(verdict=word, grade="1"),
    "parts": lambda word: ToolResult(word, {"deep": word}, metadata={"of": word}),
    "bytes": lambda word: ToolResult(
        BinaryInput(b"picture", media_type="image/png", kind="image", vendor_metadata={"of": word})
    ),
}


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("is_async", [False, True])
def test_a_tools_result_comes_out(is_async: bool, kind: str, traces: SentTraces, model: StartModel) -> None:
    """The result of a sync or async tool appears in the trace in its own form."""
    planted = Planted()

    def look_up(city: str, unit: str) -> Any:
        """Look a city up."""
        return RESULTS[kind](planted["the result"])

    async def look_up_later(city: str, unit: str) -> Any:
        """Look a city up."""
        return look_up(city, unit)

    called = tool(name="look_up")(look_up_later if is_async else look_up)
    agent = Agent("planter", config=config(model(planted.script)), tools=[called])
    with suppress(UnsupportedInputError):  # OpenAI's chat accepts no bytes from tools
        asyncio.run(agent.ask(planted["the question"]))
    trace = traces.one()
    span = trace.only("TOOL")
    assert planted.missing_in(trace.body) == []
    assert planted["the result"] in str(span["output"])
    if kind == "bytes":
        assert sha256(b"picture").hexdigest() in str(span["output"])


def test_metadata_of_a_result_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A result's metadata, which the model does not see, appears in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> Any:
        """Look a city up."""
        return ToolResult(planted["the result"], metadata={"of": planted["beside the result"]})

    agent = Agent("planter", config=config(model(planted.script)), tools=[look_up])
    comes_out(planted, traces, asked, agent, planted["the question"])


def test_a_tool_that_fails_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A failed tool's arguments and error appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        raise LookupError(planted["the exception"])

    agent = Agent("planter", config=config(model(planted.script)), tools=[look_up])
    trace = comes_out(planted, traces, asked, agent, planted["the question"])
    span = trace.only("TOOL")
    assert planted["the exception"] in span["error"]


def test_structured_output_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    planted = Planted()
    answer = Verdict(verdict=planted["the verdict"], grade=planted["the grade"])
    endpoint = model(lambda _: Reply(text=answer.model_dump_json()))
    agent = Agent("planter", config=config(endpoint), response_schema=Verdict)
    trace = comes_out(planted, traces, asked, agent, planted["the question"])
    call = trace.only("LLM")
    assert "verdict" in str(call["model_parameters"])


def test_a_person_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A tool's question to a person, and the person's answer, appear in the trace."""
    planted = Planted()

    async def look_up(city: str, unit: str, context: Context) -> str:
        """Ask a person."""
        said = await context.input(planted["what a person is asked"])
        return f"asked: {len(str(said))}"

    agent = Agent(
        "planter",
        config=config(model(planted.script)),
        tools=[look_up],
        hitl_hook=lambda event: planted["what a person says"],
    )
    comes_out(planted, traces, asked, agent, planted["the question"])


def test_a_refusal_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The error message of a refused call appears in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    agent = Agent("planter", config=config(model(script)))
    with pytest.raises(Exception, match="planted"):
        asyncio.run(agent.ask(planted["the question"]))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert all(planted["the refusal"] in span["error"] for span in trace.spans)


def test_a_sub_agent_comes_out(traces: SentTraces, model: StartModel) -> None:
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
    boss = Agent(
        "boss",
        prompt="You lead.",
        config=config(endpoint),
        tools=[expert.as_tool(description=planted["what the expert does"])],
    )

    async def talk() -> None:
        reply = await boss.ask(planted["the question"])
        await reply.ask("again " + planted["the second question"])

    asyncio.run(talk())
    assert planted.missing_in([trace.body for trace in traces.new(2)]) == []


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_how_an_answer_ends(reason: str, traces: SentTraces, model: StartModel) -> None:
    """An agent's answer has the finish reason of its model call."""
    planted = Planted()
    agent = Agent("planter", config=config(model(lambda _: EndedReply(text="It is", ended=reason))))
    trace = comes_out(planted, traces, asked, agent, planted["the question"])
    assert [span["metadata"]["finish_reasons"] for span in trace.spans] == [[reason], [reason]]
