"""OpenAI's protocol, for OpenAI itself and for services that speak it through OpenAI's client or their own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from library_members import skip_without
from provider_server import ProviderServer, Reply, events_reply, json_reply

from .plants import Plants, planted

Json = dict[str, Any]


@contextmanager
def client(server: ProviderServer) -> Iterator[Any]:
    """Yield OpenAI's own client."""
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as made:
        yield made


def parameters(plant: Plants) -> Json:
    """Return parameters that have no attribute of their own."""
    return {
        "response_format": {"type": "json_schema", "json_schema": {"name": plant.text("schema"), "schema": {}}},
        "logprobs": True,
        "top_logprobs": plant.number("top logprobs"),
        "tool_choice": {"type": "function", "function": {"name": plant.text("tool choice")}},
        "parallel_tool_calls": False,
        "metadata": {"deal": plant.text("metadata")},
        "user": plant.text("user"),
        "store": True,
        "prediction": {"type": "content", "content": plant.text("prediction")},
        "web_search_options": {"user_location": {"approximate": {"city": plant.text("place")}}},
        "thinking": {"type": "enabled", "budget_tokens": plant.number("thinking")},
        "something_new": {"inside": [plant.text("new parameter")]},
        "api_key": plant.sealed(),
    }


def messages(plant: Plants) -> list[Any]:
    """Return messages of every role, with parts of every kind."""
    call = {
        "id": plant.text("call id"),
        "type": "function",
        "function": {"name": plant.text("called"), "arguments": f'{{"city": "{plant.text("argument")}"}}'},
        "extra_content": {"new": plant.text("beside the call")},
    }
    file = {"filename": plant.text("file name"), "file_data": plant.data_url("file")}
    return [
        {"role": "system", "content": plant.text("system")},
        {
            "role": "user",
            "name": plant.text("name"),
            "new_member": {"type": plant.text("beside the message")},
            "content": [
                {"type": "text", "text": plant.text("question"), "new_member": {"type": plant.text("beside text")}},
                {"type": "image_url", "image_url": {"url": plant.data_url("picture"), "detail": plant.text("detail")}},
                {"type": "input_audio", "input_audio": {"data": plant.picture("sound"), "format": "wav"}},
                {"type": "file", "file": file},
                {"type": "new_part", "new": plant.text("new part")},
            ],
        },
        {
            "role": "assistant",
            "content": plant.text("earlier answer"),
            "reasoning_content": plant.text("earlier thought"),
            "tool_calls": [call],
            "annotations": [{"url": plant.text("earlier citation")}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": plant.text("tool result"), "status": plant.text("of result")},
    ]


def tools(plant: Plants) -> list[Any]:
    """Return tools of both kinds."""
    schema = {"type": "object", "properties": {"city": {"description": plant.text("schema of tool")}}}
    function = {"name": plant.text("tool"), "description": plant.text("about tool"), "parameters": schema}
    return [
        {"type": "function", "function": {**function, "strict": True, "new": plant.text("beside tool")}},
        {"type": "custom", "custom": {"name": "c", "format": {"definition": plant.text("grammar")}}},
    ]


def answer(plant: Plants) -> Json:
    """Return an answer with every member that a service may send."""
    token = {"token": plant.text("token"), "logprob": -0.5, "bytes": [1], "top_logprobs": []}
    message = {
        "role": "assistant",
        "content": plant.text("answer"),
        "refusal": plant.text("refusal"),
        "reasoning": plant.text("thought"),
        "annotations": [{"type": "url_citation", "url_citation": {"url": plant.text("citation"), "title": "t"}}],
        "images": [{"type": "image_url", "image_url": {"url": plant.data_url("made picture")}}],
        "tool_calls": [
            {
                "id": "c2",
                "type": "function",
                "function": {"name": "f", "arguments": f'["{plant.text("new argument")}"]'},
            }
        ],
        "executed_tools": [{"output": plant.text("executed tool")}],
    }
    return {
        "id": plant.text("id"),
        "object": "chat.completion",
        "created": 1,
        "model": plant.text("model"),
        "provider": plant.text("provider"),
        "citations": [plant.text("citation of the service")],
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": "stop",
                "native_finish_reason": plant.text("native reason"),
                "logprobs": {"content": [token], "refusal": None},
                "content_filter_results": {"hate": {"severity": plant.text("filter")}},
            }
        ],
        "usage": {
            "prompt_tokens": 14,
            "completion_tokens": plant.number("completion tokens"),
            "prompt_tokens_details": {"image_tokens": plant.number("image tokens"), "new": plant.number("new detail")},
            "cost": 0.0123,
            "cost_details": {"upstream": plant.number("cost details")},
            "num_search_queries": plant.number("searches"),
        },
    }


