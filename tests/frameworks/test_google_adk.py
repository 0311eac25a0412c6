"""Agents of Google's Agent Development Kit."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from google.adk.agents import LlmAgent, LoopAgent, ParallelAgent, RunConfig, SequentialAgent
from google.adk.agents.run_config import StreamingMode
from google.adk.models import BaseLlm, Gemini, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.telemetry import tracing
from google.adk.tools import FunctionTool, LongRunningFunctionTool, ToolContext
from google.adk.tools.agent_tool import AgentTool
from google.genai import types
from pydantic import BaseModel, Field

import pandaprobe_otel
from agent_traces import SentTraces
from framework_cases import CONFORMANCE, AgentApp, StartModel, holds, recorded_apart
from pandaprobe_otel.demo.scripted_endpoint import Message, Reply, ScriptedEndpoint, ToolCall
from pandaprobe_otel_integrations.google_adk import GoogleADKAdapter
from planting import Planted
from replayed_frameworks import DONE, PARTS, Parts, clock, is_replayed, record, run, tells_changes
from replayed_frameworks import weather as replayed_weather
from weather_model import weather, weather_model

# ADK makes Google's client itself and leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

GEMINI = "gemini-2.5-flash"
STREAMED = RunConfig(streaming_mode=StreamingMode.SSE)
os.environ["GOOGLE_API_KEY"] = "any"


def forecaster(url: str, name: str = "forecaster", **options: Any) -> LlmAgent:
    """An agent that knows the weather, whose model is at this address."""
    given = {"model": Gemini(model=GEMINI, base_url=url), "instruction": "You know weather.", "tools": [weather]}
    return LlmAgent(name=name, **{**given, **options})


def content(text: str) -> types.Content:
    """Return a user's message."""
    return types.Content(role="user", parts=[types.Part(text=text)])


async def runner_of(agent: Any, session: str = "s-1", state: dict[str, Any] | None = None) -> InMemoryRunner:
    """A runner with one session of Ada's."""
    runner = InMemoryRunner(agent=agent, app_name="app")
    await runner.session_service.create_session(app_name="app", user_id="ada", session_id=session, state=state)
    return runner


async def talk(
    agent: Any,
    *messages: Any,
    session: str = "s-1",
    config: RunConfig | None = None,
    state: dict[str, Any] | None = None,
) -> list[str]:
    """Run the turns of one session, and return the texts of the answers and the session's state."""
    runner = await runner_of(agent, session, state)
    texts: list[str] = []
    for each in messages:
        message = each if isinstance(each, types.Content) else content(each)
        events = runner.run_async(
            user_id="ada", session_id=session, new_message=message, run_config=config or RunConfig()
        )
        async for event in events:
            if event.is_final_response() and event.content:
                texts += [part.text or "" for part in event.content.parts or []]
    left = await runner.session_service.get_session(app_name="app", user_id="ada", session_id=session)
    await runner.close()
    return [*texts, str(left and left.state)]


async def ask(endpoint: ScriptedEndpoint, question: str, tool: Any, config: RunConfig | None = None) -> None:
    """Ask an agent with this tool in a session of its own."""
    await talk(forecaster(endpoint.url, tools=[tool]), question, session=f"{uuid4()}", config=config)


def ask_sync(endpoint: ScriptedEndpoint, question: str, tool: Any) -> None:
    """Ask without an event loop; ADK starts a thread for the run."""
    session = f"{uuid4()}"
    runner = asyncio.run(runner_of(forecaster(endpoint.url, tools=[tool]), session))
    assert len([*runner.run(user_id="ada", session_id=session, new_message=content(question))]) == 3


async def leave(endpoint: ScriptedEndpoint) -> None:
    """Stop reading a streamed run after its first event."""
    await leave_at(lambda event: True, forecaster(endpoint.url), "Hi you")


async def leave_at(is_last: Callable[[Any], object], agent: Any, question: str) -> None:
    """Stop reading a streamed run after the first event for which `is_last` is true."""
    runner = await runner_of(agent)
    events = runner.run_async(user_id="ada", session_id="s-1", new_message=content(question), run_config=STREAMED)
    async with aclosing(events):
        async for event in events:
            if is_last(event):
                break
        else:
            pytest.fail("no event was the last one")
    await runner.close()


