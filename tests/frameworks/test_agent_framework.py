"""Agents of Microsoft's Agent Framework."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from agent_framework import (
    Agent,
    BaseChatClient,
    ChatResponse,
    Executor,
    Message,
    WorkflowBuilder,
    WorkflowContext,
    handler,
    observability,
)
from agent_framework.openai import OpenAIChatClient, OpenAIChatCompletionClient
from openai import AsyncOpenAI
from pydantic import BaseModel

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from framework_cases import (
    CITIES,
    RAISES,
    AgentApp,
    StartModel,
    cancel_in_a_tool,
    cancel_in_the_model,
    do_not_mix,
    ended_without_error,
    growth,
    in_tasks,
    left_after_a_word,
    parcel_talk,
    recorded_apart,
    run_beside_another_vendor,
    tool_raises,
)
from pandaprobe_otel.demo.completions import Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from planting import Planted
from weather_model import WEATHER, weather, weather_model

# Agent Framework makes the example's client and leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


def forecaster(
    endpoint: ScriptedEndpoint,
    name: str = "forecaster",
    kind: Any = OpenAIChatCompletionClient,
    tools: Any = (weather,),
    instructions: str = "You know weather.",
) -> Any:
    """An agent that knows the weather, and whose client leaves no open connection to a closed event loop."""
    headers = {"Connection": "close"}
    client = AsyncOpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0, default_headers=headers)
    return Agent(kind(model="gpt-5-mini", async_client=client), instructions, name=name, tools=[*tools])


def run(agent: Any, asked: str) -> None:
    """Wait for the answer."""
    asyncio.run(agent.run(asked))


def streamed(agent: Any, asked: str) -> None:
    """Read the answer update by update."""

    async def consume() -> int:
        return len([update async for update in agent.run(asked, stream=True)])

    assert asyncio.run(consume()) > 1


@pytest.mark.parametrize("kind", [OpenAIChatCompletionClient, OpenAIChatClient])
@pytest.mark.parametrize("way", [run, streamed])
def test_a_run_is_one_tree(way: Callable[[Any, str], None], kind: Any, traces: SentTraces, model: StartModel) -> None:
    """Every way to run the agent, over either API, makes the same tree; each model call is one LLM span."""
    endpoint = model(weather_model)
    way(forecaster(endpoint, kind=kind), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [(span["kind"], span["name"]) for span in trace.spans] == [
        ("AGENT", "invoke_agent forecaster"),
        ("LLM", "chat gpt-5-mini"),
        ("TOOL", "weather"),
        ("LLM", "chat gpt-5-mini"),
    ]
    assert len(trace.children(trace.root)) == 3
    assert trace.body["input"]["messages"][0]["content"] == "Weather in Oslo?"
    assert trace.body["output"]["messages"][0]["content"] == "The station says: snowy"
    assert trace.body["status"] == "COMPLETED"


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
    assert (tool_span["input"], tool_span["output"]) == ({"city": "Łódź"}, "sunny")
    assert tool_span["metadata"]["tool_call_id"] == wire_id


def test_a_failure_that_the_agent_handles(traces: SentTraces, model: StartModel) -> None:
    """The tool's span has status ERROR; the agent's span does not."""
    run(forecaster(model(weather_model)), "Weather in Atlantis?")

    trace = traces.one()
    failed = trace.only("TOOL")
    assert (failed["status"], failed["error"]) == ("ERROR", "no station in Atlantis")
    assert failed["input"] == {"city": "Atlantis"}
    assert (trace.root["status"], trace.body["status"]) == ("OK", "COMPLETED")


@pytest.mark.parametrize("way", [run, streamed])
def test_a_model_that_refuses(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """A refused model call raises in the app and ends the run and all its spans with an error."""
    with pytest.raises(Exception, match="There is no Nowhere"):
        way(forecaster(model(weather_model)), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("AGENT", "ERROR"), ("LLM", "ERROR")]
    assert all("ended_at" in span for span in trace.spans)
    assert "There is no Nowhere" in trace.only("LLM")["error"]
    assert trace.body["input"]["messages"][0]["content"] == "Weather in Nowhere?"


@pytest.mark.parametrize("kind", [OpenAIChatCompletionClient, OpenAIChatClient])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_run_that_is_cancelled(is_streamed: bool, kind: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled while its model answers is cancelled, with every span of it."""

    async def told(endpoint: ScriptedEndpoint) -> object:
        agent = forecaster(endpoint, kind=kind)
        return [each async for each in agent.run("Hi", stream=True)] if is_streamed else await agent.run("Hi")

    cancel_in_the_model(model, told)
    ended_without_error(traces.one(), "AGENT", "LLM")


