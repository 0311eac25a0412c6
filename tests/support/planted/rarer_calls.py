"""Calls that few apps make: jobs, decisions, judgements, transcripts, and fetches of earlier results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cohere
import ollama

from library_members import skip_without
from litellm_library import litellm
from openai_traffic import message_item, response
from provider_server import ProviderServer, json_reply

from . import google
from .openai_protocol import client
from .others import mistral
from .plants import Plants, planted

Json = dict[str, Any]


def fresh_id(plant: Plants) -> str:
    """Return an id that no other call has, since a repeated fetch is recorded only once."""
    return plant.text(f"id {id(plant)}")


def usage(plant: Plants) -> Json:
    """Return token counts under OpenAI's newer names."""
    return {
        "input_tokens": plant.number("in"),
        "output_tokens": plant.number("out"),
        "sources": plant.number("sources"),
    }


@planted("openai", "decisions")
def _decisions(server: ProviderServer, plant: Plants) -> object:
    answered = {"type": "predicate", "name": "sunny", "score": 0.9, "because": plant.text("reason")}
    body = {"id": plant.text("id"), "model": "m", "answers": [answered], "usage": usage(plant)}
    server.replies(json_reply({**body, "beside": plant.text("beside")}))
    asked: Any = {"type": "predicate", "name": "sunny", "instructions": plant.text("question")}
    with client(server) as made:
        skip_without(made, "decisions")
        more = {"temper": plant.text("parameter")}
        return made.decisions.create(model="m", input=plant.text("input"), questions=[asked], extra_body=more)


@planted("openai", "compacted conversation")
def _compacted(server: ProviderServer, plant: Plants) -> object:
    item = {"type": "compaction", "id": plant.text("item"), "encrypted_content": "sealed"}
    said = message_item(plant.text("kept"))
    body = {"id": plant.text("id"), "object": "response.compaction", "created_at": 1, "output": [said, item]}
    server.replies(json_reply({**body, "usage": usage(plant), "beside": plant.text("beside")}))
    with client(server) as made:
        skip_without(made, "responses.compact")
        return made.responses.compact(model="m", input=plant.text("question"), instructions=plant.text("instructions"))


@planted("openai", "response that is fetched")
def _fetched_response(server: ProviderServer, plant: Plants) -> object:
    made_before = response(message_item(plant.text("answer")), id=fresh_id(plant), background=True)
    more = {"instructions": plant.text("instructions"), "metadata": {"deal": plant.text("metadata")}}
    server.replies(json_reply({**made_before, **more, "usage": usage(plant), "beside": plant.text("beside")}))
    with client(server) as made:
        skip_without(made, "responses.retrieve")
        return made.responses.retrieve("resp_planted")


@planted("openai", "video")
def _video(server: ProviderServer, plant: Plants) -> object:
    body = {"id": plant.text("id"), "object": "video", "model": plant.text("model"), "status": plant.text("status")}
    server.replies(json_reply({**body, "progress": plant.number("progress"), "size": plant.text("size")}))
    with client(server) as made:
        skip_without(made, "videos")
        more = {"seconds": plant.text("seconds"), "quality": plant.text("quality")}
        return made.videos.create(model="sora-2", prompt=plant.text("prompt"), extra_body=more)


@planted("openai", "batch that is done")
def _batch(server: ProviderServer, plant: Plants) -> object:
    body = {
        "id": fresh_id(plant),
        "object": "batch",
        "status": "completed",
        "endpoint": plant.text("endpoint"),
        "input_file_id": plant.text("file"),
        "output_file_id": plant.text("results"),
        "error_file_id": plant.text("errors"),
        "completion_window": "24h",
        "created_at": 1,
        "errors": {"data": [{"message": plant.text("error"), "line": plant.number("line")}]},
        "request_counts": {"total": plant.number("total"), "completed": plant.number("done"), "failed": 7},
        "metadata": {"deal": plant.text("metadata")},
        "usage": usage(plant),
    }
    server.replies(json_reply(body))
    with client(server) as made:
        skip_without(made, "batches")
        return made.batches.retrieve("batch_1")


def _run(plant: Plants, status: str) -> Json:
    return {
        "id": fresh_id(plant),
        "object": "thread.run",
        "status": status,
        "thread_id": plant.text("thread"),
        "assistant_id": plant.text("assistant"),
        "model": "m",
        "created_at": 1,
        "tools": [{"type": "function", "function": {"name": plant.text("tool"), "parameters": {}}}],
        "instructions": plant.text("instructions"),
        "metadata": {"deal": plant.text("metadata")},
        "usage": {"prompt_tokens": plant.number("in"), "completion_tokens": plant.number("out"), "total_tokens": 9},
        "truncation_strategy": {"type": plant.text("truncation")},
        "beside": plant.text("beside"),
    }


