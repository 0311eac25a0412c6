"""Rules for content that leaves the process: `capture`, masks, and the switches of other instrumentations."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import captures
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.enums import SpanKind
from pandaprobe_otel.mapping import EventView, MappingOptions, SpanView, map_views, read_span
from pandaprobe_otel.mapping.switches import SWITCHES, Hidden, Switch, hidden_by
from views import mapped, only_span, view

SECRET = "s3cr3t"
EXCEPTION = EventView(
    "exception",
    None,
    {"exception.type": "ValueError", "exception.message": SECRET, "exception.stacktrace": f"raise {SECRET}"},
)
TALK = json.dumps(
    [
        {"role": "user", "parts": [{"type": "text", "content": f"my {SECRET}"}]},
        {
            "role": "assistant",
            "parts": [{"type": "tool_call", "id": "c1", "name": "pay", "arguments": {"card": SECRET}}],
        },
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "c1", "response": SECRET}]},
    ]
)


def settings(environ: Mapping[str, str] | None = None, **arguments: Any) -> Config:
    """Return settings from these arguments only, without the environment."""
    return Config.resolve(arguments, environ=environ or {}, file=Path("/no/such/file"))


def failing_agent() -> list[SpanView]:
    """Return an agent run with the secret in every field that can have a text of the app."""
    return [
        view(
            "run",
            {
                "pandaprobe.span.kind": "AGENT",
                "pandaprobe.input": json.dumps({"q": SECRET}),
                "pandaprobe.trace.output": json.dumps(SECRET),
                "app.note": SECRET,
                "session.id": "s-1",
                "pandaprobe.tags": ["t1"],
                "pandaprobe.metadata": '{"plan": "pro"}',
            },
        ),
        view(
            "chat",
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.request.model": "gpt-4o",
                "gen_ai.request.temperature": 0.5,
                "gen_ai.request.stop_sequences": [SECRET],
                "gen_ai.usage.input_tokens": 10,
                "gen_ai.input.messages": TALK,
                "gen_ai.tool.definitions": json.dumps([{"type": "function", "name": SECRET}]),
            },
            span_id=2,
            parent=1,
            at=0.1,
            status_code="ERROR",
            status_description=SECRET,
            events=[EXCEPTION],
        ),
        view(
            "execute_tool pay",
            {
                "gen_ai.operation.name": "execute_tool",
                "gen_ai.tool.name": "pay",
                "gen_ai.tool.call.arguments": json.dumps({"card": SECRET}),
                "gen_ai.tool.call.result": SECRET,
            },
            span_id=3,
            parent=1,
            at=0.2,
        ),
    ]


@pytest.mark.parametrize("capture", ["metadata", "off"])
def test_no_text_of_the_app_is_sent_when_content_is_not_captured(capture: Any) -> None:
    """Without content, no inputs, outputs, errors, stack traces, tool schemas or attributes of the app are sent."""
    body = mapped(*failing_agent(), options=MappingOptions(capture=capture))
    assert SECRET not in json.dumps(body)
    assert "input" not in body
    assert [set(span) & {"input", "output"} for span in body["spans"]] == [set()] * 3
    if capture == "off":
        assert [part["metadata"] for part in (body, *body["spans"])] == [{}] * 4
        assert "tags" not in body


def test_without_content_what_happened_stays() -> None:
    """Without content, tree, names, kinds, numbers, times, status, error types, session, tags and metadata remain."""
    body = mapped(*failing_agent(), options=MappingOptions(capture="metadata"))
    run, chat, tool = body["spans"]
    assert [(span["name"], span["kind"]) for span in body["spans"]] == [
        ("run", "AGENT"), ("chat", "LLM"), ("pay", "TOOL"),
    ]  # fmt: skip
    assert chat["parent_span_id"] == tool["parent_span_id"] == run["span_id"]
    assert (chat["model"], chat["token_usage"], chat["model_parameters"]) == (
        "gpt-4o",
        {"prompt_tokens": 10, "total_tokens": 10},
        {"temperature": 0.5},
    )
    assert (chat["status"], chat["error"], chat["metadata"]["exception_type"]) == (
        "ERROR", "ValueError", "ValueError",
    )  # fmt: skip
    assert (body["session_id"], body["tags"], body["metadata"]["plan"]) == ("s-1", ["t1"], "pro")


def test_tools_alone_can_be_silent_even_in_the_messages_of_models() -> None:
    """If tools are not captured, their inputs and outputs are also missing in messages; other texts remain."""
    body = mapped(*failing_agent(), options=MappingOptions(capture_by_kind={"TOOL": "metadata"}))
    _, chat, tool = body["spans"]
    assert {"input", "output"}.isdisjoint(tool)
    user, call, result = chat["input"]["messages"]
    assert user == {"role": "user", "content": f"my {SECRET}"}
    assert call["tool_calls"][0]["function"] == {"name": "pay", "arguments": "{}"}
    assert result == {"role": "tool", "content": None, "tool_call_id": "c1"}


@pytest.mark.parametrize("key", ["gen_ai.input.messages", "pandaprobe.input", "input.value"])
def test_fields_that_accompany_a_hidden_result_are_hidden(key: str) -> None:
    """Fields that accompany a hidden tool result are hidden too; the call's id and the error mark remain."""
    part = {"type": "tool_call_response", "id": "c1", "response": SECRET, "is_error": True, "artifact": [SECRET]}
    message = {"role": "tool", "tool_call_id": "c2", "content": SECRET, "found": SECRET}
    said = json.dumps([{"role": "tool", "parts": [part]}, message])
    chat = view("chat", {"gen_ai.operation.name": "chat", key: said})
    body = mapped(chat, options=MappingOptions(capture_by_kind={"TOOL": "metadata"}))
    assert SECRET not in json.dumps(body)
    first, second = only_span(body)["input"]["messages"]
    assert first == {"role": "tool", "tool_call_id": "c1", "content": None, "is_error": True}
    assert second == {"role": "tool", "tool_call_id": "c2", "content": None}
    first, second = only_span(mapped(chat))["input"]["messages"]
    assert (first["is_error"], first["artifact"], second["found"]) == (True, [SECRET], SECRET)


