"""Both versions of Cohere's API."""

from __future__ import annotations

from typing import Any

import cohere

from provider_server import ProviderServer, events_reply, json_reply

from .plants import Plants, planted

Json = dict[str, Any]


def usage(plant: Plants) -> Json:
    """Return the billed units, and the tokens that the model saw."""
    return {
        "billed_units": {"input_tokens": plant.number("in"), "output_tokens": plant.number("out")},
        "tokens": {"input_tokens": plant.number("seen"), "output_tokens": 1},
    }


def asked(plant: Plants) -> Json:
    """Return a request of the second version."""
    call = {
        "id": "t1",
        "type": "function",
        "function": {"name": "f", "arguments": f'{{"a": "{plant.text("argument")}"}}'},
    }
    result = {
        "type": "document",
        "document": {"id": plant.text("id of result"), "data": {"r": plant.text("tool result")}},
    }
    messages: list[Any] = [
        {"role": "system", "content": plant.text("system")},
        {"role": "user", "content": plant.text("question")},
        {"role": "assistant", "tool_plan": plant.text("earlier plan"), "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "t1", "content": [result]},
    ]
    tool = {
        "type": "function",
        "function": {"name": plant.text("tool"), "description": plant.text("about"), "parameters": {}},
    }
    return {
        "model": plant.text("asked model"),
        "messages": messages,
        "documents": [
            {"id": "d1", "data": {"text": plant.text("document"), "title": plant.text("title")}},
            plant.text("bare"),
        ],
        "tools": [tool],
        "request_options": {
            "additional_body_parameters": {
                "citation_options": {"mode": plant.text("citations")},
                "thinking": {"type": "enabled", "token_budget": plant.number("thinking")},
                "response_format": {"type": "json_object", "schema": {"title": plant.text("schema")}},
                "new": plant.text("new parameter"),
            }
        },
    }


def citation(plant: Plants) -> Json:
    """Return a citation of a document."""
    document = {"id": "d1", "snippet": plant.text("snippet")}
    source = {"type": "document", "id": plant.text("source"), "document": document}
    return {"start": 0, "end": 1, "text": plant.text("cited"), "sources": [source], "type": "TEXT_CONTENT"}


@planted("cohere", "chat")
def _chat(server: ProviderServer, plant: Plants) -> object:
    message = {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": plant.text("thought")},
            {"type": "text", "text": plant.text("answer")},
        ],
        "citations": [citation(plant)],
    }
    logprobs = [{"token_ids": [1], "text": plant.text("token"), "logprobs": [-0.5]}]
    answer = {"id": plant.text("id"), "finish_reason": "COMPLETE", "message": message, "usage": usage(plant)}
    server.replies(json_reply({**answer, "logprobs": logprobs}))
    with cohere.ClientV2(api_key="none", base_url=server.url) as client:
        return client.chat(**asked(plant))


