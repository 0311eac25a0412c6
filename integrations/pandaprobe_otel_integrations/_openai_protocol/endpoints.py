"""Endpoints of the OpenAI protocol beside chats and responses, and those of other services that speak it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Mapping, Set
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body, Endpoint, Unstreamed
from pandaprobe_otel_integrations._json import Content, Object, integer, items, obj, objects, string, strings, to_json
from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions, Completions
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts
from pandaprobe_otel_integrations._openai_protocol.responses import Responses, input_messages
from pandaprobe_otel_integrations._openai_protocol.usage import COUNTED, failure_in, usage_attributes
from pandaprobe_otel_integrations._other_members import beside, parameters, rest, told
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._servers import place_of

# -- the requests that are model calls, recognised by the end of their path --------------------------------------------


class PostedEndpoints:
    """Endpoints that accept a JSON body, each by the end of its path. A longer path is listed before a shorter one."""

    def __init__(self, by_ending: Mapping[str, Endpoint]) -> None:
        self._by_path = by_ending
        self._by_ending = tuple(by_ending.items())

    def endpoint(self, method: str, path: str) -> Endpoint | None:
        """Return the endpoint of a request; None for a request that is not a model call."""
        if method.lower() != "post":
            return None
        if (exact := self._by_path.get(path)) is not None:
            return exact  # the usual form in most clients
        bare = path.partition("?")[0].rstrip("/")
        for ending, found in self._by_ending:
            if bare.endswith(ending):
                return found
        return None


class ServiceApi(PostedEndpoints):
    """The endpoints of a service with its own client."""

    def __init__(self, provider: str, by_ending: Mapping[str, Endpoint]) -> None:
        super().__init__(by_ending)
        self._provider = provider

    def place(self, client: Any) -> Attributes:
        """Return the service, and the server from the client's base URL."""
        return place_of(client.base_url, self._provider)


# -- `POST /embeddings`. The vectors are never recorded ----------------------------------------------------------------

_READ: Final = frozenset({"model", "input", "dimensions", "encoding_format"})
_ANSWERED: Final = frozenset({"model", "object", "usage", "data", "error"})
_BYTES_PER_NUMBER: Final = 4
"""Size of a number in base64: the client asks for 32-bit floats unless the app sets another format."""


class Embeddings(Unstreamed):
    """Embeddings of one or several texts."""

    operation = "embeddings"

    def request_attributes(self, body: Body) -> Attributes:
        """Return model, dimensions and encoding."""
        return {
            names.REQUEST_MODEL: string(body.get("model")),
            names.DIMENSION_COUNT: integer(body.get("dimensions")),
            names.ENCODING_FORMATS: strings(body.get("encoding_format")),
        }

    def request_content(self, body: Body) -> Content:
        """Return the texts."""
        value = body.get("input")
        given = [value] if isinstance(value, str) or _is_tokens(value) else items(value)
        found = [_part(one) for one in given]
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": found}] if found else [],
            **parameters(body, _READ),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return model, usage and the length of the vectors."""
        usage = usage_attributes(body.get("usage"))
        usage.pop(names.OUTPUT_TOKENS, None)
        vectors = objects(body.get("data"))
        return Answer(
            attributes={
                names.RESPONSE_MODEL: string(body.get("model")),
                names.DIMENSION_COUNT: _dimensions(vectors[0].get("embedding")) if vectors else None,
                **usage,
            },
            content=beside(body, _ANSWERED, COUNTED) if with_content else {},
            failure=failure_in(body.get("error")),
        )


def _is_tokens(value: Any) -> bool:
    return any(isinstance(one, int) for one in items(value)[:1])


def _part(given: Any) -> Part:
    if isinstance(given, str):
        return parts.text(given)
    return parts.text(f"[{len(items(given))} token ids]") if _is_tokens(given) else told(given)


def _dimensions(vector: Any) -> int | None:
    if isinstance(vector, str):
        return len(b64decode(vector)) // _BYTES_PER_NUMBER
    return len(items(vector)) or None


# -- `POST /moderations`: whether texts or pictures are harmful --------------------------------------------------------

_MODERATIONS_READ: Final = frozenset({"model", "input"})
ANSWERED: Final = frozenset({"id", "model", "results", "error"})
"""Members of an answer that are recorded."""
_VERDICT: Final = frozenset({"flagged", "categories"})


class Moderations(Unstreamed):
    """Moderation of texts or pictures.

    The verdict lists the categories that apply; scores and all other data are beside it.
    """

    operation = "moderation"

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model"))}

    def request_content(self, body: Body) -> Content:
        """Return the content to judge. Pictures are shown by their address, or by their size and hash."""
        said = content_parts(body.get("input"))
        return {
            names.INPUT_MESSAGES: [{"role": "user", "parts": said}] if said else [],
            **parameters(body, _MODERATIONS_READ),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the verdict on each input."""
        verdicts = [_verdict(result) for result in objects(body.get("results"))]
        said = [{"role": "assistant", "parts": [parts.text(to_json(verdict)) for verdict in verdicts]}]
        return Answer(
            attributes={
                names.RESPONSE_ID: string(body.get("id")),
                names.RESPONSE_MODEL: string(body.get("model")),
            },
            content={names.OUTPUT_MESSAGES: said if verdicts else [], **_rest(body)} if with_content else {},
            failure=failure_in(body.get("error")),
        )


