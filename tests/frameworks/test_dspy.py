"""Programs of DSPy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent_traces import SentTraces
from framework_cases import CONFORMANCE, AgentApp, StartModel, recorded_apart
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, Script, ScriptedEndpoint, text_of
from pandaprobe_otel.mapping import map_trace
from planting import Planted
from weather_model import WEATHER, weather, weather_model

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"  # set before DSPy's import, so that it downloads no prices
import dspy


def adapted(script: Script) -> Script:
    """Return a script that answers with the fields that DSPy asks for."""

    def adapt(messages: Sequence[Message]) -> Reply:
        prompt = text_of(messages[-1]["content"])
        question, found = (field_of(prompt, name) for name in ("question", "observation_0"))
        reply = script([{"role": "tool" if found else "user", "content": found or question}])
        calls = [(call.name, json.dumps(call.arguments)) for call in reply.tool_calls]
        name, arguments = (*calls, ("finish", "{}"))[0]
        values = {
            "next_thought": "I think.",
            "next_tool_name": name,
            "next_tool_args": arguments,
            "reasoning": "I know.",
            "answer": reply.text,
        }
        wanted = re.findall(r"`\[\[ ## (\w+) ## ]]`", prompt.rpartition("Respond with")[2])
        return Reply(text="\n\n".join(f"[[ ## {name} ## ]]\n{values.get(name, '')}" for name in wanted))

    return adapt


def field_of(prompt: str, name: str) -> str:
    """Return the first line of a field in DSPy's prompt."""
    return prompt.partition(f"[[ ## {name} ## ]]\n")[2].partition("\n")[0]


program_model = adapted(weather_model)
SNOWY = "The station says: snowy"


