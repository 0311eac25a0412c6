"""Rules for content that leaves the process: `capture`, masks, and the switches of other instrumentations."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import captures
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.enums import SpanKind
from pandaprobe_otel.mapping import EventView, LogView, MappingOptions, SpanView, map_views, read_span
from pandaprobe_otel.mapping.evaluation_results import evaluation_scores
from pandaprobe_otel.mapping.options import SWITCHES, Switch, hides_content
from pandaprobe_otel.mapping.shapes import DIALECTS
from subprocesses import environment, run_python
from views import TRACE_ID, mapped, mapped_span, only_span, view

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
    span = mapped_span("a", {"pandaprobe.output": json.dumps(text)}, options=options)
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


SEMCONV = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.input.messages": TALK,
    "gen_ai.output.messages": TALK,
    "gen_ai.system_instructions": SECRET,
}


@pytest.mark.parametrize(
    "environ",
    [
        {"OPENINFERENCE_HIDE_INPUTS": "TRUE"},
        {"OPENINFERENCE_HIDE_OUTPUT_TEXT": "1"},
        {"OPENINFERENCE_HIDE_INPUTS": "ture"},
        {"OPENINFERENCE_HIDE_EMBEDDINGS_TEXT": "true"},
        {"OPENINFERENCE_HIDE_LLM_TOOLS": "true"},
        {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "NO_CONTENT"},
        {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "SPANS"},
        {"TRACELOOP_TRACE_CONTENT": "False"},
    ],
)
def test_switches_of_other_emitters_are_obeyed(environ: dict[str, str]) -> None:
    """If a switch of another instrumentation turns content off, content of any span is not sent."""
    options = MappingOptions.from_config(settings(), environ)
    span = mapped_span("chat", SEMCONV, options=options)
    assert SECRET not in json.dumps(span)
    assert (span["kind"], span["model"]) == ("LLM", "gpt-4o")


NO_CONTENT = {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "false", "TRACELOOP_TRACE_CONTENT": "nope"}


QUESTIONS = ("strands_default__agent_tool", "adk_native_latest__sequential", "semantic_kernel__agent_tool")


@pytest.mark.parametrize("name", [*captures.names()[::7], *QUESTIONS])
def test_no_content_is_sent_in_any_dialect_when_it_is_off(name: str) -> None:
    """With content turned off, no recorded span, event or log record of any instrumentation has content."""
    options = MappingOptions.from_config(settings(), NO_CONTENT)
    recording = captures.capture(name)
    for spans in recording.traces:
        trace = map_views([read_span(span) for span in spans], recording.logs, options=options)
        for part in (trace.trace, *trace.spans):
            assert {"input", "output"}.isdisjoint(part)
        if name in QUESTIONS:
            assert b"sunny" not in trace.encoded()
            assert b"What is the weather" not in trace.encoded()


@pytest.mark.parametrize("given", ["all", {"*": "all", "TOOL": "off"}])
def test_a_capture_that_is_given_decides_alone(given: Any) -> None:
    """An explicit `capture` overrides the switches of other instrumentations."""
    options = MappingOptions.from_config(settings(capture=given), NO_CONTENT | {"OPENINFERENCE_HIDE_INPUTS": "true"})
    assert options.problems == ()
    assert {"input", "output"} <= set(mapped_span("chat", SEMCONV, options=options))


def test_a_capture_that_leaves_kinds_open_leaves_them_to_the_switches() -> None:
    """Kinds that `capture` does not name follow the switches of other instrumentations."""
    options = MappingOptions.from_config(settings(capture={"TOOL": "off"}), NO_CONTENT)
    assert (options.capture_of("LLM"), options.capture_of("TOOL")) == ("metadata", "off")
    plain = MappingOptions.from_config(settings(capture={"TOOL": "off"}), {})
    assert (plain.capture_of("LLM"), plain.capture_of("TOOL")) == ("all", "off")


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: switch.name)
def test_a_switch_that_cannot_be_understood_hides_and_is_named(switch: Switch) -> None:
    """An invalid value of a switch hides content, and the log lists the valid values."""
    is_hidden, (problem,) = hides_content({switch.name: "perhaps"})
    assert is_hidden
    assert problem.startswith(f"{switch.name} = 'perhaps' is not one of {switch.showing[0]}")
    for word in (*map(str.upper, switch.showing), "", " "):
        assert hides_content({switch.name: word}) == (False, [])


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


def test_settings_reach_the_options() -> None:
    """`capture`, environment and release come from the settings; those of the resource stay with the spans."""
    config = settings({"PANDAPROBE_CAPTURE": "metadata", "PANDAPROBE_ENVIRONMENT": "test"}, release="9")
    options = MappingOptions.from_config(config, {})
    body = mapped(view("a", resource={"service.version": "1", "deployment.environment": "x"}), options=options)
    assert (options.capture, body["environment"], body["release"]) == ("metadata", "test", "9")
    plain = MappingOptions.from_config(settings(), {})
    body = mapped(view("a", resource={"service.version": "1", "deployment.environment": "x"}), options=plain)
    assert (body["environment"], body["release"]) == ("x", "1")


# -- well-known credentials, by the setting `scrub` --------------------------------------------------------------------

KEY = "sk-proj-abcdefghijklmnop1234567890abcdefghij"
GOOGLE = "AIzaSyA1234567890abcdefghijklmnopqrstu0"


def test_credentials_are_replaced(tmp_path: Path) -> None:
    """By default errors, stack traces and URLs are scrubbed and content is the user's; `all` and false change that."""
    code = f"""
    from pandaprobe_otel import agent, init, span, tool
    @tool
    def fetch(question):
        raise RuntimeError("GET https://x/v1?key={GOOGLE} failed; Authorization: Bearer {KEY}")
    @agent
    def run(question):
        with span("GET https://x/v1?key={GOOGLE}", metadata={{"page": "https://me:pa55-w0rd-x1@x/v1?api_key={KEY}"}}):
            pass
        try:
            fetch("none")
        except RuntimeError:
            return "my key is {KEY}"
    for scrub in (True, "all", False):
        handle = init(instrument=False, local={str(tmp_path)!r} + f"/{{scrub}}", scrub=scrub)
        run("my key is {KEY}")
        handle.shutdown()
    """
    result = run_python(code, environment(), set_up=False)
    assert result.returncode == 0, result.stderr[-2000:]
    for scrub, in_errors, in_content in ((True, False, True), ("all", False, False), (False, True, True)):
        (trace,) = [json.loads(line) for line in (tmp_path / str(scrub)).read_text("utf-8").splitlines()]
        run, *others = sorted(trace["spans"], key=lambda one: one["name"] != "run")
        text = json.dumps(others)

        assert len(others) == 2
        assert (KEY in text, GOOGLE in text, "[scrubbed]" in text) == (in_errors, in_errors, not in_errors)
        assert (KEY in json.dumps(run)) == in_content


