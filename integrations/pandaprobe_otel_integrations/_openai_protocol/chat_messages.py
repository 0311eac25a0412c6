"""Chat messages in the conventions' form: a role and a list of parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import each, finish_reason
from pandaprobe_otel_integrations._json import Object, items, obj, object_from_json, objects, string
from pandaprobe_otel_integrations._logprobs import Logprobs
from pandaprobe_otel_integrations._other_members import Reader, grown, joined, pieces, reading, tool_part, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part

_MESSAGE: Final = frozenset(
    {
        *("role", "content", "name", "tool_call_id", "reasoning_content", "reasoning", "thinking_blocks"),
        *("refusal", "audio", "images", "tool_calls", "function_call"),
    }
)
_ANSWER: Final = _MESSAGE | {"annotations"}
_CHOICE: Final = frozenset({"index", "message", "delta", "text", "finish_reason", "logprobs"})
_CALL: Final = frozenset({"id", "type", "index", "function", "custom"})
_FUNCTION: Final = frozenset({"name", "arguments"})
_CUSTOM: Final = frozenset({"name", "input"})
"""Members that the reader of each part uses; all others stay beside the part, under their own names."""


def input_message(message: Object) -> Part:
    """Return a message of a request."""
    role = string(message.get("role")) or "user"
    found: Part = {"role": "tool" if role == "function" else role, "parts": _input_parts(role, message)}
    if role != "function" and (name := string(message.get("name"))):
        found["name"] = name
    # Most have a role and a content.
    return with_rest(found, message, _MESSAGE) if len(message) > 2 and message.keys() - _MESSAGE else found


def output_messages(choices: Iterable[Object]) -> list[Part]:
    """Return the choices of an answer, without empty ones."""
    found: list[Part] = []
    for choice in choices:
        message = _output_message(choice)
        if message["parts"] or message["finish_reason"] != UNFINISHED:
            found.append(message)
    return found


def _output_message(choice: Object) -> Part:
    message = obj(choice.get("message"))
    if not message and "text" in choice:
        message = {"content": choice.get("text")}
    found: Part = {
        "role": string(message.get("role")) or "assistant",
        "parts": _assistant_parts(message),
        "finish_reason": finish_reason(choice.get("finish_reason")) or UNFINISHED,
    }
    if message.keys() - _ANSWER or message.get("annotations"):
        found = with_rest(found, message, _MESSAGE)
    return with_rest(found, choice, _CHOICE) if choice.keys() - _CHOICE else found


def tool_definition(tool: Object) -> Part:
    """Return a tool that the model may call: a function by its parameters, any other tool unchanged."""
    kind = string(tool.get("type")) or "function"
    described = obj(tool.get(kind)) or tool
    name, schema = string(described.get("name")) or kind, described.get("parameters")
    found = tool_part(described, kind, name, schema, "type", "parameters")
    return found if described is tool else with_rest(found, tool, {"type", kind})


def _input_parts(role: str, message: Object) -> list[Part]:
    if role == "tool":
        answer = _tool_answer(message.get("content"))
        return [parts.tool_response(id=message.get("tool_call_id"), response=answer)]
    if role == "function":
        return [parts.tool_response(id=message.get("name"), response=_tool_answer(message.get("content")))]
    return _assistant_parts(message) if role == "assistant" else content_parts(message.get("content"))


def _assistant_parts(message: Object) -> list[Part]:
    found: list[Part] = []
    if "reasoning_content" in message or "reasoning" in message:
        thought = string(message.get("reasoning_content")) or string(message.get("reasoning"))
        if thought:
            found.append(parts.reasoning(thought))
    if not found and "thinking_blocks" in message:  # litellm's, if they do not repeat the fields above
        found += content_parts(message["thinking_blocks"])
    found += content_parts(message.get("content"))
    if not _BESIDE_TEXT.keys().isdisjoint(message):
        for member, read in _BESIDE_TEXT.items():
            if given := message.get(member):
                found += read(given)
    return found


def image(given: Any) -> Part:
    """Return a picture: its address, or an object with the address."""
    address = given if isinstance(given, str) else obj(given).get("url")
    return with_rest(parts.media(string(address) or "", "image"), obj(given), {"url"})


def _sound(given: Any) -> Part:
    audio = obj(given)
    heard = parts.base64_blob(str(audio.get("data") or ""), "audio", f"audio/{audio.get('format') or 'wav'}")
    return with_rest(heard, audio, {"data", "format"})


def _thought(thought: Any) -> Part:
    return parts.reasoning(thinking_text({"thinking": thought}))


def thinking_text(piece: Object) -> str:
    """Return the text of a thinking piece: a text, or (Mistral) a list of text pieces."""
    thought = piece.get("thinking")
    return thought if isinstance(thought, str) else "".join(str(one.get("text") or "") for one in objects(thought))


def _file(given: Any) -> Part:
    file = obj(given)
    if file_id := string(file.get("file_id")):
        return with_rest(parts.file_reference(file_id, "document"), file, {"file_id"})
    return with_rest(parts.medium(file.get("file_data"), "document"), file, {"file_data"})


_READERS: Final[Mapping[str, Reader]] = {
    "refusal": reading(parts.text_of, "refusal"),
    "thinking": reading(_thought, "thinking", beside={"type", "signature"}),
    "image_url": reading(image, "image_url"),
    "input_audio": reading(_sound, "input_audio"),
    "file": reading(_file, "file"),
}
content_parts: Final = pieces(_READERS)
"""Reads the content of a message."""


def _audio_answer(given: Any) -> list[Part]:
    audio = obj(given)
    found = parts.texts(audio.get("transcript"))
    if data := string(audio.get("data")):
        found.append(parts.base64_blob(data, "audio", None))
    elif audio_id := string(audio.get("id")):
        found.append(parts.file_reference(audio_id, "audio"))
    return found


def _tool_call(call: Object) -> Part:
    called = obj(call.get("function"))
    known, arguments = _FUNCTION, "arguments"
    if not called and (called := obj(call.get("custom"))):
        known, arguments = _CUSTOM, "input"
    found = parts.tool_call(id=call.get("id"), name=called.get("name"), arguments=called.get(arguments))
    if called.keys() - known:
        found = with_rest(found, called, known)
    return with_rest(found, call, _CALL) if call.keys() - _CALL else found


def _function_call(given: Any) -> list[Part]:
    function = obj(given)
    return [parts.tool_call(None, function.get("name"), function.get("arguments"))] if function else []


_BESIDE_TEXT: Final[Mapping[str, Callable[[Any], list[Part]]]] = {
    "refusal": parts.texts,
    "audio": _audio_answer,
    "images": content_parts,
    "tool_calls": each(_tool_call),
    "function_call": _function_call,
}
"""Rare members of an assistant's message, and their readers."""


