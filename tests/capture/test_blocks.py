"""Spans and traces as blocks, and the handles that blocks return."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.trace import StatusCode

import pandaprobe_otel as pp
from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from pandaprobe_otel.process.guard import failures
from span_recorder import SpanRecorder


async def test_async_span_block(recorder: SpanRecorder) -> None:
    """A block makes one span with its kind, input and output, and spans inside the block are its children."""
    async with pp.tool("search", input="early") as s:
        s.set_input({"q": "tea"})
        s.set_output(["b"])
        with pp.retriever(), pp.span("none", input=None):
            await asyncio.sleep(0)
    assert recorder.tree() == {"none": "retriever", "retriever": "search", "search": None}
    assert "pandaprobe.input" not in recorder.attributes("retriever")
    assert recorder.input("none") is None
    assert recorder.input("search") == {"q": "tea"}
    assert recorder.output("search") == ["b"]


def test_everything_a_handle_can_set(recorder: SpanRecorder) -> None:
    """Each setter of the official SDK fills its field of the trace."""
    messages = {"messages": [{"role": "user", "content": "hi"}]}
    with pp.span("call", kind="LLM", metadata={"a": 1}) as s:
        s.set_input(messages)
        s.set_output({"ho": 1})
        s.set_model("gpt-x")
        s.set_model_parameters({"temperature": 0.5})
        s.set_token_usage(prompt_tokens=12, completion_tokens=3, reasoning_tokens=1)
        s.set_cost(total=0.25, input=0.2)
        s.set_completion_start_time()
        s.set_metadata({"b": 2})
    (span,) = map_trace(recorder.spans)["spans"]
    assert (span["input"], span["output"], span["model"]) == (messages, {"ho": 1}, "gpt-x")
    assert span["model_parameters"] == {"temperature": 0.5}
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "reasoning_tokens": 1}
    assert span["token_usage"] == {**usage, "total_tokens": 15}
    assert span["cost"] == {"total": 0.25, "input": 0.2}
    assert span["started_at"] <= span["completion_start_time"] <= span["ended_at"]
    assert span["metadata"].items() >= {"a": 1, "b": 2}.items()
    attributes = recorder.attributes()
    assert attributes["gen_ai.request.model"] == "gpt-x"
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (12, 3)


@pytest.mark.parametrize("zone", [UTC, None], ids=["UTC", "local"])
def test_the_time_of_the_first_token(recorder: SpanRecorder, zone: Any) -> None:
    """The time is kept to the microsecond; one without a zone is local."""
    first = datetime(2026, 3, 1, 12, 0, 0, 250_001, tzinfo=zone)
    with pp.span("s") as s:
        s.set_completion_start_time(first)
    second = int(first.replace(microsecond=0).timestamp())
    assert recorder.attributes()["pandaprobe.completion_start_time_unix_nano"] == second * 10**9 + 250_001_000


def test_usage_of_an_agent_is_not_repeated_in_the_standard_attributes(recorder: SpanRecorder) -> None:
    """Summed usage of an agent is not written to `gen_ai.usage.*`, which other backends would add up again."""
    with pp.agent("plan") as s:
        s.set_token_usage(prompt_tokens=1, completion_tokens=1)
    assert not [name for name in recorder.attributes() if name.startswith("gen_ai.usage")]


def test_set_error_by_text_and_by_exception(recorder: SpanRecorder) -> None:
    """An error set by hand, as a text or an exception, makes the span an ERROR."""
    with pp.span("text") as s:
        s.set_error("quota used up")
    with pp.span("exception") as s:
        s.set_error(ValueError("bad"))
    assert recorder.one("text").status.status_code is StatusCode.ERROR
    assert recorder.attributes("text")["pandaprobe.error"] == "quota used up"
    assert recorder.one("exception").status.status_code is StatusCode.ERROR
    assert recorder.attributes("exception")["error.type"] == "ValueError"


def test_exception_out_of_a_block(recorder: SpanRecorder) -> None:
    """An exception that leaves blocks reaches the caller, and is recorded on the span of each block."""
    error = KeyError("k")
    with pytest.raises(KeyError) as caught, pp.start_trace("t") as t, t.span("s"):
        raise error
    assert caught.value is error
    assert [span.status.status_code for span in recorder.spans] == [StatusCode.ERROR, StatusCode.ERROR]


def test_start_trace(recorder: SpanRecorder) -> None:
    """A trace block has an id and spans, and its spans inherit its session, user, tags and metadata."""
    with pp.start_trace(
        "shop", input="where?", session_id="s-1", user_id="u-1", tags=["beta"], metadata={"plan": "pro"}
    ) as t:
        with t.span("ask", kind="LLM", model="m", metadata={"try": 1}) as s:
            span_id = s.span_id
            assert s.trace_id == t.trace_id == pp.current_trace_id()
        t.set_output("there")
        t.set_metadata({"extra": True})
        t.set_status(pp.TraceStatus.ERROR)
    root, child = recorder.one("shop"), recorder.one("ask")
    assert root.context is not None
    assert child.context is not None
    assert t.trace_id == trace_uuid(root.context.trace_id)
    assert span_id == span_uuid(child.context.trace_id, child.context.span_id)
    assert recorder.tree() == {"ask": "shop", "shop": None}
    assert (recorder.input("shop"), recorder.output("shop")) == ("where?", "there")
    assert recorder.json("pandaprobe.metadata", "shop") == {"plan": "pro", "extra": True}
    assert root.status.status_code is StatusCode.ERROR
    for name in ("shop", "ask"):
        attributes = recorder.attributes(name)
        assert attributes["session.id"] == "s-1"
        assert attributes["user.id"] == "u-1"
        assert attributes["pandaprobe.tags"] == ("beta",)
    assert recorder.json("pandaprobe.span.metadata", "ask") == {"try": 1}


def test_trace_inside_a_trace_is_a_child(recorder: SpanRecorder) -> None:
    """A trace inside a trace is a child, by decorator, block or `start_trace`; only the outermost names the trace."""

    @pp.trace
    def inner() -> None:
        with pp.trace("innermost"), pp.start_trace("last"):
            pass

    with recorder.tracer.start_as_current_span("web request"), pp.trace("outer"):
        inner()
    assert recorder.tree() == {
        "last": "innermost",
        "innermost": "inner",
        "inner": "outer",
        "outer": "web request",
        "web request": None,
    }
    named = {s.name: (s.attributes or {}).get("pandaprobe.trace.name") for s in recorder.spans}
    assert named == {"last": None, "innermost": None, "inner": None, "outer": "outer", "web request": None}


def test_trace_inside_a_foreign_span_gives_the_trace_its_content(recorder: SpanRecorder) -> None:
    """Below another library's span, input and output of `@trace` are copied to the trace; those of a root are not."""

    @pp.trace
    def answer(question: str) -> str:
        return question + "!"

    answer("root")
    assert "pandaprobe.trace.input" not in recorder.attributes("answer")
    with recorder.tracer.start_as_current_span("web request"):
        answer("child")
    child = next(span for span in recorder.spans if span.parent is not None)
    attributes: dict[str, Any] = dict(child.attributes or {})
    assert attributes["pandaprobe.trace.input"] == attributes["pandaprobe.input"] == '"child"'
    assert attributes["pandaprobe.trace.output"] == attributes["pandaprobe.output"] == '"child!"'