def model_of(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """DSPy's client of the scripted model."""
    given = {"api_base": endpoint.base_url, "api_key": "any", "num_retries": 0, "cache": False, **options}
    return dspy.LM("openai/gpt-5-mini", **given)


def react(function: Any = weather) -> Any:
    """An agent that knows the weather."""
    return dspy.ReAct("question -> answer", tools=[function], max_iters=3)


async def ask(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask an agent with this tool."""
    with dspy.context(lm=model_of(endpoint)):
        await react(function).acall(question=question)


def call(endpoint: ScriptedEndpoint, question: str, function: Any) -> None:
    """Ask without an event loop."""
    with dspy.context(lm=model_of(endpoint)):
        react(function)(question=question)


APP = AgentApp(
    run=ask,
    ways=[call],
    calls_by_text=True,
    script=program_model,
    adapt=adapted,
    name="dspy",
    package="dspy",
    tree="""
        trace ReAct | COMPLETED | Weather in Łódź? > {"trajectory":{"thought_0":"I think.","tool_name_0":"weather","tool_args_0":{"city":"Łódź"},"observation_0":"sunny","thought_1":"I think.","tool_name_1":"finish","tool_args_1":{},"observation_1":"Completed."},"reasoning":"I know.","answer":"The station says: sunny"}
        AGENT ReAct | {question} > {trajectory,reasoning,answer}
          CHAIN Predict | {question,trajectory} > {next_thought,next_tool_name,next_tool_args}
            LLM chat gpt-5-mini @gpt-5-mini | su > a
          TOOL weather | {"city":"Łódź"} > "sunny"
          CHAIN Predict | {question,trajectory} > {next_thought,next_tool_name,next_tool_args}
            LLM chat gpt-5-mini @gpt-5-mini | su > a
          TOOL finish | {} > "Completed."
          CHAIN ChainOfThought | {question,trajectory} > {reasoning,answer}
            CHAIN Predict | {question,trajectory} > {reasoning,answer}
              LLM chat gpt-5-mini @gpt-5-mini | su > a
    """,  # noqa: E501
    rivals={"openinference.instrumentation.dspy:DSPyInstrumentor": "skipped: OpenInference records"},
    rivals_count=False,
    example="dspy_program",
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """DSPy's agents are recorded as those of every framework."""
    check(APP, traces, model)


def test_a_call_matches_the_wire(traces: SentTraces, model: StartModel) -> None:
    """Messages, parameters, tools and the model's own tool calls are those sent over the wire; keys are left out."""
    endpoint = model(weather_model)
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    messages = [{"role": "user", "content": "Weather in Oslo?"}]
    model_of(endpoint, temperature=1.0)(messages=messages, tools=[tool])

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    call = trace.root
    assert call["input"]["messages"] == messages
    assert (call["model_parameters"]["temperature"], call["metadata"]["provider"]) == (1.0, "openai")
    assert "any" not in json.dumps(call["metadata"]).split('"')
    (answer,) = call["output"]["messages"]
    assert answer["tool_calls"][0]["function"]["name"] == call["metadata"]["tools"][0]["name"] == "weather"


def test_an_answer_from_the_cache(traces: SentTraces, model: StartModel, tmp_path: Path) -> None:
    """An answer from the cache is a span without tokens, since they were counted with the first answer."""
    endpoint = model(program_model)
    before = dspy.cache
    dspy.configure_cache(enable_disk_cache=False, enable_memory_cache=True)
    try:
        with dspy.context(lm=dspy.LM("openai/gpt-5-mini", api_base=endpoint.base_url, api_key="any")):
            for _ in range(2):
                dspy.Predict("question -> answer")(question="How are you?")
    finally:
        dspy.cache = before

    asked, repeated = traces.new(2)
    asked.is_sound(endpoint.exchanges)
    told = repeated.only("LLM")
    assert ("token_usage" in told, told["metadata"]["cached"]) == (False, True)
    assert told["output"] == asked.only("LLM")["output"]


def streamed(program: Any, question: str, **options: Any) -> list[Any]:
    """Return the pieces of the result, read in an event loop."""

    async def run() -> list[Any]:
        return [piece async for piece in dspy.streamify(program, **options)(question=question)]

    return asyncio.run(run())


def streamed_async(program: Any, question: str) -> list[Any]:
    """Return the pieces of the result of a program that is awaited instead of run in a thread."""
    return streamed(program, question, is_async_program=True)


def streamed_plainly(program: Any, question: str) -> list[Any]:
    """Return the pieces of the result without an event loop of the app."""
    return list(dspy.streamify(program, async_streaming=False)(question=question))


@pytest.mark.parametrize("stream", [streamed, streamed_async, streamed_plainly])
def test_a_streamed_program(stream: Callable[[Any, str], list[Any]], traces: SentTraces, model: StartModel) -> None:
    """The app gets the pieces or the refusal; the trace is the same as without streaming, with whole answers."""
    refusing, endpoint = model(program_model), model(program_model)
    with dspy.context(lm=model_of(refusing)), pytest.raises(Exception, match="There is no Nowhere"):
        stream(dspy.Predict("question -> answer"), "Weather in Nowhere?")
    with dspy.context(lm=model_of(endpoint)):
        *pieces, prediction = stream(react(), "Weather in Oslo?")

    assert all(exchange.streamed for exchange in endpoint.exchanges)
    assert len(pieces) > len(endpoint.exchanges)
    assert prediction.answer == SNOWY
    refused, trace = traces.new(2)
    assert [(span["kind"], span["status"]) for span in refused.spans] == [("CHAIN", "ERROR"), ("LLM", "ERROR")]
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["name"], trace.root["output"]["answer"], len(trace.spans)) == ("ReAct", SNOWY, 10)
    assert trace.only("TOOL", "weather")["output"] == "snowy"


def test_a_stream_that_the_app_drops(traces: SentTraces, model: StartModel) -> None:
    """A stream that the app closes after one piece ends its spans without an error, and without success."""

    async def run() -> None:
        program = dspy.streamify(dspy.Predict("question -> answer"), is_async_program=True)
        async with contextlib.aclosing(program(question="How are you?")) as pieces:
            await anext(pieces)

    with dspy.context(lm=model_of(model(program_model))):
        asyncio.run(run())

    trace = traces.one()
    assert [(span["kind"], "ended_at" in span) for span in trace.spans] == [("CHAIN", True), ("LLM", True)]
    assert "ERROR" not in {span["status"] for span in trace.spans}
    assert trace.body["metadata"]["outcome"] in ("partial", "cancelled"), str(trace)


def test_an_evaluation(traces: SentTraces, model: StartModel) -> None:
    """Each example of an evaluation is a separate trace, even in threads; so is each judgement."""
    endpoint = model(program_model)
    judge = dspy.Predict("answer -> reasoning")
    examples = [dspy.Example(question=f"Weather in {city}?").with_inputs("question") for city in WEATHER]

    def is_good(_example: Any, prediction: Any) -> bool:
        return str(judge(answer=prediction.answer).reasoning) == "I know."

    with dspy.context(lm=model_of(endpoint)):
        result = dspy.Evaluate(devset=examples, metric=is_good, num_threads=2)(react())

    assert result.score == 100.0
    found = traces.new(4)
    assert (
        sorted((trace.root["name"], len(trace.spans)) for trace in found) == [("Predict", 2)] * 2 + [("ReAct", 10)] * 2
    )
    assert sum(len(trace.all("LLM")) for trace in found) == len(endpoint.exchanges)


def test_planted_values_are_recorded(traces: SentTraces, model: StartModel) -> None:
    """A program's inputs, tool arguments, tool result and answers are recorded."""
    planted = Planted()

    class Planting(dspy.Module):
        """A program that calls a tool and a model."""

        def __init__(self) -> None:
            super().__init__()
            signature = dspy.Signature("question, found -> answer", planted["the instructions"])
            self.ask = dspy.Predict(signature)
            self.look_up = dspy.Tool(planted.look_up, name="look_up")

        def forward(self, question: str, tenant: str) -> Any:
            """Look up, then ask."""
            found = self.look_up(city=planted["a tool's argument"], unit=planted["another argument"])
            answer = self.ask(question=question, found=found).answer
            return dspy.Prediction(answer=answer, grade=planted["beside the answer"])

    def script(messages: Sequence[Message]) -> Reply:
        return Reply(text=f"[[ ## answer ## ]]\n{planted['the answer']}\n\n[[ ## completed ## ]]")

    lm = model_of(model(script))
    lm.kwargs["user"] = planted["a parameter of the model"]
    with recorded_apart("dspy") as recorder, dspy.context(lm=lm):
        Planting()(planted["the question"], tenant=planted["beside the question"])
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
    spans = [(span["kind"], span["name"]) for span in map_trace(recorder.spans)["spans"]]
    assert spans == [("CHAIN", "Planting"), ("TOOL", "look_up"), ("CHAIN", "Predict"), ("LLM", "chat gpt-5-mini")]
