"""Bodies of Amazon Bedrock as sent over HTTP, after its published reference: Converse, and models' own formats."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import botocore

import anthropic_traffic
from aws_events import chunk, event
from openai_traffic import ANSWER as ANSWER
from openai_traffic import QUESTION as QUESTION
from openai_traffic import WORDS as WORDS

MODEL: Final = "amazon.nova-micro-v1:0"
OLD: Final = tuple(map(int, botocore.__version__.split(".")[:2])) < (1, 38)
"""True if the client lacks newer members of the API, such as those of cached tokens: it drops unknown members."""
USAGE: Final = {
    "inputTokens": 36,
    "outputTokens": 34,
    "totalTokens": 154,
    "cacheReadInputTokens": 64,
    "cacheWriteInputTokens": 20,
}
CONVERSE: Final[Any] = {
    "modelId": MODEL,
    "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
    "inferenceConfig": {"maxTokens": 300, "temperature": 0.5},
}


def conversed(*blocks: Any, stop_reason: str = "end_turn") -> dict[str, Any]:
    """Return an answer of Converse with these content blocks (default: ANSWER)."""
    return {
        "output": {"message": {"role": "assistant", "content": list(blocks) or [{"text": ANSWER}]}},
        "stopReason": stop_reason,
        "usage": USAGE,
        "metrics": {"latencyMs": 400},
    }


def converse_events(*deltas: Sequence[Any], stop_reason: str = "end_turn", **ended: Any) -> list[bytes]:
    """Return a streamed answer with these deltas for each block (default: WORDS); `start` begins a block.

    `ended`: other fields of the last two events, by the name of the event.
    """
    given = deltas or ([{"text": word} for word in WORDS],)
    found = [event("messageStart", {"role": "assistant"})]
    for index, block in enumerate(given):
        for delta in block:
            kind, member = ("contentBlockStart", "start") if "start" in delta else ("contentBlockDelta", "delta")
            found.append(event(kind, {member: delta.get("start", delta), "contentBlockIndex": index}))
        found.append(event("contentBlockStop", {"contentBlockIndex": index}))
    found.append(event("messageStop", ended.get("messageStop", {"stopReason": stop_reason})))
    found.append(event("metadata", ended.get("metadata", {"usage": USAGE, "metrics": {"latencyMs": 400}})))
    return found


METRICS: Final = {
    "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 120,
        "outputTokenCount": 34,
        "invocationLatency": 400,
        "firstByteLatency": 90,
    }
}
COUNTED: Final = {"x-amzn-bedrock-input-token-count": "120", "x-amzn-bedrock-output-token-count": "34"}
"""Token counts in response headers of `InvokeModel`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Bodies of one family of models: a request, its answer, and the chunks of its streamed answer."""

    model: str
    request: dict[str, Any]
    answer: dict[str, Any]
    chunks: Sequence[dict[str, Any]]
    finish_reason: str = "stop"

    @property
    def body(self) -> str:
        """Return the request body as it is sent."""
        return json.dumps(self.request)

    @property
    def events(self) -> list[bytes]:
        """Return the streamed answer; the token counts come with the last chunk."""
        return chunk_events(self.chunks)


def chunk_events(chunks: Sequence[dict[str, Any]]) -> list[bytes]:
    """Return the stream of these chunks, which are in a model's own format."""
    *early, last = chunks
    return [*(chunk(one) for one in early), chunk({**last, **METRICS})]


def _nova_chunks() -> list[dict[str, Any]]:
    deltas = [{"delta": {"text": word}, "contentBlockIndex": 0} for word in WORDS]
    return [
        {"messageStart": {"role": "assistant"}},
        *({"contentBlockDelta": delta} for delta in deltas),
        {"contentBlockStop": {"contentBlockIndex": 0}},
        {"messageStop": {"stopReason": "end_turn"}},
        {"metadata": {"usage": {"inputTokens": 120, "outputTokens": 34}}},
    ]


