"""Bedrock's Converse API, and InvokeModel with the bodies of each family of models."""

from __future__ import annotations

import json
from typing import Any, Final

from aws_events import stream_reply
from bedrock_traffic import OLD, converse_events
from provider_server import Reply

from . import anthropic
from .cohere import CITATION
from .rows import refused, row

Json = dict[str, Any]

_NEWER: Final[Json] = {"requestMetadata": {"deal": "~"}, "performanceConfig": {"latency": "optimized"}}
_CITED: Final[Json] = {
    "citationsContent": {
        "content": [{"text": "~answer"}],
        "citations": [{"title": "~", "sourceContent": [{"text": "~"}]}],
    }
}
_REQUEST: Final[Json] = {
    "modelId": "~",
    "system": [{"text": "~"}],
    "messages": [
        {
            "role": "user",
            "content": [
                {"text": "~question"},
                {"image": {"format": "png", "source": {"bytes": b"%"}}},
                {"document": {"format": "txt", "name": "~", "source": {"bytes": b"text"}}},
            ],
        },
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": "~question"}}}],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t1", "status": "error", "content": [{"json": {"r": "~question"}}]}}
            ],
        },
    ],
    "inferenceConfig": {"temperature": 0.5},
    "toolConfig": {
        "tools": [
            {
                "toolSpec": {
                    "name": "~",
                    "description": "~",
                    "inputSchema": {"json": {"type": "object", "description": "~"}},
                }
            }
        ],
        "toolChoice": {"tool": {"name": "~"}},
    },
    "additionalModelRequestFields": {"thinking": {"budget_tokens": "#"}},
    "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "~", "trace": "enabled"},
    "additionalModelResponseFieldPaths": ["~"],
    **({} if OLD else _NEWER),
}
_ANSWER: Final[Json] = {
    "output": {
        "message": {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "~answer", "signature": "sealed"}}},
                {"text": "~answer"},
                *([] if OLD else [_CITED]),
                {"toolUse": {"toolUseId": "t2", "name": "~answer", "input": {"a": "~answer"}}},
            ],
        }
    },
    "stopReason": "end_turn",
    "usage": {"inputTokens": "#in", "outputTokens": "#out", "totalTokens": 1},
    "metrics": {"latencyMs": "#"},
    "trace": {
        "guardrail": {
            "inputAssessment": {"g": {"topicPolicy": {"topics": [{"name": "~", "type": "DENY", "action": "BLOCKED"}]}}}
        }
    },
    "additionalModelResponseFields": {"stop_sequence": "~"},
}


def _stream(whole: Json) -> Reply:
    stop = {name: whole[name] for name in ("stopReason", "additionalModelResponseFields")}
    metadata = {name: whole[name] for name in ("usage", "metrics", "trace")}
    blocks = map(_deltas, whole["output"]["message"]["content"])
    return stream_reply(converse_events(*blocks, messageStop=stop, metadata=metadata))


def _deltas(block: Json) -> list[Json]:
    if "reasoningContent" in block:
        return [{"reasoningContent": {"text": block["reasoningContent"]["reasoningText"]["text"]}}]
    if "toolUse" in block:
        use = {name: value for name, value in block["toolUse"].items() if name != "input"}
        return [{"start": {"toolUse": use}}, {"toolUse": {"input": json.dumps(block["toolUse"]["input"])}}]
    if "citationsContent" in block:
        cited = block["citationsContent"]
        return [{"text": cited["content"][0]["text"]}, *({"citation": one} for one in cited["citations"])]
    return [block]


