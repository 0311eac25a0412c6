"""Agents of Google's Agent Development Kit."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Any
from uuid import uuid4

import pytest
from google.adk.agents import LlmAgent, ParallelAgent, RunConfig
from google.adk.agents.run_config import StreamingMode
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.telemetry import tracing
from google.adk.tools import FunctionTool, LongRunningFunctionTool
from google.adk.tools.agent_tool import AgentTool
from google.genai import types

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from framework_cases import (
    CITIES,
    OFFICIAL,
    RAISES,
    AgentApp,
    StartModel,
    cancel_in_a_tool,
    cancel_in_the_model,
    do_not_mix,
    ended_without_error,
    growth,
    in_tasks,
    is_of_the_official_adapter,
    left_after_a_word,
    off,
    parcel_talk,
    recorded_apart,
    run_beside_another_vendor,
    tool_raises,
)
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel_integrations.google_adk import GoogleADKAdapter, GoogleADKInstrumentor
from weather_model import WEATHER, weather, weather_model

# ADK makes Google's client itself and leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

GEMINI = "gemini-2.5-flash"
STREAMED = RunConfig(streaming_mode=StreamingMode.SSE)


@pytest.fixture
def gemini(model: StartModel, monkeypatch: pytest.MonkeyPatch) -> StartModel:
    """Start a scripted model for Google's client."""

    def start(script: Script, **options: Any) -> ScriptedEndpoint:
        endpoint = model(script, **options)
        monkeypatch.setenv("GOOGLE_API_KEY", "any")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", endpoint.url)
        return endpoint

    return start


def forecaster(name: str = "forecaster", **options: Any) -> LlmAgent:
    """An agent that knows the weather."""
    return LlmAgent(name=name, **{"model": GEMINI, "instruction": "You know weather.", "tools": [weather], **options})


def content(text: str) -> types.Content:
    """Return a user's message."""
    return types.Content(role="user", parts=[types.Part(text=text)])


async def runner_of(agent: Any, session: str = "s-1") -> InMemoryRunner:
    """A runner with one session of Ada's."""
    runner = InMemoryRunner(agent=agent, app_name="app")
    await runner.session_service.create_session(app_name="app", user_id="ada", session_id=session)
    return runner


async def tell(agent: Any, *said: str, session: str = "s-1", config: RunConfig | None = None) -> None:
    """Run the turns of one session, one after the other."""
    runner = await runner_of(agent, session)
    for text in said:
        async for _ in runner.run_async(
            user_id="ada", session_id=session, new_message=content(text), run_config=config or RunConfig()
        ):
            pass
    await runner.close()


def run(agent: Any, asked: str) -> None:
    """Run in a new event loop."""
    asyncio.run(tell(agent, asked))


def streamed(agent: Any, asked: str) -> None:
    """Read the answer chunk by chunk."""
    asyncio.run(tell(agent, asked, config=STREAMED))


def run_sync(agent: Any, asked: str) -> None:
    """Run without an event loop; ADK starts a thread for the run."""
    runner = asyncio.run(runner_of(agent))
    assert len([*runner.run(user_id="ada", session_id="s-1", new_message=content(asked))]) == 3


def later(city: str) -> None:
    """Tell the weather in a city."""


@pytest.mark.parametrize("way", ["answers later", "asks a person"])
def test_a_run_that_waits(way: str, traces: SentTraces, gemini: StartModel) -> None:
    """A tool that pauses the run is interrupted, and so is the trace."""
    gemini(weather_model)
    later.__name__ = "weather"
    tool = (
        LongRunningFunctionTool(later) if way == "answers later" else FunctionTool(weather, require_confirmation=True)
    )
    run(forecaster(tools=[tool]), "Weather in Oslo?")
    trace = traces.one()
    assert trace.only("TOOL")["metadata"]["outcome"] == trace.body["metadata"]["outcome"] == "interrupted"
    assert trace.body["status"] == "COMPLETED"