def test_models_alone_can_be_silent() -> None:
    """If models are not captured, the trace's input comes only from the root."""
    body = mapped(*failing_agent(), options=MappingOptions(capture_by_kind={"LLM": "off"}))
    run, chat, tool = body["spans"]
    assert {"input", "output"}.isdisjoint(chat)
    assert chat["metadata"] == {}
    assert body["input"] == run["input"] == {"q": SECRET}
    assert tool["output"] == SECRET


@pytest.mark.parametrize(
    "mask",
    [SECRET, re.compile("S3CR3T", re.IGNORECASE), lambda text: text.replace(SECRET, "***"), ["nothing", r"s\dc\w\dt"]],
    ids=["text", "compiled", "function", "several"],
)
def test_masks_act_on_every_text_that_is_sent(mask: Any) -> None:
    """Masks apply to names, content, errors, metadata with its keys, tags and ids, on a copy of the spans."""
    views = failing_agent()
    views.append(
        view(f"calls {SECRET}", {"session.id": SECRET, f"app.{SECRET}": 1, "tag.tags": [SECRET]}, span_id=9, at=5)
    )
    before = json.dumps(mapped(*views))
    options = MappingOptions.from_config(settings(mask=mask), {})
    body = mapped(*views, options=options)
    assert SECRET not in json.dumps(body)
    assert json.dumps(mapped(*views)) == before
    chat = body["spans"][1]
    assert chat["input"]["messages"][0]["content"] in ("my [masked]", "my ***")
    assert json.loads(chat["input"]["messages"][1]["tool_calls"][0]["function"]["arguments"])["card"] in (
        "[masked]", "***",
    )  # fmt: skip


def test_masks_see_whole_texts_before_anything_is_cut() -> None:
    """A text is masked before it is cut, so that no cut divides a secret."""
    text = "x" * 990 + SECRET + "y" * 5000
    options = MappingOptions(masks=(lambda text: text.replace(SECRET, "[masked]"),), max_field_bytes=1000)
    span = only_span(mapped(view("a", {"pandaprobe.output": json.dumps(text)}), options=options))
    assert "s3c" not in json.dumps(span)
    assert "[cut" in span["output"]


def _raise(text: str) -> Any:
    raise ValueError(f"cannot mask {text}")


@pytest.mark.parametrize("mask", [lambda _: None, lambda _: b"x", lambda _: {"a": 1}, _raise])
def test_a_mask_that_fails_hides_the_text(mask: Any) -> None:
    """If a mask raises or returns no text, the text is not sent, and neither is the exception's message."""
    body = mapped(*failing_agent(), options=MappingOptions(masks=(mask,)))
    assert SECRET not in json.dumps(body)
    assert body["name"] == body["spans"][2]["output"] == "[masked: the mask failed]"
    assert [span["kind"] for span in body["spans"]] == ["AGENT", "LLM", "TOOL"]


def test_a_mask_may_leave_nothing() -> None:
    """A name that a mask empties is replaced, because the server requires a name."""
    body = mapped(view("a", {"pandaprobe.output": '"b"'}), options=MappingOptions(masks=(lambda text: "",)))
    assert (body["name"], only_span(body)["name"], only_span(body)["output"]) == ("[masked]", "[masked]", "")


