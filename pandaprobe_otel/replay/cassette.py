"""The file of a recording: YAML in the format of vcrpy, with additional data under the key `pandaprobe`.

A cassette may come from anybody's pull request. So it is read as plain data, its cost is bounded, and errors name the
file and line.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import yaml

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.protocols import aws_frames
from pandaprobe_otel.protocols.encoding import dump
from pandaprobe_otel.replay.body_units import recut
from pandaprobe_otel.replay.decoding import UnreadableError, decompress
from pandaprobe_otel.replay.interactions import Cassette, Interaction, RecordedAnswer, RecordedRequest, ToolCall
from pandaprobe_otel.replay.shared_parts import BadReferenceError, Expansion, Sharing

_DUMPER: Final[Any] = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
MAX_CALLS: Final = 100_000
_WIDTH: Final = 110
_LONG: Final = 60
"""Length from which a text is a block, even if it has one line."""
_ENDS: Final = ("read", "left", "broken")
_AWS: Final = "aws"
_OF_THE_WIRE: Final = frozenset({"content-length", "transfer-encoding", "connection"})
"""Headers about the transfer of a body, which is saved in another form."""


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

    def represent_text(self, text: Text) -> Any:
        """Return a text in the form that is easy to read."""
        style = "|" if "\n" in text or len(text) > _LONG else None
        return self.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)

    def represent_values(self, values: list[Any]) -> Any:
        """Return a list, on few lines unless it has objects."""
        is_flow = not any(isinstance(value, dict) for value in values)
        return self.represent_sequence("tag:yaml.org,2002:seq", values, flow_style=is_flow)

    def represent_flow(self, value: Flow) -> Any:
        """Return an object on few lines."""
        return self.represent_mapping("tag:yaml.org,2002:map", value.items(), flow_style=True)


_Writer.add_representer(list, _Writer.represent_values)
_Writer.add_representer(Text, _Writer.represent_text)
_Writer.add_representer(Flow, _Writer.represent_flow)


class WrongEntryError(ValueError):
    """Error for an invalid part of a cassette. `line` is its line, or 0 if it is not known yet."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


Keep = Callable[[bytes, str], str]
"""Saves a long text beside the file, and returns its name."""


def interaction_entry(interaction: Interaction, sharing: Sharing, *, keep: Keep, most: int) -> dict[str, Any]:
    """Return an interaction as plain data. Answers of more than `most` bytes are saved beside the file."""
    answer = interaction.answer
    said = Flow(call=interaction.call)
    if interaction.at:
        said["at"] = interaction.at
    if interaction.after:
        said["after"] = list(interaction.after)
    if interaction.task:
        said["task"] = interaction.task
    if interaction.began_after:
        said["began_after"] = interaction.began_after
    if interaction.waited_for:
        said["waited_for"] = list(interaction.waited_for)
    said["end"] = answer.end
    if answer.error is not None:
        said["error"] = answer.error
    if answer.chunks:
        said["chunks"] = [[round(time), length] for time, length in answer.chunks]
    request = _request_entry(interaction, sharing, said)
    body = _answer_text(answer, said)
    if len(body) > most:
        is_text = isinstance(body, str)
        said["blob"] = keep(body.encode() if isinstance(body, str) else body, "txt" if is_text else "bin")
        body = ""
    return {
        "pandaprobe": said,
        "request": request,
        "response": {
            "status": Flow(code=answer.status, message=answer.reason),
            "headers": {name: [value] for name, value in answer.headers.items()},
            "body": {"string": Text(body) if isinstance(body, str) else body},
        },
    }


def _request_entry(interaction: Interaction, sharing: Sharing, said: Flow) -> dict[str, Any]:
    request = interaction.request
    body: Any = sharing.shorten(interaction.call, request.body)
    if body is None:
        said["plain"] = True
        body = _text_of(request.body)
    return {
        "method": request.method,
        "uri": request.uri,
        "headers": {name: [value] for name, value in request.headers.items()},
        "body": Text(body) if isinstance(body, str) else body,
    }


def _text_of(body: bytes) -> str | bytes:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return body
    if text.isprintable():
        return text
    return text if text.replace("\n", "").replace("\r", "").replace("\t", "").isprintable() else body


def _answer_text(answer: RecordedAnswer, said: Flow) -> str | bytes:
    if answer.headers.get("content-type", "").startswith(aws_frames.CONTENT_TYPE):
        frames = list(aws_frames.frames_of(answer.body))
        events = [aws_frames.event_of(frame) for frame in frames]
        if frames and None not in events and _is_same_when_framed(frames, events):
            said["framed"] = _AWS
            return "".join(f"{dump(event, spaces=True)}\n" for event in events)
    return _text_of(answer.body)