@pytest.mark.parametrize("way", [run, run_sync, streamed])
def test_a_run_is_one_tree(way: Callable[[Any, str], None], traces: SentTraces, gemini: StartModel) -> None:
    """Every way to run the agent makes the same tree; each model call is one span; session and user are ADK's."""
    endpoint = gemini(weather_model)
    way(forecaster(), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace invoke_workflow forecaster | COMPLETED | session s-1 | user ada | Weather in Oslo? > The station says: snowy
        CHAIN invoke_workflow forecaster | u > a
          AGENT invoke_agent forecaster | u > a
            LLM generate_content gemini-2.5-flash @gemini-2.5-flash | su > c
            TOOL weather | {"city":"Oslo"} > {"result":"snowy"}
            LLM generate_content gemini-2.5-flash @gemini-2.5-flash | suct > a
    """)  # noqa: E501
    assert endpoint.exchanges[0].streamed == (way is streamed)
    assert ("completion_start_time" in trace.all("LLM")[1]) == (way is streamed)


def test_what_the_spans_tell(traces: SentTraces, gemini: StartModel) -> None:
    """Messages and tool calls in the spans match those sent over the wire."""
    endpoint = gemini(weather_model)
    run(forecaster(), "Weather in Łódź?")

    trace = traces.one()
    told = trace.all("LLM")[1]
    (system, user, assistant, result) = told["input"]["messages"]
    assert system["content"].startswith("You know weather.")
    assert user["content"] == "Weather in Łódź?"
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    assert (assistant["tool_calls"][0]["id"], result["tool_call_id"]) == (wire_id, wire_id)
    assert trace.only("TOOL")["metadata"]["tool_call_id"] == wire_id
    assert told["output"]["messages"][0]["content"] == "The station says: sunny"
    assert (told["metadata"]["agent_name"], told["metadata"]["tools"][0]["name"]) == ("forecaster", "weather")


def test_a_failure_that_the_agent_handles(traces: SentTraces, gemini: StartModel) -> None:
    """A failed tool's callback gives the answer: the span has the callback's result, and the run is OK."""
    gemini(weather_model)
    agent = forecaster(on_tool_error_callback=lambda tool, args, context, error: {"result": f"Sorry: {error}"})
    run(agent, "Weather in Atlantis?")

    trace = traces.one()
    assert trace.only("TOOL")["output"] == {"result": "Sorry: no station in Atlantis"}
    assert (trace.body["status"], trace.root["status"]) == ("COMPLETED", "OK")


@pytest.mark.parametrize("way", [run, streamed])
def test_a_tool_that_raises(way: Callable[[Any, str], None], traces: SentTraces, gemini: StartModel) -> None:
    """The exception reaches the app, every span is ended, and the spans of tool, agent and run have the error."""
    gemini(weather_model)
    with pytest.raises(LookupError, match="no station in Atlantis"):
        way(forecaster(), "Weather in Atlantis?")

    trace = traces.one()
    assert all("ended_at" in span for span in trace.spans)
    for span in (trace.only("TOOL"), trace.only("AGENT"), trace.root):
        assert (span["status"], span["error"]) == ("ERROR", "no station in Atlantis"), str(trace)
    assert trace.only("TOOL")["input"] == {"city": "Atlantis"}


def test_a_model_that_refuses(traces: SentTraces, gemini: StartModel) -> None:
    """A refused model call ends the run and all its spans with an error."""
    gemini(weather_model)
    with pytest.raises(Exception, match="There is no Nowhere"):
        run(forecaster(), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [
        ("CHAIN", "ERROR"),
        ("AGENT", "ERROR"),
        ("LLM", "ERROR"),
    ]
    assert "There is no Nowhere" in trace.only("LLM")["error"]
    assert trace.body["input"]["messages"][0]["content"] == "Weather in Nowhere?"


def test_a_run_that_is_left(traces: SentTraces, gemini: StartModel) -> None:
    """A stream that the app stops reading ends all its spans without an error, and as partial.

    ADK may read the model's answer to its end all the same; then the run is complete.
    """

    async def leave(_: ScriptedEndpoint) -> None:
        runner = await runner_of(forecaster())
        events = runner.run_async(user_id="ada", session_id="s-1", new_message=content("Hi you"), run_config=STREAMED)
        async with aclosing(events):
            async for _ in events:
                break
        await runner.close()

    left_after_a_word(gemini, leave)
    trace = traces.one()
    is_whole = "ten" in str(trace.only("LLM").get("output"))
    ended_without_error(trace, "CHAIN", "AGENT", "LLM", outcome=None if is_whole else "partial")


def test_a_run_that_is_cancelled(traces: SentTraces, gemini: StartModel) -> None:
    """A run that is cancelled while its model answers is cancelled, with every span of it."""
    cancel_in_the_model(gemini, lambda _: tell(forecaster(), "Hi"))
    ended_without_error(traces.one(), "CHAIN", "AGENT", "LLM")


def test_a_run_that_is_cancelled_in_a_tool(traces: SentTraces, gemini: StartModel) -> None:
    """A run that is cancelled while its tool works is cancelled, and so is the tool."""
    gemini(weather_model)
    asyncio.run(cancel_in_a_tool(lambda slow: tell(forecaster(tools=[slow]), "Weather in Oslo?")))
    ended_without_error(traces.one(), "CHAIN", "AGENT", "LLM", "TOOL")


@RAISES
def test_a_run_whose_tool_raises(kind: Any, traces: SentTraces, gemini: StartModel) -> None:
    """The exception of a tool is the error of its span, and of the run only if it leaves the run."""

    async def run(_: ScriptedEndpoint, question: str, weather: Any) -> None:
        await tell(forecaster(tools=[weather]), question)

    tool_raises(AgentApp(run=run), traces, gemini, kind)


def test_two_turns_are_one_session(traces: SentTraces, gemini: StartModel) -> None:
    """Each turn is a trace of the same session."""
    endpoint = gemini(weather_model)
    asyncio.run(tell(forecaster(), "Hi", "Weather in Oslo?", session="talk-7"))

    found = traces.new(2)
    assert [(trace.body["session_id"], trace.body["user_id"]) for trace in found] == [("talk-7", "ada")] * 2
    assert [trace.body["input"]["messages"][0]["content"] for trace in found] == ["Hi", "Weather in Oslo?"]
    assert [len(trace.all("LLM")) for trace in found] == [1, 2]
    assert len(endpoint.exchanges) == 3


def test_what_the_app_says_of_session_and_user(traces: SentTraces, gemini: StartModel) -> None:
    """The app's own session and user replace ADK's in the trace."""
    gemini(weather_model)
    with pandaprobe_otel.context(session="mine", user="grace", tags=["beta"]):
        run(forecaster(), "Hi")

    body = traces.one().body
    assert (body["session_id"], body["user_id"], body["tags"]) == ("mine", "grace", ["beta"])


def hand_over(messages: Sequence[Message]) -> Reply:
    """Hand over as the first agent; answer as the second."""
    if 'name is "boss"' in str(messages[0]["content"]):
        return Reply(tool_calls=(ToolCall(name="transfer_to_agent", arguments={"agent_name": "expert"}),))
    return Reply(text="It is snowy.")


def test_a_transfer_to_a_sub_agent(traces: SentTraces, gemini: StartModel) -> None:
    """On a transfer, both agents are below the run, and the transfer is a tool of the first agent, without an error."""
    endpoint = gemini(hand_over)
    expert = LlmAgent(name="expert", description="Knows weather.", model=GEMINI)
    run(LlmAgent(name="boss", model=GEMINI, sub_agents=[expert]), "Weather?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace invoke_workflow boss | COMPLETED | session s-1 | user ada | Weather? > It is snowy.
        CHAIN invoke_workflow boss | u > a
          AGENT invoke_agent boss | u > c
            LLM generate_content gemini-2.5-flash @gemini-2.5-flash | su > c
            TOOL transfer_to_agent | {"agent_name":"expert"} > {"result":null}
          AGENT invoke_agent expert | uuu > a
            LLM generate_content gemini-2.5-flash @gemini-2.5-flash | suuu > a
    """)


