"""The face of a wire protocol, and a request as its protocol parses it."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Final, cast
from urllib.parse import unquote

from pandaprobe_otel.mapping.values import type_of
from pandaprobe_otel.protocols.conversation import Message, ModelAnswer
from pandaprobe_otel.protocols.encoding import EVENTS, server_sent

NAMES_THE_CALLER: Final = frozenset(
    {
        *("user", "metadata", "store", "prompt_cache_key", "prompt_cache_retention", "safety_identifier"),
        *("service_tier", "stream_options"),
    }
)
"""Fields about the caller, storage and delivery, which do not affect the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedRequest:
    """A request to a service.

    Attributes:
        protocol: Name of the service's family; a body of Anthropic's that Bedrock wraps belongs to `bedrock`.
        wire: The protocol of the body; None if it is unknown.
        body: Its fields, without those that do not affect the answer. `tools` has the tools by name.
        turns: The field whose items are compared one by one: the messages of a conversation.
        data: True if the fields are unknown. Then no `id` among them counts as generated.
    """

    protocol: str
    operation: str
    wire: Protocol | None = None
    model: str | None = None
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    turns: str | None = None
    data: bool = False

    @property
    def is_stream(self) -> bool:
        """True if the request wants its answer as a stream."""
        return bool(self.body.get("stream")) or "stream" in self.operation.lower()