@planted("openai", "run")
def _begun_run(server: ProviderServer, plant: Plants) -> object:
    function = {"name": plant.text("called"), "arguments": f'{{"a": "{plant.text("argument")}"}}'}
    call = {"id": plant.text("call"), "type": "function", "function": function}
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": [call]}}
    server.replies(json_reply({**_run(plant, "requires_action"), "required_action": action}))
    with client(server) as made:
        skip_without(made, "beta.threads.runs.stream")
        return made.beta.threads.runs.create(
            "thread_1",
            assistant_id="asst_1",
            additional_instructions=plant.text("more instructions"),
            additional_messages=[{"role": "user", "content": plant.text("question")}],
            extra_body={"new": plant.text("parameter")},
        )


@planted("openai", "run that is over")
def _fetched_run(server: ProviderServer, plant: Plants) -> object:
    error = {"code": plant.text("code"), "message": plant.text("message")}
    server.replies(json_reply({**_run(plant, "failed"), "last_error": error}))
    with client(server) as made:
        skip_without(made, "beta.threads.runs.stream")
        return made.beta.threads.runs.retrieve("run_planted", thread_id="thread_1")


@planted("cohere", "summary")
def _summary(server: ProviderServer, plant: Plants) -> object:
    meta = {"billed_units": {"input_tokens": plant.number("in"), "output_tokens": plant.number("out")}}
    meta["warnings"] = [plant.text("warning")]  # type: ignore[assignment]
    server.replies(json_reply({"id": plant.text("id"), "summary": plant.text("summary"), "meta": meta}))
    with cohere.Client(api_key="none", base_url=server.url) as made:
        return made.summarize(
            model="m",
            text=plant.text("text"),
            additional_command=plant.text("command"),
            request_options={"additional_body_parameters": {"length": plant.text("length")}},
        )


@planted("cohere", "document")
def _document(server: ProviderServer, plant: Plants) -> object:
    written = {"content": plant.text("text"), "images": [{"id": plant.text("picture")}]}
    pages: list[Json] = [{"type": "markdown", "index": 0, "markdown": written}]
    pages.append({"type": "blocks", "index": 1, "blocks": [{"text": plant.text("block")}]})
    body = {"id": plant.text("id"), "pages": pages, "meta": {"billed_units": {"pages": plant.number("pages")}}}
    server.replies(json_reply({**body, "finish_reason": "COMPLETE"}))
    with cohere.Client(api_key="none", base_url=server.url) as made:
        skip_without(made, "v2.parse")
        given = {"type": "image_url", "image_url": {"url": plant.text("url"), "detail": plant.text("detail")}}
        more: Any = {"additional_body_parameters": {"document": given, "dpi": plant.number("dpi")}}
        return made.v2.parse(model="m", document={"type": "image_url", "image_url": "x"}, request_options=more)


@planted("google_genai", "decisions")
def _google_decisions(server: ProviderServer, plant: Plants) -> object:
    answers = {"polite": {"type": "noul", "noul": 0.9, "because": plant.text("reason")}}
    counts = {"total_input_tokens": plant.number("in"), "total_output_tokens": plant.number("out")}
    server.replies(json_reply({"answers": answers, "usage": counts, "beside": plant.text("beside")}))
    made = google.client_of(server)
    try:
        skip_without(made, "decisions")
        asked: Any = {"polite": {"type": "noul", "instructions": plant.text("question")}}
        return made.decisions.create(model="g", input=plant.text("input"), questions=asked)
    finally:
        made.close()


@planted("google_genai", "video")
def _google_video(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply({"name": plant.text("operation"), "metadata": {"state": plant.text("state")}}))
    made = google.vertex(server)
    try:
        config: Any = {"negative_prompt": plant.text("not"), "aspect_ratio": plant.text("ratio")}
        return made.models.generate_videos(model="veo-3", prompt=plant.text("prompt"), config=config)
    finally:
        made.close()


def _with_mistral(server: ProviderServer, body: Json, needs: str, ask: Callable[[Any], object]) -> object:
    server.replies(json_reply(body))
    with mistral(server) as made:
        skip_without(made, needs)
        return ask(made)


