"""Google's models, whole and streamed, and the other requests of its client."""

from __future__ import annotations

from typing import Any

from google import genai
from google.genai import types
from google.oauth2.credentials import Credentials

from library_members import skip_without
from provider_server import ProviderServer, events_reply, json_reply

from .plants import Plants, planted

Json = dict[str, Any]


def client_of(server: ProviderServer) -> Any:
    """Return Google's client for the Gemini API."""
    return genai.Client(api_key="none", vertexai=False, http_options=types.HttpOptions(base_url=server.url))


def vertex(server: ProviderServer) -> Any:
    """Return Google's client for Vertex AI."""
    given: Any = {"vertexai": True, "project": "p", "location": "l", "credentials": Credentials(token="none")}  # type: ignore[no-untyped-call, unused-ignore]
    return genai.Client(http_options=types.HttpOptions(base_url=server.url), **given)


def answer(plant: Plants) -> Json:
    """Return one candidate with parts of every kind, and every member that can accompany them."""
    found = {
        "parts": [
            {"text": plant.text("thought"), "thought": True, "thoughtSignature": "c2VhbGVk"},
            {"text": plant.text("answer"), "partMetadata": {"new": plant.text("beside text")}},
            {"functionCall": {"id": "f1", "name": plant.text("called"), "args": {"city": plant.text("argument")}}},
            {"executableCode": {"language": "PYTHON", "code": plant.text("code")}},
            {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": plant.text("printed")}},
            {"inlineData": {"mimeType": "image/png", "data": plant.picture("picture")}},
        ],
        "role": "model",
    }
    token = {"token": plant.text("token"), "logProbability": -0.5}
    candidate = {
        "content": found,
        "finishReason": "STOP",
        "finishMessage": plant.text("finish message"),
        "groundingMetadata": {
            "webSearchQueries": [plant.text("query")],
            "groundingChunks": [{"web": {"uri": plant.text("ground"), "title": "t"}}],
            "groundingSupports": [{"segment": {"text": plant.text("supported")}, "groundingChunkIndices": [0]}],
        },
        "urlContextMetadata": {"urlMetadata": [{"retrievedUrl": plant.text("url context")}]},
        "citationMetadata": {"citationSources": [{"uri": plant.text("citation")}]},
        "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW", "blocked": True}],
        "logprobsResult": {"chosenCandidates": [token]},
        "avgLogprobs": plant.number("average"),
    }
    return {
        "candidates": [candidate],
        "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": plant.text("blocked")},
        "modelVersion": plant.text("model"),
        "responseId": plant.text("id"),
        "modelStatus": {"message": plant.text("status of model")},
        "usageMetadata": {
            "promptTokenCount": plant.number("prompt tokens"),
            "candidatesTokenCount": plant.number("candidate tokens"),
            "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": plant.number("image tokens")}],
            "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": plant.number("cached text")}],
            "trafficType": plant.text("traffic"),
        },
    }


def asked(plant: Plants) -> Json:
    """Return contents, functions, and a configuration."""
    contents: list[Any] = [
        {
            "role": "user",
            "parts": [
                {"text": plant.text("question")},
                {"inline_data": {"mime_type": "image/png", "data": b"picture of given picture"}},
                {"file_data": {"mime_type": "video/mp4", "file_uri": plant.text("file")}},
            ],
        },
        {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"a": plant.text("earlier argument")}}}]},
        {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"r": plant.text("tool result")}}}]},
    ]
    plant.picture("given picture")
    schema = {"type": "OBJECT", "description": plant.text("schema of tool")}
    function = {"name": plant.text("tool"), "description": plant.text("about tool"), "parameters": schema}
    config: Any = {
        "system_instruction": plant.text("system"),
        "candidate_count": 2,
        "response_mime_type": "application/json",
        "response_schema": {"type": "OBJECT", "description": plant.text("schema")},
        "thinking_config": {"thinking_budget": plant.number("thinking budget"), "include_thoughts": True},
        "response_logprobs": True,
        "logprobs": plant.number("logprobs"),
        "response_modalities": [plant.text("modality")],
        "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": plant.text("voice")}}},
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": [plant.text("allowed")]}},
        "cached_content": plant.text("cached content"),
        "automatic_function_calling": {"disable": True},
        "tools": [{"function_declarations": [function]}, {"google_search": {"exclude_domains": None}}],
    }
    return {"model": plant.text("asked model"), "contents": contents, "config": config}