APP = AgentApp(
    run=ask,
    ways=[ask_sync, partial(ask, config=STREAMED)],
    leaves=[leave],
    name="google_adk",
    package="google.adk",
    tree="""
        trace invoke_workflow forecaster | COMPLETED | session SESSION | user ada | Weather in Łódź? > The station says: sunny
        CHAIN invoke_workflow forecaster | u > a
          AGENT invoke_agent forecaster | u > a
            LLM generate_content gemini-2.5-flash @gemini-2.5-flash | su > c
            TOOL weather | {"city":"Łódź"} > {"result":"sunny"}
            LLM generate_content gemini-2.5-flash @gemini-2.5-flash | suct > a
    """,  # noqa: E501
    rivals={"openinference.instrumentation.google_adk:GoogleADKInstrumentor": "skipped: OpenInference records"},
    adapter=GoogleADKAdapter,
    hides_content=False,
)


@CONFORMANCE
def test_conformance(check: Any, traces: SentTraces, model: StartModel) -> None:
    """ADK's agents are recorded as those of every framework."""
    check(APP, traces, model)


def first_text(event: Any) -> bool:
    """Return whether an event is a piece of text."""
    return bool(event.partial and event.content.parts[0].text)


def skip_summary(city: str, tool_context: ToolContext) -> str:
    """Tell the weather in a city, as the agent's answer."""
    tool_context.actions.skip_summarization = True
    return weather(city)


skip_summary.__name__ = "weather"


@pytest.mark.parametrize(
    ("is_last", "tool", "outcome"),
    [
        (lambda event: event.get_function_calls(), weather, "partial"),
        (lambda event: event.get_function_responses(), weather, "partial"),
        (first_text, weather, "partial"),
        (lambda event: event.is_final_response(), weather, None),
        (lambda event: event.is_final_response(), skip_summary, None),
    ],
    ids=["call", "result", "text", "answer", "answer of a tool"],
)
def test_a_run_that_the_app_leaves(
    is_last: Callable[[Any], object], tool: Any, outcome: str | None, traces: SentTraces, model: StartModel
) -> None:
    """A run is partial exactly if the app leaves it before the final answer, also after an answer that calls a tool."""
    endpoint = model(weather_model, seconds_per_chunk=0.02)
    asyncio.run(leave_at(is_last, forecaster(endpoint.url, tools=[tool]), "Weather in Oslo?"))
    trace = traces.one()
    found = (trace.body["status"], trace.body["metadata"].get("outcome"), trace.root["metadata"].get("outcome"))
    assert found == ("COMPLETED", outcome, outcome), str(trace)


def test_a_run_that_the_app_leaves_at_its_second_agent(traces: SentTraces, model: StartModel) -> None:
    """The whole answer of an agent does not make a run complete whose next agent is left."""
    url = model(weather_model, seconds_per_chunk=0.02).url
    both = SequentialAgent(name="both", sub_agents=[forecaster(url, name, tools=[]) for name in ("first", "second")])
    asyncio.run(leave_at(lambda event: event.author == "second", both, "Hi you"))
    trace = traces.one()
    assert trace.body["metadata"].get("outcome") == trace.root["metadata"].get("outcome") == "partial", str(trace)


def whole(agent: Any, question: str) -> None:
    """Run in a new event loop."""
    asyncio.run(talk(agent, question))


def streamed(agent: Any, question: str) -> None:
    """Read the answer chunk by chunk."""
    asyncio.run(talk(agent, question, config=STREAMED))


def later(city: str) -> None:
    """Tell the weather in a city."""


later.__name__ = "weather"


@pytest.mark.parametrize(
    "tool", [LongRunningFunctionTool(later), FunctionTool(weather, require_confirmation=True)], ids=["later", "person"]
)
def test_a_run_that_waits(tool: Any, traces: SentTraces, model: StartModel) -> None:
    """A tool that pauses the run is interrupted, and so is the trace."""
    whole(forecaster(model(weather_model).url, tools=[tool]), "Weather in Oslo?")
    trace = traces.one()
    assert trace.only("TOOL")["metadata"]["outcome"] == trace.body["metadata"]["outcome"] == "interrupted"
    assert trace.body["status"] == "COMPLETED"