def _tool_answer(content: Any) -> Any:
    if not isinstance(content, (list, tuple)):
        return content
    return parts.text_or(content_parts(content))


# -- the chunks of a streamed chat completion, merged ------------------------------------------------------------------

TEXTS: Final = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
_LAST_WINS: Final = frozenset({"id", "model", "usage", "system_fingerprint", "service_tier", "error"})
_ENVELOPE: Final = frozenset({"object", "created", "obfuscation", "p"})
"""Members of chunks that carry no information; the last two are padding."""
_STREAMED_CHOICE: Final = frozenset(
    {"index", "delta", "text", "finish_reason", "logprobs", "message", "obfuscation", "p"}
)


def merged_chunks(chunks: Iterable[Object]) -> dict[str, Any]:
    """Return the completion of the chunks, in the form of an answer without streaming."""
    merged: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    # This runs for every chunk of a stream, so it makes no avoidable calls.
    for chunk in chunks:
        for key, value in chunk.items():
            if not value:
                continue
            if key == "choices":
                for one in items(value):
                    piece = obj(one)
                    index: Any = piece.get("index")
                    if type(index) is not int:
                        index = 0
                    choice = choices.get(index)
                    if choice is None:
                        choice = choices[index] = _Choice()
                    choice.add(piece)
            elif key in _LAST_WINS:
                merged[key] = value
            elif key not in _ENVELOPE:
                merged[key] = grown(merged.get(key), value)
    merged["choices"] = [{"index": index, **choices[index].whole()} for index in sorted(choices)]
    return merged


