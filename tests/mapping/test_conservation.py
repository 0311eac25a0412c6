"""Conservation: marks planted in any attribute, event or log record of a span appear in its trace."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

import captures
from cpu import cpu_seconds
from pandaprobe_otel.mapping import (
    EventView,
    LogView,
    SpanView,
    map_views,
    read_span,
    unread_attributes,
)
from pandaprobe_otel.mapping.shapes import DIALECTS
from pandaprobe_otel.mapping.span_view import read_log
from pandaprobe_otel.mapping.unread_attributes import left_out
from views import mapped, mapped_span, only_span, view

SOURCES = sorted({(dialect.name, source) for dialect in DIALECTS for row in dialect.rows for source in row.sources})
EVENTS = sorted({name for dialect in DIALECTS for row in dialect.events for name in row.names})
PIECES = ("First Token Stream Event", "ai.stream.firstChunk", "llm.content.completion.chunk")
FORMS: dict[str, Callable[[str], Any]] = {
    "text": lambda mark: mark,
    "number": lambda mark: int(mark),
    "list": lambda mark: [mark, mark],
    "object": lambda mark: {"planted": {"deep": [mark]}},
    "json text": lambda mark: json.dumps({"planted": mark}),
    "message": lambda mark: json.dumps([{"role": "user", "content": "Hi", "planted": mark}]),
    "part": lambda mark: json.dumps(
        [{"role": "user", "parts": [{"type": "text", "content": "Hi", "planted": {"deep": mark}}]}]
    ),
    "unknown part": lambda mark: json.dumps([{"role": "user", "parts": [{"type": "planted", "what": mark}]}]),
    "beside messages": lambda mark: json.dumps({"messages": [{"role": "user", "content": "Hi"}], "planted": mark}),
}
KINDS = ("LLM", "AGENT", "CHAIN", "TOOL", "RETRIEVER", "EMBEDDING", "OTHER")
MARK = "918273645"


def text_of(body: Any) -> str:
    """Return the JSON text of a trace, without the backslashes of JSON within texts."""
    return json.dumps(body, ensure_ascii=False).replace("\\", "")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_a_value_under_any_known_attribute_comes_out(form: str, kind: str) -> None:
    """The value of every known attribute appears in the trace, for every kind of span."""
    lost: list[str] = []
    for _, source in SOURCES:
        if left_out(source.removesuffix("*")) is not None or source == "pandaprobe.span.kind":
            continue
        name = source if not source.endswith(".*") else f"{source[:-1]}0.planted"
        body = orjson.loads(
            map_views([view("work", {"pandaprobe.span.kind": kind, name: FORMS[form](MARK)}, span_id=2)]).encoded()
        )
        if MARK not in text_of(body):
            lost.append(name)
    assert lost == []


@pytest.mark.parametrize("kind", KINDS)
def test_of_several_attributes_for_one_thing_none_is_lost(kind: str) -> None:
    """If two attributes can fill one field, the preferred one does, and a different value of the other is kept too."""
    names = [source for _, source in SOURCES if not source.endswith(".*") and left_out(source) is None]
    marks = {name: f"mark-{number}-end" for number, name in enumerate(names)}
    marks.pop("pandaprobe.span.kind", None)
    body = mapped(view("work", {"pandaprobe.span.kind": kind, **marks}))
    assert [name for name, mark in marks.items() if mark not in text_of(body)] == []


@pytest.mark.parametrize("value", [MARK, int(MARK), 9182736.45, True, [MARK, MARK], MARK * 400, {"a": {"b": MARK}}])
def test_an_attribute_that_nobody_knows_comes_out(value: Any) -> None:
    """An unknown attribute is kept, even with a known prefix, and at any length."""
    for name in ("order.note", "gen_ai.future.thing", "llm.new_field", "langfuse.unheard", "bare"):
        metadata = mapped_span("work", {"gen_ai.operation.name": "chat", name: value})["metadata"]
        assert metadata["attributes"] == {name: value}


def test_numbers_and_words_that_mean_something_else_are_kept() -> None:
    """A number or a word in the request is kept although a field has the same one by chance."""
    request = {"model": "m", "max_tokens": 2, "n_images": 2, "retry": 1, "seed": 7, "tool_choice": "auto"}
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "m",
        "gen_ai.request.seed": 7,
        "gen_ai.openai.request.service_tier": "auto",
        "llm.invocation_parameters": json.dumps(request),
        "gen_ai.usage.input_tokens": 20,
        "gen_ai.usage.text.input_tokens": 20,
        "llm.token_count.prompt": 20,
    }
    span = mapped_span("work", attributes)
    assert span["model_parameters"] == {"seed": 7, "max_tokens": 2, "service_tier": "auto"}
    assert span["metadata"]["attributes"] == {
        "llm.invocation_parameters": {"n_images": 2, "retry": 1, "tool_choice": "auto"},
        "gen_ai.usage.text.input_tokens": 20,
    }


def test_the_rest_of_a_request_has_no_secrets() -> None:
    """Of an unmapped request, keys, addresses and headers are removed, and other fields are kept."""
    request = {
        "model": "m",
        "api_key": "sk-1",
        "base_url": "http://u:p@host",
        "extra_headers": {"A": "b"},
        "user": "u-1",
    }
    attributes = {"openinference.span.kind": "LLM", "llm.invocation_parameters": json.dumps(request)}
    metadata = mapped_span("chat", {**attributes, "llm.model_name": "m"})["metadata"]
    left = {"api_key": "[left out: by its name it is a secret]", "user": "u-1"}
    assert metadata["attributes"] == {"llm.invocation_parameters": left}


@pytest.mark.parametrize("name", [*sorted(set(EVENTS) - {*PIECES, "gen_ai.content.completion.chunk"}), "cache.miss"])
@pytest.mark.parametrize("kind", KINDS)
def test_attributes_of_events_are_in_the_trace(name: str, kind: str) -> None:
    """The attributes of an event and the body of a log record appear in the trace."""
    attributes = {"pandaprobe.span.kind": kind}
    event = EventView(name, 5, {"planted": MARK, "content": f"content-{MARK}"})
    log = EventView(name, 5, {}, {"content": f"log-{MARK}", "planted": [f"deep-{MARK}"]})
    body = mapped(view("work", attributes, events=[event]))
    assert f"content-{MARK}" in text_of(body)
    assert f'"{MARK}"' in text_of(body)
    body = mapped(view("work", attributes), logs=[LogView(0xABC, 1, log)])
    assert f"log-{MARK}" in text_of(body)
    assert f"deep-{MARK}" in text_of(body)


def test_the_page_names_what_is_left_out() -> None:
    """The page lists exactly the prefixes of names that are left out."""
    page = (Path(__file__).parents[2] / "docs" / "recorded.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith(("| machines", "| settings", "| the address"))]
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert told == {
        *unread_attributes.MACHINE_NAMES,
        *unread_attributes.SETTING_NAMES,
        *unread_attributes.CONNECTION_KEYS,
    }


def test_an_exception_that_was_handled_is_an_event_and_one_that_failed_the_span_its_error() -> None:
    """A handled exception is an event, and the one that failed the span is its error."""
    first, last = (EventView("exception", 5, {"exception.message": text}) for text in ("tried", "gave up"))
    handled = mapped_span("work", {"gen_ai.operation.name": "chat"}, events=[first])
    assert handled["metadata"]["events"] == [{"name": "exception", "attributes": {"exception.message": "tried"}}]
    failed = mapped_span("work", {"error.type": "E"}, events=[first, last])
    assert failed["error"] == "gave up"
    assert failed["metadata"]["events"] == handled["metadata"]["events"]


def test_metadata_of_the_app_is_not_overwritten() -> None:
    """If the mapping needs a metadata key that the app uses, the app's value is moved to the attributes."""
    thought = [
        {"role": "assistant", "parts": [{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "a"}]}
    ]
    keys = ("model", "reasoning_summary", "outcome", "scope", "aggregated_token_usage")
    attributes = {
        "pandaprobe.span.kind": "AGENT",
        "pandaprobe.span.metadata": json.dumps({key: f"own {key}" for key in keys}),
        "gen_ai.request.model": "m",
        "gen_ai.output.messages": json.dumps(thought),
        "gen_ai.aggregated_usage.input_tokens": 7,
        "pandaprobe.outcome": "partial",
    }
    metadata = mapped_span("work", attributes, scope_name="theirs")["metadata"]
    told = (*(metadata[key] for key in keys[:-1]), metadata["aggregated_token_usage"]["prompt_tokens"])
    assert told == ("m", "Hm.", "partial", "theirs", 7)
    assert metadata["attributes"] == {f"metadata.{key}": f"own {key}" for key in keys}


