"""Entries of a cassette: interactions and tool calls, to plain data and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, cast

from pandaprobe_otel.protocols import aws_frames
from pandaprobe_otel.protocols.encoding import dump
from pandaprobe_otel.replay.body_units import recut
from pandaprobe_otel.replay.cassette_text import Flow, Text
from pandaprobe_otel.replay.decoding import UnreadableError, decompress
from pandaprobe_otel.replay.interactions import Interaction, RecordedAnswer, RecordedRequest, ToolCall
from pandaprobe_otel.replay.shared_parts import BadReferenceError, Expansion, Sharing

MAX_CALLS: Final = 100_000
_ENDS: Final = ("read", "left", "broken")
_AWS: Final = "aws"
_OF_THE_WIRE: Final = frozenset({"content-length", "transfer-encoding", "connection"})
"""Headers about the transfer of a body, which is saved in another form."""


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
