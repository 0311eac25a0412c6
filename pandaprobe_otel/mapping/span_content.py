"""Input and output of a span, and everything else that it says, which is added to the metadata under its own name.

Input and output are chosen independently, each from its first source with content. Readers find everything that
PandaProbe evaluates: messages, tool calls, documents, usage. They record in `taken` the attributes that the body has
whole. What it lacks of all others is found by comparing texts and numbers.
"""

from __future__ import annotations

import base64
import re
from ast import literal_eval
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import INPUT, OUTPUT
from pandaprobe_otel.mapping.clean import vector_marker
from pandaprobe_otel.mapping.content import (
    DEFAULT_ROLE,
    ENVELOPE_MARKS,
    RESULT_MARKS,
    any_content,
    documents,
    embedding_input,
    is_vector,
    of_the_only_part,
    parsed,
    query_text,
    tool_result,
    unwrap_envelope,
    without_vectors,
)
from pandaprobe_otel.mapping.dialects.otel_genai import DETAILS
from pandaprobe_otel.mapping.exact_json import parser
from pandaprobe_otel.mapping.mapped_span import MappedSpan, add_rest, put
from pandaprobe_otel.mapping.messages import END, Conversation, take_texts
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.outcomes import last_exception
from pandaprobe_otel.mapping.privacy import silence_tools
from pandaprobe_otel.mapping.shapes import DIALECTS, Candidate, Source, value_of
from pandaprobe_otel.mapping.span_view import EventView
from pandaprobe_otel.mapping.unread_attributes import CONNECTION_KEYS, SECRET, hides, left_out, shown
from pandaprobe_otel.mapping.values import ABSENT_TEXTS, decoded, is_absent, scalar, type_of, word


def add_contents(spans: Sequence[MappedSpan], options: MappingOptions) -> None:
    """Set `input` and `output` of the bodies, and the reasoning in the metadata, where `options` allow it."""
    captures_all = options.captures_all
    hides_tools = not captures_all and options.capture_of("TOOL") != "all"
    for span in spans:
        kind, shape = span.kind, span.shape
        if not shape.contents or not (captures_all or options.capture_of(kind) == "all"):
            continue
        body = span.body
        if kind in shape.own_texts and not hides_tools:  # the most frequent case
            asked, answered, marks = shape.own_texts[kind]
            attributes = span.view.attributes
            given, result = _own_value(attributes[asked], marks), _own_value(attributes[answered], marks)
            if given is not None and result is not None:
                body["input"], body["output"] = given, result
                span.taken = [asked, answered]
                continue
        if (read := _READERS.get(kind)) is not None:
            given, result = read(span)
        else:
            result, given = _talk(span, "output"), _talk(span, "input")
            if hides_tools:
                given, result = silence_tools(given), silence_tools(result)
                span.metadata.pop("replay", None)  # it contains the whole answer, with the arguments of tools
        if given is not None:
            body["input"] = given
        if result is not None:
            body["output"] = result


def _own_value(text: Any, marks: frozenset[str]) -> Any:
    """Return the value of a text that is clearly neither absent nor an envelope or a message; else None."""
    if type_of(text) is not str:
        return None
    if text[:1] in _JSON_STARTS:
        if len(text) > _LONG or '"lc"' in text:
            return None
        try:
            value = parser.get()(text)
        except ValueError:
            return None
        if type_of(value) is dict:
            return value if value and marks.isdisjoint(value) else None
        text = value
    return text if text[:1].isalpha() and len(text.rstrip()) > _LONGEST_WORD else None


_LONG: Final = 1000
"""Characters of a long text. Its readers cost little beside its parsing, so it is not parsed before they are chosen."""
_JSON_STARTS: Final = frozenset('{"')
_LONGEST_WORD: Final = 5
"""Letters of the longest word that may mean something else: `None`, `null`, `true`, `false`."""


