"""Content planted in CrewAI's crews, agents, tasks, flows, models and memories appears in the trace."""

from __future__ import annotations

import re
from contextlib import nullcontext
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from agent_traces import SentTraces
from framework_cases import StartModel
from pandaprobe_otel.demo.scripted_endpoint import Reply
from planting import Planted
from weather_crews import forecaster, model_of

from crewai import Crew, Task  # isort: skip  # after `weather_crews`, which configures CrewAI
from crewai.events import crewai_event_bus  # isort: skip
from crewai.events.types import flow_events as flows, memory_events as memory  # isort: skip
from crewai.events.types.a2a_events import A2ADelegationCompletedEvent, A2ADelegationStartedEvent  # isort: skip
from crewai.events.types.hook_events import HookDispatchedEvent  # isort: skip
from crewai.events.types.knowledge_events import (  # isort: skip
    KnowledgeRetrievalCompletedEvent,
    KnowledgeRetrievalStartedEvent,
)
from crewai.events.types.mcp_events import MCPToolExecutionCompletedEvent, MCPToolExecutionStartedEvent  # isort: skip
from crewai.flow import human_feedback  # isort: skip
from crewai.flow.flow import Flow, listen, start  # isort: skip
from crewai.memory import types as memory_types  # isort: skip
from crewai.tools import tool  # isort: skip


SOURCE = object()


class Report(BaseModel):
    """The form of a task's result."""

    verdict: str
    grade: str


def crew_of(planted: Planted, model: StartModel) -> Any:
    """A crew with one agent, which has a tool, and one task, which uses an input."""

    def look_up(city: str, unit: str) -> str:
        """Look a city up."""
        return planted.look_up(city, unit)

    agent = forecaster(
        model_of(model(planted.script)),
        role=planted["the role"],
        goal=planted["the goal"],
        backstory=planted["the backstory"],
        tools=[tool(look_up)],
    )
    task = Task(
        name=planted["the task's name"],
        description=planted["the task"] + " about {topic}",
        expected_output=planted["what is expected"],
        agent=agent,
    )
    return Crew(name=planted["the crew's name"], agents=[agent], tasks=[task])


@pytest.mark.parametrize("streaming", [False, True])
def test_planted_values_are_recorded(streaming: bool, traces: SentTraces, model: StartModel) -> None:
    """A crew's inputs, agent, task, tool arguments, tool result and answer appear in the trace."""
    planted = Planted()
    inputs = {"topic": planted["an input"], "tenant": {"id": [planted["an input that no task names"], 7_000_001]}}
    crew = crew_of(planted, model)
    crew.stream = streaming
    result = crew.kickoff(inputs=inputs)
    assert not streaming or len(list(result)) > 2

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert trace.root["input"] == inputs


def test_parameters_of_a_model_are_recorded(traces: SentTraces, model: StartModel) -> None:
    """Model parameters, also those that no event of CrewAI contains, and pictures, as digests, are in the trace."""
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
    content = [
        {"type": "text", "text": planted["the question"]},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,cGljdHVyZQ=="}},
    ]
    llm.call([{"role": "system", "content": planted["the instructions"]}, {"role": "user", "content": content}])

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    told = trace.only("LLM")["model_parameters"]
    asked = {"temperature": 0.125, "reasoning_effort": "low", "top_logprobs": 3, "logprobs": True}
    assert {name: told[name] for name in asked} == asked
    assert "7000001" in str(told)
    assert "'any'" not in str(trace.body)
    assert sha256(b"picture").hexdigest() in str(trace.only("LLM")["input"])


@pytest.mark.parametrize("kind", ["output_pydantic", "output_json", "alone"])
def test_structured_output_is_recorded(kind: str, traces: SentTraces, model: StartModel) -> None:
    """The messages, schema and structured answer of an agent, in a crew or alone, are in the trace."""
    planted = Planted()
    description = "" if kind == "alone" else planted["the description of a field"]  # the model gets it from a task only
    Report.model_fields["verdict"].description = description
    Report.model_rebuild(force=True)
    answer = {"verdict": planted["the verdict"], "grade": planted["the grade"]}
    llm = model_of(model(lambda _: Reply(text=Report(**answer).model_dump_json())))
    agent = forecaster(llm, role=planted["the role"], tools=[])
    if kind == "alone":
        roles = ("user", "assistant", "user")
        messages = [{"role": role, "content": planted[f"{role} {at}"]} for at, role in enumerate(roles)]
        agent.kickoff(messages, response_format=Report)
    else:
        task = Task(name="report", description="Judge.", expected_output="A verdict", agent=agent, **{kind: Report})
        Crew(name="station", agents=[agent], tasks=[task]).kickoff()

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert planted["the verdict"] in str(trace.root["output"])
    assert kind == "alone" or trace.only("CHAIN", "report")["output"] == trace.root["output"] == answer


