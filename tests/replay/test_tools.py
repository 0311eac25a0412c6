"""Calls of decorated tools: answered by a recording that includes tools, and run otherwise."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import pandaprobe_otel
from pandaprobe_otel.capture import tool_answers
from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.cassette import load
from pandaprobe_otel.replay.divergence import Divergence
from provider_server import ProviderServer, json_reply
from span_recorder import recording as spans_recorded

RAN: list[str] = []


class RefundError(Exception):
    """An error of the app with a text as its only argument."""


class OddError(Exception):
    """An error of the app with another argument."""

    def __init__(self, *, number: int) -> None:
        super().__init__(f"number {number}")


@pandaprobe_otel.tool
def look_up(number: str, *, key: str = "") -> Any:
    """Note that the tool has run."""
    RAN.append(number)
    return {"order": number, "lines": [1, 2.5, None, True], "pair": ("a", [1], {"b": (2,)})}


@pandaprobe_otel.tool(name="refund", ignore=("token",))
async def pay_back(number: str, token: str) -> Any:
    """Note that the tool has run."""
    RAN.append(number)
    return number


@pandaprobe_otel.tool
def fails(kind: str) -> Any:
    """Note that the tool has run, and raise an error of this kind."""
    RAN.append(kind)
    raise {"own": RefundError("too late"), "odd": OddError(number=3), "builtin": ValueError("no number")}[kind]


@pandaprobe_otel.tool(capture=False)
def private(number: str) -> Any:
    """Note that the tool has run."""
    RAN.append(number)


@pandaprobe_otel.tool
def pieces(number: str) -> Iterator[str]:
    """Note that the generator has run."""
    RAN.append(number)
    yield number


@pandaprobe_otel.tool
async def letters(number: str) -> AsyncIterator[str]:
    """Note that the asynchronous generator has run."""
    RAN.append(number)
    yield number


class Shop:
    """A class of the app with tools as methods."""

    @pandaprobe_otel.tool
    def price(self, number: str) -> Any:
        """Note that the tool has run."""
        RAN.append(number)
        return 7

    @pandaprobe_otel.tool
    @classmethod
    def rate(cls, number: str) -> Any:
        """Note that the tool has run."""
        RAN.append(number)
        return cls.__name__


@pytest.fixture(autouse=True)
def nothing_has_run() -> None:
    """Forget the tools that ran before."""
    RAN.clear()


def twice(path: Path, program: Callable[[], Any], **options: Any) -> tuple[Any, Any]:
    """Record a program and replay it, and return both results."""
    found: list[Any] = []
    for _ in ("recorded", "played"):
        with pandaprobe_otel.recording(path, **{"tools": True, **options}):
            found.append(program())
    return found[0], found[1]


def test_a_tool_does_not_run_again(tmp_path: Path) -> None:
    """Functions, coroutine functions and methods are replayed with the same results and spans, without running.

    Tuples are replayed as lists, because JSON has no tuples.
    """

    def program() -> Any:
        return look_up("A", key="k"), asyncio.run(pay_back("B", "t0ken")), Shop().price("C"), Shop.rate("D")

    with spans_recorded() as recorder:
        live, played = twice(tmp_path / "one.yaml", program)
        names = recorder.names
    assert list(played) == json.loads(json.dumps(live))
    assert RAN == ["A", "B", "C", "D"]
    assert names == ["look_up", "refund", "price", "rate"] * 2
    assert recorder.output_of(recorder.spans[4]) == recorder.output_of(recorder.spans[0])
    assert "t0ken" not in (tmp_path / "one.yaml").read_text()


def test_tools_run_unless_the_recording_includes_them(tmp_path: Path) -> None:
    """By default all tools run; of several, only the named ones are replayed."""

    def program() -> Any:
        return look_up("A"), Shop().price("B")

    twice(tmp_path / "one.yaml", program, tools=False)
    assert RAN == ["A", "B"] * 2
    RAN.clear()
    twice(tmp_path / "two.yaml", program, tools=["price"])
    assert RAN == ["A", "B", "A"]
    RAN.clear()
    program()
    assert RAN == ["A", "B"]


@pytest.mark.parametrize(("kind", "played"), [("own", RefundError), ("builtin", ValueError), ("odd", RuntimeError)])
def test_errors_are_raised_again(kind: str, played: type[Exception], tmp_path: Path) -> None:
    """A recorded error is raised with its own class if this class takes one text, else as a RuntimeError."""
    raised: list[Exception] = []

    def program() -> None:
        try:
            fails(kind)
        except Exception as error:  # noqa: BLE001 - what the tool raises
            raised.append(error)

    twice(tmp_path / "one.yaml", program)
    assert [kind] == RAN
    assert type(raised[1]) is played
    assert str(raised[0]) in str(raised[1])


def test_other_arguments_are_a_divergence(tmp_path: Path) -> None:
    """Other arguments of a recorded tool are a divergence, even if a framework catches it; the tool does not run."""
    path = tmp_path / "one.yaml"
    with pandaprobe_otel.recording(path, tools=True):
        look_up("A-1")

    @pandaprobe_otel.recording(path, tools=True)
    def program(*numbers: str) -> None:
        for number in numbers[:-1]:
            look_up(number)
        with pytest.raises(Divergence):
            look_up(numbers[-1])

    with pytest.raises(Divergence, match=r"tool look_up, 1st call: .*look_up\n  arguments\.number\n") as caught:
        program("A-9")
    assert (caught.value.path, caught.value.recorded, caught.value.asked) == ("arguments.number", "A-1", "A-9")
    with pytest.raises(Divergence, match="tool look_up, 2nd call"):
        program("A-1", "A-1")
    assert RAN == ["A-1"]
    for ignore in (["arguments.number"], [re.compile(r"A-\d+")]):
        with pandaprobe_otel.recording(path, tools=True, ignore=ignore):
            look_up("A-77")


def test_tools_answer_by_place_and_order(tmp_path: Path) -> None:
    """Of equal calls, the one recorded in the same span comes first, then the others in order; keys have no order."""
    counts = iter(range(9))

    @pandaprobe_otel.tool
    def count(**given: Any) -> int:
        return next(counts)

    def program(*places: str) -> list[int]:
        found: list[int] = []
        for place in places:
            with pandaprobe_otel.span(place):
                found.append(count(a=1, deep={"b": 1.0, "a": [1]}))
        return found

    with spans_recorded():
        with pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True):
            assert program("one", "two") == [0, 1]
        with pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True):
            with pandaprobe_otel.span("two"):
                assert count(deep={"a": (1,), "b": 1}, a=1) == 1
            assert program("two") == [0]


def test_new_records_tools_too(tmp_path: Path) -> None:
    """In mode `new`, an unknown tool call runs and is recorded."""
    for options in ({}, {"mode": "new"}, {"mode": "none"}):
        with pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True, **options):  # type: ignore[arg-type]
            look_up("A")
            if options:
                look_up("B")
    assert RAN == ["A", "B"]


def test_a_result_that_is_not_json_fails_the_recording(tmp_path: Path) -> None:
    """If a tool returns an object that is not JSON, the app gets it, but the recording fails."""

    @pandaprobe_otel.tool
    def objects() -> Any:
        return {1, 2}

    @pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True)
    def program() -> None:
        assert objects() == {1, 2}

    with pytest.raises(RecordingError, match="the tool objects returned a set"):
        program()
    assert not (tmp_path / "one.yaml").exists()


def test_an_awaitable_of_the_app_stays_what_it_is(tmp_path: Path) -> None:
    """A tool that returns a future or a task returns it in a recording too, which refuses it as a result."""

    @pandaprobe_otel.tool
    def starts() -> asyncio.Future[str]:
        return asyncio.get_running_loop().create_future()

    async def program() -> None:
        assert isinstance(starts(), asyncio.Future)

    with (
        pytest.raises(RecordingError, match="the tool starts returned a"),
        pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True),
    ):
        asyncio.run(program())


def test_generators_and_uncaptured_tools_run(tmp_path: Path) -> None:
    """Generators, and tools whose arguments are not captured, run in a replay."""

    def program() -> Any:
        async def listed() -> list[str]:
            return [letter async for letter in letters("C")]

        return private("A"), list(pieces("B")), asyncio.run(listed())

    live, played = twice(tmp_path / "one.yaml", program)
    assert live == played
    assert RAN == ["A", "B", "C"] * 2
    assert "tools:" not in (tmp_path / "one.yaml").read_text()


def test_an_interrupted_tool_is_not_kept(tmp_path: Path) -> None:
    """A cancelled tool call is not recorded, because it has no result."""

    @pandaprobe_otel.tool
    async def waits() -> None:
        await asyncio.Event().wait()

    async def program() -> None:
        task = asyncio.ensure_future(waits())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with pandaprobe_otel.recording(tmp_path / "one.yaml", tools=True):
        asyncio.run(program())
    assert "waits" not in (tmp_path / "one.yaml").read_text()


def test_a_tool_within_a_tool_is_not_called(tmp_path: Path) -> None:
    """A tool within a replayed tool is not called."""

    @pandaprobe_otel.tool
    def objects() -> Any:
        RAN.append("objects")
        return {1, 2}

    @pandaprobe_otel.tool
    def outer() -> int:
        return int(len(objects()) + look_up("A")["lines"][0])

    live, played = twice(tmp_path / "one.yaml", outer)
    assert (live, played, RAN) == (3, 3, ["objects", "A"])
    assert [call.name for call in load(tmp_path / "one.yaml").tools] == ["outer"]


def test_a_tool_that_calls_a_model_runs(tmp_path: Path) -> None:
    """A tool that calls a model always runs, with its model and its inner tools replayed."""

    @pandaprobe_otel.tool
    def expert(question: str) -> str:
        RAN.append(question)
        if question == "easy":
            return "yes"
        answer = httpx.post(f"{server.url}/v1/chat/completions", json={"model": "m", "messages": []})
        return f"{answer.json()['text']} {look_up('A')['order']}"

    with ProviderServer() as server:
        server.script = lambda _: json_reply({"text": "no"})
        live, played = twice(tmp_path / "one.yaml", lambda: [expert("hard"), expert("easy")])
        assert len(server.received) == 1
    assert live == played == ["no A", "yes"]
    assert RAN == ["hard", "A", "easy", "hard", "easy"]


def test_a_tool_that_is_called_no_more_is_named(tmp_path: Path) -> None:
    """Recorded tool calls that were not made are a failure, unless unused calls or an early end are allowed."""
    path = tmp_path / "one.yaml"
    with pandaprobe_otel.recording(path, tools=True):
        look_up("A")
        look_up("B")
    with (
        pytest.raises(Divergence, match="never made: tool look_up, 2nd call"),
        pandaprobe_otel.recording(path, tools=True),
    ):
        look_up("A")
    for options in ({"allow_unused": True}, {"ends_at": 0}, {"tools": False}):
        with pandaprobe_otel.recording(path, **{"tools": True, **options}):  # type: ignore[arg-type]
            look_up("A")


def test_a_tool_that_waits_for_a_person_runs_always(tmp_path: Path) -> None:
    """A tool that waits for a person runs again, because the exception that pauses the framework is not recorded."""
    form = tool_answers.Form(steers=lambda error: isinstance(error, LookupError))

    def ask() -> None:
        RAN.append("asked")
        raise LookupError("wait")

    def program() -> None:
        with pytest.raises(LookupError):
            tool_answers.call("approve", dict, ask, form)

    twice(tmp_path / "one.yaml", program)
    assert RAN == ["asked", "asked"]
