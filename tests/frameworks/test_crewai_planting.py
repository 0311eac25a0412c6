"""Content planted in CrewAI's crews, agents, tasks, flows, models and memories appears in the trace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.completions import Message, Refusal, Reply
from planting import Planted
from weather_crews import forecaster, model_of

from crewai import Crew, Task  # isort: skip  # after `weather_crews`, which configures CrewAI
from crewai.events import crewai_event_bus  # isort: skip
from crewai.events.types.a2a_events import A2ADelegationCompletedEvent, A2ADelegationStartedEvent  # isort: skip
from crewai.events.types.flow_events import (  # isort: skip
    ConversationMessageAddedEvent,
    ConversationRouteSelectedEvent,
    ConversationTurnCompletedEvent,
    ConversationTurnStartedEvent,
    FlowInputReceivedEvent,
    FlowInputRequestedEvent,
    HumanFeedbackReceivedEvent,
    HumanFeedbackRequestedEvent,
)
from crewai.events.types.hook_events import HookDispatchedEvent  # isort: skip
from crewai.events.types.knowledge_events import (  # isort: skip
    KnowledgeRetrievalCompletedEvent,
    KnowledgeRetrievalStartedEvent,
)
from crewai.events.types.mcp_events import MCPToolExecutionCompletedEvent, MCPToolExecutionStartedEvent  # isort: skip
from crewai.flow import human_feedback  # isort: skip
from crewai.flow.flow import Flow, listen, start  # isort: skip
from crewai.memory.types import MemoryMatch, MemoryRecord  # isort: skip
from crewai.tools import tool  # isort: skip


class Report(BaseModel):
    """The form of a task's result."""

    verdict: str
    grade: str


def crew_of(planted: Planted, model: StartModel, **options: Any) -> Any:
    """A crew with one agent, which has a tool, and one task, which uses an input."""

    @tool("look_up")
    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        return planted.look_up(city, unit)

    agent = forecaster(
        model_of(model(planted.script), **options),
        role=planted["the role"],
        goal=planted["the goal"],
        backstory=planted["the backstory"],
        tools=[look_up],
    )
    task = Task(
        name=planted["the task's name"],
        description=planted["the task"] + " about {topic}",
        expected_output=planted["what is expected"],
        agent=agent,
    )
    return Crew(name=planted["the crew's name"], agents=[agent], tasks=[task])


def kickoff(crew: Any, inputs: dict[str, Any]) -> None:
    """Wait for the answer."""
    crew.kickoff(inputs=inputs)


def akickoff(crew: Any, inputs: dict[str, Any]) -> None:
    """Run in an event loop."""
    asyncio.run(crew.akickoff(inputs=inputs))


def streamed(crew: Any, inputs: dict[str, Any]) -> None:
    """Read the answer piece by piece."""
    crew.stream = True
    assert len(list(crew.kickoff(inputs=inputs))) > 2


@pytest.mark.parametrize("way", [kickoff, akickoff, streamed])
@pytest.mark.plants(
    "crew_kickoff_started", "task_started", "agent_execution_started", "llm_call_started", "tool_usage_started"
)
def test_what_is_planted_comes_out(
    way: Callable[[Any, dict[str, Any]], None], traces: SentTraces, model: StartModel
) -> None:
    """A crew's inputs, agent, task, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()
    inputs = {"topic": planted["an input"], "tenant": {"id": [planted["an input that no task names"], 7_000_001]}}
    way(crew_of(planted, model), inputs)

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert trace.root["input"] == inputs


def test_parameters_of_a_model_come_out(traces: SentTraces, model: StartModel) -> None:
    """Model parameters appear in the trace, whether or not CrewAI's events contain them."""
    planted = Planted()
    llm = model_of(
        model(lambda _: Reply(text=planted["the answer"])),
        temperature=0.125,
        stop=[planted["a stop word"]],
        max_completion_tokens=7_000_001,
        reasoning_effort="low",
        logprobs=True,
        top_logprobs=3,
        user=planted["the user"],
        additional_params={"metadata": {"deal": planted["metadata"]}},
    )
    llm.call([{"role": "system", "content": planted["the system's"]}, {"role": "user", "content": planted["asked"]}])

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    told = trace.only("LLM")["model_parameters"]
    asked = {"temperature": 0.125, "reasoning_effort": "low", "top_logprobs": 3, "logprobs": True}
    assert {name: told[name] for name in asked} == asked
    assert "7000001" in str(told)
    assert "'any'" not in str(trace.body)