def _rest(body: Body) -> Content:
    scored = [rest(result, _VERDICT) for result in objects(body.get("results"))]
    return beside({**body, "scores": scored if any(scored) else None}, ANSWERED, {})


def _verdict(result: Object) -> dict[str, object]:
    met = [name for name, is_met in obj(result.get("categories")).items() if is_met]
    return {"flagged": bool(result.get("flagged")), "categories": met}


# -- `POST /decisions`: several questions about one input, each answered by yes or no, a choice, or a score ------------


class Decisions(Unstreamed):
    """Decisions about an input. The questions are part of the instructions, and the answers are one JSON text."""

    operation = "generate_content"
    read: Set[str] = frozenset({"model", "input", "questions"})
    answered: Set[str] = frozenset({"model", "object", "answers", "usage", "error", "created", "created_at"})

    def request_attributes(self, body: Body) -> Attributes:
        """Return the model."""
        return {names.REQUEST_MODEL: string(body.get("model")), names.OUTPUT_TYPE: "json"}

    def request_content(self, body: Body) -> Content:
        """Return the content to judge, and the questions."""
        return {
            names.INPUT_MESSAGES: input_messages(body.get("input")),
            names.SYSTEM_INSTRUCTIONS: [parts.text(to_json(question)) for question in _each(body.get("questions"))],
            **parameters(body, self.read),
        }

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answers in the order of the questions, and the usage."""
        found = items(body.get("answers")) or obj(body.get("answers"))
        said = [{"role": "assistant", "parts": [parts.text(to_json(found))], "finish_reason": "stop"}] if found else []
        return Answer(
            attributes={names.RESPONSE_MODEL: string(body.get("model")), **usage_attributes(body.get("usage"))},
            content={names.OUTPUT_MESSAGES: said, **beside(body, self.answered, COUNTED)} if with_content else {},
            failure=failure_in(body.get("error")),
        )


def _each(questions: Any) -> list[Any]:
    """Return the questions, given as a list or by their names."""
    return [*objects(questions), *({name: asked} for name, asked in obj(questions).items())]


# -- OpenAI's protocol as implemented by other services, without the attributes that belong to OpenAI alone ------------

_OPENAIS: Final = frozenset({"service_tier", "system_fingerprint"})
"""Members that are attributes only on OpenAI's spans. For other services, they are kept with the rest."""


def without_openai(attributes: Attributes) -> Attributes:
    """Return the dictionary without the attributes that belong to OpenAI alone."""
    for name in names.OPENAIS_OWN:
        attributes.pop(name, None)
    return attributes


class ForeignChatCompletions(ChatCompletions):
    """Chat completions of another service."""

    read: Set[str] = ChatCompletions.read - _OPENAIS
    answered: Set[str] = ChatCompletions.answered - _OPENAIS

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        return without_openai(super().request_attributes(body))

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answer like OpenAI's endpoint."""
        answer = super().answer(body, with_content=with_content)
        without_openai(answer.attributes)
        return answer


class ForeignResponses(Responses):
    """The Responses API of another service."""

    read: Set[str] = Responses.read - _OPENAIS
    answered: Set[str] = Responses.answered - _OPENAIS

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        return without_openai(super().request_attributes(body))

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answer like OpenAI's endpoint."""
        answer = super().answer(body, with_content=with_content)
        without_openai(answer.attributes)
        return answer


class ForeignCompletions(Completions):
    """Legacy completions of another service."""

    read: Set[str] = Completions.read - _OPENAIS
    answered: Set[str] = Completions.answered - _OPENAIS

    def request_attributes(self, body: Body) -> Attributes:
        """Return model and parameters."""
        return without_openai(super().request_attributes(body))

    def answer(self, body: Body, *, with_content: bool) -> Answer:
        """Return the answer like OpenAI's endpoint."""
        answer = super().answer(body, with_content=with_content)
        without_openai(answer.attributes)
        return answer