_MESSAGES: Final = [{"role": "user", "content": QUESTION}]
_ANTHROPIC: Final = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 300, "messages": _MESSAGES}

FAMILIES: Final[dict[str, Family]] = {
    "anthropic": Family(
        model="anthropic.claude-3-5-haiku-20241022-v1:0",
        request=_ANTHROPIC,
        answer=anthropic_traffic.message(),
        chunks=anthropic_traffic.events(),
    ),
    "anthropic by an opaque profile": Family(
        model="arn:aws:bedrock:us-east-1:012345678901:application-inference-profile/abc123",
        request=_ANTHROPIC,
        answer={"content": [{"type": "text", "text": ANSWER}], "stop_reason": "end_turn"},
        chunks=anthropic_traffic.events(),
    ),
    "nova": Family(
        model="us.amazon.nova-lite-v1:0",
        request={
            "schemaVersion": "messages-v1",
            "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
            "inferenceConfig": {"maxTokens": 300},
        },
        answer={**conversed(), "usage": {"inputTokens": 120, "outputTokens": 34}},
        chunks=_nova_chunks(),
    ),
    "llama": Family(
        model="meta.llama3-8b-instruct-v1:0",
        request={"prompt": QUESTION, "max_gen_len": 300},
        answer={
            "generation": ANSWER,
            "prompt_token_count": 120,
            "generation_token_count": 34,
            "stop_reason": "stop",
        },
        chunks=[
            {"generation": word, "prompt_token_count": 120 if at == 0 else None, "generation_token_count": at}
            for at, word in enumerate(WORDS)
        ]
        + [{"generation": "", "generation_token_count": 34, "stop_reason": "stop"}],
    ),
    "mistral": Family(
        model="mistral.mistral-7b-instruct-v0:2",
        request={"prompt": f"<s>[INST] {QUESTION} [/INST]", "max_tokens": 300},
        answer={"outputs": [{"text": ANSWER, "stop_reason": "stop"}]},
        chunks=[{"outputs": [{"text": word, "stop_reason": None}]} for word in WORDS[:-1]]
        + [{"outputs": [{"text": WORDS[-1], "stop_reason": "stop"}]}],
    ),
    "mistral chat": Family(
        model="mistral.mistral-large-2407-v1:0",
        request={"messages": _MESSAGES, "max_tokens": 300},
        answer={"choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "stop_reason": "stop"}]},
        chunks=[
            {"choices": [{"index": 0, "message": {"role": "assistant", "content": word}, "stop_reason": None}]}
            for word in WORDS[:-1]
        ]
        + [{"choices": [{"index": 0, "message": {"content": WORDS[-1]}, "stop_reason": "stop"}]}],
    ),
    "openai": Family(
        model="openai.gpt-oss-120b-1:0",
        request={"messages": _MESSAGES, "max_completion_tokens": 300},
        answer={
            "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 120, "completion_tokens": 34},
        },
        chunks=[{"choices": [{"index": 0, "delta": {"content": word}}]} for word in WORDS]
        + [{"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}],
    ),
    "cohere chat": Family(
        model="cohere.command-r-plus-v1:0",
        request={"message": QUESTION, "max_tokens": 300, "chat_history": [{"role": "CHATBOT", "message": "Hello."}]},
        answer={"generation_id": "1", "text": ANSWER, "finish_reason": "COMPLETE"},
        chunks=[{"event_type": "text-generation", "text": word, "is_finished": False} for word in WORDS]
        + [
            {
                "event_type": "stream-end",
                "is_finished": True,
                "finish_reason": "COMPLETE",
                "response": {"text": ANSWER},
            }
        ],
    ),
    "deepseek": Family(
        model="us.deepseek.r1-v1:0",
        request={"prompt": QUESTION, "max_tokens": 300},
        answer={"choices": [{"text": ANSWER, "stop_reason": "stop"}]},
        chunks=[{"choices": [{"text": word, "stop_reason": None}]} for word in WORDS[:-1]]
        + [{"choices": [{"text": WORDS[-1], "stop_reason": "stop"}]}],
    ),
}