def _is_same_when_framed(frames: list[bytes], events: list[Any]) -> bool:
    """Return whether the events contain everything in the frames. The spacing of their JSON may differ."""
    return all(
        aws_frames.event_of(aws_frames.frame_of(event)) == event for _, event in zip(frames, events, strict=True)
    )


def tool_entry(call: ToolCall) -> Flow:
    """Return a tool call as plain data."""
    entry = Flow(name=call.name)
    if call.at:
        entry["at"] = call.at
    if call.call_id is not None:
        entry["call"] = call.call_id
    if call.after:
        entry["after"] = call.after
    if call.task:
        entry["task"] = call.task
    entry["arguments"] = dict(call.arguments)
    if call.error is None:
        entry["result"] = call.result
    else:
        entry["error"] = call.error
        entry["error_type"] = call.error_type
    return entry


class ReadEntries:
    """Reader of the interactions of one cassette, in order."""

    def __init__(self, path: str, blob: Callable[[object], bytes]) -> None:
        self._path = path
        self._blob = blob
        self._expansion = Expansion()
        self._calls: set[int] = set()

    def interaction(self, entry: Any, line: int, request_line: int) -> Interaction:
        """Return an interaction. Raises WrongEntryError."""
        try:
            return self._interaction(_mapping(entry, "an entry of `interactions`"), request_line)
        except WrongEntryError as error:
            raise WrongEntryError(str(error), error.line or line) from error
        except BadReferenceError as error:
            raise WrongEntryError(str(error), request_line) from error
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            missing = f"{error} is missing" if isinstance(error, KeyError) else str(error)
            raise WrongEntryError(f"the entry cannot be used: {missing}", line) from error

    def _interaction(self, entry: Mapping[str, Any], line: int) -> Interaction:
        said = _mapping(entry.get("pandaprobe") or {}, "`pandaprobe`")
        call = _whole(said.get("call", len(self._calls) + 1), "`call`")
        if call in self._calls or len(self._calls) >= MAX_CALLS:
            raise WrongEntryError(f"call {call} occurs twice, or there are too many calls", 0)
        after, waited_for = (
            tuple(_whole(number, f"a number in `{name}`") for number in _list(said.get(name) or [], f"`{name}`"))
            for name in ("after", "waited_for")
        )
        self._calls.add(call)
        request = self._request(_mapping(entry["request"], "`request`"), call, is_plain=bool(said.get("plain")))
        answer = self._answer(_mapping(entry["response"], "`response`"), said)
        at = _text(said.get("at") or "", "`at`")
        task, began_after = (_whole(said.get(name, 0), f"`{name}`", least=0) for name in ("task", "began_after"))
        source = f"{self._path}:{line}"
        place: dict[str, Any] = {"at": at, "after": after, "task": task, "began_after": began_after}
        return Interaction(call, request, answer, waited_for=waited_for, source=source, **place)

    def _request(self, entry: Mapping[str, Any], call: int, *, is_plain: bool) -> RecordedRequest:
        body = entry.get("body")
        data = b"" if body is None else body if isinstance(body, bytes) else _text(body, "`request.body`").encode()
        if not is_plain and not isinstance(body, bytes) and body:
            data = self._expansion.whole(call, _text(body, "`request.body`"))
        return RecordedRequest(
            method=_text(entry["method"], "`method`"),
            uri=_text(entry["uri"], "`uri`"),
            headers=_headers(entry.get("headers")),
            body=data,
        )

    def _answer(self, entry: Mapping[str, Any], said: Mapping[str, Any]) -> RecordedAnswer:
        status = _mapping(entry["status"], "`status`")
        string = _mapping(entry.get("body") or {"string": ""}, "`response.body`").get("string")
        if "blob" in said:
            string = self._blob(said["blob"])
        body = string if isinstance(string, bytes) else _text(string or "", "`body.string`").encode()
        if said.get("framed") == _AWS:
            body = _framed(body)
        headers = {name: value for name, value in _headers(entry.get("headers")).items() if name not in _OF_THE_WIRE}
        if encoding := headers.pop("content-encoding", ""):  # vcrpy writes it; this library does not.
            try:
                body, _ = decompress(body, encoding)
            except UnreadableError as unreadable:
                raise WrongEntryError(f"its body cannot be read: {unreadable}", 0) from unreadable
        end: Any = said.get("end", "read")
        if end not in _ENDS:
            raise WrongEntryError(f"`end` is {end!r}, not one of {', '.join(_ENDS)}", 0)
        error = said.get("error")
        return RecordedAnswer(
            status=_whole(status["code"], "`status.code`", least=0),
            reason=_text(status.get("message") or "", "`status.message`"),
            headers=headers,
            body=body,
            chunks=_chunks(said, body, headers),
            end=end,
            error=None if error is None else _text(error, "`error`"),
        )


