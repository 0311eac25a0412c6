"""Agents of Strands Agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, Field
from strands import Agent, ToolContext, tool
from strands.models import Model
from strands.models.openai import OpenAIModel
from strands.multiagent import GraphBuilder, Swarm
from strands.session.file_session_manager import FileSessionManager

from agent_traces import SentTraces
from framework_cases import CONFORMANCE, AgentApp, StartModel, holds
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint, ToolCall
from planting import Planted
from weather_model import WEATHER, weather, weather_model

# Strands makes a client for each model call and leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

PICTURE = sha256(b"picture").hexdigest()


def chat(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """A client of the scripted model."""
    client = {"base_url": endpoint.base_url, "api_key": "any", "max_retries": 0}
    return OpenAIModel(model_id="gpt-5-mini", client_args=client, **options)


def agent_of(model: Any, name: str = "forecaster", **options: Any) -> Any:
    """An agent that knows the weather and writes nothing to the terminal."""
    return Agent(model=model, name=name, callback_handler=None, **{"system_prompt": "You know weather.", **options})


def with_tool(endpoint: ScriptedEndpoint, function: Any = weather) -> Any:
    """An agent with this function as its tool."""
    return agent_of(chat(endpoint), tools=[tool(name="weather")(function)])


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool."""
    await with_tool(endpoint, function).invoke_async(question)