def test_a_picture_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A picture appears in the trace as its digest, without its bytes."""
    from hashlib import sha256

    llm = model_of(model(lambda _: Reply(text="A cat.")))
    content = [
        {"type": "text", "text": "Hm?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,cGljdHVyZQ=="}},
    ]
    llm.call([{"role": "user", "content": content}])

    assert sha256(b"picture").hexdigest() in str(traces.one().only("LLM")["input"])


@pytest.mark.parametrize("kind", ["output_pydantic", "output_json"])
def test_structured_output_comes_out(kind: str, traces: SentTraces, model: StartModel) -> None:
    """The schema and the structured answer appear in the trace; the answer is the output of task and crew."""
    planted = Planted()
    Report.model_fields["verdict"].description = planted["of a field of the schema"]
    Report.model_rebuild(force=True)
    answer = {"verdict": planted["the verdict"], "grade": planted["the grade"]}

    def script(messages: Sequence[Message]) -> Reply:
        return Reply(text=Report(**answer).model_dump_json())

    agent = forecaster(model_of(model(script)), tools=[])
    task = Task(name="report", description="Judge.", expected_output="A verdict", agent=agent, **{kind: Report})
    Crew(name="station", agents=[agent], tasks=[task]).kickoff()

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert trace.only("CHAIN", "report")["output"] == trace.root["output"] == answer


@pytest.mark.plants("llm_guardrail_started")
def test_what_follows_a_task_comes_out(
    traces: SentTraces, model: StartModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second task's context, settings and guardrail verdict appear in the trace."""
    monkeypatch.chdir(tmp_path)  # the task writes its output file here
    planted = Planted()

    def guardrail(output: Any):  # type: ignore[no-untyped-def]  # CrewAI reads the annotations
        """Pass, with a changed output."""
        return True, f"{output.raw} {planted['what the guardrail makes of it']}"

    def script(messages: Sequence[Message]) -> Reply:
        return Reply(text=planted["an answer"])

    agent = forecaster(model_of(model(script)), tools=[])
    first = Task(name="first", description="One.", expected_output="A word", agent=agent)
    second = Task(
        name="second",
        description=planted["the second task"],
        expected_output="A word",
        agent=agent,
        context=[first],
        guardrail=guardrail,
        output_file=planted["a setting of the task"],
    )
    Crew(name="station", agents=[agent], tasks=[first, second]).kickoff()

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert planted["what the guardrail makes of it"] in str(trace.only(name="guardrail")["output"])


def test_a_guardrail_that_refuses_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A guardrail's reason for each refusal, and the exception that ends the task, appear in the trace."""
    planted = Planted()
    agent = forecaster(model_of(model(lambda _: Reply(text="No."))), tools=[])
    task = Task(
        name="report",
        description="Hi",
        expected_output="A word",
        agent=agent,
        guardrail=lambda output: (False, planted["why not"]),
        guardrail_max_retries=1,
    )
    with pytest.raises(Exception, match="guardrail"):
        Crew(name="station", agents=[agent], tasks=[task]).kickoff()

    trace = traces.one()
    verdicts = [span for span in trace.spans if "guardrail" in str(span["name"]) or "lambda" in str(span["name"])]
    assert len(verdicts) == 2
    assert all(planted["why not"] in str(span["output"]) for span in verdicts)
    assert planted["why not"] in trace.root["error"]


def test_a_tool_that_fails_comes_out(traces: SentTraces, model: StartModel) -> None:
    """A failed tool's arguments and exception appear in the trace."""
    planted = Planted()

    @tool("look_up")
    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        raise LookupError(planted["the exception"])

    agent = forecaster(model_of(model(planted.script)), tools=[look_up])
    agent.kickoff(planted["the question"])
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert planted["the exception"] in trace.only("TOOL")["error"]