def _tool(span: MappedSpan) -> tuple[Any, Any]:
    given = _taken(span, _value(span, "tool.input", empty=True))
    if given is None:
        found = _value(span, "input")
        # The message that calls the tool (older Strands).
        given = _taken(span, found, of_the_only_part(found[0], "tool_call", "arguments"))
    found = _value(span, "tool.output", empty=True)
    value = found[0]
    if value is None:
        found = _value(span, "output")
        value = of_the_only_part(found[0], "tool_call_response", "response")  # Strands, if the tool failed
    has_result = type_of(value) is dict and not RESULT_MARKS.isdisjoint(value)
    return given, _taken(span, found, tool_result(value) if has_result else value)


def _retriever(span: MappedSpan) -> tuple[Any, Any]:
    attributes = span.view.attributes
    given = _taken(span, _value(span, "query"))
    if given is None:
        found = _value(span, "input")
        given = _taken(span, found, query_text(found[0], own=INPUT in attributes))
    value, _ = _value(span, "documents")
    own = value is None and OUTPUT in attributes
    if value is None:
        value, _ = _value(span, "output")
    return given, documents(value, own=own)


def _embedding(span: MappedSpan) -> tuple[Any, Any]:
    found = _value(span, "embedding.input")
    if found[0] is None:
        found = _value(span, "input")
    given = _taken(span, found, embedding_input(found[0], own=INPUT in span.view.attributes))
    own = span.view.attributes.get(OUTPUT)  # set by the app, so it may contain more than the provider's answer
    if own is not None:
        span.taken.append(OUTPUT)  # with all but its vectors
    return given, None if own is None else without_vectors(scalar(own))


def _taken(span: MappedSpan, found: tuple[Any, Source | None], shown: Any = ...) -> Any:
    """Return what is shown of a found value, by default the value; record its source if the whole of it is shown."""
    value, source = found
    if shown is ...:
        shown = value
    if source is not None and shown is value:
        span.taken.append(source)
    return shown


_READERS: Final = {"TOOL": _tool, "RETRIEVER": _retriever, "EMBEDDING": _embedding}
"""Readers for the kinds whose spans contain no conversation."""


def _talk(span: MappedSpan, side: str) -> Any:
    """Return one side of a span that may contain a conversation. Its reasoning is added to the metadata."""
    contents, kind, view = span.shape.contents, span.kind, span.view
    system = contents["system"] if "system" in contents and side == "input" and kind != "OTHER" else None
    for candidate in contents.get(side, ()):
        form, source, convert, whole = candidate
        if type(source) is str:  # copied from `value_of`, which saves a call in most cases
            raw = view.attributes[source] if convert is None else convert(view.attributes[source])
        else:
            raw = value_of(source, convert, view)
        if form == "messages":
            found = _messages(span, side, raw, system, candidate)
            if found is not None:
                return found
            continue
        text = raw if type_of(raw) is str or type(source) is not str else view.attributes[source]
        is_built = type_of(text) is not str or '"lc"' in text
        own = source in (INPUT, OUTPUT)
        value = parsed(raw)
        content = any_content(value, kind, side, own=own, is_built=is_built)
        if content.value is not None or content.reasoning:
            if content.reasoning:
                _add_reasoning(span, side, content.reasoning)
            is_whole = whole and (content.value is value or type_of(value) is str)  # a text may become a message
            if is_whole:
                span.taken.append(source)
            return content.value
    if system is not None and kind == "LLM":
        talk = Conversation()
        _add_system(talk, system, span)
        return talk.content()
    return None


_NONE: Final = (None, "", "unknown")
_STOP: Final = ("stop",)
"""The only reason for finishing that the messages of one text have."""