def test_a_failure_that_the_agent_handles(traces: SentTraces, model: StartModel) -> None:
    """A failed tool's callback gives the answer: the span has the callback's result, and the run is OK."""
    handle: Any = {"on_tool_error_callback": lambda tool, args, context, error: {"result": f"Sorry: {error}"}}
    whole(forecaster(model(weather_model).url, **handle), "Weather in Atlantis?")

    trace = traces.one()
    assert trace.only("TOOL")["output"] == {"result": "Sorry: no station in Atlantis"}
    assert (trace.body["status"], trace.root["status"]) == ("COMPLETED", "OK")


def test_two_turns_are_one_session(traces: SentTraces, model: StartModel) -> None:
    """Each turn is a trace of the same session, with the turns before it; the app's own session and user win."""
    agent = forecaster(model(weather_model).url)
    asyncio.run(talk(agent, "Hi", "Weather in Oslo?", session="talk-7"))
    with pandaprobe_otel.context(session="mine", user="grace", tags=["beta"]):
        whole(agent, "Hi")

    found = traces.new(3)
    of_turns = [(trace.body["session_id"], trace.body["user_id"], len(trace.all("LLM"))) for trace in found]
    assert of_turns == [("talk-7", "ada", 1), ("talk-7", "ada", 2), ("mine", "grace", 1)]
    assert found[2].body["tags"] == ["beta"]
    assert [trace.body["input"]["messages"][0]["content"] for trace in found] == ["Hi", "Weather in Oslo?", "Hi"]
    assert "You said: Hi" in str(found[1].all("LLM")[0]["input"])


def hand_over(messages: Sequence[Message]) -> Reply:
    """Hand over as the first agent; answer as the second."""
    if 'name is "boss"' in str(messages[0]["content"]):
        return Reply(tool_calls=(ToolCall(name="transfer_to_agent", arguments={"agent_name": "expert"}),))
    return Reply(text="It is snowy.")


def test_a_transfer_to_a_sub_agent(traces: SentTraces, model: StartModel) -> None:
    """On a transfer, both agents are below the run, and the transfer is a tool of the first agent, without an error."""
    endpoint = model(hand_over)
    expert = forecaster(endpoint.url, "expert", tools=[], description="Knows weather.")
    whole(forecaster(endpoint.url, "boss", tools=[], sub_agents=[expert]), "Weather?")

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


def test_an_agent_as_a_tool(traces: SentTraces, model: StartModel) -> None:
    """A sub-agent is an AGENT span below its tool."""

    def script(messages: Sequence[Message]) -> Reply:
        if 'name is "boss"' in str(messages[0]["content"]) and messages[-1]["role"] == "user":
            return Reply(tool_calls=(ToolCall(name="expert", arguments={"request": "Weather in Oslo?"}),))
        return weather_model(messages)

    endpoint = model(script)
    whole(forecaster(endpoint.url, "boss", tools=[AgentTool(forecaster(endpoint.url, "expert"))]), "Weather?")

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    above = [span["name"] for span in trace.above(trace.only("AGENT", "invoke_agent expert"))]
    assert above[1:] == ["expert", "invoke_agent boss", "invoke_workflow boss"]
    assert trace.body["output"]["messages"][0]["content"].startswith("The station says: The station says: snowy")


@pytest.mark.parametrize("config", [RunConfig(), STREAMED])
def test_tools_called_at_once(config: RunConfig, traces: SentTraces, model: StartModel) -> None:
    """Tools called in parallel have one span each; ADK's span of their merged results is left out."""

    def script(messages: Sequence[Message]) -> Reply:
        if messages[-1]["role"] == "tool":
            return Reply(text="Done.")
        calls = [ToolCall(name=name, arguments={"city": "Oslo"}) for name in ("weather", "clock")]
        return Reply(tool_calls=tuple(calls))

    endpoint = model(script)
    asyncio.run(talk(forecaster(endpoint.url, tools=[weather, clock]), "Both?", config=config))

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert sorted((span["name"], str(span["output"])) for span in trace.all("TOOL")) == [
        ("clock", "{'result': 'noon in Oslo'}"),
        ("weather", "{'result': 'snowy'}"),
    ]
    assert "merged" not in str(trace)


