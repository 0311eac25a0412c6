"""Agents of smolagents."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from hashlib import sha256
from typing import Any

import pytest
from PIL import Image
from smolagents import (
    CodeAgent,
    InferenceClientModel,
    Model,
    MultiStepAgent,
    OpenAIModel,
    Tool,
    ToolCallingAgent,
    tool,
)
from smolagents.models import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole
from smolagents.monitoring import TokenUsage
from smolagents.utils import AgentGenerationError

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import run_example
from framework_cases import (
    CUTS,
    AgentApp,
    StartModel,
    growth,
    is_silent_beside_another_vendor,
    off,
    parcel_talk,
    recorded_apart,
)
from pandaprobe_otel.demo.completions import Message, Refusal, Reply, ToolCall, text_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.mapping import map_trace
from planting import Planted
from weather_model import WEATHER


class Weather(Tool):
    """A tool class in the form that smolagents requires."""

    name = "weather"
    description = "Tells the weather in a city."
    inputs = {"city": {"type": "string", "description": "The city."}}  # noqa: RUF012 - smolagents reads it so
    output_type = "string"

    def forward(self, city: str) -> str:
        """Look the weather up in a span of the app."""
        with pandaprobe_otel.span("look up"):
            if city not in WEATHER:
                raise LookupError(f"no station in {city}")
            return WEATHER[city]


def script(messages: Any) -> Reply:
    """Call the tool for the city in the task, then give the final answer."""
    said = [text_of(message["content"]) for message in messages]
    task = next(text for text in said if "Weather in" in text or "Hi" in text)
    last: Message = messages[-1]
    if "Nowhere" in task:
        raise Refusal(400, "There is no Nowhere.")
    if "Observation" in text_of(last["content"]) or "Error" in text_of(last["content"]):
        return Reply(tool_calls=(ToolCall(name="final_answer", arguments={"answer": "As the station says."}),))
    city = task.rpartition("Weather in ")[2].split("?")[0]
    return Reply(tool_calls=(ToolCall(name="weather", arguments={"city": city}),))


def openai_model(endpoint: ScriptedEndpoint) -> OpenAIModel:
    """A model whose client has its own instrumentation."""
    return OpenAIModel("gpt-5-mini", api_base=endpoint.base_url, api_key="any", client_kwargs={"max_retries": 0})


def hugging_face(endpoint: ScriptedEndpoint) -> InferenceClientModel:
    """A model whose client has no instrumentation."""
    any_model: Any = None  # `base_url` replaces the model here; each request names the model
    model = InferenceClientModel(any_model, base_url=endpoint.url, api_key="any", model="gpt-5-mini")
    model.model_id = "gpt-5-mini"
    return model


def forecaster(model: Any, **options: Any) -> ToolCallingAgent:
    """An agent that knows the weather."""
    return ToolCallingAgent([Weather()], model, name="forecaster", description="Knows.", verbosity_level=0, **options)


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("model_of", [openai_model, hugging_face])
def test_a_run_is_one_tree(
    model_of: Callable[[ScriptedEndpoint], Any], streaming: bool, traces: SentTraces, model: StartModel
) -> None:
    """Each model call is one LLM span, whether or not its client is instrumented; each tool is below the agent."""
    endpoint = model(script)
    agent = forecaster(model_of(endpoint), stream_outputs=streaming)
    if streaming:
        assert list(agent.run("Weather in Oslo?", stream=True))
    else:
        assert agent.run("Weather in Oslo?") == "As the station says."

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [(span["kind"], span["name"]) for span in trace.children(trace.root)] == [
        ("LLM", "chat gpt-5-mini"),
        ("TOOL", "weather"),
        ("LLM", "chat gpt-5-mini"),
        ("TOOL", "final_answer"),
    ]
    tool = trace.only("TOOL", "weather")
    assert (tool["input"], tool["output"]) == ({"city": "Oslo"}, "snowy")
    assert [span["name"] for span in trace.above(trace.only(name="look up"))] == ["weather", "forecaster"]
    assert "Weather in Oslo?" in str(trace.body["input"])
    assert "As the station says." in str(trace.body["output"])


def test_code_that_calls_a_tool(traces: SentTraces, model: StartModel) -> None:
    """Tools that an agent's code calls in another thread are below the agent."""
    code = "<code>\nfinal_answer(weather(city='Oslo'))\n</code>"
    agent = CodeAgent([Weather()], openai_model(model(lambda messages: Reply(text=code))), verbosity_level=0)
    assert agent.run("Weather?") == "snowy"

    trace = traces.one()
    assert [span["name"] for span in trace.children(trace.root)] == ["chat gpt-5-mini", "weather", "final_answer"]