def test_spans_of_a_trace_in_a_bare_thread(recorder: SpanRecorder) -> None:
    """`trace.span` in a thread without context belongs to the trace."""
    with pp.start_trace("t", session_id="s") as t:

        def work() -> None:
            with t.span("in thread"), pp.span("below"):
                pass

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert recorder.tree() == {"below": "in thread", "in thread": "t", "t": None}
    assert recorder.attributes("below")["session.id"] == "s"


def test_values_set_before_the_block_starts_are_kept(recorder: SpanRecorder) -> None:
    """A handle may be filled before its block starts, as in the official SDK."""
    t = pp.start_trace("t")
    t.set_input("early")
    t.set_metadata({"k": 1})
    with t:
        s = t.span("s")
        s.set_model("m")
        with s:
            pass
    assert recorder.input("t") == "early"
    assert recorder.json("pandaprobe.metadata", "t") == {"k": 1}
    assert recorder.attributes("s")["pandaprobe.model"] == "m"


def test_setting_after_the_end_does_nothing(recorder: SpanRecorder) -> None:
    """Setters after the end of a block do nothing, and OpenTelemetry's warning about ended spans is not logged."""
    with pp.span("s") as s:
        pass
    s.set_output("late")
    s.set_error("late")
    assert "pandaprobe.output" not in recorder.attributes()
    assert recorder.one().status.status_code is StatusCode.UNSET


