"""Misuses of the decorators and blocks: each is logged once, with the place and the correction."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Any

import pytest

import pandaprobe_otel as pp
from pandaprobe_otel.capture.handles import KNOWN_COUNTS
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.process import guard
from span_recorder import SpanRecorder

SECRET = "s3cr3t-7f1c"


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.LogCaptureFixture]:
    """Yield the log of a process in which no misuse was logged yet."""
    gc.collect()
    monkeypatch.setattr(guard, "_mistakes", type(guard._mistakes)())
    with caplog.at_level(logging.WARNING, logger="pandaprobe_otel"):
        yield caplog


@pytest.mark.parametrize("ignored", ["tokn", "Token", "tokens", "api_token", "secret_token"])
def test_a_misspelt_name_hides_what_it_may_have_meant(
    recorder: SpanRecorder, log: pytest.LogCaptureFixture, ignored: str
) -> None:
    """A misspelt name in `ignore` hides the argument with a similar name, behind a marker, and no other."""

    @pp.tool(ignore=(ignored,))
    def look_up(number: str, token: str = SECRET) -> int:
        return 1

    (line,) = log.messages
    assert f"ignore={ignored!r} names no argument of" in line
    assert "look_up(), so token is hidden in its spans: correct it." in line
    look_up("A-17", SECRET)
    look_up("A-17", token=SECRET)
    look_up("A-17")
    for span in recorder.spans:
        assert SECRET not in str(span.attributes)
        (mapped,) = map_trace([span])["spans"]
        assert mapped["input"] == {"number": "A-17", "token": f"[hidden: ignore={ignored!r} names no argument]"}
    assert len(log.messages) == 1


def test_a_name_without_a_similar_argument_hides_them_all(
    recorder: SpanRecorder, log: pytest.LogCaptureFixture
) -> None:
    """A name in `ignore` without a similar argument hides all arguments, since any of them may be meant."""

    @pp.agent(ignore="credentials")
    def look_it_up(number: str, pin: str) -> int:
        return 1

    (line,) = log.messages
    assert "so every argument is hidden" in line
    look_it_up("A-17", SECRET)
    assert recorder.input("look_it_up") == "[hidden: ignore='credentials' names no argument]"


def test_one_list_of_secrets_for_many_functions(recorder: SpanRecorder, log: pytest.LogCaptureFixture) -> None:
    """If another name in `ignore` hides an argument, an unknown name is logged and hides nothing."""

    @pp.tool(ignore=("token", "password"))
    def look_up(number: str, token: str) -> int:
        return 1

    (line,) = log.messages
    assert "ignore='password' names no argument" in line
    assert "so nothing is hidden" in line
    look_up("A-17", SECRET)
    assert recorder.input() == {"number": "A-17"}


def test_names_of_any_keyword_are_no_mistakes(recorder: SpanRecorder, log: pytest.LogCaptureFixture) -> None:
    """Names in `ignore` and `capture` are not logged for `**rest`."""

    @pp.tool(ignore=("token",), capture=("number", "token"))
    def call(number: str, **rest: Any) -> int:
        return 3

    call("A-19", token=SECRET)
    assert log.messages == []
    assert recorder.input("call")["number"] == "A-19"
    assert SECRET not in str([span.attributes for span in recorder.spans])


def test_a_counter_of_an_unknown_name_is_logged_and_kept(recorder: SpanRecorder, log: pytest.LogCaptureFixture) -> None:
    """An unknown counter is logged once and kept in the span's metadata, and the known counters are recorded."""
    for _ in range(3):
        with pp.llm("call") as span:
            span.set_token_usage(prompt_tokens=10, completion_tokens=5, cached=3)
            span.set_metadata({"attempt": 1})
    (mapped,) = map_trace([recorder.spans[0]])["spans"]
    assert mapped["token_usage"] == {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    assert mapped["metadata"]["token_usage"] == {"cached": 3}
    assert mapped["metadata"]["attempt"] == 1
    (line,) = log.messages
    assert "set_token_usage: cached is not one of prompt_tokens," in line
    assert "kept in the span's metadata" in line
    (problem,) = guard.mistakes()
    assert problem == f"{line.removeprefix('pandaprobe-otel: ')} (3 times)"


@pytest.mark.parametrize("value", [-1, 1.5, "many", True, 2**31])
def test_an_invalid_count_is_logged_and_kept(recorder: SpanRecorder, log: pytest.LogCaptureFixture, value: Any) -> None:
    """An invalid count is logged and kept in the metadata, since it would break the project's sums in PandaProbe."""
    with pp.start_trace("trace") as trace:
        trace.set_token_usage(prompt_tokens=value)
    (mapped,) = map_trace(recorder.spans)["spans"]
    assert mapped["metadata"]["token_usage"] == {"prompt_tokens": value}
    assert "prompt_tokens is not a whole number from 0 to 2147483647" in log.text


def test_the_usage_object_of_a_provider_is_no_mistake(recorder: SpanRecorder, log: pytest.LogCaptureFixture) -> None:
    """The usage object of OpenAI and every count that PandaProbe has are accepted by `set_token_usage`."""
    usage: dict[str, Any] = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 2},
        "service": None,
    }
    with pp.llm("dump") as span:
        span.set_token_usage(**usage)
    with pp.llm("all") as span:
        span.set_token_usage(**dict.fromkeys(KNOWN_COUNTS, 7))
    assert log.messages == []
    dump, every = ({s["name"]: s for s in map_trace([span])["spans"]} for span in recorder.spans)
    assert dump["dump"]["token_usage"]["cache_read_tokens"] == 4
    assert dump["dump"]["token_usage"]["reasoning_tokens"] == 2
    assert set(every["all"]["token_usage"]) == set(KNOWN_COUNTS)