@planted("mistralai", "gap")
def _gap(server: ProviderServer, plant: Plants) -> object:
    message = {"role": "assistant", "content": plant.text("filling")}
    counts = {"prompt_tokens": plant.number("in"), "completion_tokens": plant.number("out"), "total_tokens": 3}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": plant.text("id"), "object": "x", "created": 1, "model": "m", "choices": [choice], "usage": counts}
    return _with_mistral(
        server,
        body,
        "fim.complete",
        lambda made: made.fim.complete(
            model="m", prompt=plant.text("before"), suffix=plant.text("after"), stop=[plant.text("stop")]
        ),
    )


@planted("mistralai", "moderation of a chat")
def _moderation(server: ProviderServer, plant: Plants) -> object:
    result = {"categories": {plant.text("category"): True}, "category_scores": {"hate": 0.7000251}}
    body = {"id": plant.text("id"), "model": "m", "results": [result], "beside": plant.text("beside")}
    asked = [{"role": "user", "content": plant.text("text")}]
    return _with_mistral(
        server, body, "classifiers.moderate_chat", lambda made: made.classifiers.moderate_chat(model="m", inputs=asked)
    )


@planted("mistralai", "classification")
def _classification(server: ProviderServer, plant: Plants) -> object:
    result = {"mood": {"scores": {plant.text("label"): 0.9}}}
    counts = {"prompt_tokens": plant.number("in"), "completion_tokens": 0, "total_tokens": 3}
    body = {"id": plant.text("id"), "model": "m", "results": [result], "usage": counts, "beside": plant.text("beside")}
    return _with_mistral(
        server,
        body,
        "classifiers.classify",
        lambda made: made.classifiers.classify(model="m", inputs=[plant.text("text")]),
    )


@planted("mistralai", "transcription")
def _transcription(server: ProviderServer, plant: Plants) -> object:
    segment = {"text": plant.text("segment"), "start": 0.5, "end": 1.5, "speaker_id": plant.text("speaker")}
    counts = {"prompt_tokens": 1, "completion_tokens": plant.number("out"), "total_tokens": 3}
    counts["prompt_audio_seconds"] = plant.number("seconds")
    body = {"model": "m", "text": plant.text("text"), "language": plant.text("language"), "segments": [segment]}
    return _with_mistral(
        server,
        {**body, "usage": counts},
        "audio.transcriptions.complete",
        lambda made: made.audio.transcriptions.complete(
            model="m",
            file={"file_name": plant.text("file"), "content": b"ID3"},
            language=plant.text("asked language"),
        ),
    )


@planted("ollama", "decisions")
def _ollama_decisions(server: ProviderServer, plant: Plants) -> object:
    answers = {"polite": {"type": "noul", "noul": 0.9, "confidence": 1.0, "because": plant.text("reason")}}
    server.replies(json_reply({"model": "m", "answers": answers, "usage": usage(plant), "new": plant.text("beside")}))
    made: Any = ollama.Client(host=server.url)
    skip_without(made, "systemone")
    asked = {"polite": {"type": "noul", "instructions": plant.text("question")}}
    return made.systemone(model="m", state=plant.text("input"), questions=asked)


def _with_litellm(server: ProviderServer, body: Json, function: str, **given: Any) -> object:
    server.replies(json_reply(body))
    call: Any = getattr(litellm, function)
    return call(**given, api_base=f"{server.url}/v1", api_key="none", max_retries=0)


@planted("litellm", "response")
def _litellm_response(server: ProviderServer, plant: Plants) -> object:
    body = response(message_item(plant.text("answer")), usage=usage(plant))
    given = {"input": plant.text("question"), "instructions": plant.text("instructions")}
    return _with_litellm(
        server, body, "responses", model="openai/m", **given, metadata={"deal": plant.text("metadata")}
    )


@planted("litellm", "text completion")
def _litellm_completion(server: ProviderServer, plant: Plants) -> object:
    choice = {"index": 0, "text": plant.text("answer"), "finish_reason": "stop"}
    counts = {"prompt_tokens": plant.number("in"), "completion_tokens": plant.number("out"), "total_tokens": 3}
    body = {"id": plant.text("id"), "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
    given = {"prompt": plant.text("prompt"), "suffix": plant.text("suffix"), "user": plant.text("user")}
    return _with_litellm(
        server, {**body, "usage": counts}, "text_completion", model="text-completion-openai/m", **given
    )


@planted("litellm", "embedding")
def _litellm_embedding(server: ProviderServer, plant: Plants) -> object:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    counts = {"prompt_tokens": plant.number("in"), "total_tokens": 3}
    body = {"object": "list", "data": data, "model": plant.text("model"), "usage": counts}
    given = {"input": [plant.text("text")], "user": plant.text("user")}
    return _with_litellm(server, body, "embedding", model="openai/text-embedding-3-small", **given)
