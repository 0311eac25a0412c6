"""Objects that Instructor extracts from answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import instructor
import pytest
from anthropic import Anthropic
from instructor.core.exceptions import InstructorRetryException
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from agent_traces import AgentTrace, SentTraces
from example_runs import Example
from framework_cases import StartModel, off, recorded_apart, told_by
from pandaprobe_otel.demo.scripted_endpoint import Message, Refusal, Reply, Script, ScriptedEndpoint, ToolCall


class Order(BaseModel):
    """An order of the shop."""

    parcel: str
    weight_kg: float


GOOD = {"parcel": "P-4711", "weight_kg": 2.5}
ASKED = "Parcel P-4711 weighs 2.5 kg."


def answers(*made: dict[str, Any]) -> Script:
    """A model that calls the tool `Order` with these arguments, one after the other; the last ones again and again."""
    left = [*made]

    def script(_: Sequence[Message]) -> Reply:
        return Reply(tool_calls=(ToolCall(name="Order", arguments=left.pop(0) if len(left) > 1 else left[0]),))

    return script


def sync_client(endpoint: ScriptedEndpoint) -> Any:
    """Instructor's client over openai's."""
    return instructor.from_openai(OpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0))


def async_client(endpoint: ScriptedEndpoint) -> Any:
    """Instructor's asynchronous client."""
    return instructor.from_openai(AsyncOpenAI(base_url=endpoint.base_url, api_key="any", max_retries=0))


def wanted(**more: Any) -> dict[str, Any]:
    """The arguments of every call."""
    return {"model": "gpt-5-mini", "response_model": Order, "messages": [{"role": "user", "content": ASKED}], **more}


COUNTED = {"stream_options": {"include_usage": True}}
"""The services count the tokens of a stream only if the request says so."""


async def stream(endpoint: ScriptedEndpoint, method: str, count: int = 99) -> None:
    """Read so many objects of a streamed answer."""
    objects = getattr(async_client(endpoint), method)(**wanted(**COUNTED))
    async for _ in objects:
        if (count := count - 1) == 0:
            await objects.aclose()
            break


Ways = Callable[[ScriptedEndpoint], Any]
WAYS: dict[str, Ways] = {
    "sync": lambda endpoint: sync_client(endpoint).create(**wanted()),
    "patched": lambda endpoint: instructor.patch(
        OpenAI(base_url=endpoint.base_url, api_key="any")
    ).chat.completions.create(**wanted(max_retries=2)),
    "completion": lambda endpoint: sync_client(endpoint).create_with_completion(**wanted()),
    "async": lambda endpoint: asyncio.run(async_client(endpoint).create(**wanted())),
    "partial": lambda endpoint: [*sync_client(endpoint).create_partial(**wanted(**COUNTED))],
    "async partial": lambda endpoint: asyncio.run(stream(endpoint, "create_partial")),
}


def is_whole(trace: AgentTrace, endpoint: ScriptedEndpoint, failures: int) -> None:
    """Assert that one span with the question and the object surrounds all model calls."""
    trace.is_sound(endpoint.exchanges)
    (root, *calls) = trace.spans
    assert [span["parent_span_id"] for span in calls] == [root["span_id"]] * len(endpoint.exchanges)
    assert (root["kind"], root["status"], root["output"]) == ("CHAIN", "OK", GOOD), str(trace)
    assert ASKED in str(root["input"])
    about = root["metadata"]
    assert (about["provider"], about["attempts"]) == ("openai", failures + 1)
    told = about.get("response", {}).get("failed_attempts", [])
    assert [each["attempt"] for each in told] == [*range(1, failures + 1)]
    assert all("weight_kg" in each["error"] for each in told)


@pytest.mark.parametrize("way", WAYS)
def test_one_span_holds_all_attempts(way: str, traces: SentTraces, model: StartModel) -> None:
    """An answer without a field is asked for again; streams are not."""
    failures = 0 if "partial" in way else 1
    endpoint = model(answers(*[{"parcel": "P-4711"}] * failures, GOOD))
    WAYS[way](endpoint)
    is_whole(traces.one(), endpoint, failures)


def test_another_client_and_the_context_of_validators(traces: SentTraces, model: StartModel) -> None:
    """The values that the app gives its validators are recorded beside the conversation."""
    endpoint = model(answers(GOOD))
    client = instructor.from_anthropic(Anthropic(base_url=endpoint.url, api_key="any"))
    client.create(**wanted(max_tokens=100, context={"shop": "of toys"}))
    trace = traces.one()
    assert trace.root["input"]["context"] == {"shop": "of toys"}
    assert trace.root["metadata"]["provider"] == "anthropic"
    assert len(trace.all("LLM")) == 1


def test_a_stream_of_objects_is_recorded_as_far_as_it_was_read(traces: SentTraces, model: StartModel) -> None:
    """The app leaves the second stream after its first object."""
    endpoint = model(answers({"tasks": [GOOD, GOOD]}))
    asyncio.run(stream(endpoint, "create_iterable"))
    assert traces.one().root["output"] == [GOOD, GOOD]
    asyncio.run(stream(endpoint, "create_iterable", 1))
    left = traces.one().root
    assert left["output"] == [GOOD]
    assert left["metadata"]["outcome"] in ("partial", "cancelled")  # Instructor leaves its own stream to the event loop


@pytest.mark.parametrize("refuses", [False, True], ids=["unfit", "refused"])
def test_the_last_failure_is_the_error_of_the_span(refuses: bool, traces: SentTraces, model: StartModel) -> None:
    """The app gets Instructor's own exception."""

    def refusing(_: Sequence[Message]) -> Reply:
        raise Refusal(400, "There is no weight.")

    endpoint = model(refusing if refuses else answers({"parcel": "P-4711"}))
    with pytest.raises(InstructorRetryException):
        sync_client(endpoint).create(**wanted(max_retries=1))
    trace = traces.one()
    assert (trace.root["status"], trace.body["status"]) == ("ERROR", "ERROR")
    assert "weight" in trace.root["error"]
    assert trace.root["metadata"]["attempts"] == (1 if refuses else 2)


def test_the_example_extracts_two_complaints(
    traces: SentTraces, model: StartModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first answer does not fit the class."""
    example = Example("instructor_extraction")
    example.run(model(example.script), monkeypatch)
    first, second = traces.new(2)
    assert first.body["session_id"] == second.body["session_id"]
    assert (len(first.all("LLM")), len(second.all("LLM"))) == (2, 1)


def test_nothing_else_changes(traces: SentTraces, model: StartModel) -> None:
    """The app's hooks are called; no content is recorded without `capture_content`; calls without a class have no
    span of their own, and neither has any call while the integration is off."""
    endpoint, heard = model(answers({"parcel": "P-4711"}, GOOD)), list[str]()
    client = sync_client(endpoint)
    client.on("parse:error", lambda error, **_: heard.append(type(error).__name__))
    with recorded_apart("instructor", capture_content=False) as recorder:
        assert client.create(**wanted()).model_dump() == GOOD
    assert heard == ["ValidationError"]
    assert recorder.one("extract Order").attributes
    assert [word for word in ("4711", "weight") if word in told_by(recorder)] == []
    with off("instructor"):
        client.create(**wanted())
    client.create(**wanted(response_model=None))
    assert [span["kind"] for trace in traces.new(3) for span in trace.spans] == ["LLM"] * 4
