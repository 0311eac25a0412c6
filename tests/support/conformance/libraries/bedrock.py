"""Amazon Bedrock through boto3 and aiobotocore: Converse, and a model's own bodies."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from operator import itemgetter
from typing import Any, Final

import boto3
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.config import Config

from anthropic_traffic import ANSWERED_BY, use_events, uses
from aws_events import CONTENT_TYPE
from bedrock_traffic import (
    ANSWER,
    CONVERSE,
    FAMILIES,
    MODEL,
    OLD,
    USAGE,
    WORDS,
    chunk_events,
    converse_events,
    conversed,
)
from conformance.adapter import Adapter, Expected, Wire, calls, forms
from provider_server import Reply

_KEYS: Final[dict[str, Any]] = {
    "aws_access_key_id": "a",
    "aws_secret_access_key": "b",
    "region_name": "us-east-1",
}
_CLAUDE: Final = FAMILIES["anthropic"]
_INVOKE: Final[dict[str, Any]] = {"modelId": _CLAUDE.model, "body": _CLAUDE.body}
_CALLS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (("get_weather", {"place": "Paris"}), ("get_time", {}))


@contextmanager
def client(url: str, timeout_s: float) -> Iterator[Any]:
    """Yield a client of boto3."""
    config = Config(retries={"max_attempts": 0}, read_timeout=timeout_s)
    made: Any = boto3.Session(**_KEYS).client("bedrock-runtime", endpoint_url=url, config=config)
    yield made
    made.close()


@asynccontextmanager
async def async_client(url: str, timeout_s: float) -> AsyncIterator[Any]:
    """Yield a client of aiobotocore."""
    config = AioConfig(retries={"max_attempts": 0}, read_timeout=timeout_s)
    made: Any = get_session().create_client("bedrock-runtime", endpoint_url=url, config=config, **_KEYS)
    async with made as opened:
        yield opened


def _without_metadata(answer: dict[str, Any], _: Any) -> dict[str, Any]:
    return {key: value for key, value in answer.items() if key != "ResponseMetadata"}


def _refused(status: int) -> Reply:
    kind = "ValidationException" if status < 500 else "InternalServerException"
    return Reply(chunks=(b'{"message": "No."}',), status=status, headers={"x-amzn-ErrorType": kind})


_USAGE: Final = {"inputTokens": 120, "outputTokens": 34, "totalTokens": 154} if OLD else USAGE
"""Usage of an answer in one piece, from which old clients drop cached tokens."""


def _expected(model: str, response_model: str | None) -> Expected:
    return Expected(
        span_name=f"chat {model}",
        provider="aws.bedrock",
        response_model=response_model,
        text=ANSWER,
        words=WORDS[:1],
        input_tokens=120,
        output_tokens=34,
        finish_reason="stop",
        tool_calls=_CALLS,
    )


def _wire(whole: Any, messages: list[bytes]) -> Wire:
    return Wire(whole=json.dumps(whole).encode(), chunks=messages, stream_type=CONTENT_TYPE)


_USES: Final = [{"toolUseId": name, "name": name, "input": arguments} for name, arguments in _CALLS]
_USE_DELTAS: Final = [
    [
        {"start": {"toolUse": {"toolUseId": name, "name": name}}},
        {"toolUse": {"input": json.dumps(arguments)}},
    ]
    for name, arguments in _CALLS
]
_WARNS: Final = ("ignore:unclosed <socket:ResourceWarning", "ignore:Unclosed connection:ResourceWarning")
"""Both clients leave the connection of a forgotten or broken stream to the garbage collector. aiohttp warns or not,
depending on which part of a reference cycle is collected first."""

ADAPTERS: Final = (
    Adapter(
        title="Bedrock Converse",
        integration="bedrock",
        client=client,
        async_client=async_client,
        calls={"plain": calls("converse", CONVERSE, answer=_without_metadata)},
        forms={"stream": forms("converse_stream", CONVERSE, stream=itemgetter("stream"))},
        answer=_wire({**conversed(), "usage": _USAGE}, converse_events()),
        tools=_wire(
            {**conversed(*({"toolUse": use} for use in _USES), stop_reason="tool_use"), "usage": _USAGE},
            converse_events(*_USE_DELTAS, stop_reason="tool_use"),
        ),
        refusal=b"",
        refused=_refused,
        expected=_expected(MODEL, None),
        warns=_WARNS,
    ),
    Adapter(
        title="Bedrock InvokeModel",
        integration="bedrock",
        client=client,
        async_client=async_client,
        calls={"plain": calls("invoke_model", _INVOKE, answer=lambda found, seen: seen.saw(found["body"]).read())},
        forms={"stream": forms("invoke_model_with_response_stream", _INVOKE, stream=itemgetter("body"), reads=5)},
        answer=_wire(_CLAUDE.answer, _CLAUDE.events),
        tools=_wire(
            {**_CLAUDE.answer, "content": uses(_CALLS), "stop_reason": "tool_use"},
            chunk_events(use_events(_CALLS)),
        ),
        refusal=b"",
        refused=_refused,
        expected=_expected(_CLAUDE.model, ANSWERED_BY),
        warns=_WARNS,
    ),
)
