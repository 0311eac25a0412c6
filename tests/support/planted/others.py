"""Mistral, Ollama and litellm."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from typing import Any

import ollama

from litellm_library import litellm
from provider_server import ProviderServer, Reply, events_reply, json_reply

from .openai_protocol import answer, chunks
from .plants import Plants, planted

Json = dict[str, Any]


def mistral(server: ProviderServer) -> Any:
    """Return Mistral's client, from the old library or the new one."""
    try:
        made: Any = importlib.import_module("mistralai.client").Mistral
    except (ImportError, AttributeError):
        made = importlib.import_module("mistralai").Mistral
    return made(api_key="none", server_url=server.url)


def _schema(plant: Plants) -> Json:
    return {"type": "object", "properties": {"city": {"type": "string", "description": plant.text("schema")}}}


def _tool(plant: Plants) -> Json:
    function = {"name": plant.text("tool"), "description": plant.text("about"), "parameters": _schema(plant)}
    return {"type": "function", "function": function}


@planted("mistralai", "chat")
def _mistral_chat(server: ProviderServer, plant: Plants) -> object:
    content = [
        {"type": "thinking", "thinking": [{"type": "text", "text": plant.text("thought")}]},
        {"type": "text", "text": plant.text("answer")},
        {"type": "reference", "reference_ids": [plant.text("reference")]},
    ]
    choice = {"index": 0, "message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    usage = {
        "prompt_tokens": 14,
        "completion_tokens": plant.number("out"),
        "total_tokens": 21,
        "prompt_audio_seconds": plant.number("seconds"),
    }
    server.replies(
        json_reply(
            {
                "id": plant.text("id"),
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [choice],
                "usage": usage,
            }
        )
    )
    with mistral(server) as client:
        return client.chat.complete(
            model=plant.text("asked model"),
            messages=[{"role": "user", "content": plant.text("question")}],
            tools=[_tool(plant)],
            response_format={"type": "json_schema", "json_schema": {"name": plant.text("format"), "schema": {}}},
            prediction={"type": "content", "content": plant.text("prediction")},
            parallel_tool_calls=False,
            random_seed=plant.number("seed"),
            safe_prompt=True,
        )


@planted("mistralai", "conversation")
def _mistral_conversation(server: ProviderServer, plant: Plants) -> object:
    search = {
        "type": "tool.execution",
        "id": "e",
        "object": "entry",
        "name": "web_search",
        "arguments": plant.text("query"),
        "info": {"found": plant.text("found")},
    }
    content = [
        {"type": "text", "text": plant.text("answer")},
        {"type": "tool_reference", "tool": "web_search", "title": plant.text("title"), "url": plant.text("citation")},
    ]
    said = {
        "type": "message.output",
        "id": "m",
        "object": "entry",
        "role": "assistant",
        "content": content,
        "model": "m",
    }
    usage = {
        "prompt_tokens": 14,
        "completion_tokens": 7,
        "total_tokens": 21,
        "connectors": {"web_search": plant.number("uses")},
    }
    server.replies(
        json_reply(
            {
                "object": "conversation.response",
                "conversation_id": plant.text("id"),
                "outputs": [search, said],
                "usage": usage,
            }
        )
    )
    with mistral(server) as client:
        return client.beta.conversations.start(
            model=plant.text("asked model"),
            inputs=[{"role": "user", "content": plant.text("question"), "type": "message.input", "object": "entry"}],
            instructions=plant.text("instructions"),
            tools=[_tool(plant)],
            completion_args={
                "tool_choice": "auto",
                "response_format": {"type": "text"},
                "max_tokens": plant.number("max"),
            },
            name=plant.text("name"),
            description=plant.text("description"),
            store=False,
        )


@planted("mistralai", "document")
def _mistral_document(server: ProviderServer, plant: Plants) -> object:
    page = {
        "index": 0,
        "markdown": plant.text("page"),
        "images": [],
        "dimensions": None,
        "header": plant.text("header"),
    }
    server.replies(
        json_reply(
            {
                "model": "ocr",
                "pages": [page],
                "document_annotation": plant.text("annotation"),
                "usage_info": {"pages_processed": plant.number("pages")},
            }
        )
    )
    with mistral(server) as client:
        return client.ocr.process(
            model="ocr",
            document={"type": "document_url", "document_url": plant.text("url")},
            image_limit=plant.number("limit"),
        )


