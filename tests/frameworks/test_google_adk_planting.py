"""Content planted in ADK's agents, workflows, sessions, tools and models appears in the trace."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from hashlib import sha256
from typing import Any

import pytest
from google.adk.agents import LlmAgent, LoopAgent, ParallelAgent, RunConfig, SequentialAgent
from google.adk.agents.run_config import StreamingMode
from google.adk.models import BaseLlm, LlmResponse
from google.adk.runners import InMemoryRunner
from google.adk.tools import ToolContext
from google.adk.tools.agent_tool import AgentTool
from google.genai import types
from pydantic import BaseModel, Field

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message, Refusal, Reply, ToolCall
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint
from planting import Planted

# ADK makes Google's client itself and leaves its connections to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")

GEMINI = "gemini-2.5-flash"
DIGEST = sha256(b"picture").hexdigest()
STREAMED = RunConfig(streaming_mode=StreamingMode.SSE)


class Verdict(BaseModel):
    """The form of an agent's answer."""

    verdict: str = Field(description="What is to be judged.")
    grade: str


@pytest.fixture
def gemini(model: StartModel, monkeypatch: pytest.MonkeyPatch) -> StartModel:
    """Start a scripted model for Google's client."""

    def start(script: Script) -> ScriptedEndpoint:
        endpoint = model(script)
        monkeypatch.setenv("GOOGLE_API_KEY", "any")
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", endpoint.url)
        return endpoint

    return start


def agent(name: str = "planter", **options: Any) -> LlmAgent:
    """An agent of ADK."""
    return LlmAgent(name=name, **{"model": GEMINI, "instruction": "You know.", **options})


async def told(
    running: Any, *said: Any, state: dict[str, Any] | None = None, config: RunConfig | None = None, **given: Any
) -> None:
    """Run the turns of one session, one after the other."""
    runner = InMemoryRunner(agent=running, app_name="app")
    await runner.session_service.create_session(app_name="app", user_id="ada", session_id="s-1", state=state)
    for each in said:
        parts = each if isinstance(each, list) else [types.Part(text=each)]
        content = types.Content(role="user", parts=parts)
        async for _ in runner.run_async(
            user_id="ada", session_id="s-1", new_message=content, run_config=config or RunConfig(), **given
        ):
            pass
    await runner.close()


def comes_out(planted: Planted, traces: SentTraces, running: Any, *said: Any, **given: Any) -> Any:
    """Run the agent, assert that its trace contains everything planted, and return the trace."""
    asyncio.run(told(running, *said, **given))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    return trace


class Says(BaseLlm):
    """A model written by the app, with a scripted answer."""

    said: Any = None

    async def generate_content_async(self, llm_request: Any, stream: bool = False) -> AsyncIterator[LlmResponse]:
        """Return the scripted answer."""
        yield self.said