# -- recordings of real emitters --------------------------------------------------------------------------------------

NEVER = (
    "pandaprobe.", "logfire.span_type", "gen_ai.tool.call.id", "gen_ai.usage.", "llm.token_count.", "llm.usage.",
    "ai.usage.", "gen_ai.aggregated_usage.", "gen_ai.response.id", "langfuse.observation.usage_details",
    "langfuse.observation.completion_start_time", "ag2.usage.kind", "error.type", "langfuse.observation.level",
)  # fmt: skip


class Planter:
    """A visitor that replaces every text of a value with a mark."""

    def __init__(self) -> None:
        self.marks: list[str] = []
        self._numbers = itertools.count()

    def planted(self, value: Any, key: str = "") -> Any:
        """Return the value with marks in place of its texts, also in JSON within texts."""
        if isinstance(value, dict):
            return {
                name: item
                if name in unread_attributes.CONNECTION_KEYS or unread_attributes.hides(name, item)
                else self.planted(item, name)
                for name, item in value.items()
            }
        if isinstance(value, list):
            return [self.planted(item, key) for item in value]
        if not isinstance(value, str) or key in unread_attributes.CONNECTION_KEYS or value.startswith("data:"):
            return value
        try:
            inner = json.loads(value) if value.lstrip()[:1] in ("{", "[") else None
        except ValueError:
            inner = None
        if isinstance(inner, dict | list) and inner:
            return json.dumps(self.planted(inner, key))
        if len(value) < 4 or value in ("<elided>", "<not specified>", "None", "null") or value.startswith("http"):
            return value
        mark = f"mark {next(self._numbers)} end"
        self.marks.append(mark)
        return mark


