"""Agents of Strands Agents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from strands import Agent, ToolContext, tool
from strands.agent.agent import Agent as AgentClass
from strands.models import Model
from strands.models.openai import OpenAIModel
from strands.session.file_session_manager import FileSessionManager
from strands.telemetry import tracer as strands_tracer

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from framework_cases import (
    CITIES,
    AgentApp,
    StartModel,
    cancel_in_a_tool,
    cancel_in_the_model,
    do_not_mix,
    ended_without_error,
    growth,
    in_tasks,
    left_after_a_word,
    off,
    parcel_talk,
    recorded_apart,
    run_beside_another_vendor,
    tool_raises,
)
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from weather_model import WEATHER, weather, weather_model

# Strands makes a client for each model call and leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

WEATHER_TOOL = tool(weather)


def forecaster(endpoint: ScriptedEndpoint, name: str = "forecaster", **options: Any) -> Any:
    """An agent that knows the weather."""
    client = {"base_url": endpoint.base_url, "api_key": "any", "max_retries": 0}
    given = {"system_prompt": "You know weather.", "tools": [WEATHER_TOOL], "callback_handler": None, **options}
    return Agent(model=OpenAIModel(model_id="gpt-5-mini", client_args=client), name=name, **given)


def run_sync(agent: Any, asked: str) -> None:
    """Run without an event loop; Strands starts a thread for the run."""
    agent(asked)


def run(agent: Any, asked: str) -> None:
    """Run in an event loop."""
    asyncio.run(agent.invoke_async(asked))


def streamed(agent: Any, asked: str) -> None:
    """Read the run event by event."""

    async def consume() -> int:
        return len([event async for event in agent.stream_async(asked) if "data" in event])

    assert asyncio.run(consume()) > 1


@pytest.mark.parametrize("way", [run_sync, run])
def test_a_run_that_waits_for_a_person(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """A tool that asks a person, and its run, are interrupted; the resumed run is a trace without an interruption."""

    @tool(name="weather", context=True)
    def asks(city: str, tool_context: ToolContext[Any]) -> str:
        """Tell the weather in a city."""
        said = tool_context.interrupt("sure", reason="Really?")
        return f"{WEATHER[city]}, {said}"

    agent = forecaster(model(weather_model), tools=[asks])
    way(agent, "Weather in Oslo?")
    (paused,) = traces.new(1)
    (asked,) = agent._interrupt_state.interrupts.values()
    way(agent, [{"interruptResponse": {"interruptId": asked.id, "response": "yes"}}])  # type: ignore[arg-type]
    (resumed,) = traces.new(1)

    waiting = {span["name"] for span in paused.spans if span["metadata"].get("outcome") == "interrupted"}
    assert waiting == {"invoke_agent forecaster", "weather"}
    assert paused.body["metadata"]["outcome"] == "interrupted"
    assert "outcome" not in resumed.body["metadata"]
    assert "snowy, yes" in str(resumed.body["output"])


@pytest.mark.parametrize("way", [run_sync, run, streamed])
def test_a_run_is_one_tree(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """Every way to run the agent makes the same tree; each model call is one span."""
    endpoint = model(weather_model)
    way(forecaster(endpoint), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [(span["kind"], span["name"]) for span in trace.spans] == [
        ("AGENT", "invoke_agent forecaster"),
        ("CHAIN", "execute_event_loop_cycle"),
        ("LLM", "chat"),
        ("TOOL", "weather"),
        ("CHAIN", "execute_event_loop_cycle"),
        ("LLM", "chat"),
    ]
    first, second = trace.children(trace.root)
    assert [span["kind"] for span in trace.children(first)] == ["LLM", "TOOL"]
    assert [span["kind"] for span in trace.children(second)] == ["LLM"]
    assert trace.body["input"]["messages"][0]["content"] == "Weather in Oslo?"
    assert trace.body["output"]["messages"][0]["content"] == "The station says: snowy\n"
    assert (trace.body["status"], "session_id" in trace.body) == ("COMPLETED", True)


def test_what_the_spans_tell(traces: SentTraces, model: StartModel) -> None:
    """Messages and tool calls in the spans match those sent over the wire."""
    endpoint = model(weather_model)
    run(forecaster(endpoint), "Weather in Łódź?")

    trace = traces.one()
    told = trace.all("LLM")[1]
    (system, user, assistant, result) = told["input"]["messages"]
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    assert (system["content"], user["content"]) == ("You know weather.", "Weather in Łódź?")
    assert (assistant["tool_calls"][0]["id"], result["tool_call_id"], result["content"]) == (wire_id, wire_id, "sunny")
    assert told["output"]["messages"][0]["content"] == "The station says: sunny"
    tool_span = trace.only("TOOL")
    assert (tool_span["input"], tool_span["output"]) == ({"city": "Łódź"}, [{"text": "sunny"}])
    assert tool_span["metadata"]["tool_call_id"] == wire_id
    assert trace.root["metadata"]["tools"][0]["name"] == "weather"


def test_a_failure_that_the_agent_handles(traces: SentTraces, model: StartModel) -> None:
    """The tool's span has status ERROR and the text given to the model; the agent's span is OK."""
    run(forecaster(model(weather_model)), "Weather in Atlantis?")

    trace = traces.one()
    failed = trace.only("TOOL")
    assert (failed["status"], failed["error"]) == ("ERROR", "no station in Atlantis")
    assert failed["output"] == [{"text": "Error: LookupError - no station in Atlantis"}]
    assert (trace.root["status"], trace.body["status"]) == ("OK", "COMPLETED")


@pytest.mark.parametrize("way", [run_sync, streamed])
def test_a_model_that_refuses(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """A refused model call raises in the app and ends the run and all its spans with an error."""
    with pytest.raises(Exception, match="There is no Nowhere"):
        way(forecaster(model(weather_model)), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [
        ("AGENT", "ERROR"),
        ("CHAIN", "ERROR"),
        ("LLM", "ERROR"),
    ]
    assert "There is no Nowhere" in trace.only("LLM")["error"]
    assert trace.body["input"]["messages"][0]["content"] == "Weather in Nowhere?"


def test_sessions(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """All runs of an agent share a session; the id of a session manager, or the app's own session, replaces it."""
    endpoint = model(weather_model)
    agent = forecaster(endpoint)
    agent("Hi")
    agent("Weather in Oslo?")
    manager = FileSessionManager(session_id="talk-7", storage_dir=str(tmp_path))
    forecaster(endpoint, session_manager=manager)("Hi")
    forecaster(endpoint, trace_attributes={"session.id": "mine", "user.id": "ada"})("Hi")

    first, second, managed, own = traces.new(4)
    assert first.body["session_id"] == second.body["session_id"]
    assert len(first.body["session_id"]) == 32
    assert second.body["input"]["messages"][0]["content"] == "Weather in Oslo?"
    assert (managed.body["session_id"], own.body["session_id"], own.body["user_id"]) == ("talk-7", "mine", "ada")


