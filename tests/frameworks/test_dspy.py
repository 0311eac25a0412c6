"""Programs of DSPy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider

import pandaprobe_otel
from agent_traces import SentTraces
from example_runs import Example
from framework_cases import (
    CUTS,
    AgentApp,
    StartModel,
    growth,
    instrumented_with,
    off,
    recorded_apart,
    run_beside_another_vendor,
    told_by,
)
from pandaprobe_otel.demo.completions import Message, Refusal, Reply, text_of
from pandaprobe_otel.demo.scripted_endpoint import ScriptedEndpoint
from pandaprobe_otel.local import LocalServer
from pandaprobe_otel_integrations.dspy import DSPyInstrumentor
from planting import Planted
from weather_model import WEATHER, weather

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"  # set before DSPy's import, so that it downloads no prices
import dspy


def program_model(messages: Sequence[Message]) -> Reply:
    """Return the fields that DSPy asks for: a tool call first, then the answer."""
    asked = text_of(messages[-1]["content"])
    city = asked.partition("Weather in ")[2].partition("?")[0]
    if city == "Nowhere":
        raise Refusal(400, "There is no Nowhere.")
    found = asked.partition("[[ ## observation_0 ## ]]\n")[2].partition("\n")[0]
    values = {
        "next_thought": "I think.",
        "next_tool_name": "finish" if found else "weather",
        "next_tool_args": "{}" if found else json.dumps({"city": city}),
        "reasoning": "I know.",
        "answer": found or "Fine.",
    }
    wanted = re.findall(r"`\[\[ ## (\w+) ## ]]`", asked.rpartition("Respond with")[2])
    return Reply(text="\n\n".join(f"[[ ## {name} ## ]]\n{values.get(name, '')}" for name in wanted))


def model_of(endpoint: ScriptedEndpoint, **options: Any) -> Any:
    """DSPy's client of the scripted model."""
    given = {"api_base": endpoint.base_url, "api_key": "any", "num_retries": 0, "cache": False, **options}
    return dspy.LM("openai/gpt-5-mini", **given)


def react() -> Any:
    """An agent that knows the weather."""
    return dspy.ReAct("question -> answer", tools=[weather], max_iters=3)


@pytest.fixture(autouse=True)
def nothing_is_left_open(traces: SentTraces) -> Iterator[None]:
    """Check after each test that no step is open."""
    yield
    assert len(DSPyInstrumentor()._callback.runs) == 0


def call(agent: Any, question: str) -> None:
    """Wait for the answer."""
    agent(question=question)


def acall(agent: Any, question: str) -> None:
    """Run in an event loop."""
    asyncio.run(agent.acall(question=question))