def test_a_managed_agent(traces: SentTraces, model: StartModel) -> None:
    """A managed agent is an AGENT span below the agent that calls it."""

    def managed(messages: Any) -> Reply:
        boss = any("forecaster" in text_of(message["content"]) for message in messages[:1])
        last = text_of(messages[-1]["content"])
        if boss and "Observation" not in last:
            return Reply(tool_calls=(ToolCall(name="forecaster", arguments={"task": "Weather in Oslo?"}),))
        if boss:
            return Reply(tool_calls=(ToolCall(name="final_answer", arguments={"answer": "Snow."}),))
        return script(messages)

    endpoint = model(managed)
    expert = forecaster(openai_model(endpoint))
    boss = ToolCallingAgent([], openai_model(endpoint), managed_agents=[expert], name="boss", verbosity_level=0)
    boss.run("How is it?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["name"] for span in trace.above(trace.only("AGENT", "forecaster"))] == ["boss"]


def test_two_turns_are_one_session_and_runs_at_once_do_not_mix(traces: SentTraces, model: StartModel) -> None:
    """Concurrent runs are separate traces with the app's session."""
    endpoint = model(script)

    def ask(city: str) -> None:
        with pandaprobe_otel.session("s-1"):
            forecaster(openai_model(endpoint)).run(f"Weather in {city}?")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, ("Oslo", "Łódź") * 2))
    for trace in traces.new(4):
        assert trace.body["session_id"] == "s-1"
        assert trace.only("TOOL", "weather")["input"]["city"] in str(trace.root["input"])


