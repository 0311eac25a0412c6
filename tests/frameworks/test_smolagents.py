"""Agents of smolagents."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from hashlib import sha256
from inspect import iscoroutinefunction, signature
from typing import Any

import pytest
from PIL import Image
from smolagents import CodeAgent, InferenceClientModel, Model, OpenAIModel, Tool, ToolCallingAgent
from smolagents.models import ChatMessage, ChatMessageToolCall, ChatMessageToolCallFunction, MessageRole
from smolagents.monitoring import TokenUsage
from smolagents.utils import AgentGenerationError

from agent_traces import SentTraces
from framework_cases import AT_THE_CLIENT, CONFORMANCE, AgentApp, StartModel, recorded_apart
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, Script, ScriptedEndpoint, ToolCall, text_of
from pandaprobe_otel.mapping import map_trace
from planting import Planted
from weather_model import weather, weather_model


class FunctionTool(Tool):
    """A tool that calls a function with texts."""

    description = "Looks a city up."
    output_type = "any"
    skip_forward_signature_validation = True

    def __init__(self, function: Callable[..., Any] = weather, described: str = "Some text.") -> None:
        self.name = function.__name__
        self.inputs = {name: {"type": "string", "description": described} for name in signature(function).parameters}
        self._function = function
        super().__init__()

    def forward(self, **given: Any) -> Any:
        """Call the function."""
        result = self._function(**given)
        return asyncio.run(result) if iscoroutinefunction(self._function) else result


def adapted(script: Script) -> Script:
    """Return a script that gets the results of tools as texts, and ends a run by a call."""

    def adapt(messages: Sequence[Message]) -> Reply:
        text = text_of(messages[-1]["content"])
        role = "tool" if "Observation" in text or "Error" in text else "user"
        reply = script([{"role": role, "content": text.removeprefix("Observation:\n")}])
        return reply if reply.tool_calls else final(reply.text or "")

    return adapt


def final(answer: str) -> Reply:
    """Return the call that ends a run."""
    return Reply(tool_calls=(ToolCall(name="final_answer", arguments={"answer": answer}),))


def openai_model(endpoint: ScriptedEndpoint, kind: type[OpenAIModel] = OpenAIModel) -> OpenAIModel:
    """A model whose client has its own instrumentation."""
    return kind("gpt-5-mini", api_base=endpoint.base_url, api_key="any", client_kwargs={"max_retries": 0})


def careful(endpoint: ScriptedEndpoint) -> OpenAIModel:
    """A model class of the app around an instrumented client."""

    class Careful(OpenAIModel):
        def generate(self, messages: Any, **given: Any) -> ChatMessage:
            return super().generate(messages, **given)

    return openai_model(endpoint, Careful)


def hugging_face(endpoint: ScriptedEndpoint) -> InferenceClientModel:
    """A model whose client has no instrumentation."""
    any_model: Any = None  # `base_url` replaces the model here; each request names the model
    model = InferenceClientModel(any_model, base_url=endpoint.url, api_key="any", model="gpt-5-mini")
    model.model_id = "gpt-5-mini"
    return model


def forecaster(model: Any, function: Callable[..., Any] = weather, **options: Any) -> ToolCallingAgent:
    """An agent that knows the weather."""
    given = {"name": "forecaster", "description": "Knows.", "instructions": "You know weather.", **options}
    return ToolCallingAgent([FunctionTool(function)], model, verbosity_level=0, **given)


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool, which blocks a thread."""
    await asyncio.to_thread(forecaster(openai_model(endpoint), function).run, question)


def blocking(endpoint: ScriptedEndpoint, question: str, function: Any, model: Any = openai_model) -> None:
    """Ask without a thread of its own."""
    forecaster(model(endpoint), function).run(question)


def streamed(endpoint: ScriptedEndpoint, question: str, function: Any, model: Any = openai_model) -> None:
    """Read the steps of the run."""
    assert list(forecaster(model(endpoint), function, stream_outputs=True).run(question, stream=True))


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first text; smolagents' own RuntimeError still reaches the app."""
    pieces: Any = forecaster(openai_model(endpoint), stream_outputs=True).run("Hi", stream=True)
    next(piece for piece in pieces if getattr(piece, "content", None))
    with pytest.raises(RuntimeError, match="ignored GeneratorExit"):
        pieces.close()