def chunks(plant: Plants) -> list[Json]:
    """Return the answer in chunks."""
    whole = answer(plant)
    (choice,) = whole.pop("choices")
    message, usage = choice.pop("message"), whole.pop("usage")
    choice.pop("finish_reason")
    logprobs, text = choice.pop("logprobs"), message.pop("content")
    message["tool_calls"] = [{"index": 0, **message["tool_calls"][0]}]
    kept: Json = {**whole, "object": "chat.completion.chunk"}
    pieces = [
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": text[:5]}, "logprobs": logprobs}]},
        {"choices": [{"index": 0, "delta": {"content": text[5:]}, "logprobs": None}]},
        *({"choices": [{"index": 0, "delta": {name: value}}]} for name, value in message.items()),
        {"choices": [{**choice, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": usage},
    ]
    return [{**kept, **piece} for piece in pieces]


@planted("openai", "chat")
def _chat(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply(answer(plant)))
    with client(server) as made:
        return made.chat.completions.create(
            model=plant.text("asked model"), messages=messages(plant), tools=tools(plant), extra_body=parameters(plant)
        )


@planted("openai", "chat stream")
def _chat_stream(server: ProviderServer, plant: Plants) -> object:
    server.replies(events_reply(chunks(plant)))
    with client(server) as made:
        return list(made.chat.completions.create(model="m", messages=messages(plant), stream=True))


@planted("openai", "completion")
def _completion(server: ProviderServer, plant: Plants) -> object:
    choice = {
        "index": 0,
        "text": plant.text("answer"),
        "finish_reason": "stop",
        "logprobs": {"tokens": [plant.text("t")]},
    }
    server.replies(
        json_reply({"id": "x", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]})
    )
    with client(server) as made:
        more = {"suffix": plant.text("suffix"), "best_of": plant.number("best of"), "echo": False}
        return made.completions.create(model="m", prompt=plant.text("prompt"), extra_body=more)


@planted("openai", "embeddings")
def _embeddings(server: ProviderServer, plant: Plants) -> object:
    vector = {"object": "embedding", "index": 0, "embedding": [0.5, 1.0]}
    usage = {
        "prompt_tokens": plant.number("tokens"),
        "total_tokens": 1,
        "prompt_tokens_details": {"new": plant.number("n")},
    }
    server.replies(json_reply({"object": "list", "data": [vector], "model": plant.text("model"), "usage": usage}))
    with client(server) as made:
        return made.embeddings.create(
            model="m",
            input=[plant.text("text")],
            encoding_format="float",
            extra_body={"input_type": plant.text("type")},
        )


@planted("openai", "images")
def _images(server: ProviderServer, plant: Plants) -> object:
    picture = {"b64_json": plant.picture("picture"), "revised_prompt": plant.text("revised")}
    server.replies(json_reply({"created": 1, "data": [picture], "quality": plant.text("made quality")}))
    with client(server) as made:
        more = {"size": plant.text("size"), "background": plant.text("background"), "quality": plant.text("quality")}
        return made.images.generate(model="m", prompt=plant.text("prompt"), extra_body=more)


@planted("openai", "speech")
def _speech(server: ProviderServer, plant: Plants) -> object:
    plant.picture("sound")
    server.replies(Reply(chunks=(b"picture of sound",), content_type="audio/mpeg"))
    with client(server) as made:
        made = made.audio.speech.create(
            model="m", input=plant.text("text"), voice=plant.text("voice"), extra_body={"speed": plant.number("speed")}
        )
        return made.read()


@planted("openai", "transcription")
def _transcription(server: ProviderServer, plant: Plants) -> object:
    segment = {"id": 0, "text": plant.text("segment"), "start": 0, "end": 1, "speaker": plant.text("speaker")}
    server.replies(json_reply({"text": plant.text("text"), "segments": [segment], "language": plant.text("language")}))
    with client(server) as made:
        return made.audio.transcriptions.create(
            model="m",
            file=(plant.text("file"), b"RIFF"),
            prompt=plant.text("prompt"),
            language=plant.text("asked language"),
        )


@planted("openai", "moderation")
def _moderation(server: ProviderServer, plant: Plants) -> object:
    verdict = {"flagged": True, "categories": {"hate": True}, "category_scores": {"hate": plant.number("score")}}
    server.replies(json_reply({"id": "x", "model": plant.text("model"), "results": [verdict]}))
    with client(server) as made:
        return made.moderations.create(input=plant.text("text"), extra_body={"new": plant.text("new")})


@planted("openai", "batch")
def _batch(server: ProviderServer, plant: Plants) -> object:
    made_batch = {
        "id": plant.text("id"),
        "object": "batch",
        "status": "validating",
        "endpoint": "/v1/responses",
        "input_file_id": "f",
        "completion_window": "24h",
        "created_at": 1,
        "new": plant.text("beside"),
    }
    server.replies(json_reply(made_batch))
    with client(server) as made:
        skip_without(made, "batches")
        return made.batches.create(
            input_file_id=plant.text("file"),
            endpoint="/v1/responses",
            completion_window="24h",
            metadata={"deal": plant.text("metadata")},
        )