@pytest.mark.parametrize("mask", ["(", 7, [r"\d", object()]], ids=["no expression", "number", "object"])
def test_a_mask_that_cannot_be_used_masks_everything(mask: Any) -> None:
    """An invalid mask hides all texts; the log has a line without the expression."""
    config = dataclasses.replace(settings(), mask=mask)
    options = MappingOptions.from_config(config, {})
    assert len(options.problems) == 1
    body = mapped(*failing_agent(), options=options)
    assert SECRET not in json.dumps(body)
    assert body["name"] == "[masked]"


def test_results_of_masks_are_cleaned() -> None:
    """Values that a mask returns are cleaned again, because the server may not be able to store them."""
    body = mapped(*failing_agent(), options=MappingOptions(masks=(lambda text: text + "\x00\ud800",)))
    assert "\\u0000" not in json.dumps(body)
    assert "\\ud800" not in json.dumps(body)


OPENINFERENCE = {
    "openinference.span.kind": "LLM",
    "input.value": SECRET,
    "output.value": SECRET,
    "llm.input_messages.0.message.role": "user",
    "llm.input_messages.0.message.content": SECRET,
    "llm.output_messages.0.message.role": "assistant",
    "llm.output_messages.0.message.content": SECRET,
    "llm.model_name": "gpt-4o",
}
SEMCONV = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.input.messages": TALK,
    "gen_ai.output.messages": TALK,
    "gen_ai.system_instructions": SECRET,
}
TRACELOOP = {
    "gen_ai.request.model": "gpt-4o",
    "llm.request.type": "chat",
    "gen_ai.prompt.0.content": SECRET,
    "gen_ai.prompt.0.role": "user",
    "gen_ai.completion.0.content": SECRET,
    "traceloop.entity.input": json.dumps({"inputs": SECRET}),
    "traceloop.entity.output": json.dumps({"outputs": SECRET}),
}


@pytest.mark.parametrize(
    ("environ", "attributes", "left"),
    [
        ({"OPENINFERENCE_HIDE_INPUTS": "true"}, OPENINFERENCE, {"output"}),
        ({"OPENINFERENCE_HIDE_INPUTS": "TRUE", "OPENINFERENCE_HIDE_OUTPUTS": "yes"}, OPENINFERENCE, set()),
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "false"}, SEMCONV, set()),
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT"}, SEMCONV, set()),
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPANS"}, SEMCONV, set()),
        ({"OPENINFERENCE_HIDE_INPUT_MESSAGES": "true"}, OPENINFERENCE, {"output"}),
        ({"OPENINFERENCE_HIDE_INPUT_TEXT": "true", "OPENINFERENCE_HIDE_OUTPUT_TEXT": "1"}, OPENINFERENCE, set()),
        ({"OPENINFERENCE_HIDE_INPUTS": "ture"}, OPENINFERENCE, {"output"}),
        ({"TRACELOOP_TRACE_CONTENT": "False"}, TRACELOOP, set()),
        ({"TRACELOOP_TRACE_CONTENT": "flase"}, TRACELOOP, set()),
        ({"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "false"}, OPENINFERENCE, set()),
        ({"TRACELOOP_TRACE_CONTENT": "false"}, OPENINFERENCE, set()),
        ({"OPENINFERENCE_HIDE_INPUTS": "true", "OPENINFERENCE_HIDE_OUTPUTS": "true"}, SEMCONV, {"input", "output"}),
    ],
)
def test_switches_of_other_emitters_are_obeyed(
    environ: dict[str, str], attributes: dict[str, Any], left: set[str]
) -> None:
    """If a switch of another instrumentation turns content off, content of any span is not sent."""
    options = MappingOptions.from_config(settings(), environ)
    span = only_span(mapped(view("chat", attributes), options=options))
    assert {"input", "output"} & set(span) == left
    assert (SECRET in json.dumps(span)) == bool(left)
    assert (span["kind"], span["model"]) == ("LLM", "gpt-4o")


NO_CONTENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "false", "TRACELOOP_TRACE_CONTENT": "nope"}


@pytest.mark.parametrize("name", captures.names()[::7])
def test_no_content_is_sent_in_any_dialect_when_it_is_off(name: str) -> None:
    """With content turned off, no recorded span of any instrumentation has a question or an answer."""
    options = MappingOptions.from_config(settings(), NO_CONTENT)
    recording = captures.capture(name)
    for spans in recording.traces:
        trace = map_views([read_span(span) for span in spans], recording.logs, options=options)
        for part in (trace.trace, *trace.spans):
            assert {"input", "output"}.isdisjoint(part)