def test_an_agent_as_a_tool_and_what_a_tool_does(traces: SentTraces, gemini: StartModel) -> None:
    """A sub-agent is an AGENT span below its tool. Spans that the app makes in a tool are below that tool too."""

    def script(messages: Sequence[Message]) -> Reply:
        if 'name is "boss"' in str(messages[0]["content"]) and messages[-1]["role"] == "user":
            return Reply(tool_calls=(ToolCall(name="expert", arguments={"request": "Weather in Oslo?"}),))
        return weather_model(messages)

    @pandaprobe_otel.span(name="look up")
    def look_up(city: str) -> str:
        return WEATHER[city]

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        return look_up(city)

    endpoint = gemini(script)
    expert = forecaster("expert", tools=[weather])
    run(forecaster("boss", tools=[AgentTool(expert)]), "Weather?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    inner = trace.only("AGENT", "invoke_agent expert")
    above = [(span["kind"], span["name"]) for span in trace.above(inner)]
    assert above[1:] == [("TOOL", "expert"), ("AGENT", "invoke_agent boss"), ("CHAIN", "invoke_workflow boss")]
    assert [span["name"] for span in trace.above(trace.only(name="look up"))][:2] == ["weather", "invoke_agent expert"]
    assert trace.body["output"]["messages"][0]["content"].startswith("The station says: The station says: snowy")


@pytest.mark.parametrize("config", [RunConfig(), STREAMED])
def test_tools_called_at_once(config: RunConfig, traces: SentTraces, gemini: StartModel) -> None:
    """Tools called in parallel have one span each; ADK's span of their merged results is left out."""

    def population(city: str) -> int:
        """Tell how many live in a city."""
        return 9

    def script(messages: Sequence[Message]) -> Reply:
        if messages[-1]["role"] == "tool":
            return Reply(text="Done.")
        calls = [ToolCall(name=name, arguments={"city": "Oslo"}) for name in ("weather", "population")]
        return Reply(tool_calls=tuple(calls))

    endpoint = gemini(script)
    asyncio.run(tell(forecaster(tools=[weather, population]), "Both?", config=config))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert sorted((span["name"], str(span["output"])) for span in trace.all("TOOL")) == [
        ("population", "{'result': 9}"),
        ("weather", "{'result': 'snowy'}"),
    ]
    assert "merged" not in str(trace)


def test_agents_in_parallel(traces: SentTraces, gemini: StartModel) -> None:
    """Each parallel agent has its own model calls and tool."""
    endpoint = gemini(weather_model)
    with warnings.catch_warnings(action="ignore"):  # ADK deprecates ParallelAgent in favour of workflows
        agent = ParallelAgent(name="both", sub_agents=[forecaster("one"), forecaster("two")])
    run(agent, "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    for name in ("one", "two"):
        branch = trace.only("AGENT", f"invoke_agent {name}")
        assert [span["kind"] for span in trace.children(branch)] == ["LLM", "TOOL", "LLM"]
        assert {span["metadata"]["agent_name"] for span in trace.children(branch)} == {name}


def test_runs_at_once_do_not_mix(traces: SentTraces, gemini: StartModel) -> None:
    """Each of several concurrent runs of one agent is a separate trace with no spans of the others."""
    gemini(weather_model)
    agent = forecaster()
    in_tasks(lambda city: tell(agent, f"Weather in {city}?", session=f"{uuid4()} {city}"))
    found = traces.new(len(CITIES))
    do_not_mix(found, "CHAIN", "AGENT", "LLM", "TOOL", "LLM")
    for trace in found:
        assert trace.body["session_id"].endswith(trace.only("TOOL")["input"]["city"])


@pytest.fixture
def adapter() -> Iterator[GoogleADKAdapter]:
    """An adapter; its values are removed after the test."""
    yield GoogleADKAdapter(**OFFICIAL)
    GoogleADKInstrumentor().values = None


def test_the_adapter_of_the_official_sdk(adapter: GoogleADKAdapter, traces: SentTraces, gemini: StartModel) -> None:
    """The trace has the adapter's session, user, tags and metadata; the run is recorded once."""
    gemini(weather_model)
    adapter.instrument()
    run(forecaster(), "Hi")

    trace = traces.one()
    is_of_the_official_adapter(trace)
    assert len(trace.all("LLM")) == 1


def test_beside_another_vendor(traces: SentTraces, server: LocalServer, gemini: StartModel) -> None:
    """While OpenInference records the runs, our integration is skipped, and tokens count once."""
    endpoint = gemini(weather_model)
    done = run_beside_another_vendor("google_adk", server.url, server.api_key)
    assert done.stdout.startswith("skipped: OpenInference records these calls")
    trace = traces.one()
    counted = [span for span in trace.all("LLM") if "token_usage" in span]
    assert [span["token_usage"]["prompt_tokens"] for span in counted] == [
        each.usage.prompt_tokens for each in endpoint.exchanges
    ]
    assert len(trace.all("TOOL")) == len(trace.all(None, "agent_run [forecaster]")) == 1


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example makes two turns of one session, the second streamed."""
    example = Example("google_adk_agent")
    example.run(model(example.script), monkeypatch)

    assert {(trace.body["session_id"], trace.body["user_id"]) for trace in parcel_talk(traces)} == {
        ("conversation-1", "ada")
    }


class Echo(BaseLlm):
    """A model without a network, which echoes the message or fails."""

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        """Echo the message, or fail."""
        said = llm_request.contents[-1].parts[0].text
        if said == "fail":
            raise ValueError("no")
        answer = types.Content(role="model", parts=[types.Part(text=said)])
        yield LlmResponse(content=answer, finish_reason=types.FinishReason.STOP)


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces, gemini: StartModel) -> None:
    """Uninstrumenting restores ADK's functions, and the client's calls are recorded beside ADK's spans."""
    gemini(weather_model)
    hooked = {name: vars(tracing)[name] for name in ("trace_agent_invocation", "use_inference_span")}
    with off("google_adk"):
        for name, function in hooked.items():
            assert vars(tracing)[name] is function.__wrapped__
        run(forecaster(), "Hi")
        trace = traces.one()
        assert ("input" in trace.only("AGENT"), len(trace.all("LLM"))) == (False, 1)  # two spans of one call
    run(forecaster(), "Hi")
    assert len(traces.one().all("LLM")) == 1


def test_another_provider_gives_adks_tracer_back(traces: SentTraces) -> None:
    """A provider passed to the integration gets ADK's spans; uninstrumenting restores ADK's own tracer."""
    before = tracing.tracer
    with recorded_apart("google_adk") as recorded:
        run(LlmAgent(name="echo", model=Echo(model="echo")), "Hi")
    assert recorded.names == ["generate_content echo", "invoke_agent echo", "invoke_workflow echo"]
    assert tracing.tracer is before
    assert traces.new(0) == []


def test_many_runs_do_not_grow(traces: SentTraces, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a successful nor a failed run leaves objects behind."""
    agent = LlmAgent(name="echo", model=Echo(model="echo"))

    async def runs(count: int) -> None:
        for number in range(count):
            runner = await runner_of(agent)
            said = content("fail" if number % 10 == 0 else "Hi")
            try:
                async for _ in runner.run_async(user_id="ada", session_id="s-1", new_message=said):
                    pass
            except ValueError:
                assert number % 10 == 0
            await runner.close()
        assert pandaprobe_otel.flush(20)

    caplog.set_level(logging.CRITICAL)  # pytest keeps log records, with the frames of every failure
    # One leaked run would be more than 100 objects.
    assert growth(lambda count: asyncio.run(runs(count)), 200, first=10) < 2000
