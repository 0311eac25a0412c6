"""What recording adds to the calls of google-genai, boto3 (Bedrock) and ollama, and what forgotten streams leave.

Each client speaks to a transport in this process; `paired.py` says how it is measured.

    python benchmarks/integrations/bench_clients.py [rounds] [google|bedrock|ollama ...]
"""

from __future__ import annotations

import io
import json
import struct
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import httpx
import httpx2
import ollama
from botocore.awsrequest import AWSResponse
from google import genai
from paired import abandoned, added

CALLS = 40
CHUNKS = 1000
QUESTION = "What is the weather in Paris? " * 10
TEXT = "It is sunny and mild. " * 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """One library: a call in one piece, and a stream of CHUNKS pieces."""

    integration: str
    call: Callable[[], Any]
    stream: Callable[[], Iterator[Any]]


def google() -> Client:
    """google-genai over a transport of httpx2."""
    usage = {"promptTokenCount": 120, "candidatesTokenCount": 34}
    part = {"candidates": [{"content": {"role": "model", "parts": [{"text": TEXT}]}, "finishReason": "STOP"}]}
    whole = json.dumps({**part, "usageMetadata": usage}).encode()
    piece = {"candidates": [{"content": {"role": "model", "parts": [{"text": " sunny"}]}}], "usageMetadata": usage}
    event = b"data: " + json.dumps(piece).encode() + b"\n\n"

    class Pieces(httpx2.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(CHUNKS):
                yield event

    def answer(request: Any) -> Any:
        if "stream" in request.url.path:
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces())
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=whole)

    options: Any = {"client_args": {"transport": httpx2.MockTransport(answer)}}
    client = genai.Client(api_key="none", vertexai=False, http_options=options)
    asked: Any = {"model": "gemini-3.8-flash", "contents": QUESTION}
    return Client(
        integration="google_genai",
        call=lambda: client.models.generate_content(**asked),
        stream=lambda: client.models.generate_content_stream(**asked),
    )


def bedrock() -> Client:
    """boto3's Bedrock runtime; botocore lets a handler answer before anything is sent."""
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 120, "outputTokens": 34, "totalTokens": 154},
        "metrics": {"latencyMs": 1},
    }
    whole = json.dumps(answer).encode()
    message = _message("contentBlockDelta", {"delta": {"text": " sunny"}, "contentBlockIndex": 0})

    class Raw(io.BytesIO):
        def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
            for _ in range(CHUNKS):
                yield message

    def respond(request: Any, **_: Any) -> AWSResponse:
        streams = request.url.endswith("converse-stream")
        kind = "application/vnd.amazon.eventstream" if streams else "application/json"
        return AWSResponse(request.url, 200, {"content-type": kind}, Raw(b"") if streams else _Whole(whole))

    keys: Any = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    client: Any = boto3.Session(**keys).client("bedrock-runtime")
    client.meta.events.register("before-send.bedrock-runtime.*", respond)
    asked: Any = {
        "modelId": "amazon.nova-micro-v1:0",
        "messages": [{"role": "user", "content": [{"text": QUESTION}]}],
    }
    return Client(
        integration="bedrock",
        call=lambda: client.converse(**asked),
        stream=lambda: iter(client.converse_stream(**asked)["stream"]),
    )


class _Whole(io.BytesIO):
    def stream(self, *args: Any, **kwargs: Any) -> Iterator[bytes]:
        yield self.getvalue()


def _message(name: str, data: Any) -> bytes:
    payload = json.dumps(data).encode()
    given = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    fields = b"".join(
        struct.pack(">B", len(key)) + key.encode() + struct.pack(">BH", 7, len(value)) + value.encode()
        for key, value in given.items()
    )
    lengths = struct.pack(">II", len(fields) + len(payload) + 16, len(fields))
    told = lengths + struct.pack(">I", zlib.crc32(lengths)) + fields + payload
    return told + struct.pack(">I", zlib.crc32(told))


def local() -> Client:
    """ollama over a transport of httpx."""
    about = {"model": "llama3.2", "created_at": "2026-08-07T00:00:00Z"}
    counts = {"done": True, "done_reason": "stop", "prompt_eval_count": 120, "eval_count": 34}
    whole = json.dumps({**about, "message": {"role": "assistant", "content": TEXT}, **counts}).encode()
    piece = {**about, "message": {"role": "assistant", "content": " sunny"}, "done": False}
    line = json.dumps(piece).encode() + b"\n"

    class Pieces(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            for _ in range(CHUNKS):
                yield line

    def answer(request: httpx.Request) -> httpx.Response:
        if b'"stream":true' in request.content:
            return httpx.Response(200, headers={"content-type": "application/x-ndjson"}, stream=Pieces())
        return httpx.Response(200, headers={"content-type": "application/json"}, content=whole)

    client = ollama.Client(transport=httpx.MockTransport(answer))
    asked: Any = {"model": "llama3.2", "messages": [{"role": "user", "content": QUESTION}]}
    return Client(
        integration="ollama",
        call=lambda: client.chat(**asked),
        stream=lambda: client.chat(**asked, stream=True),
    )


CLIENTS: dict[str, Callable[[], Client]] = {"google": google, "bedrock": bedrock, "ollama": local}


def main() -> None:
    """Print three figures for each library."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    for name in sys.argv[2:] or CLIENTS:
        client = CLIENTS[name]()

        def calls(client: Client = client) -> None:
            for _ in range(CALLS):
                client.call()

        def stream(client: Client = client) -> None:
            for _ in client.stream():
                pass

        def begin(client: Client = client) -> None:
            next(client.stream())

        print(f"{client.integration}, call in one piece:", added(client.integration, calls, CALLS, rounds))
        print(f"{client.integration}, chunk of a stream:", added(client.integration, stream, CHUNKS, rounds))
        print(f"{client.integration}, forgotten streams:", abandoned(client.integration, begin))


if __name__ == "__main__":
    main()