def _messages(
    span: MappedSpan, side: str, raw: Any, system: tuple[Candidate, ...] | None, candidate: Candidate
) -> dict[str, Any] | None:
    """Return the same for messages in any form; None if they have no content."""
    is_list = type_of(raw) is list
    if not is_list and is_absent(raw):
        return None
    if side == "output" and is_list and "finish_reasons" not in span.metadata:
        reasons = [
            one["finish_reason"] for one in raw if type_of(one) is dict and one.get("finish_reason") not in _NONE
        ]
        if reasons:
            span.metadata["finish_reasons"] = reasons
    messages: list[dict[str, Any]] = []
    reasoning: Sequence[str] = ()
    is_whole = is_list and system is None and take_texts(iter(raw), messages) is END
    if not is_whole:
        talk = Conversation()
        is_whole = talk.add_all(raw, DEFAULT_ROLE[side]) or type_of(raw) is str
        if system is not None:
            _add_system(talk, system, span)
        messages, reasoning = talk.messages, talk.reasoning
    if not (messages or reasoning):
        return None
    if is_whole and candidate[-1] and (side == "input" or "stop" in span.metadata.get("finish_reasons", _STOP)):
        span.taken.append(candidate[1])
    if reasoning:
        _add_reasoning(span, side, reasoning)
    return {"messages": messages} if messages else None


def _add_reasoning(span: MappedSpan, side: str, reasoning: Sequence[str]) -> None:
    put(span, "reasoning_summary" if side == "output" else "input_reasoning", "\n\n".join(reasoning))


def _add_system(talk: Conversation, candidates: tuple[Candidate, ...], span: MappedSpan) -> None:
    """Insert the first instructions at the front."""
    for _, source, convert, _ in candidates:
        instructions = value_of(source, convert, span.view)
        if not is_absent(instructions):
            talk.add_system(instructions)
            return


def _value(span: MappedSpan, field: str, *, empty: bool = False) -> tuple[Any, Source | None]:
    """Return the first usable value of the field, and its source if the value is the whole content of it.

    With `empty`, an empty object or list counts as a value.
    """
    for _, source, convert, whole in span.shape.contents.get(field, ()):
        own = source in (INPUT, OUTPUT)
        found = parsed(value_of(source, convert, span.view))
        value = found if type_of(found) is not dict or ENVELOPE_MARKS.isdisjoint(found) else unwrap_envelope(found)
        if not is_absent(value) or (empty and value in ({}, [])) or (own and value is not None):
            return value, source if whole and value is found else None
    return None, None


_NOTHING: Final = object()
_MAX_LEVELS: Final = 64
_BEGINNINGS: Final = ("[", "{", " ", "\n")
_MAX_SEARCHES: Final = 256
"""Number of texts in vain looked for within all others, so that the time stays linear. Further ones are kept."""
_MIN_CONTAINED: Final = 12
"""Minimum number of characters of a text that may match inside another text; a shorter one, such as "yes", matches as a
whole.
"""

_NUMBERS: Final = frozenset({int, float})
_OF_MANY_NAMES: Final = re.compile(
    r"(?:id|name|type|role|text|content|reason|system|provider|model|query|prompt|question|answer|message|response|"
    r"result|value|input|output)\Z",
    re.IGNORECASE,
)
"""Ends of the names of values that each vocabulary names differently."""
_MIN_RARE: Final = 1000
"""Numbers from this size on, and numbers with a fraction, are rarely equal by chance."""
_COUNT: Final = re.compile("token|usage|cache|reasoning", re.IGNORECASE)
_OF_A_KIND: Final = re.compile(r"(?:text|image|audio|video)[^.]*(?:\.[^.]*)?\Z", re.IGNORECASE)
_STRUCTURE: Final = frozenset({"type", "role", "index", "lc", "kind", "event.name", "mime_type", "modality"})
"""Keys that only describe the form of a value."""

_FORMS: Final = frozenset(
    {
        "", "text", "input_text", "output_text", "summary_text", "reasoning_text", "message", "function",
        "function_call", "function_call_output", "tool_call", "tool_call_response", "tool_use", "tool_result",
        "tool-call", "tool-result", "toolcall", "image", "image_url", "input_image", "file", "input_file", "audio",
        "video", "reasoning", "thinking", "refusal", "human", "ai", "aimessagechunk", "humanmessage", "aimessage",
        "systemmessage", "toolmessage", "system", "user", "assistant", "developer", "tool", "model", "constructor",
        "not_implemented", "secret", "unknown", "generation", "chatgeneration", "request", "response", "blob", "uri",
        "application/json", "text/plain",
    }
)  # fmt: skip
"""Values of these keys, in lower case, that name the form of a message, a part or an answer."""

