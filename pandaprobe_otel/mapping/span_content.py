"""Input and output of a span, and everything else that it says, which is added to the metadata under its own name.

Input and output are chosen independently, each from its first source with content. Readers find everything that
PandaProbe evaluates: messages, tool calls, documents, usage. They record in `taken` the attributes that the body has
whole. What it lacks of all others is found by comparing texts and numbers.
"""

from __future__ import annotations

import base64
import re
from ast import literal_eval
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.mapping.attributes import INPUT, OUTPUT
from pandaprobe_otel.mapping.clean import vector_marker
from pandaprobe_otel.mapping.content import (
    DEFAULT_ROLE,
    any_content,
    arguments,
    documents,
    embedding_input,
    is_vector,
    parsed,
    query_text,
    tool_result,
    unwrap_envelope,
    vectors_left_out,
    without_constructors,
)
from pandaprobe_otel.mapping.dialects.otel_genai import DETAILS
from pandaprobe_otel.mapping.exact_json import parser
from pandaprobe_otel.mapping.mapped_span import MappedSpan, add_rest, put
from pandaprobe_otel.mapping.messages import END, Conversation, take_texts
from pandaprobe_otel.mapping.options import MappingOptions
from pandaprobe_otel.mapping.outcomes import last_exception
from pandaprobe_otel.mapping.privacy import silence_tools
from pandaprobe_otel.mapping.shapes import DIALECTS, Source, value_of
from pandaprobe_otel.mapping.unread_attributes import CONNECTION_KEYS, SECRET, hides, left_out, shown
from pandaprobe_otel.mapping.values import ABSENT_TEXTS, decoded, dicts, is_absent, type_of, word


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
        if (readers := _READERS.get(kind)) is not None:
            given, result = [_value(span, *reader) for reader in readers]
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


_READERS: Final[Mapping[str, tuple[tuple[tuple[str, ...], Callable[[Any, bool], Any]], ...]]] = {
    "TOOL": ((("tool.input", "input"), arguments), (("tool.output", "output"), tool_result)),
    "RETRIEVER": ((("query", "input"), query_text), (("documents", "output"), documents)),
    "EMBEDDING": ((("embedding.input", "input"), embedding_input), (("output",), vectors_left_out)),
}
"""For the kinds whose spans contain no conversation: fields with the input and the output, and their readers."""


def _value(span: MappedSpan, fields: Sequence[str], read: Callable[[Any, bool], Any]) -> Any:
    """Return the first usable value of the fields, and record its source if the whole of it is shown."""
    for field in fields:
        for _, source, convert, whole in span.shape.contents.get(field, ()):
            own = source in (INPUT, OUTPUT)
            found, whole = _parsed(span, source, value_of(source, convert, span.view), whole)
            value = unwrap_envelope(found)
            is_empty = is_absent(value) and not (own and value is not None)
            if is_empty and not (span.kind == "TOOL" and value in ({}, [])):
                continue
            shown = read(value, own)
            if shown is not None or own:
                if whole and (shown is found or (own and read is vectors_left_out)):
                    span.taken.append(source)
                return shown
    return None


def _parsed(span: MappedSpan, source: Source, raw: Any, whole: bool) -> tuple[Any, bool]:
    """Return the parsed value of a source without LangChain's constructors, and whether it has all of the source."""
    written: Any = span.view.attributes.get(source) if type(source) is str else raw
    value = parsed(raw)
    if type_of(written) is str and '"lc"' not in written:
        return value, whole
    return without_constructors(value), False


