"""Other services that speak OpenAI's protocol, through OpenAI's client or their own."""

from __future__ import annotations

import importlib
from typing import Any

from provider_server import ProviderServer, events_reply, json_reply

from .openai_protocol import answer, client, messages, parameters, tools
from .plants import Plants, planted

Json = dict[str, Any]


@planted("openai", "chat of Groq, streamed")
def _groq_through_openai(server: ProviderServer, plant: Plants) -> object:
    """Stream an answer of Groq, which always has token counts, in a member of its own."""
    usage = {"prompt_tokens": 14, "completion_tokens": plant.number("tokens"), "total_time": plant.number("time")}
    delta = {
        "role": "assistant",
        "content": plant.text("answer"),
        "executed_tools": [{"output": plant.text("executed tool")}],
    }
    kept: Json = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    server.replies(
        events_reply(
            [
                {**kept, "choices": [{"index": 0, "delta": delta, "finish_reason": None}], "x_groq": {"id": "r"}},
                {
                    **kept,
                    "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}],
                    "x_groq": {"id": plant.text("request"), "usage": usage},
                },
            ]
        )
    )
    with client(server) as made:
        asked: list[Any] = [{"role": "user", "content": plant.text("question")}]
        return list(made.chat.completions.create(model="m", messages=asked, stream=True))


def stainless(module: str, cls: str, server: ProviderServer, path: str = "") -> Any:
    """Return a client of a library that is built like OpenAI's."""
    library = importlib.import_module(module)
    return getattr(library, cls)(base_url=f"{server.url}{path}", api_key="none", max_retries=0)


@planted("groq", "chat")
def _groq_chat(server: ProviderServer, plant: Plants) -> object:
    server.replies(
        json_reply({**answer(plant), "service_tier": plant.text("tier"), "x_groq": {"id": plant.text("request")}})
    )
    with stainless("groq", "Groq", server) as made:
        more = {
            **parameters(plant),
            "service_tier": plant.text("asked tier"),
            "search_settings": {"d": plant.text("domain")},
        }
        return made.chat.completions.create(model="m", messages=messages(plant), tools=tools(plant), extra_body=more)


@planted("together", "chat")
def _together_chat(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply({**answer(plant), "prompt": [{"text": plant.text("prompt")}]}))
    with stainless("together", "Together", server, "/v1") as made:
        more = {
            **parameters(plant),
            "repetition_penalty": plant.number("repetition"),
            "safety_model": plant.text("safety"),
        }
        return made.chat.completions.create(model="m", messages=messages(plant), tools=tools(plant), extra_body=more)


@planted("together", "rerank")
def _together_rerank(server: ProviderServer, plant: Plants) -> object:
    found = {
        "index": 0,
        "relevance_score": 0.5,
        "document": {"text": plant.text("found"), "title": plant.text("title")},
    }
    usage = {"prompt_tokens": plant.number("tokens"), "completion_tokens": 0, "total_tokens": 1}
    server.replies(json_reply({"id": "r", "object": "rerank", "model": "m", "results": [found], "usage": usage}))
    with stainless("together", "Together", server, "/v1") as made:
        documents = [{"text": plant.text("document"), "url": plant.text("url")}]
        return made.rerank.create(
            model="m",
            query=plant.text("query"),
            documents=documents,
            rank_fields=[plant.text("field")],
            return_documents=True,
        )


@planted("together", "image")
def _together_image(server: ProviderServer, plant: Plants) -> object:
    picture = {"index": 0, "type": "b64_json", "b64_json": plant.picture("picture")}
    server.replies(json_reply({"id": "i", "model": "m", "object": "list", "data": [picture]}))
    with stainless("together", "Together", server, "/v1") as made:
        more = {"steps": plant.number("steps"), "negative_prompt": plant.text("not"), "image_url": plant.text("given")}
        return made.images.generate(model="m", prompt=plant.text("prompt"), extra_body=more)