def test_drafts_of_open_traces_have_no_credentials(tmp_path: Path) -> None:
    """On disk, and in what the next process sends of a killed one, credentials are replaced as in complete traces."""
    died = f"""
    import os, pathlib, time
    from pandaprobe_otel import agent, init, span, tool
    @tool
    def fetch():
        raise RuntimeError("Authorization: Bearer {KEY}")
    @agent
    def run(folder):
        with span("GET https://x/v1?key={GOOGLE}", metadata={{"page": "https://x/v1?api_key={KEY}"}}):
            pass
        try:
            fetch()
        except RuntimeError:
            pass
        with span("last"):
            pass
        def on_disk():
            return b"".join(one.read_bytes() for one in folder.rglob("*") if one.is_file())
        until = time.monotonic() + 20
        while b"last" not in on_disk() and time.monotonic() < until:
            time.sleep(0.02)
        found = on_disk()
        print(b"last" in found, b"{KEY}" in found, b"{GOOGLE}" in found, flush=True)
        os._exit(0)
    for scrub in (True, "all", False):
        if os.fork() == 0:
            folder = pathlib.Path({str(tmp_path)!r}, str(scrub))
            init(instrument=False, spool=folder, scrub=scrub)
            run(folder)
        os.wait()
    """
    result = run_python(died, environment("http://127.0.0.1:9"), set_up=False)
    assert result.stdout.split() == ["True", "False", "False"] * 2 + ["True"] * 3, result.stderr[-2000:]


# -- only names, ids and the app's own metadata without content --------------------------------------------------------

FORMS: dict[str, Any] = {
    "text": SECRET,
    "object": json.dumps({"name": SECRET, "content": SECRET, "description": SECRET, "inner": {"value": SECRET}}),
    "messages": json.dumps([{"role": "user", "content": SECRET, "name": SECRET, "parts": [{"content": SECRET}]}]),
    "texts": [SECRET, SECRET],
}
KINDS: tuple[dict[str, Any], ...] = (
    {},
    *({"gen_ai.operation.name": name} for name in ("chat", "execute_tool", "invoke_agent", "embeddings", "retrieval")),
    *({"openinference.span.kind": name} for name in ("LLM", "TOOL", "RETRIEVER", "CHAIN")),
)
NAMES_AND_IDS = {
    "name", "session_id", "user_id", "environment", "release",
    "spans[].name", "spans[].model", "spans[].error",
    *(f"spans[].metadata.{key}" for key in (
        "agent_id", "agent_name", "agent_version", "chat_id", "code.function.name", "component_type",
        "data_source_id", "db.collection.name",
        "db.system.name", "encoding_formats", "entity_path", "error_type", "event_id", "finish_reasons",
        "graph_node_id", "graph_node_name", "graph_node_parent_id", "http.request.method", "invocation_id",
        "level", "mcp_method", "messaging.destination.name", "messaging.system", "mlflow_request_id", "model",
        "operation", "output_type",
        "previous_response_id", "prompt_name", "prompt_version", "provider", "request_model", "response_id",
        "rpc.method", "server.address", "session_id", "span_kind", "stream", "thread_id", "tool_call_id", "tool_name",
        "tool_type", "user_id", "workflow_name", "scope",
        "api_type", "response_status", "service_tier", "system_fingerprint",
    )),
}  # fmt: skip
"""Fields that may have a text of the emitter under any `capture`, or under `capture="metadata"`."""
OF_THE_APP = (
    "langfuse.trace.metadata", "langfuse.observation.metadata", "langfuse.version", "pandaprobe.metadata",
    "pandaprobe.span.metadata", "metadata", "langsmith.metadata.", "traceloop.association.properties.",
    "ai.telemetry.metadata.", "langfuse.trace.tags", "langsmith.span.tags", "tag.tags", "pandaprobe.tags",
    "logfire.tags", "langfuse.observation.prompt.version", "pandaprobe.project",
)  # fmt: skip
"""Attributes with which an app describes a trace on purpose: its metadata and tags."""
ALWAYS = {key for key in NAMES_AND_IDS if ".metadata." not in key}