def planted(views: list[SpanView], logs: list[LogView]) -> Iterator[tuple[list[SpanView], list[LogView], list[str]]]:
    """Yield, for each attribute, its name, the spans and logs with marks in this attribute, and the marks."""
    names = {name for view in views for name in view.attributes}
    for name in sorted(names):
        if left_out(name) is not None or name.startswith(NEVER):
            continue
        planter = Planter()
        changed = [
            dataclasses.replace(view, attributes={**view.attributes, name: planter.planted(view.attributes[name])})
            if name in view.attributes and view.attributes.get("logfire.span_type") != "pending_span"
            else view
            for view in views
        ]
        if planter.marks:
            yield changed, logs, planter.marks


@pytest.mark.parametrize("name", captures.names())
def test_every_text_of_a_recording_comes_out(name: str) -> None:
    """For each attribute of each recorded emitter, all marks appear in the trace, also those in JSON within texts."""
    recording = captures.capture(name)
    logs = [log for record in recording.logs if (log := read_log(record)) is not None]
    lost: list[str] = []
    for spans in recording.traces:
        for changed, records, marks in planted([read_span(span) for span in spans], logs):
            text = text_of(orjson.loads(map_views(changed, records).encoded()))
            lost += [mark for mark in marks if mark not in text]
    assert lost == []


# -- input and output of the trace ------------------------------------------------------------------------------------


def test_messages_with_other_fields_are_kept_whole() -> None:
    """Messages alone are reduced to the user's last one; messages with other fields are kept whole."""
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    for beside, told in (({}, [messages[0]]), ({"user_id": "u-1"}, messages)):
        given = json.dumps({"messages": messages, **beside})
        body = mapped(view("agent", {"pandaprobe.span.kind": "AGENT", "pandaprobe.input": given}))
        assert body["input"] == {"messages": told, **beside}