@pytest.mark.parametrize("given", ["all", {"*": "all", "TOOL": "off"}])
def test_a_capture_that_is_given_decides_alone(given: Any) -> None:
    """An explicit `capture` overrides the switches of other instrumentations."""
    options = MappingOptions.from_config(settings(capture=given), NO_CONTENT | {"OPENINFERENCE_HIDE_INPUTS": "true"})
    assert options.problems == ()
    for attributes in (OPENINFERENCE, SEMCONV, TRACELOOP):
        span = only_span(mapped(view("chat", attributes), options=options))
        assert {"input", "output"} <= set(span)


def test_a_capture_that_leaves_kinds_open_leaves_them_to_the_switches() -> None:
    """Kinds that `capture` does not name follow the switches of other instrumentations."""
    options = MappingOptions.from_config(settings(capture={"TOOL": "off"}), NO_CONTENT)
    assert (options.capture_of("LLM"), options.capture_of("TOOL")) == ("metadata", "off")
    plain = MappingOptions.from_config(settings(capture={"TOOL": "off"}), {})
    assert (plain.capture_of("LLM"), plain.capture_of("TOOL")) == ("all", "off")


def test_hidden_messages_hide_the_inputs_of_no_tool() -> None:
    """If `input.value` repeats hidden messages, it is hidden too; a tool's arguments are not messages."""
    options = MappingOptions.from_config(settings(), {"OPENINFERENCE_HIDE_INPUT_MESSAGES": "true"})
    attributes = {"openinference.span.kind": "TOOL", "input.value": "Lisbon", "output.value": "windy"}
    assert only_span(mapped(view("get", attributes), options=options))["input"] == "Lisbon"


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_that_cannot_be_understood_hides_and_is_named(switch: Switch) -> None:
    """An invalid value of a switch hides content, and the log lists the valid values."""
    assert set(hidden_by({switch.name: "perhaps"}).attributes) == set(switch.attributes)
    (problem,) = hidden_by({switch.name: "perhaps"}).problems
    assert problem.startswith(f"{switch.name} = 'perhaps' is not one of {switch.showing[0]}")
    for word in switch.showing:
        assert hidden_by({switch.name: word.upper()}) == Hidden()
    for word in ("", " "):
        assert hidden_by({switch.name: word}) == Hidden()


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        ("metadata", "metadata"),
        ("All, tool=Metadata", {"*": "all", "TOOL": "metadata"}),
        ("TOOL=off", {"TOOL": "off"}),
        ({"*": "off", "llm": "all"}, {"*": "off", "LLM": "all"}),
        ({SpanKind.TOOL: "metadata"}, {"TOOL": "metadata"}),
        ({"*": "all", "TOOL": "all"}, "all"),
    ],
)
def test_capture_can_differ_by_kind(given: Any, seen: Any) -> None:
    """Capture modes by kind can be given as an argument or, as text, in the variable."""
    assert settings(capture=given).capture == seen
    if isinstance(given, str):
        assert settings({"PANDAPROBE_CAPTURE": given}).capture == seen


@pytest.mark.parametrize("given", ["metdata", "all,TOOLS=off", "TOOL=", {"TOOL": "some"}, {"BOX": "off"}, 7, ""])
def test_a_capture_that_cannot_be_understood_captures_nothing(given: Any) -> None:
    """An invalid `capture` captures nothing, so that a typing mistake sends no content."""
    config = settings(capture=given)
    assert config.capture == "off"
    (problem,) = (problem for problem in config.problems if problem.setting == "capture")
    assert "'off' is used" in problem.message


def test_switches_reach_content_in_events_and_logs() -> None:
    """Switches also hide messages in events and log records."""
    options = MappingOptions.from_config(settings(), {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "false"})
    for name in ("strands_default__agent_tool", "adk_native_latest__sequential", "semantic_kernel__agent_tool"):
        recording = captures.capture(name)
        for spans in recording.traces:
            views = [read_span(span) for span in spans]
            text = map_views(views, recording.logs, options=options).encoded().decode()
            assert "sunny" not in text
            assert "What is the weather" not in text


def test_settings_reach_the_options() -> None:
    """`capture`, environment and release come from the settings; those of the resource stay with the spans."""
    config = settings({"PANDAPROBE_CAPTURE": "metadata", "PANDAPROBE_ENVIRONMENT": "test"}, release="9")
    options = MappingOptions.from_config(config, {})
    body = mapped(view("a", resource={"service.version": "1", "deployment.environment": "x"}), options=options)
    assert (options.capture, body["environment"], body["release"]) == ("metadata", "test", "9")
    plain = MappingOptions.from_config(settings(), {})
    body = mapped(view("a", resource={"service.version": "1", "deployment.environment": "x"}), options=plain)
    assert (body["environment"], body["release"]) == ("x", "1")
