"""Chat messages in the conventions' form: a role and a list of parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._json import Object, from_json, items, obj, objects, string
from pandaprobe_otel_integrations._logprobs import Logprobs
from pandaprobe_otel_integrations._other_members import Reader, grown, reading, rest, told, with_rest
from pandaprobe_otel_integrations._parts import UNFINISHED, Part
from pandaprobe_otel_integrations._streams.text_runs import Place

_BESIDE_TEXT: Final = frozenset({"refusal", "audio", "tool_calls", "function_call", "images"})
"""Rare members of an assistant's message."""
_MESSAGE: Final = _BESIDE_TEXT | {
    "role",
    "content",
    "name",
    "tool_call_id",
    "reasoning_content",
    "reasoning",
    "thinking_blocks",
}
_ANSWER: Final = _MESSAGE | {"annotations"}
_CHOICE: Final = frozenset({"index", "message", "delta", "text", "finish_reason", "logprobs"})
_TOOL: Final = frozenset({"type", "name", "description", "parameters"})
_CALL: Final = frozenset({"id", "type", "index", "function", "custom"})
_FUNCTION: Final = frozenset({"name", "arguments"})
_CUSTOM: Final = frozenset({"name", "input"})
_TEXT: Final = frozenset({"type", "text"})
"""Members that the reader of each part uses; all others stay beside the part, under their own names."""
_FINISH_REASONS: Final = {"tool_calls": "tool_call", "function_call": "tool_call"}


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
    reason = string(choice.get("finish_reason"))
    found: Part = {
        "role": string(message.get("role")) or "assistant",
        "parts": _assistant_parts(message),
        "finish_reason": _FINISH_REASONS.get(reason, reason) if reason else UNFINISHED,
    }
    if message.keys() - _ANSWER or message.get("annotations"):
        found = with_rest(found, message, _MESSAGE)
    return with_rest(found, choice, _CHOICE) if choice.keys() - _CHOICE else found


def tool_definition(tool: Object) -> Part:
    """Return a tool that the model may call: a function by its parameters, any other tool unchanged."""
    kind = string(tool.get("type")) or "function"
    described = obj(tool.get(kind)) or tool
    found: Part = {"type": kind, "name": string(described.get("name")) or kind}
    for key in ("description", "parameters"):
        if described.get(key) is not None:
            found[key] = described[key]
    if described.keys() - _TOOL:
        found = with_rest(found, described, _TOOL)
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
    if not _BESIDE_TEXT.isdisjoint(message):
        found += _rest_of_text(message)
    return found


def _rest_of_text(message: Object) -> list[Part]:
    found: list[Part] = []
    if refusal := string(message.get("refusal")):
        found.append(parts.text(refusal))
    if audio := obj(message.get("audio")):
        found += _audio_answer(audio)
    found += [part for image in items(message.get("images")) if (part := _content_part(image)) is not None]
    found += [_tool_call(call) for call in objects(message.get("tool_calls"))]
    if function := obj(message.get("function_call")):
        name = string(function.get("name"))
        found.append(parts.tool_call(id=None, name=name, arguments=function.get("arguments")))
    return found


def content_parts(content: Any) -> list[Part]:
    """Return the content of a message: text, or a list of typed pieces."""
    if isinstance(content, str):
        return [parts.text(content)] if content else []
    return [part for item in items(content) if (part := _content_part(item)) is not None]


def _content_part(item: Any) -> Part | None:
    if isinstance(item, str):
        return parts.text(item)
    piece = obj(item)
    if piece.get("type") == "text":
        said = parts.text(str(piece.get("text") or ""))
        return said if len(piece) == 2 else with_rest(said, piece, _TEXT)
    reader = _READERS.get(str(piece.get("type")))
    if reader is not None:
        return reader(piece)
    return told(dict(piece)) if piece else None


def _image(image: Any) -> Part:
    if isinstance(image, str):
        return parts.media(image, "image")
    return with_rest(parts.media(string(obj(image).get("url")) or "", "image"), obj(image), {"url"})


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
    data = str(file.get("file_data") or "")
    found = parts.media(data, "document") if ":" in data[:16] else parts.base64_blob(data, "document", None)
    return with_rest(found, file, {"file_data"})