def test_a_root_without_values_says_where_they_come_from() -> None:
    """If a root has no values, the trace gets those of a model call, and the metadata names this span."""
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.input.messages": '[{"role": "user", "content": "Hi"}]',
        "gen_ai.output.messages": '[{"role": "assistant", "content": "yes"}]',
    }
    body = mapped(view("work", {"pandaprobe.span.kind": "CHAIN"}, lasts=9), view("chat", call, span_id=2, parent=1))
    assert body["input"] == {"messages": [{"role": "user", "content": "Hi"}]}
    assert body["metadata"]["input_from"] == {"span_id": body["spans"][1]["span_id"], "name": "chat"}
    assert body["metadata"]["output_from"] == body["metadata"]["input_from"]


def test_contradicting_sessions_stay_on_their_spans() -> None:
    """The trace gets the first session; a different session of another span stays in this span's metadata."""
    body = mapped(
        view("agent", {"gen_ai.operation.name": "invoke_agent", "session.id": "s-1"}, lasts=9),
        view("chat", {"gen_ai.operation.name": "chat", "session.id": "s-2"}, span_id=2, parent=1),
    )
    assert body["session_id"] == "s-1"
    assert body["spans"][1]["metadata"]["session_id"] == "s-2"


@pytest.mark.parametrize("value", ["", "None", "null", {}, []])
@pytest.mark.parametrize("kind", ["AGENT", "TOOL", "CHAIN", "OTHER"])
def test_an_empty_value_of_the_app_is_a_value(kind: str, value: Any) -> None:
    """A result of the app is kept, also if it is what emitters write for an absent value."""
    text = json.dumps(value)
    span = mapped_span("x", {"pandaprobe.span.kind": kind, "pandaprobe.output": text})
    assert span["output"] == value


@pytest.mark.parametrize(
    ("output", "shown", "key"),
    [
        ({"answer": "hello"}, {"messages": [{"role": "assistant", "content": "hello"}]}, {"key": "answer"}),
        ({"answer": "hello", "sources": [1]}, {"answer": "hello", "sources": [1]}, None),
        ({"verdict": "hello"}, {"verdict": "hello"}, None),
        ("hello", {"messages": [{"role": "assistant", "content": "hello"}]}, None),
    ],
)
def test_the_key_of_an_answer_that_is_shown_as_a_message_is_kept(output: Any, shown: Any, key: Any) -> None:
    """The root's span has the value as it is; the trace names the key whose text became a message."""
    body = mapped(view("x", {"pandaprobe.span.kind": "AGENT", "pandaprobe.output": json.dumps(output)}))
    assert (only_span(body)["output"], body["output"]) == (output, shown)
    assert body["metadata"].get("output_from") == key


def test_types_and_roles_that_are_data_are_kept() -> None:
    """A type, kind or role that does not describe the form of a value is kept with the rest of it."""
    customer = {"type": "platinum", "kind": "retail", "role": "owner", "tier": "a-long-tier-name"}
    request = {"messages": [{"role": "user", "content": "hello"}], "customer": customer}
    told = {"llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": "hello"}
    attributes = {"openinference.span.kind": "LLM", "input.value": json.dumps(request), **told}
    assert mapped_span("x", attributes)["metadata"]["attributes"]["input.value"] == {"customer": customer}