_CLASSES: Final = ["langchain", "schema", "messages"]
_MESSAGES: Final = frozenset(
    f"['{name}Message{end}']" for name in ("Human", "AI", "System", "Tool") for end in ("", "Chunk")
)
"""Names of LangChain's classes of messages, after the path of their package."""
_PLACES: Final = frozenset({"event.name", "gen_ai.message.index"})
"""Keys with the place of a message in a list of events."""

_OBJECT: Final = re.compile(r"[A-Z]\w*\(\w+=|\w+=['\"<]")
"""Beginning of Python's text of an object, which some emitters write for messages and answers."""
_LEAF: Final = re.compile(r"""(?:(\w+)=)?('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[\w.+-]+)(\s*[=(:])?""", re.DOTALL)
"""Text, number or word in such a text, after the name of its field if it has one. A word before a sign is a name."""
_OBJECTS: Final = frozenset(
    {"chat.completion", "chat.completion.chunk", "text_completion", "response", "list", "embedding", "batch", "model"}
)
"""Names of OpenAI's answers: under the key `object`, they only describe the form of a value."""

_DEFAULTS: Final = {name: value for dialect in DIALECTS for name, value in dialect.defaults.items()}
_READ_EVENTS: Final = {name for dialect in DIALECTS for row in dialect.events for name in row.names} | {DETAILS}
_PIECES: Final = (".chunk", ".delta")
"""Ends of the names of events that contain a part of a streamed answer."""

_AROUND: Final = frozenset({"AGENT", "CHAIN", "OTHER"})
"""Kinds of spans that hold the messages and answers of the calls below them once more."""

MAX_EVENTS: Final = 128


def add_unsaid(spans: Sequence[MappedSpan]) -> None:
    """Add to the metadata of the spans everything that their bodies lack.

    What only repeats a model call of the trace is not added to the spans around it.
    """
    known: list[Said] = []

    def calls() -> Said:
        if not known:
            known.append(Said([[span.body, span.usage] for span in spans if span.kind == "LLM"]))
        return known[0]

    for span in spans:
        shape = span.shape
        if len(span.taken) < len(shape.sources) or shape.watched or span.unusable or span.view.events:
            _add_unsaid(span, calls)


def _add_unsaid(span: MappedSpan, calls: Callable[[], Said]) -> None:
    attributes, shape = span.view.attributes, span.shape
    names = [*shape.watched, *span.unusable]
    for source in shape.sources:
        if type(source) is str:
            if source not in span.taken:
                names.append(source)
        elif type(source) is tuple:
            names += [
                key for key, path in source if path[-1] not in _STRUCTURE or word(attributes[key]).lower() not in _FORMS
            ]
    if names or span.view.events:
        known = [value for name, value in _DEFAULTS.items() if name in attributes]
        said = Said({"body": span.body, "sums": [span.usage, span.aggregated, span.cost], "defaults": known})
        rest = unsaid(said, [(name, attributes[name]) for name in dict.fromkeys(names)])
        if span.view.events:
            rest |= unsaid(said, _content_of(span.view.events))
        add_rest(span, unsaid(calls(), rest.items()) if rest and span.kind in _AROUND else rest)
    _add_events(span)


def _add_events(span: MappedSpan) -> None:
    """Add the events that no row reads: notes of the app or a library, and handled exceptions."""
    error = last_exception(span.view) if "error" in span.body else None
    events = [event for event in span.view.events if event is not error and _is_own(event)]
    if not events:
        return
    told = [_event(event) for event in events[:MAX_EVENTS]]
    if len(events) > MAX_EVENTS:
        told.append({"name": f"[{len(events) - MAX_EVENTS} more of {len(events)} events]"})
    put(span, "events", told)