def _ollama_request(plant: Plants) -> Json:
    call = {"function": {"name": "f", "arguments": {"a": plant.text("argument")}}}
    plant.picture("given picture")
    return {
        "model": plant.text("asked model"),
        "messages": [
            {"role": "system", "content": plant.text("system")},
            {"role": "user", "content": plant.text("question"), "images": [b"picture of given picture"]},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_name": "f", "content": plant.text("tool result")},
        ],
        "tools": [_tool(plant)],
        "format": {"type": "object", "title": plant.text("format")},
        "options": {"temperature": 0.5, "num_ctx": plant.number("context size")},
        "keep_alive": plant.text("keep alive"),
        "think": True,
    }


def _ollama_answer(plant: Plants) -> Json:
    call = {"function": {"name": plant.text("called"), "arguments": {"a": plant.text("new argument")}}}
    message = {
        "role": "assistant",
        "content": plant.text("answer"),
        "thinking": plant.text("thought"),
        "tool_calls": [call],
    }
    return {
        "model": plant.text("model"),
        "created_at": "2026-01-01T00:00:00Z",
        "message": message,
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": plant.number("in"),
        "eval_count": plant.number("out"),
        "total_duration": plant.number("duration"),
        "logprobs": [{"token": plant.text("token"), "logprob": -1}],
    }


def _lines(answers: Sequence[Json]) -> Reply:
    return Reply(chunks=[json.dumps(one).encode() + b"\n" for one in answers], content_type="application/x-ndjson")


@planted("ollama", "chat")
def _ollama_chat(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply(_ollama_answer(plant)))
    return ollama.Client(host=server.url).chat(**_ollama_request(plant))


@planted("ollama", "chat stream")
def _ollama_stream(server: ProviderServer, plant: Plants) -> object:
    whole = _ollama_answer(plant)
    message, logprobs = whole.pop("message"), whole.pop("logprobs")
    kept = {"model": whole["model"], "created_at": whole["created_at"], "done": False}
    pieces = [
        {**kept, "message": {"role": "assistant", name: value}} for name, value in message.items() if name != "role"
    ]
    last = {**whole, "message": {"role": "assistant", "content": ""}}
    server.replies(_lines([{**pieces[0], "logprobs": logprobs}, *pieces[1:], last]))
    return list(ollama.Client(host=server.url).chat(**_ollama_request(plant), stream=True))


@planted("ollama", "generation")
def _ollama_generation(server: ProviderServer, plant: Plants) -> object:
    server.replies(
        json_reply(
            {
                "model": "m",
                "response": plant.text("answer"),
                "done": True,
                "done_reason": "stop",
                "context": [1, 2],
                "load_duration": plant.number("load"),
            }
        )
    )
    return ollama.Client(host=server.url).generate(
        model="m",
        prompt=plant.text("prompt"),
        suffix=plant.text("suffix"),
        system=plant.text("system"),
        template=plant.text("template"),
        context=[1, 2, 3],
        options={"num_ctx": plant.number("size")},
    )


@planted("ollama", "embedding")
def _ollama_embedding(server: ProviderServer, plant: Plants) -> object:
    server.replies(
        json_reply({"model": plant.text("model"), "embeddings": [[0.5]], "total_duration": plant.number("duration")})
    )
    return ollama.Client(host=server.url).embed(
        model="m", input=[plant.text("text")], truncate=False, options={"num_ctx": plant.number("size")}
    )


def _litellm_request(server: ProviderServer, plant: Plants) -> Json:
    return {
        "model": f"openai/{plant.text('asked model')}",
        "messages": [{"role": "user", "content": plant.text("question"), "new_member": {"type": plant.text("beside")}}],
        "tools": [_tool(plant)],
        "response_format": {"type": "json_schema", "json_schema": {"name": plant.text("format"), "schema": {}}},
        "metadata": {"deal": plant.text("metadata")},
        "user": plant.text("user"),
        "top_logprobs": plant.number("top logprobs"),
        "logprobs": True,
        "extra_body": {"new": plant.text("new parameter")},
        "api_base": f"{server.url}/v1",
        "api_key": plant.sealed(),
        "extra_headers": {"x-key": plant.sealed()},
        "max_retries": 0,
    }


@planted("litellm", "completion")
def _litellm_completion(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply(answer(plant)))
    return litellm.completion(**_litellm_request(server, plant))


@planted("litellm", "completion stream")
def _litellm_stream(server: ProviderServer, plant: Plants) -> object:
    server.replies(events_reply(chunks(plant)))
    for place in ("refusal", "executed tool", "native reason", "filter"):
        del plant.marks[place]  # litellm leaves these members out of its chunks
    return list(litellm.completion(**_litellm_request(server, plant), stream=True))