@pytest.mark.parametrize(
    ("attributes", "left"),
    [
        (
            {"langfuse.observation.metadata.plan": '"gold plan"', "langfuse.trace.metadata.plan": '"gold plan"'},
            {},
        ),
        ({"gen_ai.new.path": '"the agent\'s own path"'}, {"gen_ai.new.path": "the agent's own path"}),
        (
            {"gen_ai.new.one": '{"tags": ["a user\'s"]}', "gen_ai.new.two": '{"tags": ["a user\'s"]}'},
            {"gen_ai.new.one": {"tags": ["a user's"]}},
        ),
        ({"gen_ai.new.one": "yes", "gen_ai.new.two": "yes"}, None),
    ],
)
def test_unmapped_values_are_kept_once_and_in_plain_form(attributes: dict[str, Any], left: Any) -> None:
    """Text in the quotes of JSON is its content, and of long equal values, the first stays; a short one is a fact."""
    span = mapped_span("work", {"openinference.span.kind": "AGENT", **attributes})
    assert span["metadata"].get("attributes", {}) == (attributes if left is None else left)


def _seconds(attributes: dict[str, Any]) -> float:
    span = view("work", {"openinference.span.kind": "LLM", **attributes})
    return cpu_seconds(lambda: mapped(span))


def _names_and_texts(number: int) -> dict[str, Any]:
    """Return unknown names, and texts of a value that other attributes contain or not."""
    asked = [{"role": "user", "content": f"number {index} text"} for index in range(number)]
    known = {f"llm.input_messages.{index}.message.content": f"number {index} text" * 5 for index in range(number)}
    others = {f"my.attribute.{index}": f"value {index}" for index in range(number)}
    answers = json.dumps([f"answer number {index}" for index in range(number)])
    return {"input.value": json.dumps({"messages": asked}), "output.value": answers, **known, **others}


def test_the_time_for_many_names_and_texts_is_proportional_to_them() -> None:
    """Eight times the names or texts take about eight times as long; pairs of them would take 64 times."""
    assert _seconds(_names_and_texts(4000)) < 24 * _seconds(_names_and_texts(500))


@pytest.mark.parametrize(
    ("given", "question", "key"),
    [
        ({"new_message": {"parts": [{"text": "Why?"}], "role": "user"}, "user_id": "u", "state_delta": None},
         {"messages": [{"role": "user", "content": "Why?"}]}, "new_message"),
        ({"user_msg": "Why?", "chat_history": None, "memory": None},
         {"messages": [{"role": "user", "content": "Why?"}]}, "user_msg"),
        ({"init_state": {"memory": "full"}}, {"messages": [{"role": "user", "content": "Why below?"}]}, None),
        ({"data": {"model": {"messages": ["ChatMessage(_role='user', _content='Why?')"]}}},
         {"messages": [{"role": "user", "content": "Why below?"}]}, None),
        ({"question": "Why?", "verbose": True, "customer": None}, {"question": "Why?", "verbose": True}, None),
    ],
)  # fmt: skip
def test_the_question_is_found_among_the_arguments_of_a_framework(given: Any, question: Any, key: str | None) -> None:
    """The trace's input is the question; the root keeps all arguments, and the metadata names the place."""
    arguments = {"openinference.span.kind": "AGENT", "input.value": json.dumps(given), "output.value": "Event(a='b')"}
    messages = {
        f"llm.{side}_messages.0.message.{name}": text
        for side, role, content in (("input", "user", "Why below?"), ("output", "assistant", "Because."))
        for name, text in (("role", role), ("content", content))
    }
    model_call = view("call", {"openinference.span.kind": "LLM", **messages}, span_id=2, parent=1)
    body = mapped(view("run", arguments, lasts=2), model_call)
    assert (body["input"], body["output"]["messages"][0]["content"]) == (question, "Because.")
    assert body["spans"][0]["input"] == given
    assert body["metadata"].get("input_from", {}).get("key") == key


# -- small leftovers: judges read them ---------------------------------------------------------------------------------


def rest_of(value: Any, name: str = "input.value", kind: str = "AGENT") -> Any:
    """Return what a span keeps of an attribute of which the question alone is read."""
    told = {"gen_ai.input.messages": '[{"role": "user", "content": "Is it raining in Paris?"}]'}
    metadata = mapped_span("x", {"openinference.span.kind": kind, name: value, **told})["metadata"]
    return metadata.get("attributes", {}).get(name)