@pytest.mark.parametrize("kind", [SequentialAgent, ParallelAgent, LoopAgent])
def test_a_workflow(kind: Any, traces: SentTraces, model: StartModel) -> None:
    """Each agent of a workflow has its own model call, with its instructions and its answer."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        first = planted["the first's instructions"] in str(messages)
        return Reply(text=planted["the first answer" if first else "the second answer"])

    endpoint = model(script)
    names = ("first", "second")
    members = [
        forecaster(endpoint.url, name, instruction=planted[f"the {name}'s instructions"], output_key=name)
        for name in names
    ]
    with warnings.catch_warnings(action="ignore"):  # ADK deprecates ParallelAgent in favour of workflows
        flow = kind(name="flow", sub_agents=members, **({"max_iterations": 1} if kind is LoopAgent else {}))
    whole(flow, planted["the question"])

    trace = traces.one()
    trace.is_sound(endpoint.exchanges)
    assert planted.missing_in(trace.body) == []
    assert planted["the question"] in str(trace.body["input"])
    for name in names:
        (call,) = trace.children(trace.only("AGENT", f"invoke_agent {name}"))
        assert (call["kind"], call["metadata"]["agent_name"]) == ("LLM", name)
        assert planted[f"the {name} answer"] in str(call["output"])


def test_another_provider_gives_adks_tracer_back(traces: SentTraces, model: StartModel) -> None:
    """A provider passed to the integration gets ADK's spans; uninstrumenting restores ADK's own tracer."""
    before = tracing.tracer
    with recorded_apart("google_adk") as recorded:
        whole(forecaster(model(weather_model).url), "Hi")
    assert recorded.names == [
        "generate_content gemini-2.5-flash",
        "invoke_agent forecaster",
        "invoke_workflow forecaster",
    ]
    assert tracing.tracer is before
    assert traces.new(0) == []


@pytest.mark.parametrize("config", [RunConfig(), STREAMED])
def test_planted_words_are_recorded(config: RunConfig, traces: SentTraces, model: StartModel) -> None:
    """Instructions, parameters, descriptions, tool results and state appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str, tool_context: ToolContext) -> dict[str, str]:
        tool_context.state["found"] = planted["a value of a tool's state"]
        return {"found": planted["a tool's result"], "source": planted["another result"]}

    look_up.__doc__ = planted["a tool's description"]
    agent = forecaster(
        model(planted.script).url,
        tools=[look_up],
        instruction=planted["the instructions"] + " {plan}",
        global_instruction=planted["the global instructions"],
        description=planted["the agent's description"],
        output_key="answer",
        generate_content_config=types.GenerateContentConfig(
            temperature=0.125, top_k=7, seed=7_000_001, stop_sequences=[planted["a stop word"]], labels={"a": "b"}
        ),
    )
    state = {"plan": planted["the state"], "more": {"deep": [planted["a state that no instruction names"]]}}
    asyncio.run(talk(agent, planted["the question"], state=state, config=config))
    trace = holds(planted, traces)
    parameters = trace.all("LLM")[0]["model_parameters"]
    assert (parameters["temperature"], parameters["top_k"], parameters["seed"]) == (0.125, 7, 7_000_001)


DIGEST = sha256(b"picture").hexdigest()


def test_every_part_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """Texts, files, addresses and code appear in the trace, bytes as their digest."""
    planted = Planted()
    parts = [
        types.Part(text=planted["the question"]),
        types.Part(inline_data=types.Blob(data=b"picture", mime_type="image/png", display_name=planted["its name"])),
        types.Part(file_data=types.FileData(file_uri="gs://" + planted["a file"], mime_type="text/plain")),
        types.Part(executable_code=types.ExecutableCode(code=planted["a code"], language=types.Language.PYTHON)),
        types.Part(
            code_execution_result=types.CodeExecutionResult(
                outcome=types.Outcome.OUTCOME_OK, output=planted["a code's output"]
            )
        ),
    ]
    agent = forecaster(model(lambda _: Reply(text=planted["the answer"])).url)
    asyncio.run(talk(agent, types.Content(role="user", parts=parts)))
    assert DIGEST in str(holds(planted, traces).only("LLM")["input"])


class Answering(BaseLlm):
    """A model written by the app, with a scripted answer."""

    answer: Any = None

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        """Return the scripted answer."""
        yield self.answer