def test_a_refusal_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The error message of a refused call appears in the trace."""
    planted = Planted()

    def script(messages: Sequence[Message]) -> Reply:
        raise Refusal(400, planted["the refusal"])

    with pytest.raises(Exception, match="planted"):
        model_of(model(script)).call([{"role": "user", "content": planted["the question"]}])
    assert planted.missing_in(traces.one().body) == []


@pytest.mark.plants("lite_agent_execution_started")
def test_an_agent_alone_comes_out(traces: SentTraces, model: StartModel) -> None:
    """The messages and the structured answer of an agent without a crew appear in the trace."""
    planted = Planted()
    answer = {"verdict": planted["the verdict"], "grade": planted["the grade"]}
    agent = forecaster(
        model_of(model(lambda _: Reply(text=Report(**answer).model_dump_json()))), role=planted["the role"], tools=[]
    )
    asked = [
        {"role": "user", "content": planted["an earlier question"]},
        {"role": "assistant", "content": planted["an earlier answer"]},
        {"role": "user", "content": planted["the question"]},
    ]
    agent.kickoff(asked, response_format=Report)

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert "verdict" in str(trace.root["output"])


class Reporting(Flow[dict[str, Any]]):
    """A flow of two steps that share a state."""

    planted: Any = None

    @start()
    def choose(self) -> dict[str, Any]:
        """Return values, and store one in the state."""
        self.state["choice"] = self.planted["left in the state"]
        return {"city": self.planted["a result"], "more": [self.planted["another result"]]}

    @listen(choose)
    def tell(self, given: dict[str, Any]) -> str:
        """Store a value in the state, and return the last result."""
        self.state["said"] = self.planted["left in the state at the end"]
        return str(self.planted["the last result"])


@pytest.mark.plants("flow_started", "method_execution_started")
def test_a_flow_comes_out(traces: SentTraces) -> None:
    """A flow's inputs, its methods' inputs and outputs, and its state appear in the trace."""
    planted = Planted()
    flow = Reporting()
    flow.planted = planted
    flow.kickoff(inputs={"topic": planted["an input"], "tenant": planted["another input"]})

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert planted["left in the state"] in str(trace.only(name="choose"))


@pytest.mark.plants("memory_query_started", "memory_save_started", "knowledge_search_query_started")
def test_memory_and_knowledge_come_out(traces: SentTraces) -> None:
    """Queries with their parameters, results with their metadata, and saved texts appear in the traces."""
    from crewai.events.types.memory_events import (
        MemoryQueryCompletedEvent,
        MemoryQueryStartedEvent,
        MemorySaveCompletedEvent,
        MemorySaveStartedEvent,
    )

    planted = Planted()
    source = object()
    record = MemoryRecord(
        content=planted["a memory"],
        scope=planted["its scope"],
        categories=[planted["its category"]],
        metadata={"who": planted["its metadata"]},
        source=planted["its source"],
    )
    found = MemoryMatch(record=record, score=0.5, match_reasons=[planted["why it matches"]])
    query, told = {"query": planted["the query"], "limit": 7_000_001, "score_threshold": 0.125}, {"source_type": "m"}
    crewai_event_bus.emit(source, MemoryQueryStartedEvent(**query, **told))
    crewai_event_bus.emit(source, MemoryQueryCompletedEvent(**query, **told, results=[found], query_time_ms=1.0))
    saved = {"value": planted["what is saved"], "metadata": {"of": planted["beside what is saved"]}}
    crewai_event_bus.emit(source, MemorySaveStartedEvent(**saved, **told))
    crewai_event_bus.emit(source, MemorySaveCompletedEvent(**saved, **told, save_time_ms=1.0))
    crewai_event_bus.emit(source, KnowledgeRetrievalStartedEvent())
    crewai_event_bus.emit(
        source, KnowledgeRetrievalCompletedEvent(query=planted["asked"], retrieved_knowledge=planted["the knowledge"])
    )

    bodies = [trace.body for trace in traces.new(3)]
    assert planted.missing_in(bodies) == []
    assert "7000001" in str(bodies)
    assert "0.125" in str(bodies)


@pytest.mark.plants("mcp_tool_execution_started")
def test_a_tool_of_a_server_comes_out(traces: SentTraces) -> None:
    """An MCP tool that CrewAI calls without an agent's tool appears in the trace."""
    planted = Planted()
    source = object()
    call = {
        "server_name": planted["the server"],
        "server_url": "http://localhost/" + planted["its address"],
        "transport_type": "http",
        "tool_name": "look_up",
        "tool_args": {"city": planted["an argument"]},
    }
    crewai_event_bus.emit(source, MCPToolExecutionStartedEvent(**call))
    crewai_event_bus.emit(source, MCPToolExecutionCompletedEvent(**call, result={"found": planted["the result"]}))

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert trace.root["kind"] == "TOOL"