def test_metadata_of_a_root_is_the_traces_too(recorder: SpanRecorder) -> None:
    """Metadata of a root span, from a decorator, block or setter, is also the trace's; that of inner spans is not."""

    @pp.tool(metadata={"inner": 1})
    def look_up() -> int:
        return 1

    @pp.agent(metadata={"team": "a"})
    def answer() -> int:
        return look_up()

    with pp.context(metadata={"around": True}):
        answer()
    trace = map_trace(recorder.spans)
    assert {"team": "a", "around": True}.items() <= trace["metadata"].items()
    assert "inner" not in trace["metadata"]
    spans = {span["name"]: span["metadata"] for span in trace["spans"]}
    assert (spans["answer"]["team"], spans["look_up"]["inner"]) == ("a", 1)

    recorder.clear()
    with pp.agent("block"), pp.tool("inner") as inner:
        inner.set_metadata({"inner": 1})
    assert "inner" not in map_trace(recorder.spans)["metadata"]
    recorder.clear()
    with pp.agent("block") as block:
        block.set_metadata({"team": "b"})
    assert map_trace(recorder.spans)["metadata"]["team"] == "b"


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: pp.session("s"), "session(), user() or context()"),
        (lambda: pp.user("u"), "session(), user() or context()"),
        (lambda: pp.context(tags=["t"]), "session(), user() or context()"),
        (lambda: pp.agent("support"), "the span 'support'"),
        (lambda: pp.tool(), "the span 'tool'"),
        (lambda: pp.start_trace("job").set_output("done"), "the span 'job'"),
    ],
)
def test_a_block_that_is_never_entered_is_logged(log: pytest.LogCaptureFixture, make: Any, what: str) -> None:
    """A block that is never entered is logged once for each line of code that makes the block."""
    for _ in range(3):
        make()
    (line,) = log.messages
    assert line.startswith(f"pandaprobe-otel: {what} at {__file__}:")
    assert line.endswith(" does nothing: use it with `with`, or as a decorator.")


def test_blocks_that_are_used_are_not_logged(recorder: SpanRecorder, log: pytest.LogCaptureFixture) -> None:
    """A block that is entered or used as a decorator is not logged, whether traced or not."""
    pp.session("s")(lambda: 1)
    pp.agent(name="support")(lambda: 1)
    with pp.session("s"), pp.user("u"), pp.context(tags=["t"]), pp.start_trace("job") as job, job.span("step"):
        pass
    gc.collect()
    assert log.messages == []
