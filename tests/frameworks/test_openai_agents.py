"""Agents of the OpenAI Agents SDK."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import agents
import pytest
from agents import (
    Agent,
    GuardrailFunctionOutput,
    InputGuardrailTripwireTriggered,
    Model,
    ModelResponse,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    SQLiteSession,
    Usage,
    function_tool,
    generation_span,
    input_guardrail,
)
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseOutputMessage, ResponseOutputText
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel
from agent_traces import AgentTrace, SentTraces
from example_runs import run_example
from framework_cases import (
    CITIES,
    OFFICIAL,
    RAISES,
    AgentApp,
    StartModel,
    cancel_in_a_tool,
    do_not_mix,
    ended_without_error,
    growth,
    in_tasks,
    instrumented_with,
    is_of_the_official_adapter,
    left_after_a_word,
    off,
    parcel_talk,
    recorded_apart,
    run_beside_another_vendor,
    tool_raises,
)
from pandaprobe_otel.demo.completions import Message, Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel_integrations.openai_agents import OpenAIAgentsAdapter, OpenAIAgentsInstrumentor
from pandaprobe_otel_integrations.openai_agents.processor import RunProcessor
from planting import Planted
from weather_model import WEATHER, weather_model


@pytest.fixture(scope="module", autouse=True)
def nothing_goes_to_openai(traced: pandaprobe_otel.PandaProbe) -> None:
    """Remove the SDK's exporter as an app would; our processor stays."""
    agents.set_trace_processors([])


@function_tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    if city not in WEATHER:
        raise LookupError(f"no station in {city}")
    return WEATHER[city]


@function_tool(name_override="weather", failure_error_function=None)
def raising(city: str) -> str:
    """Tell the weather in a city."""
    raise LookupError(f"no station in {city}")


def client(endpoint: ScriptedEndpoint) -> AsyncOpenAI:
    """A client that leaves no open connection to a closed event loop."""
    headers = {"Connection": "close"}
    return AsyncOpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0, default_headers=headers)


def responses(endpoint: ScriptedEndpoint) -> Any:
    """A model over the Responses API."""
    return OpenAIResponsesModel("gpt-5-mini", client(endpoint))


def chat_completions(endpoint: ScriptedEndpoint) -> Any:
    """A model over chat completions."""
    return OpenAIChatCompletionsModel("gpt-5-mini", client(endpoint))


def forecaster(model: Any, **options: Any) -> Agent[Any]:
    """An agent that knows the weather."""
    given = {"instructions": "You know weather.", "tools": [weather], **options}
    return Agent(name="forecaster", model=model, model_settings=ModelSettings(include_usage=True), **given)


def run_sync(agent: Agent[Any], asked: str) -> None:
    """Wait for the answer, without an event loop."""
    Runner.run_sync(agent, asked)


def run(agent: Agent[Any], asked: str) -> None:
    """Wait for the answer in an event loop."""
    asyncio.run(Runner.run(agent, asked))


def streamed(agent: Agent[Any], asked: str) -> None:
    """Read the run event by event."""

    async def consume() -> int:
        return len([event async for event in Runner.run_streamed(agent, asked).stream_events()])

    assert asyncio.run(consume()) > 3


