"""Content planted in Strands' agents, models, tools, graphs and swarms appears in the trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from hashlib import sha256
from typing import Any

import pytest
from pydantic import BaseModel, Field
from strands import Agent, tool
from strands.models import Model
from strands.models.openai import OpenAIModel
from strands.multiagent import GraphBuilder, Swarm

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message, Refusal, Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from planting import Planted

# Strands makes a client for each model call and leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

PICTURE = sha256(b"picture").hexdigest()


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str = Field(description="What is to be judged.")
    grade: str


def chat(endpoint: ScriptedEndpoint, **params: Any) -> Any:
    """A client of the scripted model."""
    client = {"base_url": endpoint.base_url, "api_key": "any", "max_retries": 0}
    return OpenAIModel(model_id="gpt-5-mini", client_args=client, **({"params": params} if params else {}))


def agent(model: Any, name: str = "planter", **options: Any) -> Any:
    """An agent that writes nothing to the terminal."""
    return Agent(model=model, name=name, callback_handler=None, **options)


def run_sync(running: Any, asked: Any, **given: Any) -> Any:
    """Run without an event loop; Strands starts a thread for the run."""
    return running(asked, **given)


def run(running: Any, asked: Any, **given: Any) -> Any:
    """Run in an event loop."""
    return asyncio.run(running.invoke_async(asked, **given))


def streamed(running: Any, asked: Any, **given: Any) -> Any:
    """Read the run event by event."""

    async def consume() -> list[Any]:
        return [event async for event in running.stream_async(asked, **given)]

    return asyncio.run(consume())[-1]


WAYS = [run_sync, run, streamed]


def comes_out(planted: Planted, traces: SentTraces) -> Any:
    """Assert that the trace contains everything planted, and return the trace."""
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    return trace


class Told(Model):
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
            for name, said in block.items():
                yield {"contentBlockDelta": {"delta": {name: said}}}
            yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": self._stop}}
        if self._metadata is not None:
            yield {"metadata": self._metadata}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_planted_comes_out(way: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()

    @tool
    def look_up(city: str, unit: str) -> dict[str, Any]:
        """Look a city up."""
        content = [{"text": planted["a tool's result"]}, {"json": {"source": planted["beside a tool's result"]}}]
        return {"status": "success", "content": content}

    running = agent(chat(model(planted.script)), tools=[look_up], system_prompt=planted["the instructions"])
    way(running, planted["the question"])
    comes_out(planted, traces)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.plants("Agent._start_agent_trace_span", "Tracer.start_model_invoke_span")
def test_parameters_come_out(way: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """The app's settings of model and agent appear in the trace."""
    planted = Planted()
    endpoint = model(lambda _: Reply(text=planted["the answer"]))
    asked = chat(endpoint, temperature=0.125, seed=7_000_001, user=planted["a parameter"])
    running = agent(
        asked,
        system_prompt=planted["the instructions"],
        description=planted["the description"],
        trace_attributes={"tenant": planted["an attribute of the app"]},
    )
    way(running, planted["the question"])
    trace = comes_out(planted, traces)
    told = trace.only("LLM")["model_parameters"]
    assert (told["temperature"], told["seed"]) == (0.125, 7_000_001)
    assert "'any'" not in str(trace.body)


