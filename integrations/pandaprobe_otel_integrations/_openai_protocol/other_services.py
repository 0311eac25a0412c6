"""OpenAI's protocol as implemented by other services, without the attributes that belong to OpenAI alone."""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations._endpoint import Answer, Attributes, Body

from .chat import ChatCompletions
from .completions import Completions
from .responses import Responses

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
