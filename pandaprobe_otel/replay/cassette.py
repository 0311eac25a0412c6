"""The file of a recording: YAML in the format of vcrpy, with additional data under the key `pandaprobe`.

A cassette may come from anybody's pull request. So it is read as plain data, its cost is bounded, and errors name the
file and line.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, cast

import yaml

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.protocols import aws_frames
from pandaprobe_otel.protocols.encoding import dump, dump_bytes
from pandaprobe_otel.protocols.encoding import load as load_json
from pandaprobe_otel.replay.compared_requests import without_media
from pandaprobe_otel.replay.exchange import UnreadableError, decompress
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedAnswer, RecordedRequest, ToolCall
from pandaprobe_otel.traces.json_shapes import list_in, object_in

FORMAT: Final = 1
MAX_CALLS: Final = 100_000
MAX_FILE_BYTES: Final = 64 << 20
MAX_DEPTH: Final = 48
"""Maximum number of levels of YAML. A cassette has eight, and tool results add their own."""
_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WIDTH: Final = 110
_LONG: Final = 60
"""Length from which a text is a block, even if it has one line."""
_BREAKS: Final = dict.fromkeys(map(ord, "\n\r\t"))
_ENDS: Final = ("read", "left", "broken")
_AWS: Final = "aws"
_OF_THE_WIRE: Final = frozenset({"content-length", "transfer-encoding", "connection"})
"""Headers about the transfer of a body, which is saved in another form."""


# -- values that are read ----------------------------------------------------------------------------------------------


_KINDS: Final[Mapping[Any, str]] = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number"}
_PLACE: Final = {"at": str, "after": list, "task": int, "follows": int, "waited_for": list}
_TOOL: Final = {"at": str, "call_id": str, "task": int, "follows": int}
_HEAD: Final = {"made_from": str, "started_at": str}
"""Optional members of an interaction, a tool call and a cassette, with their types. Lists have numbers."""


def _read(value: Any, kind: type, what: str) -> Any:
    """Return a value of this type. Raises TypeError for any other one."""
    if type_of(value) is not kind or (kind is int and value < 0) or (kind is dict and not all(map(_is_text, value))):
        hint = ": put it in quotes" if kind is str else ""
        raise TypeError(f"{what} must be {_KINDS[kind]}, but is {type_of(value).__name__}{hint}")
    return tuple(_read(number, int, f"a number in {what}") for number in value) if kind is list else value


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _given(entry: Mapping[str, Any], members: Mapping[str, type]) -> dict[str, Any]:
    """Return the optional members that an entry has."""
    return {
        name: _read(entry[name], kind, f"`{name}`") for name, kind in members.items() if entry.get(name) is not None
    }


def _kept(value: object, members: Mapping[str, type]) -> Flow:
    """Return the optional members of a value that are not empty."""
    found: dict[str, Any] = {name: getattr(value, name) for name in members}
    return Flow({name: [*one] if one.__class__ is tuple else one for name, one in found.items() if one})


# -- values that are written -------------------------------------------------------------------------------------------


class Flow(dict[str, Any]):
    """An object that is written on few lines."""


class Text(str):
    """A text that is written as a block if it has several lines or is long."""

    __slots__ = ()


class _Writer(_DUMPER):
    """Writer of cassettes as YAML, which repeats equal objects."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True, since a cassette has no references of YAML."""
        return True


def _represented(writer: Any, text: Text) -> Any:
    style = "|" if "\n" in text or len(text) > _LONG else None
    return writer.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


def _on_few_lines(writer: Any, value: Any) -> Any:
    """Return an object, or a list without objects, on few lines."""
    if isinstance(value, Flow):
        return writer.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)
    is_flow = not any(isinstance(item, dict) for item in value)
    return writer.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=is_flow)


_Writer.add_representer(list, _on_few_lines)
_Writer.add_representer(Flow, _on_few_lines)
_Writer.add_representer(Text, _represented)