class Protocol(ABC):
    """The form in which a service is called and answers.

    An answer is first written as a document (without streaming). A stream is made of a document.
    """

    name: ClassVar[str]
    family: ClassVar[str]
    """The service, of which several protocols may be a part."""
    host: ClassVar[str]
    """The service, for requests whose host is not known."""
    base_path: ClassVar[str] = ""
    """The beginning of all paths, which clients expect in the address of the service."""
    chat_path: ClassVar[str]
    """The path of a chat request below `base_path`."""
    pattern: ClassVar[re.Pattern[str]]
    """The end of a path of the service, with the groups `operation` and, if the path names it, `model`."""
    operations: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Names of operations, if they differ from those in paths."""
    turns: ClassVar[str] = "messages"
    """The field with the messages of a conversation."""
    ignored: ClassVar[frozenset[str]] = NAMES_THE_CALLER
    """Fields that do not affect the answer."""
    model_in_path: ClassVar[bool] = False
    expects: ClassVar[str] = "a JSON object with `model` and a list of `messages`"
    """Description of a valid body."""
    chat_operations: ClassVar[frozenset[str]]
    """The operations in which a model answers to messages."""
    member: ClassVar[str]
    """A member that every answer without streaming has."""
    response_prefix: ClassVar[str] = ""
    """Beginning of the ids of answers."""
    call_prefix: ClassVar[str] = "call_"
    """Beginning of the ids of tool calls."""
    streamed_as: ClassVar[str] = EVENTS
    names_events: ClassVar[bool] = False
    end_of_stream: ClassVar[bytes] = b""

    def path(self, model: str, *, is_stream: bool) -> str:
        """Return the path of a chat request below `base_path`."""
        return self.chat_path

    def read_request(self, path: str, body: Mapping[str, Any]) -> ParsedRequest | None:
        """Return a POST to the service; None if it has another protocol."""
        found = self.pattern.search(path)
        if found is None:
            return None
        operation, named = found["operation"], found.groupdict().get("model")
        return ParsedRequest(
            protocol=self.family,
            operation=self.operations.get(operation, operation),
            wire=self,
            model=model_of(body, None if named is None else unquote(named).removeprefix("models/")),
            body=self.fields(body),
            turns=self.turns,
        )

    def fields(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a body that affect its answer, without those that only repeat a default, with its tools
        by name.
        """
        fields = {
            name: by_name(value) if name in ("tools", "functions") else value
            for name, value in body.items()
            if name not in self.ignored and name != "model" and value is not None
        }
        defaults: Any = (("stream", False), ("tools", {}), ("functions", {}))
        return {name: value for name, value in fields.items() if (name, value) not in defaults}

    def read_messages(self, body: Mapping[str, Any]) -> list[Message] | None:
        """Return the messages of a request in the form of chat completions; None if it has none."""
        messages: Any = body.get(self.turns)
        return cast("list[Message]", messages) if isinstance(messages, list) else None

    @abstractmethod
    def write_answer(self, answer: ModelAnswer) -> dict[str, Any]:
        """Return an answer as it is without streaming."""

    @abstractmethod
    def write_events(self, whole: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the events of a stream that add up to an answer."""

    def write_stream(self, whole: Mapping[str, Any]) -> Iterator[bytes]:
        """Yield the chunks of a stream that add up to an answer."""
        for event in self.write_events(whole):
            yield server_sent(event, is_named=self.names_events)
        if self.end_of_stream:
            yield self.end_of_stream

    @abstractmethod
    def refusal(self, status: int, message: str) -> dict[str, Any]:
        """Return the body of an HTTP error."""


class UnusableAnswerError(ValueError):
    """An answer has no text that could be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StructuredQuestion:
    """A question whose answer is JSON. `in_words` is the prompt with the schema in it, for models without another way
    to receive it.
    """

    name: str
    prompt: str
    in_words: str
    schema: Mapping[str, Any]
    seed: int | None = None


class QuestionProtocol(Protocol):
    """A protocol of services that answer structured questions and return vectors.

    `modes` are ways to request a structure, the strictest first, since endpoints and models support different ones.
    """

    modes: ClassVar[int] = 3

    @abstractmethod
    def key_headers(self, key: str) -> dict[str, str]:
        """Return the headers with the key."""

    @abstractmethod
    def write_question(self, question: StructuredQuestion, model: str, mode: int) -> dict[str, Any]:
        """Return the body of a request that asks for a structure."""

    @abstractmethod
    def read_text(self, answer: Any) -> str:
        """Return the text of an answer. Raises UnusableAnswerError with the reason if there is none."""

    @abstractmethod
    def write_embedding(self, texts: Sequence[str], model: str) -> tuple[str, dict[str, Any]]:
        """Return the path and the body of a request for vectors."""

    @abstractmethod
    def read_vectors(self, answer: Any) -> list[Sequence[float]]:
        """Return the vectors in the order of the texts. Raises KeyError or TypeError for an invalid answer."""


# -- parts of requests ------------------------------------------------------------------------------------------------


def user_message(text: str) -> list[Message]:
    """Return a conversation of one question."""
    return [{"role": "user", "content": text}]


def model_of(body: Mapping[str, Any], otherwise: str | None = None) -> str | None:
    """Return the model that a body names."""
    model = body.get("model")
    return model if isinstance(model, str) else otherwise


def by_name(tools: Any) -> Any:
    """Return tools by name, since their order does not matter. A value that is not a list of tools is returned
    unchanged.
    """
    if type_of(tools) is not list:
        return tools
    named: dict[str, Any] = {}
    for tool in cast("list[Any]", tools):
        for name, definition in _defined(tool):
            number, label = 1, name
            while label in named:
                number += 1
                label = f"{name} #{number}"
            named[label] = definition
    return named


def _defined(tool: Any) -> list[tuple[str, Any]]:
    if type_of(tool) is not dict:
        return [(str(tool), tool)]
    found = cast("dict[str, Any]", tool)
    declared = found.get("functionDeclarations") or found.get("function_declarations")
    if type_of(declared) is list:  # Gemini has several tools in one item.
        return [one for declaration in cast("list[Any]", declared) for one in _defined(declaration)]
    for wrapper in ("function", "toolSpec"):  # OpenAI's chat completions, Cohere and Ollama; Bedrock
        inner = found.get(wrapper)
        if type_of(inner) is dict:
            return _defined(inner)
    name = found.get("name") or found.get("server_label") or found.get("type") or next(iter(found), "tool")
    return [(str(name), {key: value for key, value in found.items() if key != "name" or value != name})]