def every_attribute() -> Iterator[str]:
    """Yield the names of attributes that any dialect reads, with examples of name families."""
    for dialect in DIALECTS:
        for row in dialect.rows:
            for source in row.sources:
                if source.endswith(".*"):
                    yield from (source[:-1] + rest for rest in ("x", "0.message.content", "0.name", "0.description"))
                else:
                    yield source
        for rule in dialect.kinds:
            if rule.attribute:
                yield rule.attribute
    yield from ("app.note", "url.query", "http.url", "exception.message", "process.command_args", "code.stacktrace")


def places(value: Any, place: str = "") -> Iterator[str]:
    """Yield the fields of a body that contain the secret."""
    if isinstance(value, dict):
        for key, item in value.items():
            if SECRET in key:
                yield f"{place} (a key)"
            yield from places(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for item in value:
            yield from places(item, place + "[]" if place == "spans" else place)
    elif isinstance(value, str) and SECRET in value:
        yield place


@pytest.mark.parametrize("capture", ["metadata", "off"])
def test_no_attribute_of_any_dialect_lets_content_out(capture: Any) -> None:
    """No attribute puts content into a field that is not listed above."""
    allowed = NAMES_AND_IDS if capture == "metadata" else ALWAYS
    options = MappingOptions(capture=capture)
    out: set[tuple[str, str]] = set()
    for name in {*every_attribute()}:
        if capture == "metadata" and name.startswith(OF_THE_APP):
            continue
        for kind in KINDS:
            for form in FORMS.values():
                if name not in kind:
                    found = places(mapped(view("step", {**kind, name: form}), options=options))
                    out |= {(name, place) for place in found if place not in allowed}

    assert out == set()


@pytest.mark.parametrize("capture", ["metadata", "off"])
@pytest.mark.parametrize("scope", ["logfire", "app"])
@pytest.mark.parametrize("size", [1, 1000])
@pytest.mark.parametrize(
    "own",
    [{"logfire.msg_template": "pay {x}"}, {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "pay {x}"}],
)
def test_a_rendered_name_is_content(capture: Any, scope: str, size: int, own: dict[str, Any]) -> None:
    """A name rendered from a template is content, so the template or the tool's own name becomes the name."""
    span = view("step", {**own, "logfire.msg": f"pay {SECRET * size}", "x": SECRET}, scope_name=scope)
    body = mapped(dataclasses.replace(span, name="pay {x}"), options=MappingOptions(capture=capture))

    assert [*places(body)] == []
    assert (body["name"], body["spans"][0]["name"]) == ("pay {x}",) * 2
    assert SECRET in json.dumps(mapped(span))


@pytest.mark.parametrize("capture", ["metadata", "off"])
def test_events_logs_and_resources_hold_no_content_either(capture: Any) -> None:
    """Status messages, events, log records, the resource and reasons of evaluations are left out as well."""
    event = EventView("note", 2, {"message": SECRET, "gen_ai.evaluation.explanation": SECRET}, SECRET)
    failure = EventView(
        "exception", 2, {"exception.type": "E", "exception.message": SECRET, "exception.stacktrace": SECRET}
    )
    judged = EventView(
        "gen_ai.evaluation.result",
        2,
        {"gen_ai.evaluation.name": "n", "gen_ai.evaluation.score.value": 1.0, "gen_ai.evaluation.explanation": SECRET},
    )
    span = view(
        "step",
        {"gen_ai.operation.name": "chat"},
        status_code="ERROR",
        status_description=SECRET,
        events=(event, failure, judged),
        resource={"service.name": "shop", "process.command_args": SECRET, "host.name": SECRET},
    )
    logs = [LogView(TRACE_ID, 1, EventView(name, 2, {"content": SECRET}, SECRET)) for name in ("gen_ai.choice", "note")]
    options = MappingOptions(capture=capture)

    assert [*places(mapped(span, logs=logs, options=options))] == []
    assert [*places({"scores": evaluation_scores([span], logs, options)})] == []