class Answers:
    """A feedback provider whose person answers at once."""

    def __init__(self, said: str) -> None:
        self._said = said

    def request_feedback(self, context: Any, flow: Any) -> str:
        """Return the answer."""
        return self._said


def test_feedback_of_a_person_comes_out(traces: SentTraces) -> None:
    """The reviewed text and the person's feedback appear in the trace."""
    planted = Planted()

    class Careful(Flow[dict[str, Any]]):
        @start()
        @human_feedback(message="Send it?", provider=Answers(planted["the feedback"]))
        def letter(self) -> str:
            """Return the text to review."""
            return str(planted["the letter"])

    Careful().kickoff()
    assert planted.missing_in(traces.one().body) == []


@pytest.mark.plants("human_feedback_requested", "human_feedback_received")
def test_what_a_flow_asks_comes_out(traces: SentTraces) -> None:
    """Questions and answers during a step appear in the step's metadata, beside its output."""
    planted = Planted()

    class Asking(Flow[dict[str, Any]]):
        @start()
        def ask(self) -> str:
            """Ask two questions, then return a result."""
            for number in ("first", "second"):
                told = {"flow_name": "Asking", "method_name": "ask"}
                asks = HumanFeedbackRequestedEvent(**told, output="Hm", message=planted[f"the {number} question"])
                crewai_event_bus.emit(self, asks)
                crewai_event_bus.emit(
                    self, HumanFeedbackReceivedEvent(**told, feedback=planted[f"the {number} answer"])
                )
            return str(planted["the result"])

    Asking().kickoff()
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert [each["message"] for each in trace.only(name="ask")["metadata"]["response"]["asked"]] == [
        planted["the first question"],
        planted["the second question"],
    ]


@pytest.mark.plants("conversation_turn_started", "conversation_route_selected", "flow_input_requested")
@pytest.mark.plants("flow_input_received", "hook_dispatched")
def test_a_turn_of_a_conversation_comes_out(traces: SentTraces) -> None:
    """A conversation turn's messages, route, questions to a person and reason to stop appear in the trace."""
    planted = Planted()
    source = object()
    turn = {"flow_name": "Talk", "session_id": planted["the session"]}
    asks = {"flow_name": "Talk", "method_name": "ask", "message": planted["what is asked"]}
    told = {"metadata": {"of": planted["beside what is asked"]}, "response": planted["what a person says"]}
    crewai_event_bus.emit(source, ConversationTurnStartedEvent(**turn))
    for index, role in enumerate(("user", "assistant")):
        said = {"role": role, "content": planted[f"what the {role} says"], "message_index": index}
        crewai_event_bus.emit(source, ConversationMessageAddedEvent(**turn, **said))
    route = {"route": planted["a route"], "previous_intent": planted["an intent"]}
    crewai_event_bus.emit(source, ConversationRouteSelectedEvent(**turn, **route))
    crewai_event_bus.emit(source, FlowInputRequestedEvent(**asks))
    crewai_event_bus.emit(source, FlowInputReceivedEvent(**asks, **told))
    hook = {"interception_point": planted["a point"], "hook_count": 1, "duration_ms": 1.0, "outcome": "aborted"}
    crewai_event_bus.emit(source, HookDispatchedEvent(**hook, abort_reason=planted["why it stops"]))
    crewai_event_bus.emit(source, ConversationTurnCompletedEvent(**turn))
    assert planted.missing_in(traces.one().body) == []


@pytest.mark.plants("a2a_delegation_started")
@pytest.mark.parametrize("fails", [False, True])
def test_an_agent_of_another_service_comes_out(fails: bool, traces: SentTraces) -> None:
    """A remote agent's input, identity, and answer or error appear in the trace."""
    planted = Planted()
    source = object()
    asked = {
        "endpoint": "http://localhost",
        "task_description": planted["what it is asked"],
        "agent_id": "a-1",
        "agent_card": {"name": planted["its name"], "skills": [planted["what it can"]]},
        "metadata": {"of": planted["beside what it is asked"]},
    }
    said = {"error": planted["why it fails"]} if fails else {"result": planted["what it answers"]}
    crewai_event_bus.emit(source, A2ADelegationStartedEvent(**asked))
    crewai_event_bus.emit(source, A2ADelegationCompletedEvent(status="failed" if fails else "completed", **said))
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert trace.root["status"] == ("ERROR" if fails else "OK")