@pytest.mark.parametrize("config", [RunConfig(), STREAMED])
@pytest.mark.plants("trace_agent_invocation", "use_inference_span")
def test_what_is_planted_comes_out(config: RunConfig, traces: SentTraces, gemini: StartModel) -> None:
    """Instructions, parameters, tool arguments, tool results, state and answer appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str, tool_context: ToolContext) -> dict[str, str]:
        tool_context.state["found"] = planted["what a tool keeps"]
        return {"found": planted["a tool's result"], "source": planted["beside a tool's result"]}

    look_up.__doc__ = planted["what a tool does"]
    gemini(planted.script)
    running = agent(
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
    trace = comes_out(planted, traces, running, planted["the question"], state=state, config=config)
    told_of = trace.all("LLM")[0]["model_parameters"]
    assert (told_of["temperature"], told_of["top_k"], told_of["seed"]) == (0.125, 7, 7_000_001)


@pytest.mark.plants("_to_part")
def test_every_part_comes_out(traces: SentTraces, gemini: StartModel) -> None:
    """Texts, files, addresses and code appear in the trace, bytes as their digest."""
    planted = Planted()
    gemini(lambda _: Reply(text=planted["the answer"]))
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
    trace = comes_out(planted, traces, agent(), parts)
    assert DIGEST in str(trace.only("LLM")["input"])


@pytest.mark.plants("trace_inference_result")
def test_what_a_model_says_comes_out(traces: SentTraces) -> None:
    """A model's thoughts, sources, finish reason and token counts appear in the trace."""
    planted = Planted()
    chunk = types.GroundingChunk(
        web=types.GroundingChunkWeb(uri="http://" + planted["a source"], title=planted["a source's title"])
    )
    said = LlmResponse(
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
            citations=[types.Citation(uri="http://" + planted["what is cited"], title=planted["a title"])]
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
    trace = comes_out(planted, traces, agent(model=Says(model="own", said=said)), planted["the question"])
    call = trace.only("LLM")
    assert DIGEST in str(call["output"])
    assert "7000001" in str(call)
    assert "max" in str(call["metadata"]["finish_reasons"]).lower() or "length" in str(call["metadata"])


def test_a_model_that_fails_in_its_answer_comes_out(traces: SentTraces) -> None:
    """An error that a model returns as its answer appears in the trace."""
    planted = Planted()
    said = LlmResponse(error_code=planted["a code"], error_message=planted["a message"])
    trace = comes_out(planted, traces, agent(model=Says(model="own", said=said)), planted["the question"])
    assert trace.only("LLM")["status"] == "ERROR"


RESULTS: dict[str, Any] = {
    "text": lambda word: word,
    "object": lambda word: {"found": {"deep": [word]}},
    "list": lambda word: [word, {"deep": word}],
    "model": lambda word: Verdict(verdict=word, grade="1"),
    "failure": lambda word: {"error": word},
}


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.plants("trace_tool_call")
def test_a_tools_result_comes_out(kind: str, is_async: bool, traces: SentTraces, gemini: StartModel) -> None:
    """The result of a sync or async tool appears in the trace in its own form."""
    planted = Planted()

    def look_up(city: str, unit: str) -> Any:
        """Look a city up."""
        return RESULTS[kind](planted["the result"])

    async def look_up_later(city: str, unit: str) -> Any:
        """Look a city up."""
        return look_up(city, unit)

    look_up_later.__name__ = "look_up"
    gemini(planted.script)
    running = agent(tools=[look_up_later if is_async else look_up])
    trace = comes_out(planted, traces, running, planted["the question"])
    assert planted["the result"] in str(trace.only("TOOL")["output"])
    assert planted["a tool's argument"] in str(trace.only("TOOL")["input"])


def test_a_tool_that_fails_comes_out(traces: SentTraces, gemini: StartModel) -> None:
    """A failed tool's arguments and error appear in the trace."""
    planted = Planted()

    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        raise LookupError(planted["the exception"])

    gemini(planted.script)
    with pytest.raises(LookupError):
        asyncio.run(told(agent(tools=[look_up]), planted["the question"]))
    trace = traces.one()
    assert planted.only(lambda word: word != planted["the exception"]).missing_in(trace.body) == []
    assert planted["the exception"] in trace.only("TOOL")["error"]
    assert planted["a tool's argument"] in str(trace.only("TOOL")["input"])


def test_structured_output_comes_out(traces: SentTraces, gemini: StartModel) -> None:
    """The schema and the structured answer appear in the trace."""
    planted = Planted()
    Verdict.model_fields["verdict"].description = planted["of a field of the schema"]
    Verdict.model_rebuild(force=True)
    answer = Verdict(verdict=planted["the verdict"], grade=planted["the grade"])
    gemini(lambda _: Reply(text=answer.model_dump_json()))
    comes_out(planted, traces, agent(output_schema=Verdict), planted["the question"])


def test_a_refusal_comes_out(traces: SentTraces, gemini: StartModel) -> None:
    """The error message of a refused call appears in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    gemini(script)
    with pytest.raises(Exception, match="planted"):
        asyncio.run(told(agent(), planted["the question"]))
    assert planted.missing_in(traces.one().body) == []


def test_a_transfer_comes_out(traces: SentTraces, gemini: StartModel) -> None:
    """A transfer's second agent, its input and its answer appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        if planted["the expert's instructions"] in str(messages):
            return Reply(text=planted["the expert's answer"])
        return Reply(tool_calls=(ToolCall(name="transfer_to_agent", arguments={"agent_name": "expert"}),))

    gemini(script)
    expert = agent(
        "expert", instruction=planted["the expert's instructions"], description=planted["what the expert knows"]
    )
    trace = comes_out(planted, traces, agent("boss", sub_agents=[expert]), planted["the question"])
    assert planted["the expert's answer"] in str(trace.body["output"])


def test_an_agent_as_a_tool_comes_out(traces: SentTraces, gemini: StartModel) -> None:
    """The other agent's input and answer appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        if planted["the expert's instructions"] in str(messages):
            return Reply(text=planted["the expert's answer"])
        if messages[-1]["role"] == "tool":
            return Reply(text=planted["the answer"])
        return Reply(tool_calls=(ToolCall(name="expert", arguments={"request": planted["the expert's task"]}),))

    gemini(script)
    expert = agent(
        "expert", instruction=planted["the expert's instructions"], description=planted["what the expert knows"]
    )
    comes_out(planted, traces, agent("boss", tools=[AgentTool(expert)]), planted["the question"])


@pytest.mark.parametrize("kind", [SequentialAgent, ParallelAgent, LoopAgent])
def test_a_workflow_comes_out(kind: Any, traces: SentTraces, gemini: StartModel) -> None:
    """Each agent's instructions and answer, and the values in the state, appear in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        first = planted["the first's instructions"] in str(messages)
        return Reply(text=planted["the first answer" if first else "the second answer"])

    gemini(script)
    members = [
        agent("first", instruction=planted["the first's instructions"], output_key="said"),
        agent("second", instruction=planted["the second's instructions"]),
    ]
    options = {"max_iterations": 1} if kind is LoopAgent else {}
    running = kind(name="flow", sub_agents=members, **options)
    trace = comes_out(planted, traces, running, planted["the question"])
    assert planted["the question"] in str(trace.body["input"])


def test_a_session_comes_out(traces: SentTraces, gemini: StartModel) -> None:
    """The second turn's input contains the messages of the first turn."""
    planted = Planted()
    gemini(lambda messages: Reply(text=planted[f"answer {len(messages)}"]))
    asyncio.run(told(agent(), planted["the first question"], planted["the second question"]))
    first, second = traces.new(2)
    assert planted.missing_in([first.body, second.body]) == []
    assert planted["the first question"] in str(second.only("LLM")["input"])
    assert {each.body["session_id"] for each in (first, second)} == {"s-1"}
