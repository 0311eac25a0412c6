"""OpenAI's Responses API."""

from __future__ import annotations

from typing import Any

from library_members import skip_without
from openai_traffic import response
from provider_server import ProviderServer, events_reply, json_reply

from .openai_protocol import client
from .plants import Plants, planted

Json = dict[str, Any]


def response_items(plant: Plants) -> list[Json]:
    """Return output of every kind."""
    annotation = {"type": "url_citation", "url": plant.text("citation"), "title": "t", "start_index": 0, "end_index": 1}
    said = {
        "type": "output_text",
        "text": plant.text("answer"),
        "annotations": [annotation],
        "logprobs": [{"token": plant.text("token"), "logprob": -1, "bytes": [], "top_logprobs": []}],
    }
    return [
        {
            "type": "reasoning",
            "id": plant.text("id of thoughts"),
            "summary": [{"type": "summary_text", "text": plant.text("summary")}],
            "content": [{"type": "reasoning_text", "text": plant.text("thought")}],
            "encrypted_content": "sealed",
        },
        {
            "type": "message",
            "id": plant.text("id of a message"),
            "role": "assistant",
            "status": plant.text("state of a message"),
            "content": [said],
            "phase": plant.text("phase"),
        },
        {
            "type": "function_call",
            "id": plant.text("id of a call"),
            "call_id": plant.text("call id"),
            "name": plant.text("called"),
            "arguments": f'{{"a": "{plant.text("argument")}"}}',
            "namespace": plant.text("namespace"),
        },
        {
            "type": "web_search_call",
            "id": plant.text("id of a search"),
            "status": "completed",
            "action": {"type": "search", "query": plant.text("query"), "sources": [{"url": plant.text("source")}]},
        },
        {
            "type": "file_search_call",
            "id": "s1",
            "queries": [plant.text("file query")],
            "status": "completed",
            "results": [{"text": plant.text("found"), "filename": plant.text("found file")}],
        },
        {
            "type": "code_interpreter_call",
            "id": "i1",
            "code": plant.text("code"),
            "container_id": "c",
            "status": "completed",
            "outputs": [{"type": "logs", "logs": plant.text("logs")}],
        },
        {
            "type": "mcp_call",
            "id": "p1",
            "name": plant.text("mcp tool"),
            "server_label": plant.text("mcp server"),
            "arguments": plant.text("mcp arguments"),
            "output": plant.text("mcp output"),
        },
        {
            "type": "image_generation_call",
            "id": plant.text("id of a picture"),
            "status": "completed",
            "result": plant.picture("picture"),
            "revised_prompt": plant.text("revised"),
        },
        {"type": "new_item", "id": plant.text("id of a new item"), "inside": {"deep": [plant.text("new item")]}},
    ]


def response_request(plant: Plants) -> Json:
    """Return input of every kind, and tools."""
    return {
        "instructions": plant.text("instructions"),
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": plant.text("question")},
                    {
                        "type": "input_image",
                        "image_url": plant.data_url("given picture"),
                        "detail": plant.text("detail"),
                    },
                    {
                        "type": "input_file",
                        "filename": plant.text("file name"),
                        "file_data": plant.data_url("given file"),
                    },
                ],
            },
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": plant.text("earlier arguments")},
            {"type": "function_call_output", "call_id": "c1", "output": plant.text("tool result")},
            {
                "type": "computer_call_output",
                "call_id": "c3",
                "output": {"type": "computer_screenshot", "image_url": plant.data_url("screen")},
            },
            {"type": "item_reference", "id": plant.text("reference")},
        ],
        "tools": [
            {"type": "function", "name": plant.text("tool"), "parameters": {}, "strict": True, "description": "d"},
            {"type": "file_search", "vector_store_ids": [plant.text("store")]},
            {
                "type": "mcp",
                "server_label": "l",
                "server_url": plant.text("mcp url"),
                "authorization": plant.sealed(),
                "headers": {"x": plant.sealed()},
                "require_approval": "never",
            },
        ],
    }


def response_parameters(plant: Plants) -> Json:
    """Return parameters that have no attribute of their own."""
    return {
        "reasoning": {"effort": "low", "summary": plant.text("reasoning summary")},
        "text": {"format": {"type": "json_schema", "name": plant.text("schema"), "schema": {}}, "verbosity": "low"},
        "truncation": plant.text("truncation"),
        "tool_choice": {"type": "function", "name": plant.text("tool choice")},
        "metadata": {"deal": plant.text("metadata")},
        "user": plant.text("user"),
        "include": [plant.text("include")],
        "prompt": {"id": plant.text("prompt id"), "variables": {"city": plant.text("prompt variable")}},
        "previous_response_id": plant.text("previous"),
        "max_tool_calls": plant.number("tool calls"),
        "prompt_cache_key": plant.text("cache key"),
    }


def response_answer(plant: Plants) -> Json:
    """Return a response with every member that a service may send."""
    return {
        **response(*response_items(plant)),
        "id": plant.text("id"),
        "model": plant.text("model"),
        "instructions": [
            {"role": "developer", "content": [{"type": "input_text", "text": plant.text("stored prompt")}]}
        ],
        "prompt": {"id": "p"},
        "new_member": plant.text("new member"),
        "content_filters": [{"blocked": plant.text("filter")}],
        "usage": {
            "input_tokens": plant.number("input tokens"),
            "output_tokens": plant.number("output tokens"),
            "output_tokens_details": {"reasoning_tokens": plant.number("reasoning tokens")},
            "num_sources_used": plant.number("sources used"),
        },
    }


@planted("openai", "response")
def _responses(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply(response_answer(plant)))
    with client(server) as made:
        skip_without(made, "responses")
        return made.responses.create(model="m", extra_body={**response_request(plant), **response_parameters(plant)})


@planted("openai", "response stream")
def _response_stream(server: ProviderServer, plant: Plants) -> object:
    whole = response_answer(plant)
    begun = {"type": "response.created", "response": {**whole, "status": "in_progress", "output": [], "usage": None}}
    server.replies(events_reply([begun, {"type": "response.completed", "response": whole}], named=True, done=False))
    with client(server) as made:
        skip_without(made, "responses")
        return list(made.responses.create(model="m", stream=True, extra_body=response_request(plant)))


@planted("openai", "response stream that broke off")
def _broken_response_stream(server: ProviderServer, plant: Plants) -> object:
    at = {"output_index": 0, "content_index": 0, "item_id": "m1"}
    annotation = {"type": "url_citation", "url": plant.text("citation"), "title": "t", "start_index": 0, "end_index": 1}
    message: Json = {"type": "message", "id": "m1", "role": "assistant", "content": [], "status": "in_progress"}
    events = [
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.output_text.delta", **at, "delta": plant.text("answer"), "logprobs": []},
        {"type": "response.output_text.annotation.added", **at, "annotation_index": 0, "annotation": annotation},
    ]
    server.replies(events_reply(events, named=True, done=False))
    with client(server) as made:
        skip_without(made, "responses")
        return list(made.responses.create(model="m", stream=True, input=plant.text("question")))