def test_a_run_that_is_cancelled_in_a_tool(traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled while its tool works is cancelled, and so is the tool."""
    endpoint = model(weather_model)
    asyncio.run(cancel_in_a_tool(lambda slow: forecaster(endpoint, tools=(slow,)).run("Weather in Oslo?")))
    ended_without_error(traces.one(), "AGENT", "LLM", "TOOL")


@RAISES
def test_a_run_whose_tool_raises(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The exception of a tool is the error of its span, and of the run only if it leaves the run."""

    async def run(endpoint: ScriptedEndpoint, question: str, weather: Any) -> None:
        await forecaster(endpoint, tools=(weather,)).run(question)

    tool_raises(AgentApp(run=run), traces, model, kind)


@pytest.mark.parametrize("kind", [OpenAIChatCompletionClient, OpenAIChatClient])
def test_a_run_that_is_left(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """A stream that the app stops reading ends all its spans without an error, and as partial."""

    async def leave(endpoint: ScriptedEndpoint) -> None:
        async for update in forecaster(endpoint, kind=kind).run("Hi", stream=True):
            if update.text:
                break

    left_after_a_word(model, leave)
    ended_without_error(traces.one(), "AGENT", "LLM", outcome="partial")


@pytest.mark.parametrize("kind", [OpenAIChatCompletionClient, OpenAIChatClient])
def test_two_turns_are_one_session(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """The trace has Agent Framework's session id, not the id of the answer; the app's own session wins."""
    agent = forecaster(model(weather_model), kind=kind)

    async def talk() -> None:
        session = agent.create_session(session_id="talk-7")
        await agent.run("Hi", session=session)
        await agent.run("Weather in Oslo?", session=session)
        with pandaprobe_otel.context(session="mine", user="ada"):
            await agent.run("Hi", session=session)

    asyncio.run(talk())
    found = traces.new(3)
    assert [trace.body["session_id"] for trace in found] == ["talk-7", "talk-7", "mine"]
    assert found[2].body["user_id"] == "ada"


def test_an_agent_asks_another_and_what_a_tool_does(traces: SentTraces, model: StartModel) -> None:
    """An agent called by a tool is an AGENT span below the tool. The app's spans in a tool are below it too."""
    endpoint = model(weather_model)

    @pandaprobe_otel.span(name="look up")
    def look_up(city: str) -> str:
        return WEATHER[city]

    def weather(city: str) -> str:
        """Tell the weather in a city."""
        return look_up(city)

    expert = forecaster(endpoint, "expert", tools=[weather])

    async def ask(city: str) -> str:
        """Ask someone who knows the weather in a city."""
        return str(await expert.run(f"Weather in {city}?"))

    ask.__name__ = "weather"
    run(forecaster(endpoint, "boss", tools=[ask]), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    inner = trace.only("AGENT", "invoke_agent expert")
    assert [span["kind"] for span in trace.above(inner)] == ["TOOL", "AGENT"]
    assert [span["name"] for span in trace.above(trace.only(name="look up"))][:2] == ["weather", "invoke_agent expert"]
    assert trace.body["output"]["messages"][0]["content"] == "The station says: The station says: snowy"


@pytest.mark.parametrize("stream", [False, True])
def test_a_workflow(stream: bool, traces: SentTraces, model: StartModel) -> None:
    """The trace has the workflow's name, question and answer; each executor is a step with its input and output."""
    endpoint = model(weather_model)
    one, two = forecaster(endpoint, "one"), forecaster(endpoint, "two", tools=())
    workflow = WorkflowBuilder(name="duo", start_executor=one).add_edge(one, two).build()

    async def ask() -> None:
        if stream:
            async for _ in workflow.run("Weather in Oslo?", stream=True):
                pass
        else:
            await workflow.run("Weather in Oslo?")

    asyncio.run(ask())
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [len(trace.children(trace.only("AGENT", f"invoke_agent {name}"))) for name in ("one", "two")] == [3, 1]
    assert (trace.body["name"], trace.root["name"], trace.root["kind"]) == ("duo", "workflow.run", "CHAIN")
    steps = trace.children(trace.root)
    assert [(step["kind"], step["name"]) for step in steps] == [
        ("CHAIN", "executor.process one"),
        ("CHAIN", "executor.process two"),
    ]
    assert (trace.root["input"], steps[0]["input"]) == ("Weather in Oslo?", "Weather in Oslo?")
    answers = ["The station says: snowy", "You said: The station says: snowy"]
    assert [step["output"]["messages"][-1]["content"] for step in steps] == answers
    assert steps[1]["input"] == steps[0]["output"]
    said = [each["content"] for each in trace.root["output"]["messages"] if each["role"] == "assistant"]
    assert said == [None, *answers]
    assert trace.body["output"]["messages"][0]["content"] == answers[1]


class Order(BaseModel):
    """A value that an app passes from executor to executor."""

    city: str
    unit: str


@dataclass
class Forecast:
    """Another value that an app passes between executors."""

    order: Order
    text: str


class Asking(Executor):
    """The first of two executors, which looks the weather up."""

    @handler
    async def ask(self, order: Order, ctx: WorkflowContext[Forecast]) -> None:
        """Look the weather up, and pass it on."""
        await ctx.send_message(Forecast(order=order, text=WEATHER[order.city]))


class Telling(Executor):
    """The second executor, which reports the result."""

    @handler
    async def tell(self, forecast: Forecast, ctx: WorkflowContext[Any, str]) -> None:
        """Yield two outputs."""
        await ctx.yield_output(forecast.text)
        await ctx.yield_output(forecast.order.unit)


def two_executors(name: str | None = None) -> Any:
    """A workflow without an agent."""
    asking, telling = Asking(id="asking"), Telling(id="telling")
    return WorkflowBuilder(name=name, start_executor=asking).add_edge(asking, telling).build()


def test_a_workflow_of_the_apps_own_values(traces: SentTraces) -> None:
    """Data classes and models are recorded by their fields, several outputs in their order."""
    order = Order(city="Oslo", unit="C")
    asyncio.run(two_executors("forecast").run(order))

    trace = traces.one()
    told = {"city": "Oslo", "unit": "C"}
    assert [(span["name"], span["input"], span["output"]) for span in trace.spans] == [
        ("workflow.run", told, ["snowy", "C"]),
        ("executor.process asking", told, {"order": told, "text": "snowy"}),
        ("executor.process telling", {"order": told, "text": "snowy"}, ["snowy", "C"]),
    ]


def test_a_workflow_that_fails(traces: SentTraces) -> None:
    """The workflow and the executor that raised have the error and their inputs."""
    with pytest.raises(KeyError):
        asyncio.run(two_executors("forecast").run(Order(city="Atlantis", unit="C")))

    trace = traces.one()
    assert [span["status"] for span in trace.spans] == ["ERROR", "ERROR"]
    assert [span["input"]["city"] for span in trace.spans] == ["Atlantis", "Atlantis"]


def test_workflows_one_after_the_other_in_one_task(traces: SentTraces) -> None:
    """Several workflows in one task, even nested ones, keep their own results; the app's span is the root."""

    class Outer(Executor):
        @handler
        async def run_inner(self, order: Order, ctx: WorkflowContext[Any, str]) -> None:
            result = await two_executors("inner").run(order)
            await ctx.yield_output(f"inner said {result.get_outputs()[0]}")

    outer = WorkflowBuilder(name="outer", start_executor=Outer(id="o")).build()

    @pandaprobe_otel.agent(name="app")
    async def app() -> None:
        await two_executors("first").run(Order(city="Łódź", unit="F"))
        await outer.run(Order(city="Oslo", unit="C"))

    asyncio.run(app())
    trace = traces.one()
    assert trace.body["name"] == "app"
    runs = trace.all(name="workflow.run")
    assert [span["output"] for span in runs] == [["sunny", "F"], "inner said snowy", ["snowy", "C"]]


@pytest.mark.plants("Executor.execute", "InProcRunnerContext.add_event", "workflow_tracer")
def test_what_is_planted_comes_out(traces: SentTraces, model: StartModel) -> None:
    """Inputs of an agent in a workflow, tool arguments and results, and values between executors are recorded."""
    planted = Planted()

    def look_up(city: str) -> str:
        """Look a city up."""
        return planted["a tool's result"]

    def script(messages: Any) -> Reply:
        if messages[-1]["role"] == "tool":
            return Reply(text=planted["the answer"])
        return Reply(tool_calls=(ToolCall(name="look_up", arguments={"city": planted["a tool's argument"]}),))

    endpoint = model(script)

    class Advising(Executor):
        @handler
        async def advise(self, order: Order, ctx: WorkflowContext[Forecast]) -> None:
            agent = forecaster(endpoint, tools=[look_up], instructions=planted["the instructions"])
            answer = await agent.run(planted["the question"])
            await ctx.send_message(Forecast(order=order, text=f"{answer.text} {planted['beside the answer']}"))

    class Grading(Executor):
        @handler
        async def grade(self, forecast: Forecast, ctx: WorkflowContext[Any, dict[str, str]]) -> None:
            await ctx.yield_output({"grade": planted["the result"]})

    first, last = Advising(id="advising"), Grading(id="grading")
    workflow = WorkflowBuilder(name=planted["the name"], start_executor=first).add_edge(first, last).build()
    with recorded_apart("agent_framework") as recorder:
        asyncio.run(workflow.run(Order(city=planted["a field of the input"], unit=planted["another field"])))
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []


def test_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs of one agent is a separate trace with no spans of the others."""
    agent = forecaster(model(weather_model))
    in_tasks(lambda city: agent.run(f"Weather in {city}?"))
    do_not_mix(traces.new(len(CITIES)), "AGENT", "LLM", "TOOL", "LLM")


def test_beside_another_vendor(traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """OpenInference adds its attributes to the same spans, so each call is recorded once."""
    endpoint = model(weather_model)
    done = run_beside_another_vendor("agent_framework", server.url, server.api_key, endpoint.base_url)
    assert done.stdout.partition(":")[0] == "adopted"
    trace = traces.one()
    counted = [span for span in trace.spans if "token_usage" in span]
    assert [span["token_usage"]["prompt_tokens"] for span in counted] == [
        each.usage.prompt_tokens for each in endpoint.exchanges
    ]
    assert (len(trace.all("LLM")), len(trace.all("TOOL"))) == (2, 1)


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example makes two turns of one session, the second streamed."""
    example = Example("agent_framework_agent")
    example.run(model(example.script), monkeypatch)

    assert parcel_talk(traces)[0].body["session_id"] == "conversation-1"


def test_taking_it_off_and_putting_it_on_again(
    traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uninstrumenting restores settings and functions; instrumenting respects the app's ENABLE_SENSITIVE_DATA."""
    layer, settings = observability.AgentTelemetryLayer, observability.OBSERVABILITY_SETTINGS
    hooked = vars(layer)["_trace_agent_invocation"]
    pandaprobe_otel.uninstrument("agent_framework")
    assert (vars(layer)["_trace_agent_invocation"], settings.enable_sensitive_data) == (hooked.__wrapped__, False)
    with monkeypatch.context() as variables:
        variables.setenv("ENABLE_SENSITIVE_DATA", "false")
        assert pandaprobe_otel.instrument("agent_framework").state == "adopted"
        assert settings.enable_sensitive_data is False
        run(forecaster(model(weather_model)), "Hi")
        pandaprobe_otel.uninstrument("agent_framework")
    pandaprobe_otel.instrument("agent_framework")
    assert settings.enable_sensitive_data is True
    assert "input" not in traces.one().only("LLM")


class Echo(observability.ChatTelemetryLayer, BaseChatClient):
    """A model without a network, which echoes the message or fails."""

    OTEL_PROVIDER_NAME = "echo"

    def _inner_get_response(self, *, messages: Any, stream: bool, options: Any, **kwargs: Any) -> Any:
        async def answer() -> ChatResponse:
            said = messages[-1].text
            if said == "fail":
                raise ValueError("no")
            return ChatResponse(messages=[Message("assistant", [said])])

        return answer()


def test_a_thousand_runs_do_not_grow(traces: SentTraces, caplog: pytest.LogCaptureFixture) -> None:
    """Neither a successful nor a failed run leaves objects behind."""
    caplog.set_level(logging.CRITICAL)  # pytest keeps log records, with the frames of every failure
    agent = Agent(Echo(), name="echo")

    async def runs(count: int) -> None:
        for number in range(count):
            said = "Hi" if number % 10 else "fail"
            try:
                await agent.run(said)
            except ValueError:
                assert said == "fail"
            assert recorded.names == ["chat unknown", "invoke_agent echo"]
            recorded.clear()
        with pandaprobe_otel.span("wake"):  # this span collects the log records of these runs
            pass
        assert pandaprobe_otel.flush(10)

    with recorded_apart("agent_framework") as recorded:
        assert growth(lambda count: asyncio.run(runs(count)), 1000) < 500