RESULTS: dict[str, Any] = {
    "text": lambda word: {"content": [{"text": word}]},
    "json": lambda word: {"content": [{"json": {"found": {"deep": [word]}}}]},
    "failed": lambda word: {"status": "error", "content": [{"text": word}]},
    "picture": lambda word: {
        "content": [{"text": word}, {"image": {"format": "png", "source": {"bytes": b"picture"}}}]
    },
    "document": lambda word: {
        "content": [{"document": {"format": "txt", "name": word, "source": {"bytes": b"picture"}}}]
    },
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.plants("Tracer.end_tool_call_span", "serialize")
def test_a_tools_result_comes_out(kind: str, is_async: bool, traces: SentTraces, model: StartModel) -> None:
    """Each kind of block in a sync or async tool's result appears in the trace, bytes as their digest."""
    planted = Planted()

    def look_up(city: str, unit: str) -> dict[str, Any]:
        """Look a city up."""
        return {"status": "success", **RESULTS[kind](planted["the result"])}

    async def look_up_later(city: str, unit: str) -> dict[str, Any]:
        """Look a city up."""
        return look_up(city, unit)

    def script(messages: Sequence[Message]) -> Reply:
        # Strands sends a tool's picture to OpenAI in a user message after the tool's result.
        done = any(message["role"] == "tool" for message in messages)
        return Reply(text=planted["the answer"]) if done else planted.script(messages)

    called = tool(name="look_up", description=planted["what a tool does"])(look_up_later if is_async else look_up)
    run(agent(chat(model(script)), tools=[called]), planted["the question"])
    trace = comes_out(planted, traces)
    told = trace.only("TOOL")
    assert planted["the result"] in str(told)
    if kind in ("picture", "document"):
        assert PICTURE in str(told["output"])


def test_a_tool_that_fails_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A failed tool's arguments and error appear in the trace."""
    planted = Planted()

    @tool
    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        raise LookupError(planted["the exception"])

    run(agent(chat(model(planted.script)), tools=[look_up]), planted["the question"])
    trace = comes_out(planted, traces)
    assert planted["the exception"] in trace.only("TOOL")["error"]


def test_blocks_of_a_question_come_out(traces: SentTraces) -> None:
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
    running = agent(
        Told({"text": planted["the answer"]}),
        messages=messages,
        system_prompt=[{"text": planted["the instructions"]}, {"cachePoint": {"type": "default"}}],
    )
    asked = [
        {"text": planted["the question"]},
        {"image": {"format": "png", "source": {"bytes": b"picture"}}},
        {"document": {"format": "txt", "name": planted["a document's name"], "source": {"bytes": b"picture"}}},
    ]
    run(running, asked)
    trace = comes_out(planted, traces)
    assert str(trace.only("LLM")["input"]).count(PICTURE) == 2
    assert str(trace.root["input"]).count(PICTURE) == 2


def test_what_a_model_says_comes_out(traces: SentTraces) -> None:
    """Thoughts and texts of a cut-off answer, which raises, appear in the trace."""
    planted = Planted()
    told = Told(
        {"reasoningContent": {"text": planted["a thought"]}}, {"text": planted["the answer"]}, stop="max_tokens"
    )
    with pytest.raises(Exception, match="max"):
        run(agent(told), planted["the question"])
    trace = comes_out(planted, traces)
    assert trace.root["status"] == "ERROR"


def test_citations_come_out(traces: SentTraces) -> None:
    """The citations of an answer appear in the trace."""
    planted = Planted()
    citation = {
        "title": planted["a title"],
        "sourceContent": [{"text": planted["what is cited"]}],
        "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 7_000_001}},
    }
    told = Told(
        {"text": planted["the answer"], "citation": citation},
        metadata={
            "usage": {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18, "cacheReadInputTokens": 5},
            "metrics": {"latencyMs": 3},
        },
    )
    run(agent(told), planted["the question"])
    trace = comes_out(planted, traces)
    assert "7000001" in str(trace.body)
    assert trace.only("LLM")["token_usage"]["prompt_tokens"] >= 11


def test_structured_output_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    planted = Planted()
    Verdict.model_fields["verdict"].description = planted["of a field of the schema"]
    Verdict.model_rebuild(force=True)
    answer = {"verdict": planted["the verdict"], "grade": planted["the grade"]}

    def script(messages: Sequence[Message]) -> Reply:
        if messages[-1]["role"] == "tool":
            return Reply(text="Done.")
        return Reply(tool_calls=(ToolCall(name="Verdict", arguments=answer),))

    result = run(agent(chat(model(script))), planted["the question"], structured_output_model=Verdict)
    assert result.structured_output is not None
    comes_out(planted, traces)


@pytest.mark.plants("Tracer.end_agent_span")
def test_the_state_of_an_agent_comes_out(traces: SentTraces, model: StartModel) -> None:
    """An agent's state, set by the app and changed by a tool, appears in the trace."""
    planted = Planted()

    @tool(context=True)
    def look_up(city: str, unit: str, tool_context: Any) -> str:
        """Look a city up."""
        tool_context.agent.state.set("found", planted["what a tool keeps"])
        return planted["a tool's result"]

    running = agent(chat(model(planted.script)), tools=[look_up], state={"tenant": planted["the state"]})
    run(running, planted["the question"])
    comes_out(planted, traces)


def test_a_tool_that_the_app_calls_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A tool that the app calls directly appears in the trace."""
    planted = Planted()

    @tool
    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        return planted["a tool's result"]

    running = agent(chat(model(lambda _: Reply(text=planted["the answer"]))), tools=[look_up])
    running.tool.look_up(city=planted["an argument"], unit=planted["another argument"])
    run(running, planted["the question"])
    assert planted.missing_in(traces.one().body) == []


def test_a_refusal_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The error message of a refused call appears in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    with pytest.raises(Exception, match="planted"):
        run(agent(chat(model(script))), planted["the question"])
    trace = comes_out(planted, traces)
    assert all(planted["the refusal"] in span["error"] for span in trace.spans)


@pytest.mark.parametrize("way", WAYS)
def test_a_graph_comes_out(way: Callable[..., Any], traces: SentTraces, model: StartModel) -> None:
    """A graph's task, its nodes' inputs and answers, and its result appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        first = planted["the first's instructions"] in str(messages)
        return Reply(text=planted["the first answer" if first else "the second answer"])

    endpoint = model(script)
    builder = GraphBuilder()
    builder.add_node(agent(chat(endpoint), "first", system_prompt=planted["the first's instructions"]), "first")
    builder.add_node(agent(chat(endpoint), "second", system_prompt=planted["the second's instructions"]), "second")
    builder.add_edge("first", "second")
    builder.set_entry_point("first")
    way(builder.build(), planted["the task"])
    trace = comes_out(planted, traces)
    assert planted["the task"] in str(trace.body["input"])
    assert planted["the second answer"] in str(trace.body["output"])


def test_a_swarm_comes_out(traces: SentTraces, model: StartModel) -> None:
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

    endpoint = model(script)
    first = agent(chat(endpoint), "first", system_prompt=planted["the first's instructions"])
    second = agent(chat(endpoint), "second", system_prompt=planted["the second's instructions"])
    run(Swarm([first, second]), planted["the task"])
    trace = comes_out(planted, traces)
    assert planted["the task"] in str(trace.body["input"])