def _content_of(events: Iterable[EventView]) -> Iterable[tuple[str, Any]]:
    """Yield the content of events that rows read, by event name."""
    told: dict[str, list[Any]] = {}
    for event in events:
        if event.name in _READ_EVENTS and event.name != DETAILS and not event.name.endswith(_PIECES):
            bag = {key: value for key, value in event.attributes.items() if left_out(key) is None}
            told.setdefault(event.name, []).append(bag if event.body is None else {**bag, "body": event.body})
    return told.items()


def _is_own(event: EventView) -> bool:
    return bool(event.name) and event.name not in _READ_EVENTS and not event.name.endswith(_PIECES)


def _event(event: EventView) -> dict[str, Any]:
    told: dict[str, Any] = {"name": event.name}
    attributes = {key: shown(key, value) for key, value in event.attributes.items() if left_out(key) is None}
    if attributes:
        told["attributes"] = attributes
    if event.body is not None:
        told["body"] = event.body
    return told


class Said:
    """Texts and numbers in a span's body, or in several bodies."""

    __slots__ = ("_all", "_at", "_leaves", "_searches")

    def __init__(self, body: Any) -> None:
        self._leaves: dict[Any, None] = {}  # in order
        self._all: str | None = None
        self._at = self._searches = 0
        self._add(body, 0)

    def has(self, name: str, value: Any) -> bool:
        """Return whether the body has this value under the last part of this name."""
        return (name.rpartition(".")[2], value) in self._leaves

    def holds_number(self, name: str, value: float) -> bool:
        """Return whether the body has this number, unless it may be equal by chance, as small numbers often are.

        Token counts have many names, and the body uses one of them. An equal sum does not prove that the body has a
        count of a single modality.
        """
        if not value and _COUNT.search(name):
            return True  # none of a kind of tokens
        if not self.holds(value):
            return False
        if self.has(name, value) or not value or abs(value) >= _MIN_RARE or value != int(value):
            return True
        return _COUNT.search(name) is not None and _OF_A_KIND.search(name) is None

    def holds_text(self, name: str, text: str) -> bool:
        """Return whether the body has this text, or a text that contains it.

        A short text must have the same name, because a word such as "auto" is common. Without a name, the place of the
        text is ignored.
        """
        text = text.strip()
        if text in self._leaves:
            is_told = not name or len(text) >= _MIN_CONTAINED or self.has(name, text)
            return is_told or _OF_MANY_NAMES.search(name) is not None
        if len(text) < _MIN_CONTAINED:
            return False
        return self._contain(text)

    def holds(self, leaf: Any) -> bool:
        """Return whether the leaf occurs anywhere in the body."""
        if type_of(leaf) is str:
            return self.holds_text("", leaf)
        return leaf in self._leaves or str(leaf) in self._leaves

    def _contain(self, text: str) -> bool:
        """Return whether a text contains this one. Searches on from the last place, because both come in order."""
        if self._all is None:
            self._all = "\0".join(leaf for leaf in self._leaves if type(leaf) is str)
        if self._searches >= _MAX_SEARCHES:
            return False
        at = self._all.find(text, self._at)
        if at < 0 and (at := self._all.find(text, 0, self._at + len(text) - 1)) < 0:
            self._searches += 1
            return False
        self._at = at
        return True

    def _add(self, value: Any, level: int, key: str | None = None) -> None:
        kind, leaves = type_of(value), self._leaves
        if kind is str:
            text = value.strip()
            leaves[text] = None
            if key is not None and "\n" in text:  # several texts of a message are joined by lines
                leaves.update(dict.fromkeys(map(str.strip, text.split("\n"))))
            if len(text) < _MIN_CONTAINED:
                leaves[(key, text)] = None
            if value[:1] in _BEGINNINGS and (inner := decoded(value)) is not value:
                value, kind = inner, type_of(inner)
        if level >= _MAX_LEVELS:
            return
        if kind is dict:
            for name, item in value.items():
                self._add(item, level + 1, name)
        elif kind is list:
            for item in value:
                self._add(item, level + 1)
        elif kind is not str and value is not None:
            leaves[(key, value)] = None
            if kind is not bool:
                leaves[value] = None