_READERS: Final[Mapping[str, Reader]] = {
    "refusal": reading(parts.text_of, "refusal"),
    "thinking": reading(_thought, "thinking", beside={"type", "signature"}),
    "image_url": reading(_image, "image_url"),
    "input_audio": reading(_sound, "input_audio"),
    "file": reading(_file, "file"),
}


def _audio_answer(audio: Object) -> list[Part]:
    found: list[Part] = []
    if transcript := string(audio.get("transcript")):
        found.append(parts.text(transcript))
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


def _tool_answer(content: Any) -> Any:
    if not isinstance(content, (list, tuple)):
        return content
    return parts.text_or(content_parts(content))


# -- the chunks of a streamed chat completion, merged ------------------------------------------------------------------

_TEXTS: Final = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
_LAST_WINS: Final = frozenset({"id", "model", "usage", "system_fingerprint", "service_tier", "error"})
_ENVELOPE: Final = frozenset({"object", "created", "obfuscation", "p"})
"""Members of chunks that carry no information; the last two are padding."""
_STREAMED_CHOICE: Final = frozenset(
    {"index", "delta", "text", "finish_reason", "logprobs", "message", "obfuscation", "p"}
)
_CONSTANT: Final = frozenset({"type", "name", "id", "status"})
"""Texts of a delta that do not grow."""


def merged_chunks(chunks: Iterable[Any]) -> Body:
    """Return the completion of the chunks, in the form of an answer without streaming."""
    merged: dict[str, Any] = {}
    choices: dict[int, _Choice] = {}
    # This runs for every chunk of a stream, so it makes no avoidable calls.
    for chunk in chunks:
        for key, value in obj(chunk).items():
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


def growing_text(chunk: Object) -> Place | None:
    """Return the place of the one text that a chunk extends: in the message, the reasoning, or a call's arguments."""
    choices = items(chunk.get("choices"))
    choice = obj(choices[0]) if len(choices) == 1 else obj(None)
    if choice.get("logprobs"):
        return None  # log probabilities of each token, even of two equal tokens
    delta = obj(choice.get("delta"))
    said = [name for name, value in delta.items() if value and name != "role"]
    if len(said) != 1:
        return None
    name, value = said[0], delta[said[0]]
    if name in _TEXTS:
        return ("choices", 0, "delta", name) if isinstance(value, str) else None
    calls = items(value) if name == "tool_calls" else []
    call = obj(calls[0]) if len(calls) == 1 else obj(None)
    # A fragment with a name may start another call.
    function = obj(call.get("function"))
    if "name" in function or "custom" in call or string(function.get("arguments")) is None:
        return None
    return ("choices", 0, "delta", "tool_calls", 0, "function", "arguments")


class _Choice:
    """One of the choices that a request asked for."""

    def __init__(self) -> None:
        self._role: str | None = None
        self._texts: dict[str, list[str]] = {}
        self._legacy_text: list[str] = []
        self._calls = _ToolCalls()
        self._function: dict[str, str] = {}
        self._audio: dict[str, str] = {}
        self._finish_reason: str | None = None
        self._logprobs = Logprobs()
        self._others: dict[str, Any] = {}
        self._beside: dict[str, Any] = {}

    def add(self, piece: Object) -> None:
        # Some services send the whole message again in the last chunk; if there is a delta as well, only the delta
        # counts.
        delta = piece.get("delta")
        for name, value in obj(delta).items():
            if not value:
                continue
            if name not in _TEXTS:
                self._add_other(name, value)
            elif type(value) is str and name in self._texts:
                self._texts[name].append(value)
            else:
                self._add_text(name, value)
        if (reason := piece.get("finish_reason")) is not None:
            self._finish_reason = string(reason) or self._finish_reason
        # Together repeats a delta's content as `text`, the member of legacy completions.
        if delta is None and (text := string(piece.get("text"))):
            self._legacy_text.append(text)
        if piece.get("logprobs") or piece.keys() - _STREAMED_CHOICE:
            self._add_rest(piece)

    def _add_rest(self, piece: Object) -> None:
        for name, value in piece.items():
            if name == "logprobs":
                self._logprobs.add(value)
            elif name not in _STREAMED_CHOICE and value:
                self._beside[name] = grown(self._beside.get(name), value)

    def _add_text(self, name: str, value: Any) -> None:
        if isinstance(value, str):
            self._texts.setdefault(name, []).append(value)
            return
        # Mistral streams reasoning, and the text after it, as lists of typed pieces.
        for piece in objects(value):
            if piece.get("type") == "thinking":
                self._add_text("reasoning_content", thinking_text(piece))
            elif text := string(piece.get("text")):
                self._add_text(name, text)

    def _add_other(self, name: str, value: Any) -> None:
        if name == "role":
            self._role = string(value) or self._role
        elif name == "tool_calls":
            for call in objects(value):
                self._calls.add(call)
        elif name == "function_call":
            _append(self._function, obj(value), ("name", "arguments"))
        elif name == "audio":
            audio = obj(value)
            _append(self._audio, audio, ("data", "transcript"))
            if audio_id := string(audio.get("id")):
                self._audio["id"] = audio_id
        else:
            before = self._others.get(name)
            if isinstance(value, str) and isinstance(before, str) and name not in _CONSTANT:
                self._others[name] = before + value
            else:
                self._others[name] = grown(before, value)

    def whole(self) -> dict[str, Any]:
        logprobs = self._logprobs.whole()
        beside = {**self._beside, "logprobs": logprobs} if logprobs else self._beside
        if self._legacy_text:
            return {**beside, "text": "".join(self._legacy_text), "finish_reason": self._finish_reason}
        message: dict[str, Any] = {"role": self._role or "assistant"}
        message.update((name, "".join(found)) for name, found in self._texts.items())
        if calls := self._calls.whole():
            message["tool_calls"] = calls
        if self._function:
            message["function_call"] = self._function
        if self._audio:
            message["audio"] = self._audio
        return {**beside, "message": {**self._others, **message}, "finish_reason": self._finish_reason}