class _Choice:
    """One of the choices that a request asked for."""

    def __init__(self) -> None:
        self._message: dict[str, Any] = {}
        self._calls: list[dict[str, Any]] = []
        self._at: dict[int, int] = {}
        """Places of the calls by their indexes."""
        self._finish_reason: str | None = None
        self._logprobs = Logprobs()
        self._beside: dict[str, Any] = {}

    def add(self, piece: Object) -> None:
        # Some services send the whole message again in the last chunk; if there is a delta as well, only the delta
        # counts. Together repeats a delta's content as `text`, the member of legacy completions.
        delta = piece.get("delta")
        if delta is None:
            delta = {"content": piece.get("text")}
        for name, value in obj(delta).items():
            if not value:
                continue
            before = self._message.get(name)
            if name not in TEXTS:
                if name == "tool_calls":
                    for call in objects(value):
                        self._add_call(call)
                else:
                    self._message[name] = joined(before, value, name)
            elif isinstance(value, str):
                self._message[name] = before + value if before else value
            else:
                self._add_pieces(name, value)
        if (reason := piece.get("finish_reason")) is not None:
            self._finish_reason = string(reason) or self._finish_reason
        if piece.get("logprobs") or piece.keys() - _STREAMED_CHOICE:
            self._add_rest(piece)

    def _add_rest(self, piece: Object) -> None:
        for name, value in piece.items():
            if name == "logprobs":
                self._logprobs.add(value)
            elif name not in _STREAMED_CHOICE and value:
                self._beside[name] = grown(self._beside.get(name), value)

    def _add_pieces(self, name: str, value: Any) -> None:
        """Add reasoning, and the text after it, which Mistral streams as lists of typed pieces."""
        for piece in objects(value):
            is_thought = piece.get("type") == "thinking"
            target = "reasoning_content" if is_thought else name
            if text := thinking_text(piece) if is_thought else string(piece.get("text")):
                self._message[target] = joined(self._message.get(target), text)

    def _add_call(self, fragment: Object) -> None:
        """Merge the fragment of a tool call.

        It belongs to the call at its index. A new id at that index starts another call. A fragment without an index
        belongs to the last call.
        """
        index: Any = fragment.get("index")
        is_placed = isinstance(index, int)
        call_id = string(fragment.get("id"))
        place = self._at.get(index) if is_placed else len(self._calls) - 1 if self._calls else None
        if place is None or not _goes_on(self._calls[place], call_id, fragment):
            same = (at for at, call in enumerate(self._calls) if call_id is not None and call.get("id") == call_id)
            place = next(same, len(self._calls))
            if is_placed:
                self._at[index] = place
        if place == len(self._calls):
            self._calls.append({})
        self._calls[place] = joined(self._calls[place], dict(fragment))

    def whole(self) -> dict[str, Any]:
        logprobs = self._logprobs.whole()
        beside = {**self._beside, "logprobs": logprobs} if logprobs else self._beside
        message: dict[str, Any] = {"role": "assistant", **self._message}
        if self._calls:
            message["tool_calls"] = self._calls
        return {**beside, "message": message, "finish_reason": self._finish_reason}


def _goes_on(call: Object, call_id: str | None, fragment: Object) -> bool:
    """Return whether a fragment for this call's index continues the call."""
    if call_id is not None:
        return call.get("id") in (None, call_id)
    # Gemini's compatible endpoint sends complete calls, all at index 0 and without ids.
    function = obj(fragment.get("function"))
    arguments = obj(call.get("function")).get("arguments")
    if not arguments or not string(function.get("name")) or not string(function.get("arguments")):
        return True
    return object_from_json(arguments) is None