def unsaid(said: Said, items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return the parts of these named values that the body lacks, with the structure around them, each value once."""
    rest: dict[str, Any] = {}
    kept: set[str] = set()
    for name, value in items:
        fresh = _fresh(said, value, 0, name)
        if fresh is _NOTHING:
            continue
        if type_of(value) is str and len(value) >= _MIN_CONTAINED:
            if value in kept:
                continue
            kept.add(value)
        rest[name] = shown(name, fresh)
    return rest


def _fresh(said: Said, value: Any, level: int, name: str = "") -> Any:
    kind = type_of(value)
    if level >= _MAX_LEVELS:
        return value
    if kind is bytes:
        value, kind = base64.b64encode(value).decode(), str
    if kind is str:
        if value.strip() in ABSENT_TEXTS:
            return _NOTHING
        if value[:1] in _BEGINNINGS or value[:1] == '"' == value[-1]:
            inner = decoded(value)
            if inner is not value:
                return _fresh(said, inner, level + 1, name)
        if said.holds_text(name, value):
            return _NOTHING
        return _fresh_object(said, value) if _OBJECT.match(value) is not None else value
    if kind is dict:
        return _fresh_items(said, value, level, name)
    if kind is list:
        if is_vector(value):
            marker = vector_marker(len(value))
            is_said = said.holds(marker) or (said.holds(value[0]) and said.holds(value[-1]))
            return _NOTHING if is_said else marker
        kept = [item for one in value if (item := _fresh(said, one, level + 1)) is not _NOTHING]
        return kept or _NOTHING
    if kind is bool:
        return _NOTHING if said.has(name, value) else value
    if value is None:
        return _NOTHING
    return _NOTHING if (said.holds_number(name, value) if name and kind in _NUMBERS else said.holds(value)) else value


def _fresh_object(said: Said, text: str) -> Any:
    """Return Python's text of an object with only the leaves that the body lacks; unchanged if none of them is long."""
    kept: list[str] = []
    repeats = False
    for leaf in _LEAF.finditer(text):
        name, written, sign = leaf[1] or "", leaf[2], leaf[3]
        if sign is not None:
            continue
        try:
            value: Any = literal_eval(written)
        except (ValueError, SyntaxError, MemoryError):
            value = written
        if value is None or value is False or (name in _STRUCTURE and _is_form(said, name, value)):
            continue
        if type_of(value) is str:
            is_said = value.lower() in _FORMS or said.holds_text(name, value)
            repeats = repeats or (is_said and len(value) >= _MIN_CONTAINED)
        else:
            is_said = type_of(value) in _NUMBERS and said.holds_number(name, value)
        if not is_said:
            kept.append(leaf[0])
    if not repeats:
        return text
    return f"{text[: text.find('(') + 1]}… {', '.join(kept)}" if kept else _NOTHING


def _is_form(said: Said, key: str, value: Any) -> bool:
    """Return whether the value of such a key describes a form, as numbers do, or is in the body."""
    kind = type_of(value)
    return kind is int or (kind is str and (value.lower() in _FORMS or said.holds_text(key, value)))


def _fresh_items(said: Said, value: Any, level: int, name: str) -> Any:
    kept: dict[str, Any] = {}
    # `{"type": "ephemeral"}`: if there are no other keys, these are the content.
    if _STRUCTURE.issuperset(value) and _PLACES.isdisjoint(value):
        kept = {key: item for key, item in value.items() if type_of(item) not in (str, int) or not said.holds(item)}
        return kept or _NOTHING
    for key, item in value.items():
        if key in _PLACES and (type_of(item) is int or item in _READ_EVENTS):
            continue
        if key == "id" and type_of(item) is list and item[:3] == _CLASSES and str(item[3:]) in _MESSAGES:
            continue
        if (key in _STRUCTURE and _is_form(said, key, item)) or key in CONNECTION_KEYS:
            continue
        if key == "object" and type_of(item) is str and item in _OBJECTS:
            continue
        fresh = _fresh(said, item, level + 1, f"{name}.{key}")
        if fresh is not _NOTHING:
            kept[key] = SECRET if hides(key, item) else fresh
    return kept or _NOTHING