async def asked(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool."""

    class Station(Weather):
        def forward(self, city: str) -> str:
            return str(function(city))

    ToolCallingAgent([Station()], openai_model(endpoint), verbosity_level=0).run(question)


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text; smolagents' own RuntimeError still reaches the app."""
    pieces: Any = forecaster(openai_model(endpoint), stream_outputs=True).run("Hi", stream=True)
    next(piece for piece in pieces if getattr(piece, "content", None))
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        pieces.close()


@CUTS
def test_a_run_that_is_cut_short(cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is left, refused or stopped is one trace with the true status and outcome."""
    cut(AgentApp(run=asked, leave=leave, script=script, is_awaited=False), traces, model)


class Echo(Model):
    """A model without a server, which ends the run at once or fails."""

    def generate(self, messages: Any, *_: Any, **__: Any) -> ChatMessage:
        """Return the final answer, or fail."""
        if "fail" in str(messages[-1].content):
            raise ConnectionError("no")
        answer = ChatMessageToolCallFunction(name="final_answer", arguments={"answer": "Hi."})
        call = ChatMessageToolCall(id="call-1", type="function", function=answer)
        return ChatMessage(role=MessageRole.ASSISTANT, content="", tool_calls=[call])


def test_a_thousand_runs_do_not_grow(traces: SentTraces) -> None:
    """Neither a successful nor a failed run leaves objects behind."""
    agent = ToolCallingAgent([], Echo(), verbosity_level=0, name="echo")

    def runs(count: int) -> None:
        for number in range(count):
            if number % 10 == 0:
                with pytest.raises(AgentGenerationError):
                    agent.run("fail")
            else:
                assert agent.run("Hi") == "Hi."
            assert recorded.names[-1] == "echo", recorded.names
            recorded.clear()

    with recorded_apart("smolagents") as recorded:
        assert growth(runs, 1000) < 500


def test_taking_it_off_and_putting_it_on_again(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting restores the library; the client's calls are then separate traces."""
    with off("smolagents"):
        assert not hasattr(MultiStepAgent.run, "__wrapped__")
        forecaster(openai_model(model(script))).run("Weather in Oslo?")
    assert {trace.root["metadata"].get("scope") for trace in traces.new(3)} >= {"pandaprobe_otel.openai"}


def test_silent_beside_another_vendor(traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """While OpenInference records the runs, our integration is skipped, and tokens count once."""
    endpoint = model(script)
    is_silent_beside_another_vendor("smolagents", traces, server, endpoint)


def test_the_example(traces: SentTraces, server: LocalServer) -> None:
    """The example, without a key, makes a tool call and a streamed run in one session."""
    assert run_example("smolagents_agent", server).splitlines()[-1] == "You are welcome."

    assert parcel_talk(traces, tool="track_parcel")[0].body["session_id"] == "conversation-1"


@pytest.mark.plants("MultiStepAgent.run", "Tool.__call__")
def test_what_is_planted_comes_out(traces: SentTraces, model: StartModel) -> None:
    """An agent's instructions, input, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()

    class LookUp(Tool):
        """Looks a city up."""

        name = "look_up"
        description = "Looks a city up."
        inputs = {name: {"type": "string", "description": "..."} for name in ("city", "unit")}  # noqa: RUF012
        output_type = "string"

        def forward(self, city: str, unit: str) -> str:
            """Look it up."""
            return planted.look_up(city, unit)

    def script(messages: Any) -> Reply:
        if "Observation" in text_of(messages[-1]["content"]):
            answer = {"answer": planted["the answer"]}
            return Reply(tool_calls=(ToolCall(name="final_answer", arguments=answer),))
        return planted.script([{"role": "user", "content": ""}])

    agent = ToolCallingAgent(
        [LookUp()], openai_model(model(script)), instructions=planted["the instructions"], verbosity_level=0
    )
    agent.run(planted["the task"], additional_args={"tenant": planted["an argument of the run"]})

    assert planted.missing_in(traces.one().body) == []


@pytest.mark.plants("owner.generate")
def test_what_a_model_at_hugging_face_is_given_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A model call without an instrumented client has pictures (as digests), parameters and descriptions of tools."""
    planted = Planted()
    picture = Image.new("RGB", (2, 3), (1, 2, 3))

    @tool
    def look_up(city: str) -> str:
        """Look a city up.

        Args:
            city: told below
        """
        return city

    look_up.inputs["city"]["description"] = planted["what a tool takes"]
    final = Reply(tool_calls=(ToolCall(name="final_answer", arguments={"answer": "Hi."}),))
    answering = hugging_face(model(lambda _: final))
    answering.kwargs["tool_prompt"] = planted["a parameter of the model"]
    agent = ToolCallingAgent([look_up], answering, verbosity_level=0)
    with recorded_apart("smolagents") as recorder:
        agent.run(planted["the task"], images=[picture])
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    (call,) = [span for span in map_trace(recorder.spans)["spans"] if span["kind"] == "LLM"]
    assert sha256(picture.tobytes()).hexdigest() in str(call["input"])


class OwnModel(Model):
    """A model class written by the app, which needs no client."""

    def __init__(self, planted: Planted) -> None:
        super().__init__(model_id="own")
        self._planted = planted

    def generate(self, messages: Any, **given: Any) -> ChatMessage:
        """Return the final answer, or fail."""
        if "Atlantis" in str(messages):
            raise LookupError(self._planted["the exception"])
        call = ChatMessageToolCallFunction(name="final_answer", arguments={"answer": self._planted["the answer"]})
        return ChatMessage(
            role=MessageRole.ASSISTANT,
            content=self._planted["beside a call"],
            tool_calls=[ChatMessageToolCall(id="call-1", type="function", function=call)],
            token_usage=TokenUsage(input_tokens=11, output_tokens=7),
        )


@pytest.mark.plants("owner.generate")
@pytest.mark.parametrize("asked", ["Hi", "Atlantis"])
def test_a_model_of_the_apps_own_comes_out(asked: str, traces: SentTraces) -> None:
    """A model class of the app has an LLM span with messages, parameters, answer and tokens, or its exception."""
    planted = Planted()
    model = OwnModel(planted)
    model.kwargs["top"] = planted["a parameter"]
    agent = ToolCallingAgent([], model, instructions=planted["the instructions"], verbosity_level=0)
    with nullcontext() if asked == "Hi" else pytest.raises(AgentGenerationError):
        agent.run(f"{asked} {planted['the task']}")

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    call = trace.only("LLM")
    assert call["model"] == "own"
    assert trace.children(trace.root)[0]["span_id"] == call["span_id"]
    if asked == "Hi":
        assert (call["token_usage"]["prompt_tokens"], call["token_usage"]["completion_tokens"]) == (11, 7)
    else:
        assert planted["the exception"] in call["error"]


def test_a_model_of_the_apps_own_around_a_client(traces: SentTraces, model: StartModel) -> None:
    """A model class of the app that uses an instrumented client has one span for each call, made by the client."""

    class Careful(OpenAIModel):
        def generate(self, messages: Any, **given: Any) -> ChatMessage:
            return super().generate(messages, **given)

    endpoint = model(script)
    careful = Careful("gpt-5-mini", api_base=endpoint.base_url, api_key="any", client_kwargs={"max_retries": 0})
    forecaster(careful).run("Weather in Oslo?")
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert {span["metadata"]["scope"] for span in trace.all("LLM")} == {"pandaprobe_otel.openai"}
