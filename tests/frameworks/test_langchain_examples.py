"""The examples for LangChain, LangGraph and DeepAgents run without a key, and make complete traces."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agent_traces import SentTraces
from example_runs import Example, run_example
from pandaprobe_otel.demo.scripted_endpoint import Script, ScriptedEndpoint

RunExample = Callable[[str], list[str]]


@pytest.fixture
def run(
    model: Callable[[Script], ScriptedEndpoint], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunExample:
    """Return a function that runs an example in this process and returns the printed lines."""

    def printed(name: str) -> list[str]:
        example = Example(name)
        example.run(model(example.script), monkeypatch)
        return capsys.readouterr().out.splitlines()

    return printed


def test_langchain(run: RunExample, traces: SentTraces) -> None:
    """The LangChain example makes two turns of one session; the streamed turn has its tokens."""
    assert run("langchain_agent")[-1] == "You are welcome."

    asked, thanked = traces.new(2)
    assert {trace.body["session_id"] for trace in (asked, thanked)} == {"conversation-1"}
    assert asked.only("TOOL")["input"] == {"parcel": "P-4711"}
    assert len(asked.all("LLM")) == 2
    assert thanked.only("LLM")["token_usage"]["completion_tokens"] > 0
    assert thanked.only("LLM")["completion_start_time"]


def test_langgraph(run: RunExample, traces: SentTraces) -> None:
    """The LangGraph example makes an interrupted run and a resumed run of one session."""
    assert run("langgraph_agent")[-1].startswith("sent: We are sorry")

    paused, resumed = traces.new(2)
    assert {trace.body["session_id"] for trace in (paused, resumed)} == {"case-7"}
    assert [span["name"] for span in paused.children(paused.root)] == ["write_letter", "ask_human"]
    assert [span["name"] for span in resumed.children(resumed.root)] == ["ask_human", "send"]
    assert {span["name"] for span in paused.spans if span["status"] == "UNSET"} == {paused.root["name"], "ask_human"}
    assert paused.body["metadata"]["outcome"] == "interrupted"
    assert {span["status"] for span in resumed.spans} == {"OK"}


def test_deepagents(run: RunExample, traces: SentTraces) -> None:
    """The DeepAgents example has the sub-agent below its task."""
    assert run("deepagents_agent") == ["The storekeeper says: There are 3."]

    trace = traces.one()
    inner = trace.only("AGENT", "storekeeper")
    assert [span["kind"] for span in trace.above(inner)] == ["TOOL", "CHAIN", "AGENT"]
    assert trace.only("TOOL", "count_stock") in trace.below(inner)


def test_alone() -> None:
    """Without any settings, an example starts the servers that it needs and prints the tree."""
    printed = run_example("langchain_agent")
    assert "shop_assistant" in printed
    assert "track_parcel" in printed
