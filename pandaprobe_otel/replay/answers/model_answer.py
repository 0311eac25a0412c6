"""The answer of a model as recorded in the span of its call, independent of the protocol."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from pandaprobe_otel.mapping.options import MASK_FAILED, MASKED
from pandaprobe_otel.replay.cannot_capture import CannotCapture

_CUT: Final = re.compile(r"…\s?\[cut\b|\[cut \d+ of \d+ ")
_TEXTS: Final = frozenset({"text", "output_text", "refusal"})


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedTool:
    """A tool call that the model requests. `arguments` is the JSON text that the model wrote."""

    id: str
    name: str
    arguments: str

    @property
    def values(self) -> Any:
        """The arguments as JSON values, or the text itself if it is not JSON."""
        try:
            return json.loads(self.arguments)
        except ValueError:
            return self.arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One of possibly several answers to a request."""

    text: str | None = None
    calls: tuple[RequestedTool, ...] = ()
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Token counts of one call. The prompt includes cached tokens, and the completion includes thoughts."""

    prompt: int = 0
    completion: int = 0
    cache_read: int = 0
    cache_write: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """The answer of a model.

    Attributes:
        kept: The body of the answer, without streaming, as the service sent it. Only with `init(replayable=True)`.
    """

    response_id: str
    model: str
    choices: tuple[Choice, ...]
    reasoning: str | None = None
    tokens: Tokens | None = None
    created: int = 0
    kept: Mapping[str, Any] | None = None

    @property
    def first(self) -> Choice:
        """The only answer, or the first of several."""
        return self.choices[0] if self.choices else Choice()


def read_answer(span: Mapping[str, Any], *, created: int = 0) -> ModelAnswer:
    """Return the answer in an LLM span.

    Raises CannotCapture if the answer is incomplete: not recorded, masked, cut, or with content other than text and
    calls.
    """
    metadata = mapping(span.get("metadata"))
    kept = _kept(metadata)
    check_whole(kept if kept is not None else span.get("output"), "the answer")
    reasons: Sequence[Any] = metadata.get("finish_reasons") or ()
    messages = _messages(span)
    return ModelAnswer(
        response_id=str(metadata.get("response_id") or f"rebuilt-{str(span.get('span_id'))[-12:]}"),
        model=str(span.get("model") or metadata.get("request_model") or ""),
        choices=tuple(
            _choice(message, reasons[at] if at < len(reasons) else None, is_kept=kept is not None)
            for at, message in enumerate(messages or [{}] if reasons or kept else messages)
        ),
        reasoning=metadata.get("reasoning_summary"),
        tokens=_tokens(span.get("token_usage")),
        created=created,
        kept=kept,
    )


def _kept(metadata: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the answer that `init(replayable=True)` has saved; None if there is none or if it was cut."""
    found = mapping(mapping(metadata.get("replay")).get("answer"))
    return found if found and not any(_CUT.search(text) for text in texts_in(found)) else None


def mapping(value: Any) -> Mapping[str, Any]:
    """Return the value if it is an object, otherwise an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def check_whole(value: Any, what: str) -> None:
    """Raise CannotCapture if part of a value was masked or cut."""
    for text in texts_in(value):
        if MASKED in text or MASK_FAILED in text:
            raise CannotCapture(f"{what} is masked")
        if _CUT.search(text):
            raise CannotCapture(f"{what} is cut off")


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in a value, including names of members."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for name, item in cast("Mapping[str, Any]", value).items():
            yield name
            yield from texts_in(item)
    elif isinstance(value, Sequence):
        for item in cast("Iterable[Any]", value):
            yield from texts_in(item)


def text_of_content(content: Any) -> str | None:
    """Return the text of a message's content; None without one. Raises CannotCapture for content other than text."""
    if content is None or isinstance(content, str):
        return content
    texts: list[str] = []
    for part in cast("Iterable[Any]", content):
        kind = mapping(part).get("type")
        if kind not in _TEXTS:
            raise CannotCapture(f"the answer has content other than text ({kind or type(part).__name__})")
        texts.append(str(part.get("text") or part.get("refusal") or ""))
    return "".join(texts)


def _messages(span: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    output: Any = span.get("output")
    if isinstance(output, str) and output:
        return [{"role": "assistant", "content": output}]
    found: Any = mapping(output).get("messages")
    if not isinstance(found, list):
        return []
    return [message for message in map(mapping, cast("Iterable[Any]", found)) if message.get("role") == "assistant"]


def _choice(message: Mapping[str, Any], reason: Any, *, is_kept: bool) -> Choice:
    content = message.get("content")
    return Choice(
        text=(content if isinstance(content, str) else None) if is_kept else text_of_content(content),
        calls=tuple(requested_tools(message)),
        finish_reason=str(reason) if reason else None,
    )


def requested_tools(message: Mapping[str, Any]) -> Iterator[RequestedTool]:
    """Return the tool calls that an assistant message requests."""
    for call in map(mapping, message.get("tool_calls") or ()):
        function = mapping(call.get("function"))
        name = str(function.get("name") or "")
        arguments = function.get("arguments")
        yield RequestedTool(
            id=str(call.get("id") or name),
            name=name,
            arguments=arguments if isinstance(arguments, str) else json.dumps(arguments or {}),
        )


def _tokens(usage: Any) -> Tokens | None:
    counts = mapping(usage)
    if not counts:
        return None

    def count(name: str) -> int:
        value = counts.get(name)
        return value if isinstance(value, int) else 0

    return Tokens(
        prompt=count("prompt_tokens"),
        completion=count("completion_tokens"),
        cache_read=count("cache_read_tokens"),
        cache_write=count("cache_creation_tokens"),
        reasoning=count("reasoning_tokens"),
    )
