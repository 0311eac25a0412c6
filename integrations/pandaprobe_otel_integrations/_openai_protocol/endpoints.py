"""Endpoints of the OpenAI protocol beside chats and responses, and those of other services that speak it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pandaprobe_otel_integrations import _names as names
from pandaprobe_otel_integrations import _parts as parts
from pandaprobe_otel_integrations._endpoint import (
    ANSWERED,
    Body,
    EmbeddingsEndpoint,
    Endpoint,
    Fields,
    common,
    dimensions,
    question,
)
from pandaprobe_otel_integrations._json import Object, integer, obj, objects, string, strings, to_json
from pandaprobe_otel_integrations._openai_protocol.chat import ChatCompletions, Completions, token_texts
from pandaprobe_otel_integrations._openai_protocol.chat_messages import content_parts
from pandaprobe_otel_integrations._openai_protocol.responses import Responses
from pandaprobe_otel_integrations._openai_protocol.usage import OPENAI
from pandaprobe_otel_integrations._other_members import rest
from pandaprobe_otel_integrations._parts import Part

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


# -- `POST /embeddings` ------------------------------------------------------------------------------------------------


class Embeddings(EmbeddingsEndpoint):
    """Embeddings of one or several texts."""

    service = OPENAI
    request = {
        **common("model"),
        "dimensions": (names.DIMENSION_COUNT, integer),
        "encoding_format": (names.ENCODING_FORMATS, strings),
    }
    input = {"input": (names.INPUT_MESSAGES, question(token_texts))}
    response = {"model": (names.RESPONSE_MODEL, string), "data": (names.DIMENSION_COUNT, dimensions)}
    empty = ("object",)


# -- `POST /moderations`: whether texts or pictures are harmful --------------------------------------------------------

_VERDICT: Final = frozenset({"flagged", "categories"})


def _verdicts(results: Any) -> list[Part]:
    found = [parts.text(to_json(_verdict(result))) for result in objects(results)]
    return [{"role": "assistant", "parts": found}] if found else []


def _verdict(result: Object) -> dict[str, object]:
    met = [name for name, is_met in obj(result.get("categories")).items() if is_met]
    return {"flagged": bool(result.get("flagged")), "categories": met}


class Moderations(Endpoint):
    """Moderation of texts or pictures.

    The verdict lists the categories that apply; scores and all other data are beside it.
    """

    operation = "moderation"
    request = common("model")
    input = {"input": (names.INPUT_MESSAGES, question(content_parts))}
    response = ANSWERED
    output = {"results": (names.OUTPUT_MESSAGES, _verdicts)}

    def other_data(self, body: Body) -> dict[str, Any]:
        """Return the other data, with the scores of each verdict."""
        scored = [rest(result, _VERDICT) for result in objects(body.get("results"))]
        return super().other_data({**body, "scores": scored if any(scored) else None})


# -- OpenAI's protocol as implemented by other services: what belongs to OpenAI alone is kept with the other data ------


def foreign(fields: Fields) -> Fields:
    """Return fields without the attributes that belong to OpenAI alone."""
    return {members: one for members, one in fields.items() if names.OPENAIS_OWN.isdisjoint(one)}


class ForeignChatCompletions(ChatCompletions):
    """Chat completions of another service."""

    constants = {}
    request, response = foreign(ChatCompletions.request), foreign(ChatCompletions.response)


class ForeignCompletions(Completions):
    """Legacy completions of another service."""

    request, response = foreign(Completions.request), foreign(Completions.response)


class ForeignResponses(Responses):
    """The Responses API of another service."""

    constants = {}
    request, response = foreign(Responses.request), foreign(Responses.response)