APP = AgentApp(
    run=ask,
    ways=[streamed, *(partial(way, model=careful) for way in (blocking, streamed))],
    calls_by_text=True,
    leaves=[leave],
    script=adapted(weather_model),
    adapt=adapted,
    is_awaited=False,
    name="smolagents",
    package="smolagents",
    tree="""
        trace forecaster | COMPLETED | Weather in Łódź? > The station says: sunny
        AGENT forecaster | u > a
          LLM chat gpt-5-mini @gpt-5-mini | su > c
          TOOL weather | {"city":"Łódź"} > "sunny"
          LLM chat gpt-5-mini @gpt-5-mini | suau > c
          TOOL final_answer | {"answer":"The station says: sunny"} > "The station says: sunny"
    """,
    rivals={"openinference.instrumentation.smolagents:SmolagentsInstrumentor": "skipped: OpenInference records"},
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """smolagents' agents are recorded as those of every framework."""
    check(APP, traces, model)


def test_a_model_without_an_instrumented_client(traces: SentTraces, model: StartModel) -> None:
    """Its calls are recorded as smolagents sends them, with the results of tools in messages of their own."""
    *_, matches_the_wire = AT_THE_CLIENT
    whole: Any = partial(blocking, model=hugging_face)
    in_steps: Any = partial(streamed, model=hugging_face)
    app = replace(APP, run=whole, ways=[in_steps], tree=APP.tree.replace("suau", "suat"))
    matches_the_wire(app, traces, model)


def test_code_that_calls_a_tool(traces: SentTraces, model: StartModel) -> None:
    """Tools that an agent's code calls in another thread are below the agent."""
    code = "<code>\nfinal_answer(weather(city='Oslo'))\n</code>"
    agent = CodeAgent([FunctionTool()], openai_model(model(lambda messages: Reply(text=code))), verbosity_level=0)
    assert agent.run("Weather?") == "snowy"

    trace = traces.one()
    assert [span["name"] for span in trace.children(trace.root)] == ["chat gpt-5-mini", "weather", "final_answer"]


def test_a_managed_agent(traces: SentTraces, model: StartModel) -> None:
    """A managed agent is an AGENT span below the agent that calls it."""

    def managed(messages: Any) -> Reply:
        if "forecaster" in text_of(messages[0]["content"]) and "Observation" not in text_of(messages[-1]["content"]):
            return Reply(tool_calls=(ToolCall(name="forecaster", arguments={"task": "Weather in Oslo?"}),))
        return APP.script(messages)

    endpoint = model(managed)
    expert = forecaster(openai_model(endpoint))
    boss = ToolCallingAgent([], openai_model(endpoint), managed_agents=[expert], name="boss", verbosity_level=0)
    boss.run("How is it?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [span["name"] for span in trace.above(trace.only("AGENT", "forecaster"))] == ["boss"]


def test_planted_inputs_of_a_model_at_hugging_face(traces: SentTraces, model: StartModel) -> None:
    """A model call without an instrumented client has pictures (as digests), parameters and descriptions of tools."""
    planted = Planted()
    picture = Image.new("RGB", (2, 3), (1, 2, 3))
    answering = hugging_face(model(lambda _: final("Hi.")))
    answering.kwargs["tool_prompt"] = planted["a parameter of the model"]
    tools = [FunctionTool(described=planted["the description of a tool's parameter"])]
    with recorded_apart("smolagents") as recorder:
        ToolCallingAgent(tools, answering, verbosity_level=0).run(planted["the task"], images=[picture])
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
            content=self._planted["the text with a call"],
            tool_calls=[ChatMessageToolCall(id="call-1", type="function", function=call)],
            token_usage=TokenUsage(input_tokens=11, output_tokens=7),
        )


@pytest.mark.parametrize("fails", [False, True])
def test_a_model_of_the_apps_own(fails: bool, traces: SentTraces) -> None:
    """A model class of the app has an LLM span with messages, parameters, answer and tokens, or its exception."""
    planted = Planted()
    model = OwnModel(planted)
    model.kwargs["top"] = planted["a parameter"]
    agent = ToolCallingAgent([], model, instructions=planted["the instructions"], verbosity_level=0)
    task = f"{'Atlantis' if fails else 'Hi'} {planted['the task']}"
    with pytest.raises(AgentGenerationError) if fails else nullcontext():
        agent.run(task, additional_args={"tenant": planted["an argument of the run"]})

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    call = trace.only("LLM")
    assert call["model"] == "own"
    assert trace.children(trace.root)[0]["span_id"] == call["span_id"]
    if fails:
        assert planted["the exception"] in call["error"]
    else:
        assert (call["token_usage"]["prompt_tokens"], call["token_usage"]["completion_tokens"]) == (11, 7)