def _text_of(body: bytes) -> Text | bytes:
    """Return a body as text if people can read it."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    return Text(text) if text.translate(_BREAKS).isprintable() else body


def _interaction_entry(interaction: Interaction, sharing: _Sharing) -> dict[str, Any]:
    request, answer = interaction.request, interaction.answer
    head = Flow(call=interaction.call, **_kept(interaction, _PLACE), end=answer.end)
    if answer.error is not None:
        head["error"] = answer.error
    asked = sharing.shorten(interaction.call, request.body)
    if asked is None:
        head["plain"] = True
    events = _events_in(answer)
    if events:
        head["framed"] = _AWS
    body = Text(events) if events else _text_of(answer.body)
    return {
        "pandaprobe": head,
        "request": {
            "method": request.method,
            "uri": request.uri,
            "headers": {name: [value] for name, value in request.headers.items()},
            "body": _text_of(request.body) if asked is None else Text(asked),
        },
        "response": {
            "status": Flow(code=answer.status, message=answer.reason),
            "headers": {name: [value] for name, value in answer.headers.items()},
            "body": {"string": body},
        },
    }


def _events_in(answer: RecordedAnswer) -> str:
    """Return the events of AWS's frames, one in a line; empty if there are none, or if they would not be equal again.

    The spacing of their JSON may differ.
    """
    if not answer.headers.get("content-type", "").startswith(aws_frames.CONTENT_TYPE):
        return ""
    events = [aws_frames.event_of(frame) for frame in aws_frames.frames_of(answer.body)]
    if any(event is None or aws_frames.event_of(aws_frames.frame_of(event)) != event for event in events):
        return ""
    return "".join(f"{dump(event, spaces=True)}\n" for event in events)


def _tool_entry(call: ToolCall) -> Flow:
    ended = {"result": call.result} if call.error is None else {"error": call.error, "error_type": call.error_type}
    return Flow(name=call.name, **_kept(call, _TOOL), arguments=dict(call.arguments), **ended)


def save(path: Path, cassette: Cassette) -> None:
    """Write a cassette atomically: the old file stays until the new one is complete. Raises RecordingError."""
    sharing = _Sharing()
    head = Flow(format=FORMAT, **_kept(cassette, _HEAD))
    document: dict[str, Any] = {
        "version": 1,
        "pandaprobe": head,
        "interactions": [_interaction_entry(interaction, sharing) for interaction in cassette.interactions],
    }
    if cassette.tools:
        document["tools"] = [_tool_entry(call) for call in cassette.tools]
    try:
        text: str = yaml.dump(  # pyright: ignore[reportUnknownMemberType]
            document, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=_WIDTH
        )
    except (UnicodeEncodeError, yaml.YAMLError) as error:  # a lone surrogate, or a value that is not JSON
        raise RecordingError(f"{path}: YAML cannot contain a value: {error}. The old file is unchanged.") from error
    data = text.removesuffix("...\n").encode()  # the end of the document, which libyaml marks after any kept line end
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, data)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror}. The old file is unchanged.") from error


def _too_large(path: Path) -> RecordingError:
    return RecordingError(f"{path}: has more than {MAX_FILE_BYTES >> 20} MB. Record it in parts.")


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _umask() -> int:
    """Return the mask for new files. Reading it requires setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


# -- reading -----------------------------------------------------------------------------------------------------------


@contextmanager
def _at(path: Path, line: int) -> Generator[None]:
    """Return a block that reads an entry at this line. Its errors become RecordingErrors."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        problem = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise RecordingError(
            f"{path}:{line}: {problem}. Fix it, or record it again (--pandaprobe-record=all)."
        ) from error


def load(path: Path) -> Cassette:
    """Read a cassette. Raises RecordingError with the line for an invalid file, and FileNotFoundError for a missing
    one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise _too_large(path)
    parts = {key.value: value for key, value in _root(path, data).value if isinstance(key, yaml.ScalarNode)}
    head: Mapping[str, Any] = {}
    if "pandaprobe" in parts:
        with _at(path, _line(parts["pandaprobe"])):
            head = _read(_plain(parts["pandaprobe"]), dict, "`pandaprobe`")
            if head.get("format", FORMAT) != FORMAT:
                raise ValueError(
                    f"has the format {head.get('format')!r}, but this version reads {FORMAT}: update pandaprobe-otel"
                )
            head = _given(head, _HEAD)
    reader = _Reader(path)
    return Cassette(
        interactions=tuple(map(reader.interaction, _items(path, parts, "interactions"))),
        tools=tuple(map(reader.tool, _items(path, parts, "tools"))),
        **head,
    )