@pytest.mark.parametrize("way", [call, acall])
def test_an_agent_is_one_tree(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """Both ways to run the agent make the same tree; DSPy calls the model over HTTP, and each call is one LLM span."""
    endpoint = model(program_model)
    with dspy.context(lm=model_of(endpoint)):
        way(react(), "Weather in Oslo?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    answer = trace.root["output"]
    assert answer["answer"] == "snowy"
    trace.is_like(f"""
        trace ReAct | COMPLETED | Weather in Oslo? > {json.dumps(answer, separators=(",", ":"))}
        AGENT ReAct | {{question}} > {{trajectory,reasoning,answer}}
          CHAIN Predict | {{question,trajectory}} > {{next_thought,next_tool_name,next_tool_args}}
            LLM chat gpt-5-mini @gpt-5-mini | su > a
          TOOL weather | {{"city":"Oslo"}} > "snowy"
          CHAIN Predict | {{question,trajectory}} > {{next_thought,next_tool_name,next_tool_args}}
            LLM chat gpt-5-mini @gpt-5-mini | su > a
          TOOL finish | {{}} > "Completed."
          CHAIN ChainOfThought | {{question,trajectory}} > {{reasoning,answer}}
            CHAIN Predict | {{question,trajectory}} > {{reasoning,answer}}
              LLM chat gpt-5-mini @gpt-5-mini | su > a
    """)


def test_what_the_spans_tell(traces: SentTraces, model: StartModel) -> None:
    """Messages and parameters in the spans match those sent over the wire; keys are left out."""
    endpoint = model(program_model)
    with dspy.context(lm=model_of(endpoint, temperature=1.0)):
        dspy.Predict("question -> answer")(question="How are you?")

    trace = traces.one()
    told = trace.only("LLM")
    assert [one["content"] for one in told["input"]["messages"]] == [
        text_of(one["content"]) for one in endpoint.exchanges[0].conversation
    ]
    assert (told["model_parameters"]["temperature"], told["metadata"]["provider"]) == (1.0, "openai")
    assert trace.root["output"] == {"answer": "Fine."}
    assert "any" not in json.dumps(told["metadata"]).split('"')


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


def test_tool_calls_of_the_model(traces: SentTraces, model: StartModel) -> None:
    """The model's own tool calls appear in the answer."""
    from weather_model import weather_model

    endpoint = model(weather_model)
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    model_of(endpoint)(messages=[{"role": "user", "content": "Weather in Oslo?"}], tools=[tool])

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    (answer,) = trace.root["output"]["messages"]
    assert answer["tool_calls"][0]["function"]["name"] == "weather"
    assert trace.root["metadata"]["tools"][0]["name"] == "weather"


def test_a_failure_that_the_agent_handles(traces: SentTraces, model: StartModel) -> None:
    """The tool's span has status ERROR; the agent's span does not."""
    with dspy.context(lm=model_of(model(program_model))):
        react()(question="Weather in Atlantis?")

    trace = traces.one()
    failed = trace.only("TOOL", "weather")
    assert failed["status"] == "ERROR"
    assert "no station in Atlantis" in failed["error"]
    assert (trace.root["status"], trace.body["status"]) == ("OK", "COMPLETED")


@pytest.mark.parametrize("way", [call, acall])
def test_a_model_that_refuses(way: Callable[[Any, str], None], traces: SentTraces, model: StartModel) -> None:
    """A refused model call raises in the app, and every span ends with that error."""
    with dspy.context(lm=model_of(model(program_model))), pytest.raises(Exception, match="There is no Nowhere"):
        way(dspy.Predict("question -> answer"), "Weather in Nowhere?")

    trace = traces.one()
    assert {span["status"] for span in trace.spans} == {"ERROR"}
    assert all("There is no Nowhere" in span["error"] and "ended_at" in span for span in trace.spans)


async def asked(endpoint: ScriptedEndpoint, question: str, weather: Any) -> None:
    """Ask an agent with this tool."""
    with dspy.context(lm=model_of(endpoint)):
        await dspy.ReAct("question -> answer", tools=[weather], max_iters=3).acall(question=question)


@CUTS
def test_a_run_that_is_cut_short(cut: Any, traces: SentTraces, model: StartModel) -> None:
    """A run that is cancelled or refused is one trace with the true status and outcome."""
    cut(AgentApp(run=asked, script=program_model), traces, model)


async def test_a_cancelled_call(traces: SentTraces, model: StartModel) -> None:
    """Cancelling a call ends its span without an error."""
    begun = asyncio.Event()

    class Waiting(dspy.Module):
        async def aforward(self, **given: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

    running = asyncio.create_task(Waiting().acall(question="Hi"))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    (span,) = traces.one().spans
    assert (span["name"], span["status"], "ended_at" in span) == ("Waiting", "UNSET", True)


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """Both traces have the session that the app sets."""
    with dspy.context(lm=model_of(model(program_model))), pandaprobe_otel.session("talk-1"):
        for question in ("How are you?", "Weather in Oslo?"):
            react()(question=question)

    assert [trace.body["session_id"] for trace in traces.new(2)] == ["talk-1", "talk-1"]


def test_a_program_of_the_apps_own(traces: SentTraces, model: StartModel) -> None:
    """A program written by the app has its class's name; the app's spans are in the tree."""

    class Report(dspy.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ask = dspy.Predict("question -> answer")

        def forward(self, city: str) -> Any:
            with pandaprobe_otel.span("look up"):
                return self.ask(question=f"Weather in {city}?")

    endpoint = model(program_model)
    with dspy.context(lm=model_of(endpoint)):
        Report()("Oslo")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert [(span["kind"], span["name"]) for span in trace.spans] == [
        ("CHAIN", "Report"),
        ("OTHER", "look up"),
        ("CHAIN", "Predict"),
        ("LLM", "chat gpt-5-mini"),
    ]
    assert trace.root["input"] == {"args": ["Oslo"]}


@pytest.mark.parametrize("together", ["threads", "tasks", "parallel"])
def test_runs_at_once_do_not_mix(together: str, traces: SentTraces, model: StartModel) -> None:
    """Each of several concurrent runs is a separate, complete trace with no spans of the others."""
    cities = ["Oslo", "Łódź"] * 3
    agent = react()
    lm = model_of(model(program_model))

    def ask(city: str) -> None:
        with dspy.context(lm=lm):
            agent(question=f"Weather in {city}?")

    async def gathered() -> None:
        with dspy.context(lm=lm):
            await asyncio.gather(*(agent.acall(question=f"Weather in {city}?") for city in cities))

    if together == "tasks":
        asyncio.run(gathered())
    elif together == "threads":
        with ThreadPoolExecutor(len(cities)) as pool:
            list(pool.map(ask, cities))
    else:
        examples = [dspy.Example(question=f"Weather in {city}?").with_inputs("question") for city in cities]
        with dspy.context(lm=lm):
            dspy.Parallel(num_threads=3, disable_progress_bar=True)([(agent, example) for example in examples])

    found = traces.new(len(cities))
    assert sorted(trace.only("TOOL", "weather")["input"]["city"] for trace in found) == sorted(cities)
    for trace in found:
        city = trace.only("TOOL", "weather")["input"]["city"]
        assert city in trace.root["input"]["question"]
        assert trace.root["output"]["answer"] == WEATHER[city]
        assert (len(trace.all("LLM")), len(trace.spans)) == (3, 10)


def streamed(program: Any, question: str) -> list[Any]:
    """Return the pieces of the result, read in an event loop."""

    async def run() -> list[Any]:
        return [piece async for piece in dspy.streamify(program)(question=question)]

    return asyncio.run(run())


def streamed_async(program: Any, question: str) -> list[Any]:
    """Return the pieces of the result of a program that is awaited instead of run in a thread."""

    async def run() -> list[Any]:
        return [piece async for piece in dspy.streamify(program, is_async_program=True)(question=question)]

    return asyncio.run(run())


def streamed_plainly(program: Any, question: str) -> list[Any]:
    """Return the pieces of the result without an event loop of the app."""
    return list(dspy.streamify(program, async_streaming=False)(question=question))


streams = pytest.mark.parametrize("stream", [streamed, streamed_async, streamed_plainly])


@streams
def test_a_streamed_program(stream: Callable[[Any, str], list[Any]], traces: SentTraces, model: StartModel) -> None:
    """The app gets the pieces; the trace is the same as without streaming, with whole answers."""
    endpoint = model(program_model)
    with dspy.context(lm=model_of(endpoint)):
        *pieces, prediction = stream(react(), "Weather in Oslo?")

    assert all(exchange.streamed for exchange in endpoint.exchanges)
    assert len(pieces) > len(endpoint.exchanges)
    assert prediction.answer == "snowy"
    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert (trace.root["name"], trace.root["output"]["answer"], len(trace.spans)) == ("ReAct", "snowy", 10)
    assert trace.only("TOOL", "weather")["output"] == "snowy"


@streams
def test_a_stream_that_is_refused(
    stream: Callable[[Any, str], list[Any]], traces: SentTraces, model: StartModel
) -> None:
    """A refused model call raises in the app that reads the stream, and every span has the error."""
    with dspy.context(lm=model_of(model(program_model))), pytest.raises(Exception, match="There is no Nowhere"):
        stream(dspy.Predict("question -> answer"), "Weather in Nowhere?")

    trace = traces.one()
    assert [(span["kind"], span["status"]) for span in trace.spans] == [("CHAIN", "ERROR"), ("LLM", "ERROR")]


def test_a_stream_that_the_app_drops(traces: SentTraces, model: StartModel) -> None:
    """A stream that the app closes after one piece ends its spans without an error, and without success."""

    async def run() -> None:
        program = dspy.streamify(dspy.Predict("question -> answer"), is_async_program=True)
        async with contextlib.aclosing(program(question="How are you?")) as pieces:
            async for _ in pieces:
                break

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
    cities = ("Oslo", "Łódź")
    examples = [dspy.Example(question=f"Weather in {city}?").with_inputs("question") for city in cities]

    def is_good(_example: Any, prediction: Any) -> bool:
        return str(judge(answer=prediction.answer).reasoning) == "I know."

    with dspy.context(lm=model_of(endpoint)):
        result = dspy.Evaluate(devset=examples, metric=is_good, num_threads=2)(react())

    assert result.score == 100.0
    found = traces.new(4)
    runs = [trace for trace in found if trace.root["name"] == "ReAct"]
    assert sorted(trace.root["output"]["answer"] for trace in runs) == sorted(WEATHER[city] for city in cities)
    assert [(trace.root["name"], len(trace.spans)) for trace in found if trace not in runs] == [("Predict", 2)] * 2
    assert sum(len(trace.all("LLM")) for trace in found) == len(endpoint.exchanges)


def test_a_thousand_runs_do_not_grow(traces: SentTraces) -> None:
    """Neither a successful nor a failed run leaves objects behind."""

    class Program(dspy.Module):
        def forward(self, number: int) -> Any:
            if number % 10 == 0:
                raise LookupError("no")
            return dspy.Tool(weather)(city="Oslo")

    program = Program()

    def runs(count: int) -> None:
        for number in range(count):
            if number % 10:
                program(number=number)
            else:
                with pytest.raises(LookupError):
                    program(number=number)

    with instrumented_with("dspy", tracer_provider=TracerProvider(shutdown_on_exit=False)):
        assert growth(runs, 1000, first=100) < 200


def test_beside_another_vendor(traces: SentTraces, server: LocalServer, model: StartModel) -> None:
    """While OpenInference records the runs, our integration is skipped, and each call is recorded once."""
    endpoint = model(program_model)
    done = run_beside_another_vendor("dspy", server.url, server.api_key, endpoint.base_url)
    assert done.stdout.startswith("skipped: OpenInference records these calls")
    trace = traces.one()
    assert {span["metadata"]["scope"] for span in trace.spans} == {"openinference.instrumentation.dspy"}
    assert len(trace.all("LLM")) == len(endpoint.exchanges) == 1


def test_content_is_left_out_when_it_is_not_wanted(traces: SentTraces, model: StartModel) -> None:
    """With `capture_content=False`, spans have names, models and tokens, but no content."""
    endpoint = model(program_model)
    with recorded_apart("dspy", capture_content=False) as recorded, dspy.context(lm=model_of(endpoint)):
        react()(question="Weather in Oslo?")
        with pytest.raises(Exception, match="Nowhere"):
            dspy.Predict("question -> answer")(question="Weather in Nowhere?")

    told = told_by(recorded)
    assert "gen_ai.usage.input_tokens" in told
    assert [word for word in ("Oslo", "snowy", "Nowhere", "I know") if word in told] == []


def test_off_nothing_is_left(traces: SentTraces, model: StartModel) -> None:
    """Uninstrumenting removes our callback and restores DSPy's functions."""
    module: Any = sys.modules["dspy.dsp.utils.settings"]
    wrapped = vars(module.Settings)["get"]
    assert len(dspy.settings.get("callbacks")) == 1
    with off("dspy"):
        assert vars(module.Settings)["get"] is wrapped.__wrapped__
        assert dspy.settings.get("callbacks") == []


def test_the_example(traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The example, without a key, makes two turns of one session."""
    example = Example("dspy_program")
    endpoint = model(example.script)
    example.run(endpoint, monkeypatch)

    asked, thanked = traces.new(2)
    assert {trace.body["session_id"] for trace in (asked, thanked)} == {"conversation-1"}
    assert asked.only("TOOL", "track_parcel")["input"] == {"parcel": "P-4711"}
    assert len(asked.all("LLM")) + len(thanked.all("LLM")) == len(endpoint.exchanges)


@pytest.mark.plants("on_lm_start", "on_lm_end", "on_module_start", "on_module_end", "on_tool_start", "on_tool_end")
def test_what_is_planted_comes_out(traces: SentTraces, model: StartModel) -> None:
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
        Planting()(question=planted["the question"], tenant=planted["beside the question"])
    assert planted.unrecorded(recorder) == []
    assert planted.lost(recorder) == []