@pytest.mark.parametrize("model_of", [responses, chat_completions])
@pytest.mark.parametrize("way", [run_sync, run, streamed])
def test_a_run_is_one_tree(
    way: Callable[[Any, str], None], model_of: Callable[[Any], Any], traces: SentTraces, model: StartModel
) -> None:
    """Every way to run the agent, over either API, makes the same tree; each model call is one LLM span."""
    endpoint = model(weather_model)
    way(forecaster(model_of(endpoint)), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    trace.is_like("""
        trace Agent workflow | COMPLETED | Weather in Oslo? > The station says: snowy
        AGENT Agent workflow | su > a
          AGENT forecaster | su > a
            LLM chat gpt-5-mini @gpt-5-mini | su > c
            TOOL weather | {"city":"Oslo"} > "snowy"
            LLM chat gpt-5-mini @gpt-5-mini | suct > a
    """)


@pytest.mark.parametrize("model_of", [responses, chat_completions])
def test_what_the_spans_tell(model_of: Callable[[Any], Any], traces: SentTraces, model: StartModel) -> None:
    """Messages and tool calls in the spans match those sent over the wire."""
    endpoint = model(weather_model)
    run(forecaster(model_of(endpoint)), "Weather in Oslo?")

    told = traces.one().all("LLM")[1]
    (user, assistant, result) = told["input"]["messages"][-3:]
    assert user["content"] == "Weather in Oslo?"
    wire_id = endpoint.exchanges[1].conversation[-1]["tool_call_id"]
    assert (assistant["tool_calls"][0]["id"], result["tool_call_id"], result["content"]) == (wire_id, wire_id, "snowy")
    assert told["output"]["messages"][0]["content"] == "The station says: snowy"
    assert told["metadata"]["agent_name"] == "forecaster"


def test_what_a_response_repeats_of_its_request(traces: SentTraces) -> None:
    """Instructions, tools and parameters are read from the response, where OpenAI's service repeats them."""
    parts = [{"type": "output_text", "text": "Cold.", "annotations": []}]
    response = Response.model_validate(
        {
            "id": "resp_1",
            "object": "response",
            "created_at": 0,
            "status": "completed",
            "model": "gpt-5-mini",
            "instructions": "You know weather.",
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "temperature": 0.5,
            "tools": [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": True}],
            "output": [{"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": parts}],
        }
    )
    with agents.trace("own"), agents.tracing.response_span(response) as span:
        span.span_data.input = "How is it?"

    told = traces.one().only("LLM")
    assert [each["content"] for each in told["input"]["messages"]] == ["You know weather.", "How is it?"]
    assert (told["model_parameters"]["temperature"], told["metadata"]["tools"][0]["name"]) == (0.5, "weather")


def explain(context: Any, error: Exception) -> str:
    """Return an error text for the model that includes the reason, which the SDK's own text omits."""
    return f"Sorry: {error}"


def test_a_service_that_reports_no_counts(traces: SentTraces, model: StartModel) -> None:
    """The zeros that the SDK has for a streamed answer without usage are no counts."""
    endpoint = model(lambda _: Reply(text="It is sunny."))
    streamed(Agent(name="forecaster", model=chat_completions(endpoint)), "Weather in Oslo?")
    assert "token_usage" not in traces.one().only("LLM")


def test_a_failure_that_the_agent_handles(traces: SentTraces, model: StartModel) -> None:
    """The tool's span has status ERROR and the text given to the model; the agent's span is OK."""

    @function_tool(name_override="weather", failure_error_function=explain)
    def failing(city: str) -> str:
        """Tell the weather in a city."""
        raise LookupError(f"no station in {city}")

    run(forecaster(responses(model(weather_model)), tools=[failing]), "Weather in Atlantis?")

    trace = traces.one()
    tool = trace.only("TOOL")
    assert (tool["status"], trace.root["status"], trace.body["status"]) == ("ERROR", "OK", "COMPLETED")
    assert "no station in Atlantis" in tool["error"]


@pytest.mark.parametrize("way", [run, streamed])
def test_a_tool_that_raises(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """The exception reaches the app, every span is ended, and the spans of tool and agent have the error."""
    with pytest.raises(Exception, match="no station in Atlantis"):
        way(forecaster(responses(model(weather_model)), tools=[raising]), "Weather in Atlantis?")

    trace = traces.one()
    assert all("ended_at" in span for span in trace.spans)
    for span in (trace.only("TOOL"), trace.only("AGENT", "forecaster"), trace.root):
        assert span["status"] == "ERROR", str(trace)
    assert "no station in Atlantis" in trace.only("TOOL")["error"]


def test_a_model_that_refuses(traces: SentTraces, model: StartModel) -> None:
    """A refused model call ends the run and all its spans with an error."""
    with pytest.raises(Exception, match="There is no Nowhere"):
        run(forecaster(responses(model(weather_model))), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [
        ("AGENT", "ERROR"),
        ("AGENT", "ERROR"),
        ("LLM", "ERROR"),
    ]
    assert "There is no Nowhere" in trace.only("LLM")["error"]


@pytest.mark.parametrize("model_of", [responses, chat_completions])
@pytest.mark.parametrize("way", [run, streamed])
def test_what_a_model_that_refuses_was_asked(
    way: Callable[[Any, str], None], model_of: Callable[[Any], Any], traces: SentTraces, model: StartModel
) -> None:
    """A failed call has its question, model, parameters and tools; agent and run have the question."""
    endpoint = model(weather_model)
    agent = forecaster(model_of(endpoint))
    agent.model_settings = ModelSettings(temperature=0.25, max_tokens=99)
    with pytest.raises(Exception, match="There is no Nowhere"):
        way(agent, "Weather in Nowhere?")

    trace = traces.one()
    (call,) = trace.all("LLM")
    assert [each["content"] for each in call["input"]["messages"]] == ["You know weather.", "Weather in Nowhere?"]
    assert (call["model"], call["model_parameters"]["temperature"]) == ("gpt-5-mini", 0.25)
    assert (call["model_parameters"]["max_tokens"], call["metadata"]["tools"][0]["name"]) == (99, "weather")
    assert [span["input"] for span in trace.all("AGENT")] == [call["input"]] * 2
    assert trace.body["input"]["messages"][0]["content"] == "Weather in Nowhere?"


@pytest.mark.parametrize("model_of", [responses, chat_completions])
def test_a_call_that_the_app_tells_nothing_of(
    model_of: Callable[[Any], Any], traces: SentTraces, model: StartModel
) -> None:
    """With `trace_include_sensitive_data` off, a model call's span, failed or not, has its model and no content."""
    agent = forecaster(model_of(model(weather_model)))
    for asked in ("Weather in Nowhere?", "Weather in Oslo?"):
        with contextlib.suppress(Exception):
            Runner.run_sync(agent, asked, run_config=RunConfig(trace_include_sensitive_data=False))

    for trace in traces.new(2):
        assert {call["model"] for call in trace.all("LLM")} == {"gpt-5-mini"}
        told = str(trace.body)
        assert [word for word in ("You know", "Weather in", "station") if word in told] == []


@pytest.mark.parametrize("model_of", [responses, chat_completions])
def test_the_first_token(model_of: Callable[[Any], Any], traces: SentTraces, model: StartModel) -> None:
    """The span of a streamed answer has the time of its first token; other spans do not."""
    agent = forecaster(model_of(model(weather_model)))
    streamed(agent, "Weather in Oslo?")
    run(agent, "Weather in Oslo?")

    as_stream, at_once = traces.new(2)
    for call in as_stream.all("LLM"):
        assert call["started_at"] < call["completion_start_time"] <= call["ended_at"]
    assert [call for call in at_once.all("LLM") if "completion_start_time" in call] == []


class Notes(SQLiteSession):
    """A session class written by the app."""


@pytest.mark.parametrize("way", ["run", "run_sync", "run_streamed"])
def test_a_session_of_the_sdk_is_the_traces(way: str, traces: SentTraces, model: StartModel) -> None:
    """The id of the SDK's session is the trace's session, unless the app or the run's `group_id` sets one."""
    agent = forecaster(responses(model(weather_model)))

    async def turn(session: SQLiteSession, **options: Any) -> None:
        result = getattr(Runner, way)(agent, "Hello", session=session, **options)
        if way == "run":
            await result
        else:
            async for _ in result.stream_events():
                pass

    def talk(session: SQLiteSession, **options: Any) -> None:
        if way == "run_sync":
            Runner.run_sync(agent, "Hello", session=session, **options)
        else:
            asyncio.run(turn(session, **options))

    talk(SQLiteSession("s-1"))
    talk(Notes("s-2"))
    talk(SQLiteSession("s-3"), run_config=RunConfig(group_id="g-3"))
    with pandaprobe_otel.session("a-4"):
        talk(SQLiteSession("s-4"))
    Runner.run_sync(agent, "Hello")

    sessions = [trace.body.get("session_id") for trace in traces.new(5)]
    assert sessions == ["s-1", "s-2", "g-3", "a-4", None]


@pytest.mark.parametrize("model_of", [responses, chat_completions])
@pytest.mark.plants("model.get_response", "on_span_start", "on_span_end", "on_trace_start", "on_trace_end")
def test_what_is_planted_comes_out(model_of: Callable[[Any], Any], traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, tool arguments and tool result are recorded."""
    planted = Planted()

    @function_tool
    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        return planted["a tool's result"]

    look_up.description = planted["a tool's description"]

    def script(messages: Any) -> Reply:
        if messages[-1]["role"] == "tool":
            return Reply(text=planted["the answer"])
        arguments = {"city": planted["a tool's argument"], "unit": planted["another argument"]}
        return Reply(tool_calls=(ToolCall(name="look_up", arguments=arguments),))

    agent = forecaster(model_of(model(script)), tools=[look_up], instructions=planted["the instructions"])
    agent.model_settings = ModelSettings(metadata={"deal": planted["metadata"]}, tool_choice="auto")
    agent.handoffs = [Agent(name="other", handoff_description=planted["a hand-off's description"])]
    with recorded_apart("openai_agents") as recorder:
        config = RunConfig(group_id=planted["the group"])
        asked: Any = [
            {"role": "user", "content": planted["an earlier question"]},
            {"role": "assistant", "content": planted["an earlier answer"]},
            {"role": "user", "content": planted["the question"]},
        ]
        Runner.run_sync(agent, asked, run_config=config)
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """Both traces have the run's `group_id` as session and the run's metadata."""
    agent = forecaster(responses(model(weather_model)))
    config = RunConfig(workflow_name="talk", group_id="thread-7", trace_metadata={"team": "x"})
    for asked in ("Hi", "Weather in Oslo?"):
        asyncio.run(Runner.run(agent, asked, run_config=config))

    for trace in traces.new(2):
        assert (trace.body["name"], trace.body["session_id"], trace.body["metadata"]["team"]) == (
            "talk",
            "thread-7",
            "x",
        )


def hand_over(messages: Any) -> Reply:
    """Hand over as the first agent; answer as the second."""
    message: Message = messages[-1]
    if message["role"] == "user":
        return Reply(tool_calls=(ToolCall(name="transfer_to_expert", arguments={}),))
    return Reply(text="It is snowy.")


def test_a_hand_off(traces: SentTraces, model: StartModel) -> None:
    """Both agents are below the run, the hand-off is below the first agent, and no span has status ERROR."""
    endpoint = model(hand_over)
    expert = Agent(name="expert", model=responses(endpoint))
    run(Agent(name="boss", model=responses(endpoint), handoffs=[expert]), "Weather?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["name"] for span in trace.children(trace.root)] == ["boss", "expert"]
    handoff = trace.only("OTHER", "handoff")
    assert (handoff["input"], handoff["output"]) == ({"agent": "boss"}, {"agent": "expert"})
    assert handoff in trace.below(trace.only("AGENT", "boss"))
    assert {span["status"] for span in trace.spans} == {"OK"}


def test_an_agent_as_a_tool_and_what_a_tool_does(traces: SentTraces, model: StartModel) -> None:
    """A sub-agent is an AGENT span below its tool. Spans that the app makes in a tool are below that tool too."""
    endpoint = model(weather_model)

    @function_tool(name_override="weather")
    @pandaprobe_otel.span(name="look up")
    def look_up(city: str) -> str:
        """Tell the weather in a city."""
        return WEATHER[city]

    expert = Agent(name="expert", model=responses(endpoint), tools=[look_up])

    @function_tool(name_override="weather")
    async def ask_expert(city: str) -> str:
        """Ask someone who knows the weather in a city."""
        return str((await Runner.run(expert, f"Weather in {city}?")).final_output)

    run(Agent(name="boss", model=responses(endpoint), tools=[ask_expert]), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    inner = trace.only("AGENT", "expert")
    assert [span["name"] for span in trace.above(inner)] == ["weather", "boss", "Agent workflow"]
    assert [span["name"] for span in trace.above(trace.only(name="look up"))][:2] == ["weather", "expert"]


@pytest.mark.parametrize("together", [False, True])
def test_a_run_that_waits_for_approval(together: bool, traces: SentTraces, model: StartModel) -> None:
    """A tool that waits for approval and its agent are interrupted; so is the run, unless resumed in the same trace."""
    endpoint = model(weather_model)
    careful = function_tool(weather_of, name_override="weather", needs_approval=True)
    agent = forecaster(chat_completions(endpoint), tools=[careful])

    async def ask() -> None:
        paused = await Runner.run(agent, "Weather in Oslo?")
        state = paused.to_state()
        for each in paused.interruptions:
            state.approve(each)
        assert (await Runner.run(agent, state)).final_output == "The station says: snowy"

    with agents.trace("both") if together else contextlib.nullcontext():
        asyncio.run(ask())
    trace = traces.new(1 if together else 2)[0]
    waiting = [(span["name"], span["status"]) for span in trace.spans if "outcome" in span["metadata"]]
    assert waiting[-2:] == [("forecaster", "UNSET"), ("weather", "UNSET")]
    assert len(waiting) == (2 if together else 3)
    assert trace.body["metadata"].get("outcome") == (None if together else "interrupted")


def weather_of(city: str) -> str | None:
    """Tell the weather in a city."""
    return WEATHER.get(city)


def test_a_tool_that_gives_nothing_back(traces: SentTraces, model: StartModel) -> None:
    """A tool that returns None is not waiting, and the model is called again."""
    endpoint = model(weather_model)
    run(
        forecaster(chat_completions(endpoint), tools=[function_tool(weather_of, name_override="weather")]),
        "Weather in Atlantis?",
    )
    trace = traces.one()
    assert "outcome" not in trace.body["metadata"]
    assert "outcome" not in trace.root["metadata"]


def test_a_guardrail(traces: SentTraces, model: StartModel) -> None:
    """A guardrail is a span that records whether it was triggered."""

    @input_guardrail(name="no weather")
    def refuse(context: Any, agent: Any, asked: Any) -> GuardrailFunctionOutput:
        return GuardrailFunctionOutput(output_info=None, tripwire_triggered="Weather" in str(asked))

    agent = forecaster(responses(model(weather_model)), input_guardrails=[refuse])
    with pytest.raises(InputGuardrailTripwireTriggered):
        run(agent, "Weather in Oslo?")

    trace = traces.one()
    assert trace.only("OTHER", "no weather")["output"] == {"triggered": True}
    assert all("ended_at" in span for span in trace.spans)


def test_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs of one agent is a separate trace with no spans of the others."""
    agent = forecaster(responses(model(weather_model)))

    in_tasks(lambda city: Runner.run(agent, f"Weather in {city}?"))
    do_not_mix(traces.new(len(CITIES)), "AGENT", "AGENT", "LLM", "TOOL", "LLM")


@pytest.fixture
def adapter() -> Iterator[OpenAIAgentsAdapter]:
    """An adapter; its values are removed after the test."""
    yield OpenAIAgentsAdapter(**OFFICIAL)
    OpenAIAgentsInstrumentor().values = None


def test_the_adapter_of_the_official_sdk(adapter: OpenAIAgentsAdapter, traces: SentTraces, model: StartModel) -> None:
    """The trace has the adapter's session, user, tags and metadata; the run is recorded once."""
    adapter.instrument()
    run(forecaster(responses(model(weather_model))), "Hi")

    is_of_the_official_adapter(traces.one())


VENDORS = {
    "OpenInference": "openinference.instrumentation.openai_agents",
    "OpenLLMetry": "opentelemetry.instrumentation.openai_agents",
}


@pytest.mark.parametrize("vendor", VENDORS)
def test_silent_beside_another_vendor(vendor: str, traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """While a rival records the runs, our integration is skipped, and each call is recorded once."""
    endpoint = model(weather_model)
    done = run_beside_another_vendor("openai_agents", VENDORS[vendor], server.url, server.api_key, endpoint.base_url)
    assert done.stdout.startswith(f"skipped: {vendor} records these calls")
    trace: AgentTrace = traces.one()
    assert {span["metadata"]["scope"] for span in trace.spans} == {VENDORS[vendor]}
    assert len(trace.all("LLM")) == len(endpoint.exchanges) == 2


def test_the_example(traces: SentTraces, server: LocalServer) -> None:
    """The example, without a key, makes two turns of one session, the second streamed."""
    assert run_example("openai_agents_agent", server).splitlines()[-1] == "You are welcome."

    asked, thanked = parcel_talk(traces)
    assert asked.body["session_id"] == "conversation-1"
    assert thanked.only("LLM")["token_usage"]["completion_tokens"] > 0


@pytest.mark.parametrize("way", ["awaited", "streamed", "streamed and left alone"])
async def test_a_cancelled_run(way: str, traces: SentTraces, model: StartModel) -> None:
    """Cancelling a run reaches the app and ends every span without an error."""
    asked, answer = threading.Event(), threading.Event()

    def slow(messages: Any) -> Reply:
        asked.set()
        answer.wait(20)
        return Reply(text="too late")

    agent = forecaster(responses(model(slow)))
    try:
        if way == "awaited":
            running: Any = asyncio.create_task(Runner.run(agent, "Hi"))
        else:
            streaming = Runner.run_streamed(agent, "Hi")
            running = streaming.run_loop_task
        await asyncio.to_thread(asked.wait, 20)
        if way == "streamed":
            streaming.cancel()
            assert [event async for event in streaming.stream_events()] == []
        else:
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert running.cancelled() or way == "streamed"
    finally:
        answer.set()

    trace = traces.one()
    ended_without_error(trace, "AGENT", "AGENT", "LLM")


@pytest.mark.parametrize("model_of", [responses, chat_completions])
def test_a_run_that_is_cancelled_in_a_tool(
    model_of: Callable[[Any], Any], traces: SentTraces, model: StartModel
) -> None:
    """A run that is cancelled while its tool works is cancelled, and so is the tool."""
    endpoint = model(weather_model)

    def told(slow: Any) -> Any:
        return Runner.run(forecaster(model_of(endpoint), tools=[function_tool(slow)]), "Weather in Oslo?")

    asyncio.run(cancel_in_a_tool(told))
    ended_without_error(traces.one(), "AGENT", "AGENT", "LLM", "TOOL")


@RAISES
def test_a_run_whose_tool_raises(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The exception of a tool is the error of its span, and of the run only if it leaves the run."""

    async def run(endpoint: ScriptedEndpoint, question: str, weather: Any) -> None:
        await Runner.run(
            forecaster(responses(endpoint), tools=[function_tool(weather, failure_error_function=None)]), question
        )

    tool_raises(AgentApp(run=run), traces, model, kind)


@pytest.mark.parametrize("model_of", [responses, chat_completions])
def test_a_run_that_is_left(model_of: Callable[[Any], Any], traces: SentTraces, model: StartModel) -> None:
    """A streamed run that the app cancels after a word is cancelled, and its model call has the words until then."""

    async def leave(endpoint: ScriptedEndpoint) -> None:
        running = Runner.run_streamed(forecaster(model_of(endpoint)), "Hi")
        async for event in running.stream_events():
            if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
                running.cancel()
                break
        await asyncio.gather(running.run_loop_task, return_exceptions=True)

    left_after_a_word(model, leave)
    trace = traces.one()
    ended_without_error(trace, "AGENT", "AGENT", "LLM")
    assert str(trace.only("LLM")["output"]["messages"][0]["content"]).startswith("one")


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting removes our processor from the SDK; after instrumenting again, runs leave nothing in it."""

    def ours() -> list[RunProcessor]:
        provider: Any = agents.tracing.get_trace_provider()
        return [each for each in provider._multi_processor._processors if isinstance(each, RunProcessor)]

    agent = forecaster(responses(model(lambda messages: Reply(text="Hi."))), tools=[])
    with off("openai_agents"):
        asyncio.run(Runner.run(agent, "Hi"))
        assert ours() == []

    async def many() -> None:
        for _ in range(20):
            await Runner.run(agent, "Hi")

    asyncio.run(many())
    (processor,) = ours()
    assert processor.is_idle
    assert all(len(trace.all("LLM")) == 1 for trace in traces.new(21) if len(trace.spans) > 1)


class Parrot(Model):
    """A model in this process, which makes the same spans as OpenAI's models."""

    async def get_response(self, *args: Any, **kwargs: Any) -> ModelResponse:
        """Return the same answer each time, except that every tenth call fails."""
        with generation_span(model="parrot", input=[{"role": "user", "content": "Hi"}]) as span:
            span.span_data.output = [{"role": "assistant", "content": "Squawk"}]
            if next(calls) % 10 == 0:
                raise LookupError("no parrot")
        text = ResponseOutputText(type="output_text", text="Squawk", annotations=[])
        said = ResponseOutputMessage(id="m", role="assistant", type="message", status="completed", content=[text])
        return ModelResponse(output=[said], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        """Raise, since no test calls it."""
        raise NotImplementedError


calls = itertools.count()


def test_many_runs_do_not_grow(traces: SentTraces) -> None:
    """Neither a successful nor a failed run leaves objects behind."""
    agent = Agent(name="parrot", model=Parrot())

    async def runs(count: int) -> None:
        for _ in range(count):
            with contextlib.suppress(LookupError):
                await Runner.run(agent, "Hi")

    with instrumented_with("openai_agents", tracer_provider=TracerProvider(shutdown_on_exit=False)):
        assert growth(lambda count: asyncio.run(runs(count)), 300) < 100