def _root(path: Path, data: bytes) -> Any:
    """Return the tree of the document. References and deep nesting are refused."""
    try:
        depth = 0
        for event in yaml.parse(data, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise RecordingError(f"{path}:{_line(event)}: has a YAML reference (*), which no cassette needs.")
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                if depth > MAX_DEPTH:
                    raise RecordingError(f"{path}:{_line(event)}: has more than {MAX_DEPTH} levels.")
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
        node = yaml.compose(data, Loader=_LOADER)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise RecordingError(f"{place}: invalid YAML: {problem}. Fix it, or record it again.") from error
    if not isinstance(node, yaml.MappingNode):
        raise RecordingError(f"{path}:1: not a cassette: it must be a mapping with `interactions`.")
    return node


def _plain(node: Any) -> Any:
    """Return the data of a part of the tree."""
    loader = _LOADER("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"cannot be read: {getattr(error, 'problem', None) or error}") from error
    finally:
        loader.dispose()


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _items(path: Path, parts: Mapping[str, Any], name: str) -> list[Any]:
    node = parts.get(name)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise RecordingError(f"{path}:{_line(node)}: `{name}` must be a list.")
    return list(node.value)


class _Reader:
    """Reader of the entries of one cassette, in order."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._expansion = _Expansion()
        self._calls: set[int] = set()

    def interaction(self, node: Any) -> Interaction:
        with _at(self._path, _line(node)):
            entry = _read(_plain(node), dict, "an entry of `interactions`")
            line = next((_line(key) for key, _ in node.value if key.value == "request"), _line(node))
            head = _read(entry.get("pandaprobe") or {}, dict, "`pandaprobe`")
            call = _read(head.get("call", len(self._calls) + 1), int, "`call`")
            if call in self._calls or len(self._calls) >= MAX_CALLS:
                raise ValueError(f"call {call} occurs twice, or there are too many calls")
            self._calls.add(call)
            with _at(self._path, line):
                request = self._request(_read(entry["request"], dict, "`request`"), call, head)
            answer = _answer(_read(entry["response"], dict, "`response`"), head)
            return Interaction(call, request, answer, **_given(head, _PLACE), source=f"{self._path}:{line}")

    def _request(self, entry: Mapping[str, Any], call: int, head: Mapping[str, Any]) -> RecordedRequest:
        body: Any = entry.get("body") or b""
        if not isinstance(body, bytes):
            text = _read(body, str, "`request.body`")
            body = text.encode() if head.get("plain") else self._expansion.whole(call, text)
        method, uri = (_read(entry[name], str, f"`{name}`") for name in ("method", "uri"))
        return RecordedRequest(method, uri, _headers(entry.get("headers")), body)

    def tool(self, node: Any) -> ToolCall:
        with _at(self._path, _line(node)):
            entry = _read(_plain(node), dict, "an entry of `tools`")
            if ("result" in entry) == ("error" in entry):
                raise ValueError("a tool call must have either `result` or `error`")
            return ToolCall(
                _read(entry["name"], str, "`name`"),
                _read(entry.get("arguments") or {}, dict, "`arguments`"),
                result=entry.get("result"),
                **_given(entry, {**_TOOL, "error": str, "error_type": str}),
            )


def _answer(entry: Mapping[str, Any], head: Mapping[str, Any]) -> RecordedAnswer:
    status = _read(entry["status"], dict, "`status`")
    body: Any = _read(entry.get("body") or {}, dict, "`response.body`").get("string") or b""
    if not isinstance(body, bytes):
        body = _read(body, str, "`body.string`").encode()
    if head.get("framed") == _AWS:
        body = _framed(body)
    headers = {name: value for name, value in _headers(entry.get("headers")).items() if name not in _OF_THE_WIRE}
    if encoding := headers.pop("content-encoding", ""):  # vcrpy writes it; this library does not.
        try:
            body = decompress(body, encoding)
        except UnreadableError as error:
            raise ValueError(f"its body cannot be read: {error}") from error
    end: Any = head.get("end", "read")
    if end not in _ENDS:
        raise ValueError(f"`end` is {end!r}, not one of {', '.join(_ENDS)}")
    code, reason = (
        _read(status["code"], int, "`status.code`"),
        _read(status.get("message") or "", str, "`status.message`"),
    )
    return RecordedAnswer(code, reason, headers, body, end, **_given(head, {"error": str}))


def _framed(text: bytes) -> bytes:
    """Return the frames of events with one event per line."""
    try:
        return b"".join(aws_frames.frame_of(json.loads(line)) for line in text.splitlines() if line.strip())
    except (KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"a line of its body is not an event: {error}") from error


def _headers(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _read(headers or {}, dict, "`headers`").items():
        values = cast("Sequence[Any]", value) if isinstance(value, list) else [value]
        # vcrpy keeps the headers of botocore as bytes.
        texts = (one.decode("latin-1") if isinstance(one, bytes) else one for one in values)
        found[name.lower()] = ", ".join(_read(one, str, f"the header {name}") for one in texts)
    return found


# -- bodies of requests ------------------------------------------------------------------------------------------------

SAME: Final = "$same"
MAX_BYTES: Final = 256 << 20
"""Largest total size of a cassette's requests after all references are resolved."""
_WORTH: Final = 48
"""Shortest value, in bytes, that is replaced by a reference."""
_SHORT: Final = 60
"""Length up to which several fields, or several items, are on one line."""


class _Sharing:
    """Writer of the bodies of requests, in sequence: without media, and with references to earlier ones.

    `{"$same": [1, 2]}` is the first two items of the same list in call 1. Each request of a conversation repeats the
    previous ones, so a file without references would grow quadratically.
    """

    def __init__(self) -> None:
        self._seen: dict[bytes, int] = {}
        """Calls, by the digests of the beginnings of their lists."""

    def shorten(self, call: int, body: bytes) -> str | None:
        """Return the text of a JSON body; None for a body that is not an object, or that contains `$same` itself."""
        try:
            document = object_in(None if f'"{SAME}"'.encode() in body else without_media(load_json(body)))
        except (ValueError, RecursionError):
            return None
        if document is None:
            return None
        return _in_lines({key: self._field(call, key, value) for key, value in document.items()})

    def _field(self, call: int, key: str, value: Any) -> Any:
        """Return a field with a reference. JSON is compared, since Python also takes 1, 1.0 and True for equal."""
        digest, size = key.encode(), 0
        earlier, count = 0, 0
        for number, item in enumerate(list_in(value) or (), 1):
            text = dump_bytes(item)
            digest, size = blake2b(digest + text, digest_size=16).digest(), size + len(text)
            source = self._seen.setdefault(digest, call)
            if source != call and size >= _WORTH:
                earlier, count = source, number
        return [{SAME: [earlier, count]}, *value[count:]] if count else value


def _in_lines(value: Mapping[str, Any]) -> str:
    """Return the JSON of a request, with one line for each long field and for each item of a long list."""
    lines: list[list[str]] = [[]]
    for key, item in value.items():
        text = f"{dump(key)}: {_lines_of(item)}"
        if len(text) > _SHORT:
            lines += [[text], []]
        else:
            lines[-1].append(text)
    return "{" + ",\n ".join(", ".join(line) for line in lines if line) + "}\n"


def _lines_of(value: Any) -> str:
    if not isinstance(value, list):
        return dump(value, spaces=True)
    items = [dump(item, spaces=True) for item in cast("Sequence[Any]", value)]
    between = ", " if sum(map(len, items)) + 2 * len(items) <= _SHORT else ",\n  "
    return f"[{between.join(items)}]"


class _Expansion:
    """Reader of the bodies, in sequence."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[str, Any]] = {}
        self._size = 0

    def whole(self, call: int, text: str) -> bytes:
        """Return the whole body of a call. Text that is not a JSON object is returned unchanged.

        Raises ValueError for a reference to nothing before it, and for bodies that are too large together.
        """
        try:
            document = object_in(load_json(text))
        except (ValueError, RecursionError):
            document = None
        if document is None:
            return text.encode()
        whole = self._seen[call] = {key: self._field(key, value) for key, value in document.items()}
        body = dump_bytes(whole)
        self._size += len(body)
        if self._size > MAX_BYTES:
            raise ValueError(f"with their references resolved, the requests have more than {MAX_BYTES >> 20} MB")
        return body

    def _field(self, key: str, value: Any) -> Any:
        match value:
            case [{"$same": [int(call), int(count)]}, *rest]:
                earlier = list_in(self._seen.get(call, {}).get(key)) or ()
                if not 0 < count <= len(earlier):
                    raise ValueError(f"call {call} has no {count} items in {key!r}")
                return [*earlier[:count], *rest]
            case [{"$same": other}, *_]:
                raise ValueError(f"{dump(other)} in {key!r} must have the form [call, number of items]")
            case _:
                return value