def _framed(text: bytes) -> bytes:
    """Return the frames of events with one event per line."""
    lines = [line for line in text.splitlines() if line.strip()]
    try:
        return b"".join(aws_frames.frame_of(json.loads(line)) for line in lines)
    except (KeyError, AttributeError, RecursionError) as error:
        raise WrongEntryError(f"a line of its body is not an event: {error}", 0) from error


def _chunks(said: Mapping[str, Any], body: bytes, headers: Mapping[str, str]) -> tuple[tuple[float, int], ...]:
    found: list[tuple[float, int]] = []
    for chunk in _list(said.get("chunks") or [], "`chunks`"):
        time, length = _list(chunk, "a chunk")
        if isinstance(time, bool) or not isinstance(time, (int, float)) or not 0 <= time < 1e9:
            raise WrongEntryError(f"{time!r} is not the time of a chunk in milliseconds", 0)
        found.append((float(time), _whole(length, "the length of a chunk", least=0)))
    return recut(body, headers.get("content-type", ""), tuple(found)) if found else ()


def tool_of(entry: Any, line: int) -> ToolCall:
    """Return a tool call. Raises WrongEntryError."""
    try:
        said = _mapping(entry, "an entry of `tools`")
        if ("result" in said) == ("error" in said):
            raise WrongEntryError("a tool call must have either `result` or `error`", line)
        optional = {key: said.get(key) for key in ("error", "error_type", "call")}
        texts = {key: None if value is None else _text(value, f"`{key}`") for key, value in optional.items()}
        return ToolCall(
            name=_text(said["name"], "`name`"),
            arguments=_mapping(said.get("arguments") or {}, "`arguments`"),
            result=said.get("result"),
            error=texts["error"],
            error_type=texts["error_type"],
            at=_text(said.get("at") or "", "`at`"),
            call_id=texts["call"],
            after=_whole(said.get("after", 0), "`after`", least=0),
            task=_whole(said.get("task", 0), "`task`", least=0),
        )
    except WrongEntryError as error:
        raise WrongEntryError(str(error), line) from error
    except KeyError as error:
        raise WrongEntryError(f"the entry cannot be used: {error} is missing", line) from error