def test_an_agent_asks_another_and_what_a_tool_does(traces: SentTraces, model: StartModel) -> None:
    """An agent called by a tool is an AGENT span below the tool. The app's spans in a tool are below it too."""
    endpoint = model(weather_model)

    @tool(name="weather")
    @pandaprobe_otel.span(name="look up")
    def look_up(city: str) -> str:
        """Tell the weather in a city."""
        return WEATHER[city]

    expert = forecaster(endpoint, "expert", tools=[look_up])

    @tool(name="weather")
    def ask_expert(city: str) -> str:
        """Ask someone who knows the weather in a city."""
        return str(expert(f"Weather in {city}?")).strip()

    boss = forecaster(endpoint, "boss", tools=[ask_expert])
    run(boss, "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    inner = trace.only("AGENT", "invoke_agent expert")
    assert [span["kind"] for span in trace.above(inner)] == ["TOOL", "CHAIN", "AGENT"]
    assert [span["kind"] for span in trace.above(trace.only(name="look up"))][:3] == ["TOOL", "CHAIN", "AGENT"]
    assert inner in list(trace.above(trace.only(name="look up")))
    assert trace.body["output"]["messages"][0]["content"].startswith("The station says: The station says: snowy")


def test_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs is a separate trace with no spans of the others."""
    endpoint = model(weather_model)
    in_tasks(lambda city: forecaster(endpoint).invoke_async(f"Weather in {city}?"))
    found = traces.new(len(CITIES))
    do_not_mix(found, "AGENT", "CHAIN", "LLM", "TOOL", "CHAIN", "LLM")
    assert len({trace.body["session_id"] for trace in found}) == len(CITIES)


def test_beside_another_vendor(traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """OpenInference adds its attributes to the same spans, so each call is recorded once."""
    endpoint = model(weather_model)
    done = run_beside_another_vendor("strands", server.url, server.api_key, endpoint.base_url)
    assert done.stdout.partition(":")[0] == "adopted"
    trace = traces.one()
    counted = [span for span in trace.spans if "token_usage" in span]
    assert [span["token_usage"]["prompt_tokens"] for span in counted] == [
        each.usage.prompt_tokens for each in endpoint.exchanges
    ]
    assert (len(trace.all("LLM")), len(trace.all("TOOL"))) == (2, 1)


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example makes two turns of one session, the second streamed."""
    example = Example("strands_agent")
    example.run(model(example.script), monkeypatch)

    parcel_talk(traces)


class Echo(Model):
    """A model without a network, which echoes the message or fails."""

    def get_config(self) -> Any:
        """Return no configuration."""
        return {}

    def update_config(self, **config: Any) -> None:
        """Do nothing."""

    async def structured_output(self, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Raise, since no test calls it."""
        raise NotImplementedError
        yield {}

    async def stream(self, messages: Any, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Echo the message, or fail."""
        said = messages[-1]["content"][0]["text"]
        if said == "fail":
            raise ValueError("no")
        yield {"messageStart": {"role": "assistant"}}
        yield {"contentBlockDelta": {"delta": {"text": said}}}
        yield {"contentBlockStop": {}}
        yield {"messageStop": {"stopReason": "end_turn"}}


def test_a_thousand_runs_do_not_grow(traces: SentTraces) -> None:
    """Neither a successful nor a failed run leaves objects behind."""

    async def runs(count: int) -> None:
        for number in range(count):
            said = "fail" if number % 10 == 0 else "Hi"
            try:
                await Agent(model=Echo(), callback_handler=None).invoke_async(said)
            except ValueError:
                assert said == "fail"
            assert recorded.names == ["chat", "execute_event_loop_cycle", "invoke_agent Strands Agents"]
            recorded.clear()

    with recorded_apart("strands") as recorded:
        assert growth(lambda count: asyncio.run(runs(count)), 1000) < 500


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting restores Strands' functions; then the client's calls are recorded beside Strands' spans."""
    hooked = vars(AgentClass)["_start_agent_trace_span"]
    made = vars(strands_tracer.Tracer)["__init__"]
    with off("strands"):
        assert vars(AgentClass)["_start_agent_trace_span"] is hooked.__wrapped__
        assert vars(strands_tracer.Tracer)["__init__"] is made.__wrapped__
        run(forecaster(model(weather_model)), "Hi")
        trace = traces.one()
        assert ("session_id" in trace.body, len(trace.all("LLM"))) == (False, 1)  # two spans of one call
    run(forecaster(model(weather_model)), "Hi")
    assert len(traces.one().all("LLM")) == 1


def test_a_run_that_is_cancelled(traces: SentTraces, model: StartModel) -> None:
    """A cancelled run and its tool have the outcome "cancelled" and no error."""
    endpoint = model(weather_model)

    def run_with(slow: Callable[[str], Any]) -> Any:
        return forecaster(endpoint, tools=[tool(name="weather")(slow)]).invoke_async("Weather in Oslo?")

    asyncio.run(cancel_in_a_tool(run_with))
    ended_without_error(traces.one(), "AGENT", "CHAIN", "LLM", "TOOL")


def test_a_run_whose_tool_raises(traces: SentTraces, model: StartModel) -> None:
    """The exception of a tool is the error of its span, and of the run only if it leaves the run."""

    async def run(endpoint: ScriptedEndpoint, question: str, weather: Any) -> None:
        await forecaster(endpoint, tools=[tool(name="weather")(weather)]).invoke_async(question)

    tool_raises(AgentApp(run=run), traces, model, ValueError)


def test_a_run_that_is_cancelled_in_its_model(traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled while its model answers keeps the model call, which is cancelled too."""
    cancel_in_the_model(model, lambda endpoint: forecaster(endpoint).invoke_async("Hi"))
    ended_without_error(traces.one(), "AGENT", "CHAIN", "LLM")


def test_a_run_that_is_left(traces: SentTraces, model: StartModel) -> None:
    """A stream that the app stops reading keeps the model call, and all its spans are partial."""

    async def leave(endpoint: ScriptedEndpoint) -> None:
        async with aclosing(forecaster(endpoint).stream_async("Hi")) as events:
            async for event in events:
                if "data" in event:
                    break

    left_after_a_word(model, leave)
    ended_without_error(traces.one(), "AGENT", "CHAIN", "LLM", outcome="partial")