async def ask_streamed(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool, and read the run event by event."""
    assert [event async for event in with_tool(endpoint, function).stream_async(question)]


def ask_sync(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask without an event loop; Strands starts a thread for the run."""
    with_tool(endpoint, function)(question)


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text."""
    async with aclosing(with_tool(endpoint).stream_async("Hi")) as events:
        async for event in events:
            if "data" in event:
                break


PROCESSOR = "openinference.instrumentation.strands_agents:StrandsAgentsToOpenInferenceProcessor"
APP = AgentApp(
    run=ask,
    ways=[ask_sync, ask_streamed],
    leaves=[leave],
    passes_stops=False,
    name="strands",
    package="strands",
    tree="""
        trace invoke_agent forecaster | COMPLETED | session SESSION | Weather in Łódź? > The station says: sunny\\n
        AGENT invoke_agent forecaster | su > a
          CHAIN execute_event_loop_cycle | ut > -
            LLM chat @gpt-5-mini | su > c
            TOOL weather | {"city":"Łódź"} > [{"text":"sunny"}]
          CHAIN execute_event_loop_cycle | uct > -
            LLM chat @gpt-5-mini | suct > a
    """,
    rivals={PROCESSOR: "adopted"},
    hides_content=False,
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """Strands' agents are recorded as those of every framework."""
    check(APP, traces, model)


def run_sync(running: Any, question: Any, **given: Any) -> Any:
    """Run without an event loop; Strands starts a thread for the run."""
    return running(question, **given)


def run(running: Any, question: Any, **given: Any) -> Any:
    """Run in an event loop."""
    return asyncio.run(running.invoke_async(question, **given))


def streamed(running: Any, question: Any, **given: Any) -> Any:
    """Read the run event by event."""

    async def consume() -> list[Any]:
        return [event async for event in running.stream_async(question, **given)]

    return asyncio.run(consume())[-1]


ways = pytest.mark.parametrize("way", [run_sync, run, streamed])


@pytest.mark.parametrize("way", [run_sync, run])
def test_a_run_that_waits_for_a_person(way: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """A tool that asks a person, and its run, are interrupted; the resumed run is a trace without an interruption."""

    @tool(name="weather", context=True)
    def asks(city: str, tool_context: ToolContext[Any]) -> str:
        """Tell the weather in a city."""
        answer = tool_context.interrupt("sure", reason="Really?")
        return f"{WEATHER[city]}, {answer}"

    agent = agent_of(chat(model(weather_model)), tools=[asks])
    way(agent, "Weather in Oslo?")
    (paused,) = traces.new(1)
    (interrupt,) = agent._interrupt_state.interrupts.values()
    way(agent, [{"interruptResponse": {"interruptId": interrupt.id, "response": "yes"}}])
    (resumed,) = traces.new(1)

    waiting = {span["name"] for span in paused.spans if span["metadata"].get("outcome") == "interrupted"}
    assert waiting == {"invoke_agent forecaster", "weather"}
    assert paused.body["metadata"]["outcome"] == "interrupted"
    assert "outcome" not in resumed.body["metadata"]
    assert "snowy, yes" in str(resumed.body["output"])


def test_sessions(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """All runs of an agent share a session; the id of a session manager, or the app's own session, replaces it."""
    client = chat(model(weather_model))
    agent = agent_of(client)
    agent("Hi")
    agent("Thanks")
    agent_of(client, session_manager=FileSessionManager(session_id="talk-7", storage_dir=str(tmp_path)))("Hi")
    agent_of(client, trace_attributes={"session.id": "mine", "user.id": "ada"})("Hi")

    first, second, managed, own = traces.new(4)
    assert first.body["session_id"] == second.body["session_id"]
    assert len(first.body["session_id"]) == 32
    assert second.body["input"]["messages"][0]["content"] == "Thanks"
    assert (managed.body["session_id"], own.body["session_id"], own.body["user_id"]) == ("talk-7", "mine", "ada")


@ways
def test_planted_settings_are_recorded(way: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """The app's settings of model and agent, and its agent's state, appear in the trace; the key does not."""
    planted = Planted()

    @tool(context=True)
    def look_up(city: str, unit: str, tool_context: Any) -> dict[str, Any]:
        """Look a city up."""
        tool_context.agent.state.set("found", planted["a value of a tool's state"])
        content = [{"text": planted["a tool's result"]}, {"json": {"source": planted["another result"]}}]
        return {"status": "success", "content": content}

    parameters = {"temperature": 0.125, "seed": 7_000_001, "user": planted["a parameter"]}
    agent = agent_of(
        chat(model(planted.script), params=parameters),
        tools=[look_up],
        system_prompt=planted["the instructions"],
        description=planted["the description"],
        state={"tenant": planted["the state"]},
        trace_attributes={"tenant": planted["an attribute of the app"]},
    )
    way(agent, planted["the question"])
    trace = holds(planted, traces)
    found = trace.all("LLM")[0]["model_parameters"]
    assert (found["temperature"], found["seed"]) == (0.125, 7_000_001)
    assert "'any'" not in str(trace.body)


RESULTS: dict[str, Any] = {
    "failed": lambda word: {"status": "error", "content": [{"text": word}]},
    "picture": lambda word: {
        "content": [{"text": word}, {"image": {"format": "png", "source": {"bytes": b"picture"}}}]
    },
    "document": lambda word: {
        "content": [{"document": {"format": "txt", "name": word, "source": {"bytes": b"picture"}}}]
    },
}


@pytest.mark.parametrize("kind", RESULTS)
def test_a_tools_blocks_are_recorded(kind: str, traces: SentTraces, model: StartModel) -> None:
    """Each kind of block in a tool's result appears in the trace, bytes as their digest."""
    planted = Planted()

    @tool(description=planted["a tool's description"])
    def look_up(city: str, unit: str) -> dict[str, Any]:
        """Look a city up."""
        return {"status": "success", **RESULTS[kind](planted["the result"])}

    def script(messages: Sequence[Message]) -> Reply:
        # Strands sends a tool's picture to OpenAI in a user message after the tool's result.
        done = any(message["role"] == "tool" for message in messages)
        return Reply(text=planted["the answer"]) if done else planted.script(messages)

    run(agent_of(chat(model(script)), tools=[look_up]), planted["the question"])
    called = holds(planted, traces).only("TOOL")
    assert planted["the result"] in str(called)
    assert (PICTURE in str(called["output"])) == (kind != "failed")


class Scripted(Model):
    """A model with a scripted answer in the events of Bedrock's protocol."""

    def __init__(self, *blocks: dict[str, Any], stop: str = "end_turn", metadata: dict[str, Any] | None = None) -> None:
        self._blocks, self._stop, self._metadata = blocks, stop, metadata

    def update_config(self, **model_config: Any) -> None:
        """Do nothing, since the model has no configuration."""

    def get_config(self) -> Any:
        """Return an empty configuration."""
        return {}

    async def structured_output(self, output_model: Any, prompt: Any, *args: Any, **kwargs: Any) -> Any:
        """Raise, since no test calls it."""
        raise NotImplementedError
        yield {}

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Yield the scripted answer."""
        yield {"messageStart": {"role": "assistant"}}
        for block in self._blocks:
            for name, value in block.items():
                yield {"contentBlockDelta": {"delta": {name: value}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": self._stop}}
        if self._metadata is not None:
            yield {"metadata": self._metadata}


def test_blocks_of_a_question_are_recorded(traces: SentTraces) -> None:
    """Texts, pictures, documents and earlier turns with tools appear in the trace, bytes as their digest."""
    planted = Planted()
    call = {"toolUseId": "call-1", "name": "look_up", "input": {"city": planted["an earlier argument"]}}
    result = {"toolUseId": "call-1", "status": "success", "content": [{"text": planted["an earlier result"]}]}
    messages = [
        {"role": "user", "content": [{"text": planted["an earlier question"]}]},
        {"role": "assistant", "content": [{"text": planted["an earlier answer"]}, {"toolUse": call}]},
        {"role": "user", "content": [{"toolResult": result}]},
        {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": planted["a thought"]}}}]},
    ]
    agent = agent_of(
        Scripted({"text": planted["the answer"]}),
        messages=messages,
        system_prompt=[{"text": planted["the instructions"]}, {"cachePoint": {"type": "default"}}],
    )
    question = [
        {"text": planted["the question"]},
        {"image": {"format": "png", "source": {"bytes": b"picture"}}},
        {"document": {"format": "txt", "name": planted["a document's name"], "source": {"bytes": b"picture"}}},
    ]
    run(agent, question)
    trace = holds(planted, traces)
    assert str(trace.only("LLM")["input"]).count(PICTURE) == str(trace.root["input"]).count(PICTURE) == 2


def test_an_answer_that_is_cut_off_is_recorded(traces: SentTraces) -> None:
    """Thoughts and texts of a cut-off answer, which raises, appear in the trace."""
    planted = Planted()
    model = Scripted(
        {"reasoningContent": {"text": planted["a thought"]}}, {"text": planted["the answer"]}, stop="max_tokens"
    )
    with pytest.raises(Exception, match="max"):
        run(agent_of(model), planted["the question"])
    assert holds(planted, traces).root["status"] == "ERROR"


def test_citations_are_recorded(traces: SentTraces) -> None:
    """The citations of an answer appear in the trace."""
    planted = Planted()
    citation = {
        "title": planted["a title"],
        "sourceContent": [{"text": planted["a source"]}],
        "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 7_000_001}},
    }
    usage = {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18, "cacheReadInputTokens": 5}
    block = {"text": planted["the answer"], "citation": citation}
    run(agent_of(Scripted(block, metadata={"usage": usage, "metrics": {"latencyMs": 3}})), planted["the question"])
    trace = holds(planted, traces)
    assert "7000001" in str(trace.body)
    assert trace.only("LLM")["token_usage"]["prompt_tokens"] >= 11


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str = Field(description="planted in the schema")


def test_structured_output_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""

    def script(messages: Sequence[Message]) -> Reply:
        if messages[-1]["role"] == "tool":
            return Reply(text="Done.")
        return Reply(tool_calls=(ToolCall(name="Verdict", arguments={"verdict": "planted in the answer"}),))

    assert run(agent_of(chat(model(script))), "Hi", structured_output_model=Verdict).structured_output is not None
    body = str(traces.one().body)
    assert ("planted in the schema" in body, "planted in the answer" in body) == (True, True)


def test_a_tool_that_the_app_calls_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """A tool that the app calls directly appears in the trace."""
    planted = Planted()

    @tool
    def look_up(city: str) -> str:
        """Look a city up."""
        return planted["a tool's result"]

    agent = agent_of(chat(model(weather_model)), tools=[look_up])
    agent.tool.look_up(city=planted["an argument"])
    run(agent, planted["the question"])
    holds(planted, traces)


def team(planted: Planted, endpoint: ScriptedEndpoint) -> list[Any]:
    """Return two agents with planted instructions."""
    names = ("first", "second")
    return [agent_of(chat(endpoint), name, system_prompt=planted[f"the {name}'s instructions"]) for name in names]


@ways
def test_a_graph_is_recorded(way: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """A graph's task, its nodes' inputs and answers, and its result appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        first = planted["the first's instructions"] in str(messages)
        return Reply(text=planted["the first answer" if first else "the second answer"])

    builder = GraphBuilder()
    for agent in team(planted, model(script)):
        builder.add_node(agent, agent.name)
    builder.add_edge("first", "second")
    builder.set_entry_point("first")
    way(builder.build(), planted["the task"])
    body = holds(planted, traces).body
    assert planted["the task"] in str(body["input"])
    assert planted["the second answer"] in str(body["output"])


def test_a_swarm_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """A swarm's hand-off, with message and context, and the second agent's answer appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        if planted["the second's instructions"] in str(messages):
            return Reply(text=planted["the answer"])
        if messages[-1]["role"] == "tool":
            return Reply(text="Over.")
        given = {
            "agent_name": "second",
            "message": planted["the message"],
            "context": {"deal": planted["the context"]},
        }
        return Reply(tool_calls=(ToolCall(name="handoff_to_agent", arguments=given),))

    run(Swarm(team(planted, model(script))), planted["the task"])
    assert planted["the task"] in str(holds(planted, traces).body["input"])