class _ToolCalls:
    """Merges the fragments of tool calls.

    A fragment belongs to the call at its index. A new id at that index starts another call. A fragment without an index
    belongs to the last call.
    """

    def __init__(self) -> None:
        self._calls: list[_ToolCall] = []
        self._at: dict[int, _ToolCall] = {}

    def add(self, fragment: Object) -> None:
        index: Any = fragment.get("index")
        call_id = string(fragment.get("id"))
        call = self._at.get(index) if isinstance(index, int) else (self._calls[-1] if self._calls else None)
        if call is None or not call.goes_on_with(call_id, fragment):
            call = next((one for one in self._calls if call_id is not None and one.id == call_id), None)
            if call is None:
                call = _ToolCall()
                self._calls.append(call)
            if isinstance(index, int):
                self._at[index] = call
        call.add(fragment)

    def whole(self) -> list[dict[str, Any]]:
        return [call.whole() for call in self._calls]


class _ToolCall:
    def __init__(self) -> None:
        self.id: str | None = None
        self._type: str | None = None
        self._parts: dict[str, dict[str, str]] = {}
        self._others: dict[str, Any] = {}

    def goes_on_with(self, call_id: str | None, fragment: Object) -> bool:
        """Return whether a fragment for this index continues this call."""
        if call_id is not None:
            return self.id in (None, call_id)
        # Gemini's compatible endpoint sends complete calls, all at index 0 and without ids.
        function = obj(fragment.get("function"))
        arguments = self._parts.get("function", {}).get("arguments")
        if not arguments or not string(function.get("name")) or not string(function.get("arguments")):
            return True
        return not _is_json(arguments)

    def add(self, fragment: Object) -> None:
        self.id = self.id or string(fragment.get("id"))
        self._type = self._type or string(fragment.get("type"))
        for kind, keys in (("function", ("name", "arguments")), ("custom", ("name", "input"))):
            if found := obj(fragment.get(kind)):
                _append(self._parts.setdefault(kind, {}), found, keys)
        if fragment.keys() - _CALL:
            for name, value in rest(fragment, _CALL).items():
                self._others[name] = grown(self._others.get(name), value)

    def whole(self) -> dict[str, Any]:
        return {**self._others, "id": self.id, "type": self._type or "function", **self._parts}


def _append(target: dict[str, str], source: Object, keys: Iterable[str]) -> None:
    for key in keys:
        if found := string(source.get(key)):
            # A name arrives in one piece; some services repeat it with every fragment.
            target[key] = found if key == "name" else target.get(key, "") + found


def _is_json(text: str) -> bool:
    try:
        from_json(text)
    except ValueError:
        return False
    return True
