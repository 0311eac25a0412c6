"""Calls that a service refuses: the members of the error besides its message help to find the reason."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import cohere
import ollama

from provider_server import ProviderServer, json_reply

from . import anthropic_messages, bedrock_conversations, google, openai_protocol
from .openai_speakers import stainless
from .others import mistral
from .plants import Plants, planted

Json = dict[str, Any]
ASKED: Json = {"model": "m", "messages": [{"role": "user", "content": "q"}]}


def refused(server: ProviderServer, body: Json, call: Callable[[], object]) -> None:
    """Answer with this error; any exception of the client is ignored."""
    server.replies(json_reply(body, status=400))
    with suppress(Exception):
        call()
    assert server.received


def _error(plant: Plants) -> Json:
    found = {"hate": {"filtered": True, "severity": plant.text("severity")}}
    return {
        "error": {
            "message": plant.text("message"),
            "type": plant.text("type"),
            "param": plant.text("parameter"),
            "code": plant.text("code"),
            "innererror": {"code": plant.text("inner code"), "content_filter_result": found},
        }
    }


@planted("openai", "refused chat")
def _openai(server: ProviderServer, plant: Plants) -> None:
    with openai_protocol.client(server) as made:
        refused(server, _error(plant), lambda: made.chat.completions.create(**ASKED))


@planted("openai", "refused stream")
def _openai_stream(server: ProviderServer, plant: Plants) -> None:
    with openai_protocol.client(server) as made:
        refused(server, _error(plant), lambda: made.chat.completions.create(**ASKED, stream=True))


@planted("groq", "refused chat")
def _groq(server: ProviderServer, plant: Plants) -> None:
    with stainless("groq", "Groq", server) as made:
        refused(server, _error(plant), lambda: made.chat.completions.create(**ASKED))


@planted("together", "refused chat")
def _together(server: ProviderServer, plant: Plants) -> None:
    with stainless("together", "Together", server, "/v1") as made:
        refused(server, _error(plant), lambda: made.chat.completions.create(**ASKED))


@planted("anthropic", "refused message")
def _anthropic(server: ProviderServer, plant: Plants) -> None:
    error = {"type": plant.text("type"), "message": plant.text("message")}
    body = {"type": "error", "error": error, "request_id": plant.text("request")}
    with anthropic_messages.client(server) as made:
        refused(server, body, lambda: made.messages.create(**ASKED, max_tokens=1))


@planted("cohere", "refused chat")
def _cohere(server: ProviderServer, plant: Plants) -> None:
    body = {"id": plant.text("id"), "message": plant.text("message"), "more": [plant.text("more")]}
    with cohere.ClientV2(api_key="none", base_url=server.url) as made:
        refused(server, body, lambda: made.chat(**ASKED))


@planted("mistralai", "refused chat")
def _mistral(server: ProviderServer, plant: Plants) -> None:
    body = {"message": plant.text("message"), "type": plant.text("type"), "code": plant.text("code")}
    with mistral(server) as made:
        refused(server, body, lambda: made.chat.complete(**ASKED))


@planted("google_genai", "refused content")
def _google(server: ProviderServer, plant: Plants) -> None:
    details = [{"@type": plant.text("type"), "fieldViolations": [{"field": plant.text("field")}]}]
    body = {"error": {"code": 400, "message": plant.text("message"), "status": "INVALID", "details": details}}
    made = google.client_of(server)
    try:
        refused(server, body, lambda: made.models.generate_content(model="m", contents="q"))
    finally:
        made.close()


@planted("bedrock", "refused conversation")
def _bedrock(server: ProviderServer, plant: Plants) -> None:
    asked: Json = {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "q"}]}]}
    error = {
        "__type": "ModelErrorException",
        "message": plant.text("message"),
        "originalStatusCode": plant.number("status"),
        "resourceName": plant.text("resource"),
    }
    refused(server, error, lambda: bedrock_conversations.client(server).converse(**asked))


@planted("ollama", "refused chat")
def _ollama(server: ProviderServer, plant: Plants) -> None:
    error = {"error": plant.text("message"), "code": plant.text("code"), "details": [{"field": plant.text("field")}]}
    refused(server, error, lambda: ollama.Client(host=server.url).chat(**ASKED))


@planted("ollama", "refused stream")
def _ollama_stream(server: ProviderServer, plant: Plants) -> None:
    error = {"error": plant.text("message"), "code": plant.text("code")}
    refused(server, error, lambda: list(ollama.Client(host=server.url).chat(**ASKED, stream=True)))