@planted("cohere", "chat stream")
def _chat_stream(server: ProviderServer, plant: Plants) -> object:
    said = {"type": "text", "text": ""}
    events: list[Json] = [
        {"type": "message-start", "id": plant.text("id"), "delta": {"message": {"role": "assistant", "content": []}}},
        {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": plant.text("plan")}}},
        {"type": "content-start", "index": 0, "delta": {"message": {"content": said}}},
        {
            "type": "content-delta",
            "index": 0,
            "delta": {"message": {"content": {"text": plant.text("answer")}}},
            "logprobs": {"token_ids": [1], "text": plant.text("token"), "logprobs": [-0.5]},
        },
        {"type": "citation-start", "index": 0, "delta": {"message": {"citations": citation(plant)}}},
        {"type": "citation-end", "index": 0},
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": usage(plant)}},
    ]
    server.replies(events_reply(events, named=True, done=False))
    with cohere.ClientV2(api_key="none", base_url=server.url) as client:
        return list(client.chat_stream(**asked(plant)))


@planted("cohere", "first chat")
def _first_chat(server: ProviderServer, plant: Plants) -> object:
    answer = {
        "response_id": plant.text("id"),
        "generation_id": "g",
        "text": plant.text("answer"),
        "finish_reason": "COMPLETE",
        "citations": [{"start": 0, "end": 1, "text": plant.text("cited"), "document_ids": ["d"]}],
        "documents": [{"id": "d", "snippet": plant.text("found")}],
        "search_queries": [{"text": plant.text("query"), "generation_id": "g"}],
        "meta": usage(plant),
    }
    server.replies(json_reply(answer))
    with cohere.Client(api_key="none", base_url=server.url) as client:
        return client.chat(
            message=plant.text("question"),
            preamble=plant.text("preamble"),
            chat_history=[{"role": "CHATBOT", "message": plant.text("earlier")}],  # type: ignore[list-item, unused-ignore]
            documents=[{"text": plant.text("document")}],
            prompt_truncation=plant.text("truncation"),  # type: ignore[arg-type, unused-ignore]
            connectors=[{"id": plant.text("connector"), "user_access_token": plant.sealed()}],  # type: ignore[list-item, unused-ignore]
        )


@planted("cohere", "rerank")
def _rerank(server: ProviderServer, plant: Plants) -> object:
    answer = {
        "id": plant.text("id"),
        "results": [{"index": 0, "relevance_score": 0.5}],
        "meta": {"billed_units": {"search_units": plant.number("searches")}},
    }
    server.replies(json_reply(answer))
    with cohere.ClientV2(api_key="none", base_url=server.url) as client:
        more: Any = {
            "additional_body_parameters": {
                "documents": [{"text": plant.text("document"), "title": plant.text("title")}]
            }
        }
        return client.rerank(
            model="m",
            query=plant.text("query"),
            documents=["x"],
            max_tokens_per_doc=plant.number("per document"),
            request_options=more,
        )


@planted("cohere", "embedding")
def _embedding(server: ProviderServer, plant: Plants) -> object:
    meta = {
        "billed_units": {"input_tokens": plant.number("tokens"), "images": plant.number("images")},
        "warnings": [plant.text("warning")],
    }
    server.replies(
        json_reply(
            {
                "id": "e",
                "response_type": "embeddings_by_type",
                "embeddings": {"float": [[0.5]]},
                "texts": [],
                "meta": meta,
            }
        )
    )
    with cohere.ClientV2(api_key="none", base_url=server.url) as client:
        more: Any = {"additional_body_parameters": {"priority": plant.number("priority")}}
        return client.embed(
            model="m",
            texts=[plant.text("text")],
            images=[plant.data_url("picture")],
            embedding_types=["float"],
            input_type=plant.text("type"),
            truncate=plant.text("truncate"),
            request_options=more,
        )  # type: ignore[arg-type, unused-ignore]


@planted("cohere", "classes")
def _classes(server: ProviderServer, plant: Plants) -> object:
    judged = {
        "id": "c",
        "input": "x",
        "prediction": "a",
        "predictions": [plant.text("class")],
        "confidences": [0.5],
        "labels": {plant.text("label"): {"confidence": 0.5}},
        "classification_type": "single-label",
    }
    server.replies(json_reply({"id": plant.text("id"), "classifications": [judged], "meta": {}}))
    with cohere.Client(api_key="none", base_url=server.url) as client:
        examples: Any = [{"text": plant.text("example"), "label": plant.text("of example")}] * 2
        return client.classify(inputs=[plant.text("text")], examples=examples)


@planted("cohere", "generation")
def _generation(server: ProviderServer, plant: Plants) -> object:
    made = {"id": "g", "text": plant.text("answer"), "finish_reason": "COMPLETE"}
    body = {"id": plant.text("id"), "prompt": "x", "generations": [made], "meta": usage(plant)}
    server.replies(json_reply(body))
    with cohere.Client(api_key="none", base_url=server.url) as client:
        return client.generate(prompt=plant.text("prompt"), preset=plant.text("preset"))
