"""Google's models, whole and streamed, and the other requests of its client."""

from __future__ import annotations

from typing import Any, Final

from provider_server import Reply, events_reply

from .rows import refused, row

Json = dict[str, Any]

_ANSWER: Final[Json] = {
    "candidates": [
        {
            "content": {
                "parts": [
                    {"text": "~answer", "thought": True, "thoughtSignature": "c2VhbGVk"},
                    {"text": "~answer", "partMetadata": {"new": "~"}},
                    {"functionCall": {"id": "f1", "name": "~answer", "args": {"city": "~answer"}}},
                    {"executableCode": {"language": "PYTHON", "code": "~answer"}},
                    {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "~answer"}},
                    {"inlineData": {"mimeType": "image/png", "data": "%"}},
                ],
                "role": "model",
            },
            "finishReason": "STOP",
            "finishMessage": "~",
            "groundingMetadata": {
                "webSearchQueries": ["~"],
                "groundingChunks": [{"web": {"uri": "~", "title": "t"}}],
                "groundingSupports": [{"segment": {"text": "~"}, "groundingChunkIndices": [0]}],
            },
            "urlContextMetadata": {"urlMetadata": [{"retrievedUrl": "~"}]},
            "citationMetadata": {"citationSources": [{"uri": "~"}]},
            "safetyRatings": [{"category": "HARM_CATEGORY_HARASSMENT", "probability": "LOW", "blocked": True}],
            "logprobsResult": {"chosenCandidates": [{"token": "~", "logProbability": -0.5}]},
            "avgLogprobs": "#",
        }
    ],
    "promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "~"},
    "modelVersion": "~",
    "responseId": "~",
    "modelStatus": {"message": "~"},
    "usageMetadata": {
        "promptTokenCount": "#in",
        "candidatesTokenCount": "#out",
        "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": "#"}],
        "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": "#"}],
        "trafficType": "~",
    },
}
"""One candidate with parts of every kind, and every member that can accompany them."""
_REQUEST: Final[Json] = {
    "model": "~",
    "contents": [
        {
            "role": "user",
            "parts": [
                {"text": "~question"},
                {"inline_data": {"mime_type": "image/png", "data": b"%"}},
                {"file_data": {"mime_type": "video/mp4", "file_uri": "~question"}},
            ],
        },
        {"role": "model", "parts": [{"function_call": {"name": "f", "args": {"a": "~question"}}}]},
        {"role": "user", "parts": [{"function_response": {"name": "f", "response": {"r": "~question"}}}]},
    ],
    "config": {
        "system_instruction": "~",
        "candidate_count": 2,
        "response_mime_type": "application/json",
        "response_schema": {"type": "OBJECT", "description": "~"},
        "thinking_config": {"thinking_budget": "#", "include_thoughts": True},
        "response_logprobs": True,
        "logprobs": "#",
        "response_modalities": ["~"],
        "speech_config": {"voice_config": {"prebuilt_voice_config": {"voice_name": "~"}}},
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "tool_config": {"function_calling_config": {"mode": "ANY", "allowed_function_names": ["~"]}},
        "cached_content": "~",
        "automatic_function_calling": {"disable": True},
        "tools": [
            {
                "function_declarations": [
                    {"name": "~", "description": "~", "parameters": {"type": "OBJECT", "description": "~"}}
                ]
            },
            {"google_search": {"exclude_domains": None}},
        ],
    },
}


def _stream(whole: Json) -> Reply:
    """Stream text in chunks; the other members come with the last chunk."""
    (candidate,) = whole["candidates"]
    pieces: list[Json] = [{"content": {"parts": [part], "role": "model"}} for part in candidate["content"]["parts"]]
    pieces.append({"content": {"parts": [{"text": "x"}]}, "logprobsResult": candidate["logprobsResult"]})
    pieces.append({"groundingMetadata": candidate["groundingMetadata"]})
    early = ("content", "logprobsResult", "groundingMetadata")
    last = {name: value for name, value in candidate.items() if name not in early}
    return events_reply([*({"candidates": [one]} for one in pieces), {**whole, "candidates": [last]}], done=False)


row("google-genai", "models.generate_content", _REQUEST, _ANSWER, operation="generate_content")
row(
    "google-genai",
    "models.generate_content_stream",
    _REQUEST,
    _ANSWER,
    replies=_stream,
    operation="generate_content",
)
row(
    "google-genai",
    "models.generate_content",
    {"model": "m", "contents": "~question"},
    {
        "error": {
            "code": 400,
            "message": "~",
            "status": "INVALID",
            "details": [{"@type": "~", "fieldViolations": [{"field": "~"}]}],
        }
    },
    replies=refused,
    operation="generate_content",
    name="refused",
)
row(
    "google-genai",
    "models.embed_content",
    {"model": "m", "contents": ["~question"], "config": {"task_type": "~", "title": "~"}},
    {"embeddings": [{"values": [0.5, 0.25]}], "new": "~"},
    operation="embeddings",
)
row(
    "google-genai",
    "interactions.create",
    {
        "model": "~",
        "input": [{"type": "text", "text": "~question"}, {"type": "image", "data": "%", "mime_type": "image/png"}],
        "system_instruction": "~",
        "generation_config": {"thinking_level": "low", "temperature": 0.5},
    },
    {
        "id": "~",
        "object": "interaction",
        "model": "~",
        "status": "completed",
        "created": "2026-01-01T00:00:00Z",
        "updated": "2026-01-01T00:00:00Z",
        "role": "model",
        "steps": [
            {"type": "thought", "summary": [{"type": "text", "text": "~answer"}]},
            {"type": "google_search_call", "id": "s", "arguments": {"queries": ["~"]}},
            {
                "type": "model_output",
                "content": [{"type": "text", "text": "~answer", "annotations": [{"type": "url_citation", "url": "~"}]}],
            },
        ],
        "usage": {
            "total_input_tokens": "#in",
            "total_output_tokens": "#out",
            "input_tokens_by_modality": [{"modality": "image", "tokens": "#"}],
        },
    },
    operation="generate_content",
)