def test_the_text_of_an_object_keeps_what_is_nowhere_else() -> None:
    """Of Python's text of a message, only the leaves that the span lacks are kept; other texts are kept whole."""
    message = "ChatMessage(role=<Role.USER: 'user'>, content=[{'type': 'text', 'text': 'Is it raining in Paris?'}]"
    assert rest_of(json.dumps({"messages": [f"{message}, raw=None)"]})) is None
    assert rest_of(json.dumps([f"{message}, seen='by nobody else', n=7)"])) == [
        "ChatMessage(… seen='by nobody else', n=7"
    ]
    code = "Weather(city='Paris', days=[1, 2])"
    assert rest_of(json.dumps({"code": code})) == {"code": code}


def test_counts_of_nothing_and_the_places_of_events_are_not_kept() -> None:
    """A zero under the name of a kind of tokens, and the names and numbers of events, say nothing."""
    assert rest_of(json.dumps({"usage": {"audio_tokens": 0, "cached_tokens": 0}, "retries": 0})) == {"retries": 0}
    assert rest_of(json.dumps([{"event.name": "gen_ai.user.message", "gen_ai.message.index": 0}])) is None


def test_the_defaults_of_an_emitter_are_not_kept() -> None:
    """Settings that Pydantic AI writes with each call by default are not kept, but other settings are."""
    told = {"output_mode": "text", "allow_image_output": False, "function_tools": [{"strict": False, "timeout": 5}]}
    assert rest_of(json.dumps(told), "model_request_parameters") == {"function_tools": [{"timeout": 5}]}
    told = {"output_mode": "tool", "allow_image_output": True}
    assert rest_of(json.dumps(told), "model_request_parameters") == told


def test_a_span_does_not_repeat_the_calls_below_it() -> None:
    """Words of a model call are not kept once more on the agent around it, but other values are."""
    answer = {"role": "assistant", "parts": [{"type": "text", "content": "No rain in Paris today."}]}
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.response.id": "response-1234",
        "gen_ai.output.messages": json.dumps([answer]),
    }
    state = {"answer": "No rain in Paris today.", "response_id": "response-1234", "step": "forecast"}
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent_state": json.dumps(state)}
    body = mapped(view("agent", agent, lasts=9), view("chat", call, span_id=2, parent=1))
    assert body["spans"][0]["metadata"]["attributes"] == {"gen_ai.agent_state": {"step": "forecast"}}
    alone = mapped(view("agent", agent, lasts=9))
    assert alone["spans"][0]["metadata"]["attributes"]["gen_ai.agent_state"] == state


RESULT = {"type": "tool_call_response", "id": "c", "response": "21C"}


@pytest.mark.parametrize(
    "message",
    [
        {"role": MARK, "parts": [RESULT]},
        {"role": "user", "name": MARK, "parts": [RESULT]},
        {"role": "assistant", "parts": [{"type": MARK}, {"type": "text", "content": "hi"}]},
        {"role": "assistant", "tool_calls": [{"id": "c", "type": MARK, "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "user", "parts": [{"type": "blob", "modality": MARK, "mime_type": "image/png", "content": "aGk="}]},
    ],
    ids=["role", "name", "part", "call", "modality"],
)
def test_an_unknown_name_of_a_form_comes_out(message: dict[str, Any]) -> None:
    """A role, name or type that the normal form of a message has no place for is kept with the rest."""
    span = mapped_span("chat", {"gen_ai.operation.name": "chat", "gen_ai.input.messages": json.dumps([message])})
    assert MARK in text_of(span["metadata"]["attributes"])


def test_of_two_values_for_a_parameter_none_is_lost() -> None:
    """A parameter that two vocabularies state differently has one value, and the other one is kept too."""
    told = {"llm.invocation_parameters": '{"temperature": 0.5, "stop": ["x"]}', "gen_ai.request.temperature": 0.75}
    span = mapped_span("chat", {"gen_ai.operation.name": "chat", "openinference.span.kind": "LLM", **told})
    assert span["model_parameters"] == {"temperature": 0.5, "stop": ["x"]}
    assert span["metadata"]["attributes"] == {"gen_ai.request.temperature": 0.75}