def test_every_part_of_an_answer_is_recorded(traces: SentTraces) -> None:
    """A model's thoughts, sources, finish reason and token counts appear in the trace."""
    planted = Planted()
    chunk = types.GroundingChunk(
        web=types.GroundingChunkWeb(uri="http://" + planted["a source"], title=planted["a source's title"])
    )
    answer = LlmResponse(
        content=types.Content(
            role="model",
            parts=[
                types.Part(text=planted["a thought"], thought=True),
                types.Part(text=planted["the answer"]),
                types.Part(inline_data=types.Blob(data=b"picture", mime_type="image/png")),
            ],
        ),
        grounding_metadata=types.GroundingMetadata(web_search_queries=[planted["a search"]], grounding_chunks=[chunk]),
        citation_metadata=types.CitationMetadata(
            citations=[types.Citation(uri="http://" + planted["a citation"], title=planted["a title"])]
        ),
        custom_metadata={"deal": planted["metadata of a model"]},
        finish_reason=types.FinishReason.MAX_TOKENS,
        model_version=planted["the model's version"],
        usage_metadata=types.GenerateContentResponseUsageMetadata(
            prompt_token_count=11,
            candidates_token_count=7,
            thoughts_token_count=3,
            cached_content_token_count=5,
            tool_use_prompt_token_count=7_000_001,
            total_token_count=21,
        ),
    )
    whole(forecaster("", model=Answering(model="own", answer=answer)), planted["the question"])
    call = holds(planted, traces).only("LLM")
    assert DIGEST in str(call["output"])
    assert "7000001" in str(call)
    assert "max" in str(call["metadata"]["finish_reasons"]).lower() or "length" in str(call["metadata"])


def test_an_error_as_an_answer_is_recorded(traces: SentTraces) -> None:
    """An error that a model returns as its answer appears in the trace."""
    planted = Planted()
    answer = LlmResponse(error_code=planted["a code"], error_message=planted["a message"])
    whole(forecaster("", model=Answering(model="own", answer=answer)), planted["the question"])
    assert holds(planted, traces).only("LLM")["status"] == "ERROR"


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str = Field(description="planted in the schema")


def test_structured_output_is_recorded(traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    answer = Verdict(verdict="planted in the answer")
    endpoint = model(lambda _: Reply(text=answer.model_dump_json()))
    whole(forecaster(endpoint.url, tools=[], output_schema=Verdict), "Hi")
    body = str(traces.one().body)
    assert ("planted in the schema" in body, "planted in the answer" in body) == (True, True)


def program(url: str, parts: Parts, config: RunConfig | None = None, tools: Any = None) -> list[str]:
    """Ask all questions, each in a session of its own."""

    def weather(city: str) -> str:
        return replayed_weather(city)

    weather.__doc__ = parts.description
    name = {"gpt-5-mini": "gemini-2.5-flash", "gpt-5": "gemini-2.5-pro"}[parts.model]
    agent = forecaster(
        url,
        model=Gemini(model=name, base_url=url.removesuffix("/v1")),
        instruction=parts.instructions,
        tools=tools or [weather, *([clock] if parts.has_clock else [])],
    )

    async def ask_all() -> list[str]:
        return [text for each in parts.questions for text in await talk(agent, each, session=each, config=config)]

    return asyncio.run(ask_all())


@pytest.mark.parametrize("config", [None, STREAMED])
def test_a_program_is_replayed(config: RunConfig | None, traces: SentTraces, tmp_path: Path) -> None:
    """Replays give the recorded result and spans and run no tool; each change is reported at its first call."""
    is_replayed(partial(program, config=config), tmp_path / "one.yaml")
    tells_changes(partial(program, config=config), tmp_path / "two.yaml")


def test_the_state_comes_back(traces: SentTraces, tmp_path: Path) -> None:
    """A replay restores the session's state beside the tool's result."""

    def weather(city: str, tool_context: ToolContext) -> dict[str, str]:
        """Tell the weather in a city."""
        DONE.append(city)
        tool_context.state["asked"] = city
        return {"weather": "sunny"}

    with_state = partial(program, tools=[weather, clock])
    url, result, done = record(with_state, tmp_path / "one.yaml")
    assert "'asked': 'Oslo'" in result[1]
    assert len(done) == 4
    assert (run(with_state, url, tmp_path / "one.yaml", PARTS), DONE) == (result, [])