def _talk(span: MappedSpan, side: str) -> Any:
    """Return one side of a span that may contain a conversation. Its reasoning is added to the metadata."""
    contents, kind, view = span.shape.contents, span.kind, span.view
    value: Any = None
    reasoning: Sequence[str]
    for form, source, convert, whole in contents.get(side, ()):
        if type(source) is str:  # copied from `value_of`, which saves a call in most cases
            raw = view.attributes[source] if convert is None else convert(view.attributes[source])
        else:
            raw = value_of(source, convert, view)
        if form == "messages":
            if is_absent(raw):
                continue
            messages: list[dict[str, Any]] = []
            are_texts = type_of(raw) is list and take_texts(iter(raw), messages) is END
            if are_texts:  # the most frequent case
                value, reasoning = {"messages": messages}, _NO_REASONING
            else:
                talk = Conversation()
                talk.add_all(raw, DEFAULT_ROLE[side])
                value, reasoning = talk.content(), talk.reasoning
            is_finished = side == "input" or _has_stopped(span, raw)
            is_whole = whole and is_finished and (are_texts or type_of(raw) is str)
        else:
            found, whole = _parsed(span, source, raw, whole)
            value, reasoning = any_content(found, kind, side, own=source in (INPUT, OUTPUT))
            is_whole = whole and (value is found or type_of(found) is str)  # a text may become a message
        if value is not None or reasoning:
            if reasoning:
                put(span, "reasoning_summary" if side == "output" else "input_reasoning", "\n\n".join(reasoning))
            if is_whole:
                span.taken.append(source)
            break
    return _with_system(span, value) if side == "input" and "system" in contents and kind != "OTHER" else value


_NO_REASONING: Final = ()
_NONE: Final = (None, "", "unknown")
_STOP: Final = ("stop",)
"""The only reason for finishing that the messages of one text have."""


def _has_stopped(span: MappedSpan, messages: Any) -> bool:
    """Return whether the metadata says that the answer was finished; add the reasons in its messages if it has none."""
    metadata = span.metadata
    if "finish_reasons" not in metadata:
        reasons = [one["finish_reason"] for one in dicts(messages) if one.get("finish_reason") not in _NONE]
        if reasons:
            metadata["finish_reasons"] = reasons
    return "stop" in metadata.get("finish_reasons", _STOP)


def _with_system(span: MappedSpan, value: Any) -> Any:
    """Return the input with the first instructions at the front, if it consists of messages or is a call's."""
    talk = Conversation()
    if value is not None:
        if type_of(value) is not dict or type_of(value.get("messages")) is not list:
            return value
        talk.messages = value["messages"]
    elif span.kind != "LLM":
        return None
    for _, source, convert, _ in span.shape.contents["system"]:
        instructions = value_of(source, convert, span.view)
        if not is_absent(instructions):
            talk.add_system(instructions)
            break
    return value or talk.content()


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
    read, others = _split_events(span) if span.view.events else ({}, [])
    if names or read:
        known = [value for name, value in _DEFAULTS.items() if name in attributes]
        said = Said({"body": span.body, "sums": [span.usage, span.aggregated, span.cost], "defaults": known})
        rest = unsaid(said, [(name, attributes[name]) for name in dict.fromkeys(names)])
        rest |= unsaid(said, read.items())
        add_rest(span, unsaid(calls(), rest.items()) if rest and span.kind in _AROUND else rest)
    if others:
        put(span, "events", others)


def _split_events(span: MappedSpan) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the content of events that rows read, by name, and all others: notes of the app or a library, and handled
    exceptions.
    """
    error = last_exception(span.view) if "error" in span.body else None
    read: dict[str, Any] = {}
    others: list[dict[str, Any]] = []
    for event in span.view.events:
        if event is error or not event.name or event.name == DETAILS or event.name.endswith(_PIECES):
            continue
        body = {} if event.body is None else {"body": event.body}
        own = {key: shown(key, value) for key, value in event.attributes.items() if left_out(key) is None}
        if event.name in _READ_EVENTS:
            read.setdefault(event.name, []).append({**own, **body})
        else:
            others.append({"name": event.name, **({"attributes": own} if own else {}), **body})
    if len(others) > MAX_EVENTS:
        others[MAX_EVENTS:] = [{"name": f"[{len(others) - MAX_EVENTS} more of {len(others)} events]"}]
    return read, others


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