@pytest.mark.parametrize("passes", [True, False])
def test_context_and_guardrails_of_a_task_are_recorded(
    passes: bool, traces: SentTraces, model: StartModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second task's context, settings and guardrail verdicts, and the exception of a refusal, are in the trace."""
    monkeypatch.chdir(tmp_path)  # the task writes its output file here
    planted = Planted()

    def guardrail(output: Any):  # type: ignore[no-untyped-def]  # CrewAI reads the annotations
        """Pass, with a changed output, or refuse."""
        return passes, planted["the guardrail's text"]

    agent = forecaster(model_of(model(lambda _: Reply(text=planted["an answer"]))), tools=[])
    given = {"expected_output": "A word", "agent": agent}
    first = Task(name="first", description="One.", **given)
    second = Task(
        name="second",
        description=planted["the second task"],
        context=[first],
        guardrail=guardrail,
        guardrail_max_retries=1,
        output_file=planted["a setting of the task"],
        **given,
    )
    with nullcontext() if passes else pytest.raises(Exception, match="guardrail"):
        Crew(name="station", agents=[agent], tasks=[first, second]).kickoff()

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    verdicts = trace.all(name="guardrail")
    assert len(verdicts) == (1 if passes else 2)
    assert all(planted["the guardrail's text"] in str(span["output"]) for span in verdicts)
    assert passes or planted["the guardrail's text"] in trace.root["error"]


def test_a_flow_is_recorded(traces: SentTraces) -> None:
    """A flow's inputs, its methods' inputs and outputs, and its state appear in the trace."""
    planted = Planted()

    class Reporting(Flow[dict[str, Any]]):
        @start()
        def choose(self) -> dict[str, Any]:
            self.state["choice"] = planted["left in the state"]
            return {"city": planted["a result"], "more": [planted["another result"]]}

        @listen(choose)
        def report(self, given: dict[str, Any]) -> str:
            self.state["report"] = planted["left in the state at the end"]
            return str(planted["the last result"])

    Reporting().kickoff(inputs={"topic": planted["an input"], "tenant": planted["another input"]})

    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert planted["left in the state"] in str(trace.only(name="choose"))


def memory_events(planted: Planted) -> list[Any]:
    """Return the events of a query, a saved text and found knowledge."""
    record = memory_types.MemoryRecord(
        content=planted["a memory"],
        scope=planted["its scope"],
        categories=[planted["its category"]],
        metadata={"who": planted["its metadata"]},
        source=planted["its source"],
    )
    found = memory_types.MemoryMatch(record=record, score=0.5, match_reasons=[planted["why it matches"]])
    query = {"query": planted["the query"], "limit": 7_000_001, "score_threshold": 0.125, "source_type": "m"}
    saved = {"value": planted["a saved text"], "metadata": {"of": planted["its note"]}, "source_type": "m"}
    knowledge = {"query": planted["a question"], "retrieved_knowledge": planted["the knowledge"]}
    return [
        memory.MemoryQueryStartedEvent(**query),
        memory.MemoryQueryCompletedEvent(**query, results=[found], query_time_ms=1.0),
        memory.MemorySaveStartedEvent(**saved),
        memory.MemorySaveCompletedEvent(**saved, save_time_ms=1.0),
        KnowledgeRetrievalStartedEvent(),
        KnowledgeRetrievalCompletedEvent(**knowledge),
    ]


def tool_events(planted: Planted) -> list[Any]:
    """Return the events of an MCP tool that CrewAI calls without an agent's tool."""
    call = {
        "server_name": planted["the server"],
        "server_url": "http://localhost/" + planted["its address"],
        "transport_type": "http",
        "tool_name": "look_up",
        "tool_args": {"city": planted["an argument"]},
    }
    result = {"found": planted["the result"]}
    return [MCPToolExecutionStartedEvent(**call), MCPToolExecutionCompletedEvent(**call, result=result)]


def turn_events(planted: Planted) -> list[Any]:
    """Return the events of a conversation's turn: messages, route, questions to a person and reason to stop."""
    turn = {"flow_name": "Talk", "session_id": planted["the session"]}
    asks = {"flow_name": "Talk", "method_name": "ask", "message": planted["a question"]}
    answer = {"metadata": {"of": planted["a note"]}, "response": planted["a person's answer"]}
    route = {"route": planted["a route"], "previous_intent": planted["an intent"]}
    hook = {"interception_point": planted["a point"], "hook_count": 1, "duration_ms": 1.0, "outcome": "aborted"}
    messages = [{"role": role, "content": planted[role], "message_index": 0} for role in ("user", "assistant")]
    return [
        flows.ConversationTurnStartedEvent(**turn),
        *(flows.ConversationMessageAddedEvent(**turn, **each) for each in messages),
        flows.ConversationRouteSelectedEvent(**turn, **route),
        flows.FlowInputRequestedEvent(**asks),
        flows.FlowInputReceivedEvent(**asks, **answer),
        HookDispatchedEvent(**hook, abort_reason=planted["why it stops"]),
        flows.ConversationTurnCompletedEvent(**turn),
    ]


def delegation_events(planted: Planted, *, fails: bool = False) -> list[Any]:
    """Return the events of a remote agent's work."""
    work = {
        "endpoint": "http://localhost",
        "task_description": planted["the task"],
        "agent_id": "a-1",
        "agent_card": {"name": planted["its name"], "skills": [planted["a skill"]]},
        "metadata": {"of": planted["a note"]},
    }
    end = {"status": "failed", "error": planted["why"]} if fails else {"status": "completed", "result": planted["end"]}
    return [A2ADelegationStartedEvent(**work), A2ADelegationCompletedEvent(**end)]


@pytest.mark.parametrize(
    ("events", "kinds"),
    [
        (memory_events, ["RETRIEVER", "OTHER", "RETRIEVER"]),
        (tool_events, ["TOOL"]),
        (turn_events, ["CHAIN"]),
        (delegation_events, ["AGENT"]),
        (partial(delegation_events, fails=True), ["AGENT"]),
    ],
)
def test_planted_values_of_events_are_recorded(events: Any, kinds: list[str], traces: SentTraces) -> None:
    """Inputs, results and errors of memories, remote tools and agents and conversations appear in traces."""
    planted = Planted()
    for event in events(planted):
        crewai_event_bus.emit(SOURCE, event)
    found = traces.new(len(kinds))
    assert [trace.root["kind"] for trace in found] == kinds
    assert planted.missing_in([trace.body for trace in found]) == []
    if events is memory_events:
        assert {"7000001", "0.125"} <= {*re.findall(r"[\d.]+", str(found))}
    assert {trace.root["status"] for trace in found} == {"ERROR" if isinstance(events, partial) else "OK"}


class Answers:
    """A feedback provider whose person answers at once."""

    def __init__(self, said: str) -> None:
        self._said = said

    def request_feedback(self, context: Any, flow: Any) -> str:
        """Return the answer."""
        return self._said


def test_feedback_of_a_person_is_recorded(traces: SentTraces) -> None:
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


def test_questions_of_a_flow_are_recorded(traces: SentTraces) -> None:
    """Questions and answers during a step appear in the step's metadata, beside its output."""
    planted = Planted()

    class Asking(Flow[dict[str, Any]]):
        @start()
        def ask(self) -> str:
            """Ask two questions, then return a result."""
            step = {"flow_name": "Asking", "method_name": "ask"}
            for number in ("first", "second"):
                question, answer = planted[f"the {number} question"], planted[f"the {number} answer"]
                crewai_event_bus.emit(self, flows.HumanFeedbackRequestedEvent(**step, output="Hm", message=question))
                crewai_event_bus.emit(self, flows.HumanFeedbackReceivedEvent(**step, feedback=answer))
            return str(planted["the result"])

    Asking().kickoff()
    trace = traces.one()
    assert planted.missing_in(trace.body) == []
    assert [each["message"] for each in trace.only(name="ask")["metadata"]["response"]["asked"]] == [
        planted["the first question"],
        planted["the second question"],
    ]