def _headers(headers: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in _mapping(headers or {}, "`headers`").items():
        values = cast("Sequence[Any]", value) if isinstance(value, list) else [value]
        # vcrpy keeps the headers of botocore as bytes.
        texts = (one.decode("latin-1") if isinstance(one, bytes) else one for one in values)
        found[name.lower()] = ", ".join(_text(one, f"the header {name}") for one in texts)
    return found


def _mapping(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in cast("Mapping[Any, Any]", value)):
        raise WrongEntryError(f"{what} must be a mapping", 0)
    return cast("Mapping[str, Any]", value)


def _list(value: Any, what: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise WrongEntryError(f"{what} must be a list", 0)
    return cast("Sequence[Any]", value)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise WrongEntryError(f"{what} must be a text, but is {type(value).__name__}: put it in quotes", 0)
    return value


def _whole(value: Any, what: str, *, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise WrongEntryError(f"{what} must be a whole number", 0)
    return value


FORMAT: Final = 1
MAX_FILE_BYTES: Final = 64 << 20
MAX_BLOB_BYTES: Final = 256 << 20
"""Maximum number of bytes of all blobs of a cassette."""
MAX_DEPTH: Final = 48
"""Maximum number of levels of YAML. A cassette has eight, and tool results add their own."""
BLOB_BYTES: Final = 256 << 10
"""Size above which an answer is saved in its own file."""
_BLOB_NAME: Final = re.compile(r"[0-9a-f]{16}\.[a-z]{2,6}")
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


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
        raise RecordingError(f"{path}: has more than {MAX_FILE_BYTES >> 20} MB. Record it in parts.")
    node = _node(path, data)
    try:
        return _cassette(path, node)
    except WrongEntryError as error:
        line = f"{path}:{error.line}" if error.line else str(path)
        raise RecordingError(f"{line}: {error}. Fix it, or record it again (--pandaprobe-record=all).") from error


def _node(path: Path, data: bytes) -> Any:
    """Return the tree of the document. References and deep nesting are refused."""
    try:
        depth = 0
        for event in yaml.parse(data, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise WrongEntryError("has a YAML reference (*), which no cassette needs", _line(event))
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                if depth > MAX_DEPTH:
                    raise WrongEntryError(f"has more than {MAX_DEPTH} levels", _line(event))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
        node = yaml.compose(data, Loader=_LOADER)
    except WrongEntryError as error:
        raise RecordingError(f"{path}:{error.line}: {error}.") from error
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
        raise WrongEntryError(f"cannot be read: {getattr(error, 'problem', None) or error}", _line(node)) from error
    finally:
        loader.dispose()


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _cassette(path: Path, root: Any) -> Cassette:
    parts = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    head: Any = _plain(parts["pandaprobe"]) if "pandaprobe" in parts else {}
    if not isinstance(head, dict):
        raise WrongEntryError("`pandaprobe` must be a mapping", _line(parts["pandaprobe"]))
    said = cast("Mapping[str, Any]", head)
    if said.get("format", FORMAT) != FORMAT:
        raise WrongEntryError(
            f"has the format {said.get('format')!r}, but this version reads {FORMAT}: update pandaprobe-otel", 1
        )
    reader = ReadEntries(str(path), _Blobs(path))
    interactions = [
        reader.interaction(_plain(node), _line(node), _line_of_request(node)) for node in _items(parts, "interactions")
    ]
    tools = [tool_of(_plain(node), _line(node)) for node in _items(parts, "tools")]
    return Cassette(
        interactions=tuple(interactions),
        tools=tuple(tools),
        client=str(said.get("client") or ""),
        made_from=None if said.get("made_from") is None else str(said["made_from"]),
        scrubbed=tuple(map(str, said.get("scrubbed") or ())),
        started_at=None if said.get("started_at") is None else str(said["started_at"]),
    )


def _items(parts: Mapping[str, Any], name: str) -> list[Any]:
    node = parts.get(name)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise WrongEntryError(f"`{name}` must be a list", _line(node))
    return list(node.value)


def _line_of_request(node: Any) -> int:
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if key.value == "request":
                return _line(key)
    return _line(node)


class _Blobs:
    """Answers of a cassette that are saved in their own files, read one by one."""

    def __init__(self, path: Path) -> None:
        self._folder = _folder(path)
        self._size = 0

    def __call__(self, name: object) -> bytes:
        if not isinstance(name, str) or not _BLOB_NAME.fullmatch(name):
            raise WrongEntryError(f"{name!r} is not the name of a blob", 0)
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(MAX_BLOB_BYTES - self._size + 1)
        except OSError as error:
            raise WrongEntryError(f"the blob {self._folder / name} cannot be read: {error.strerror}", 0) from error
        self._size += len(data)
        if self._size > MAX_BLOB_BYTES:
            raise WrongEntryError(f"its blobs have more than {MAX_BLOB_BYTES >> 20} MB", 0)
        return data


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.stem}.blobs")


def save(path: Path, cassette: Cassette) -> None:
    """Write a cassette atomically: the old file stays until the new one is complete. Raises RecordingError."""
    blobs: dict[str, bytes] = {}

    def keep(text: bytes, suffix: str) -> str:
        name = f"{hashlib.sha256(text).hexdigest()[:16]}.{suffix}"
        blobs[name] = text
        return name

    sharing = Sharing()
    document: dict[str, Any] = {
        "version": 1,
        "pandaprobe": Flow(_head(cassette)),
        "interactions": [
            interaction_entry(interaction, sharing, keep=keep, most=BLOB_BYTES) for interaction in cassette.interactions
        ],
    }
    if cassette.tools:
        document["tools"] = [tool_entry(call) for call in cassette.tools]
    try:
        text: str = yaml.dump(  # pyright: ignore[reportUnknownMemberType]
            document, Dumper=_Writer, sort_keys=False, allow_unicode=True, width=_WIDTH
        )
    except (UnicodeEncodeError, yaml.YAMLError) as error:  # a lone surrogate, or a value that is not JSON
        raise RecordingError(f"{path}: YAML cannot contain a value: {error}. The old file is unchanged.") from error
    text = text.removesuffix("...\n")  # the end of the document, which libyaml marks after any kept line end
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, data in blobs.items():
            _folder(path).mkdir(exist_ok=True)
            _write(_folder(path) / name, data)
        _write(path, text.encode())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror}. The old file is unchanged.") from error
    _clean_up(_folder(path), blobs)


def _head(cassette: Cassette) -> dict[str, Any]:
    found = {
        "format": FORMAT,
        "client": cassette.client,
        "made_from": cassette.made_from,
        "started_at": cassette.started_at,
        "scrubbed": list(cassette.scrubbed),
    }
    return {key: value for key, value in found.items() if value}


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


def _clean_up(folder: Path, blobs: Mapping[str, bytes]) -> None:
    """Remove blobs that no entry names any more."""
    with suppress(OSError):
        for old in folder.iterdir():
            if _BLOB_NAME.fullmatch(old.name) and old.name not in blobs:
                old.unlink()
        folder.rmdir()  # removed only if it is empty