@planted("google_genai", "content")
def _content(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply(answer(plant)))
    client = client_of(server)
    try:
        return client.models.generate_content(**asked(plant))
    finally:
        client.close()


@planted("google_genai", "content stream")
def _content_stream(server: ProviderServer, plant: Plants) -> object:
    """Stream text in chunks; the other members come with the last chunk."""
    whole = answer(plant)
    (candidate,) = whole.pop("candidates")
    said = candidate.pop("content")["parts"]
    chunks: list[Json] = [{"candidates": [{"content": {"parts": [part], "role": "model"}}]} for part in said]
    logprobs = {"logprobsResult": candidate.pop("logprobsResult")}
    chunks.append({"candidates": [{"content": {"parts": [{"text": "x"}]}, **logprobs}]})
    chunks.append({"candidates": [{"groundingMetadata": candidate.pop("groundingMetadata")}]})
    chunks.append({**whole, "candidates": [candidate]})
    server.replies(events_reply(chunks, done=False))
    client = client_of(server)
    try:
        return list(client.models.generate_content_stream(**asked(plant)))
    finally:
        client.close()


@planted("google_genai", "embedding")
def _embedding(server: ProviderServer, plant: Plants) -> object:
    server.replies(json_reply({"embeddings": [{"values": [0.5, 1.0]}], "new": plant.text("beside")}))
    client = client_of(server)
    try:
        config: Any = {"task_type": plant.text("task"), "title": plant.text("title")}
        return client.models.embed_content(model="m", contents=[plant.text("text")], config=config)
    finally:
        client.close()


@planted("google_genai", "images")
def _images(server: ProviderServer, plant: Plants) -> object:
    made = {
        "bytesBase64Encoded": plant.picture("picture"),
        "mimeType": "image/png",
        "prompt": plant.text("revised"),
        "safetyAttributes": {"categories": [plant.text("safety")], "scores": [0.5]},
    }
    server.replies(json_reply({"predictions": [made]}))
    client = vertex(server)
    try:
        config: Any = {"aspect_ratio": plant.text("aspect"), "guidance_scale": plant.number("guidance")}
        return client.models.generate_images(model="imagen-4", prompt=plant.text("prompt"), config=config)
    finally:
        client.close()


@planted("google_genai", "interaction")
def _interaction(server: ProviderServer, plant: Plants) -> object:
    step = {
        "type": "model_output",
        "content": [
            {
                "type": "text",
                "text": plant.text("answer"),
                "annotations": [{"type": "url_citation", "url": plant.text("citation")}],
            },
        ],
    }
    search = {"type": "google_search_call", "id": "s", "arguments": {"queries": [plant.text("query")]}}
    usage = {
        "total_input_tokens": plant.number("in"),
        "total_output_tokens": plant.number("out"),
        "input_tokens_by_modality": [{"modality": "image", "tokens": plant.number("image")}],
    }
    server.replies(
        json_reply(
            {
                "id": plant.text("id"),
                "object": "interaction",
                "model": plant.text("model"),
                "status": "completed",
                "created": "2026-01-01T00:00:00Z",
                "updated": "2026-01-01T00:00:00Z",
                "role": "model",
                "steps": [search, step],
                "usage": usage,
            }
        )
    )
    client = client_of(server)
    skip_without(client, "interactions")
    try:
        return client.interactions.create(
            model=plant.text("asked model"),
            input=[
                {"type": "text", "text": plant.text("question")},
                {"type": "image", "data": plant.picture("given picture"), "mime_type": "image/png"},
            ],
            system_instruction=plant.text("system"),
            generation_config={"thinking_level": "low", "temperature": 0.5},
        )
    finally:
        client.close()
