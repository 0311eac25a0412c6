"""boto3 and aiobotocore. Their events let a function answer a request before it is sent."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from typing import Any, Final

import traffic
from forms import LOOP, Form, async_forms, sync_forms
from traffic import QUESTION, Traffic

_KEYS: Final[dict[str, Any]] = {
    "aws_access_key_id": "a",
    "aws_secret_access_key": "b",
    "region_name": "us-east-1",
}
_CONVERSE: Final[dict[str, Any]] = {
    "modelId": "amazon.nova-micro-v1:0",
    "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
}
_BODY: Final[dict[str, Any]] = {
    "anthropic_version": "bedrock-2023-05-31",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": QUESTION}],
}
_INVOKE: Final[dict[str, Any]] = {
    "modelId": "anthropic.claude-sonnet-5-v1:0",
    "body": json.dumps(_BODY),
    "contentType": "application/json",
}
_CONVERSES: Final = ("converse", "chunk of converse_stream")
_INVOKES: Final = ("invoke_model", "chunk of invoke_model's stream")


def bedrock() -> tuple[Form, ...]:
    """Return the forms of `converse` and `invoke_model`, for the synchronous and the asynchronous client."""
    return (*_sync(), *_async())


class _Raw(io.BytesIO):
    """A response of urllib3, with the parts that botocore needs."""

    def __init__(self, traffic: Traffic, streams: bool) -> None:
        super().__init__(b"" if streams else traffic.answer)
        self._pieces = traffic.pieces if streams else (traffic.answer,)

    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        yield from self._pieces


class _AsyncRaw:
    """A response of aiohttp, with the parts that aiobotocore needs."""

    def __init__(self, traffic: Traffic, streams: bool) -> None:
        self.content = _AsyncContent(traffic)

    async def read(self) -> bytes:
        return await self.content.read()

    def close(self) -> None:
        pass


class _AsyncContent:
    """The reader of the body: a separate object, so that both are freed when dropped, as aiohttp's are."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic

    async def read(self, n: int = -1) -> bytes:
        return self._traffic.answer

    async def iter_chunks(self) -> AsyncIterator[tuple[bytes, bool]]:
        for piece in self._traffic.pieces:
            yield piece, True


def _provider(response: Any, raw: Any) -> Callable[..., Any]:
    conversations, invocations = traffic.bedrock_converse(), traffic.bedrock_invoke()

    def answer(request: Any, **_: Any) -> Any:
        found = conversations if "/converse" in request.url else invocations
        streams = "stream" in request.url
        kind = found.stream_type if streams else "application/json"
        return response(request.url, 200, {"content-type": kind}, raw(found, streams))

    return answer


@cache
def _session() -> Any:
    import boto3

    return boto3.Session(**_KEYS)  # A session caches the service models that it has read.


@cache
def _async_session() -> Any:
    from aiobotocore.session import get_session

    return get_session()


def _sync() -> tuple[Form, ...]:
    from botocore.awsrequest import AWSResponse

    client: Any = _session().client("bedrock-runtime")
    client.meta.events.register("before-send.bedrock-runtime.*", _provider(AWSResponse, _Raw))
    return (
        *sync_forms(
            lambda: client.converse(**_CONVERSE),
            lambda: client.converse_stream(**_CONVERSE)["stream"],
            names=_CONVERSES,
        ),
        *sync_forms(
            lambda: client.invoke_model(**_INVOKE)["body"].read(),
            lambda: client.invoke_model_with_response_stream(**_INVOKE)["body"],
            names=_INVOKES,
        ),
    )


def _async() -> tuple[Form, ...]:
    from aiobotocore.awsrequest import AioAWSResponse

    made: Any = _async_session().create_client("bedrock-runtime", **_KEYS)
    client: Any = LOOP.run_until_complete(made.__aenter__())
    client.meta.events.register("before-send.bedrock-runtime.*", _provider(AioAWSResponse, _AsyncRaw))

    async def stream() -> Any:
        return (await client.converse_stream(**_CONVERSE))["stream"]

    async def invoke() -> bytes:
        body: bytes = await (await client.invoke_model(**_INVOKE))["body"].read()
        return body

    async def invoked_stream() -> Any:
        return (await client.invoke_model_with_response_stream(**_INVOKE))["body"]

    return (
        *async_forms(lambda: client.converse(**_CONVERSE), stream, names=_CONVERSES),
        *async_forms(invoke, invoked_stream, names=_INVOKES),
    )