row("Bedrock Converse", "converse", _REQUEST, _ANSWER)
row("Bedrock Converse", "converse_stream", _REQUEST, _ANSWER, replies=_stream)
row(
    "Bedrock Converse",
    "converse",
    {"modelId": "m", "messages": [{"role": "user", "content": [{"text": "~question"}]}]},
    {"__type": "ModelErrorException", "message": "~", "originalStatusCode": "#", "resourceName": "~"},
    replies=refused,
    name="refused",
)
_FAMILIES: Final[dict[str, tuple[str, Json, Json]]] = {
    "anthropic.claude-sonnet-5-v1:0": (
        "chat",
        {
            **{name: value for name, value in anthropic.BODY.items() if name != "model"},
            "anthropic_version": "bedrock-2023-05-31",
        },
        anthropic.MESSAGE,
    ),
    "us.amazon.nova-lite-v1:0": (
        "chat",
        {
            "system": [{"text": "~"}],
            "messages": [{"role": "user", "content": [{"text": "~question"}]}],
            "inferenceConfig": {"maxTokens": "#", "new": "~"},
        },
        {
            "output": {"message": {"role": "assistant", "content": [{"text": "~answer"}]}},
            "stopReason": "end_turn",
            "usage": {"inputTokens": "#in", "outputTokens": "#out", "totalTokens": 9},
            "new": "~",
        },
    ),
    "cohere.rerank-v3-5:0": (
        "retrieval",
        {"query": "~", "documents": ["~"], "api_version": "#"},
        {"results": [{"index": 0, "relevance_score": "#"}]},
    ),
    "cohere.command-a-03-2025-v1:0": (
        "chat",
        {
            "messages": [{"role": "user", "content": "~question"}],
            "max_tokens": "#",
            "documents": [{"data": {"text": "~"}}],
            "safety_mode": "~",
        },
        {
            "id": "x",
            "message": {
                "role": "assistant",
                "content": [{"type": "text", "text": "~answer"}],
                "citations": [CITATION],
            },
            "finish_reason": "COMPLETE",
        },
    ),
    "cohere.command-r-plus-v1:0": (
        "chat",
        {
            "message": "~question",
            "chat_history": [{"role": "CHATBOT", "message": "~question"}],
            "documents": [{"snippet": "~"}],
            "preamble": "~",
            "citation_quality": "~",
            "max_tokens": "#",
        },
        {
            "text": "~answer",
            "finish_reason": "COMPLETE",
            "generation_id": "~",
            "citations": [{"start": 0, "end": 1, "text": "~", "document_ids": ["d"]}],
        },
    ),
    "ai21.jamba-1-5-large-v1:0": (
        "chat",
        {"messages": [{"role": "user", "content": "~question"}], "documents": ["~"]},
        {
            "id": "~",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": "~answer", "new": "~"},
                    "finish_reason": "stop",
                }
            ],
            "usage": {"prompt_tokens": "#in", "completion_tokens": "#out"},
            "meta": {"requestDurationMillis": "#"},
        },
    ),
    "us.twelvelabs.pegasus-1-2-v1:0": (
        "text_completion",
        {
            "inputPrompt": "~question",
            "mediaSource": {"s3Location": {"uri": "~"}},
            "responseFormat": {"jsonSchema": {"title": "~"}},
        },
        {"message": "~answer", "finishReason": "stop"},
    ),
    "amazon.titan-embed-image-v1": (
        "embeddings",
        {"inputText": "~question", "inputImage": "%", "normalize": True, "embeddingConfig": {"new": "~"}},
        {"embedding": [0.5, 0.25], "inputTextTokenCount": "#in", "message": "~"},
    ),
    "cohere.embed-english-v3": (
        "embeddings",
        {"texts": ["~question", "~question"], "new": "~"},
        {"embeddings": [[0.5, 0.25], [0.1, 0.2]]},
    ),
    "amazon.nova-2-multimodal-embeddings-v1:0": (
        "embeddings",
        {
            "taskType": "SINGLE_EMBEDDING",
            "singleEmbeddingParams": {
                "embeddingPurpose": "~",
                "text": {"truncationMode": "END", "value": "~question"},
            },
        },
        {"embeddings": [{"embeddingType": "TEXT", "embedding": [0.5, 0.25]}]},
    ),
}
"""Model -> operation, request and answer."""
for _model, (_operation, _body, _whole) in _FAMILIES.items():
    row(
        "Bedrock InvokeModel",
        "invoke_model",
        {"modelId": _model, "body": _body},
        _whole,
        operation=_operation,
        name=_model,
    )