def test_arguments_of_the_wrong_sort_do_not_raise(recorder: SpanRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """A setter with an invalid value is counted and logged, and the rest of the span is recorded."""
    wrong: Any = 7
    before = failures()
    with pp.start_trace("t", metadata=wrong) as t, pp.span("b", metadata=wrong), t.span("s", metadata=wrong) as s:
        t.set_status("NO SUCH STATUS")
        t.set_metadata(wrong)
        s.set_metadata(wrong)
        s.set_model_parameters(wrong)
        s.set_completion_start_time(wrong)
        s.set_output("fine")
    pp.span(metadata=wrong)(lambda: 1)()
    assert recorder.names == ["s", "b", "t", "<lambda>"]
    assert recorder.output("s") == "fine"
    for setter in ("set_status", "set_completion_start_time"):
        assert failures()[setter] == before.get(setter, 0) + 1
    caplog.clear()


def test_handles_while_nobody_traces(nobody: None) -> None:
    """Without a provider every handle works, has nil ids, and encodes no value."""
    nil = "00000000-0000-0000-0000-000000000000"

    class Shy:
        def __repr__(self) -> str:
            raise AssertionError("somebody looked")

    with pp.start_trace("t", input=Shy(), session_id="s") as t, t.span("s") as s:
        s.set_output(Shy())
        s.set_model("m")
        assert (t.trace_id, s.trace_id, s.span_id) == (nil, nil, nil)
        assert pp.current_trace_id() is None
    with pp.span("x") as s:
        s.set_metadata({"a": Shy()})


def test_context_replaced_inside_a_block(recorder: SpanRecorder) -> None:
    """A block ends its span even if code inside replaced the whole OpenTelemetry context."""
    from opentelemetry.context import Context, attach

    with pp.span("outer"):
        attach(Context())
    with pp.span("after"):
        pass
    assert recorder.tree() == {"outer": None, "after": None}


def test_unknown_kind_is_other(recorder: SpanRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """An unknown kind becomes OTHER, with a warning that names it."""
    with pp.span("s", kind="WIZARD"):
        pass
    assert recorder.attributes()["pandaprobe.span.kind"] == "OTHER"
    assert "WIZARD" in caplog.text
    caplog.clear()


@pytest.mark.parametrize(
    ("factory", "kind", "operation", "name_attribute"),
    [
        (pp.trace, "CHAIN", None, None),
        (pp.span, "OTHER", None, None),
        (pp.agent, "AGENT", "invoke_agent", "gen_ai.agent.name"),
        (pp.tool, "TOOL", "execute_tool", "gen_ai.tool.name"),
        (pp.llm, "LLM", "chat", None),
        (pp.chain, "CHAIN", None, None),
        (pp.retriever, "RETRIEVER", "retrieval", None),
        (pp.embedding, "EMBEDDING", "embeddings", None),
    ],
)
def test_kinds(
    recorder: SpanRecorder, factory: Any, kind: str, operation: str | None, name_attribute: str | None
) -> None:
    """Each decorator writes its kind, and OpenTelemetry's operation name for it."""
    with factory("n"):
        pass
    attributes = recorder.attributes("n")
    assert attributes["pandaprobe.span.kind"] == kind
    assert attributes.get("gen_ai.operation.name") == operation
    for name in ("gen_ai.agent.name", "gen_ai.tool.name"):
        assert attributes.get(name) == ("n" if name == name_attribute else None)
