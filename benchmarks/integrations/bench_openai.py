"""What recording adds to the calls of the openai client, in CPU time, and what forgotten streams leave in memory.

The client speaks to a transport in this process, so nothing waits for a socket; `paired.py` says how it is measured.

    python benchmarks/integrations/bench_openai.py [rounds]
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import openai
from openai import _base_client
from paired import abandoned, added

HTTP: Any = getattr(_base_client, "httpx2", None) or _base_client.httpx  # type: ignore[attr-defined]
CALLS = 40
CHUNKS = 1000

ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-5-mini-2026-08-07","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"' + b"It is sunny and mild. " * 20 + b'"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":120,"completion_tokens":34,"total_tokens":154,'
    b'"prompt_tokens_details":{"cached_tokens":64},"completion_tokens_details":{"reasoning_tokens":12}}}'
)
CHUNK = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"gpt-5-mini-2026-08-07",'
    b'"service_tier":"default","system_fingerprint":"fp_1","choices":[{"index":0,"delta":{"content":" sunny"},'
    b'"logprobs":null,"finish_reason":null}]}\n\n'
)
MESSAGES: Any = [
    {"role": "system", "content": "You are a weather bot that answers in one sentence."},
    {"role": "user", "content": "What is the weather in Paris? " * 10},
]


class Pieces(HTTP.SyncByteStream):  # type: ignore[misc, name-defined, unused-ignore]
    """A streamed body, one chunk per event."""

    def __iter__(self) -> Iterator[bytes]:
        for _ in range(CHUNKS):
            yield CHUNK
        yield b"data: [DONE]\n\n"


def answer(request: Any) -> Any:
    """Play the provider."""
    if b'"stream":true' in request.content:
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, stream=Pieces(), request=request)
    return HTTP.Response(200, headers={"content-type": "application/json"}, content=ANSWER, request=request)


client = openai.OpenAI(api_key="none", http_client=HTTP.Client(transport=HTTP.MockTransport(answer)))


def calls() -> None:
    """Many calls that are answered in one piece."""
    for _ in range(CALLS):
        client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, temperature=0.5)


def stream() -> None:
    """One long stream."""
    for _ in client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, stream=True):
        pass


def begin() -> None:
    """Read a little of a stream and forget it."""
    next(client.chat.completions.create(model="gpt-5-mini", messages=MESSAGES, stream=True))


def main() -> None:
    """Print the three figures."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 60
    print("call answered in one piece:", added("openai", calls, CALLS, rounds))
    print("chunk of a stream:         ", added("openai", stream, CHUNKS, rounds))
    print("forgotten streams:         ", abandoned("openai", begin))


if __name__ == "__main__":
    main()
