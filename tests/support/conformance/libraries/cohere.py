"""The cohere client: both versions of its chat."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import urlsplit

import cohere
import httpx
from cohere.core import RequestOptions

import aws_events
from bedrock_traffic import COUNTED, METRICS
from conformance import openai_wire
from conformance.adapter import Adapter, Wire, calls, forms
from conformance.stainless import managed
from openai_traffic import ANSWER, MODEL, QUESTION, WORDS

ONCE: Final = RequestOptions(max_retries=0)
CHAT: Final[dict[str, Any]] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": QUESTION}],
    "request_options": ONCE,
}
CHAT_V1: Final[dict[str, Any]] = {"model": MODEL, "message": QUESTION, "request_options": ONCE}
USAGE: Final = {
    "billed_units": {"input_tokens": 120, "output_tokens": 34},
    "tokens": {"input_tokens": 182, "output_tokens": 40},
}


def client(url: str, timeout_s: float) -> cohere.ClientV2:
    """Return a client of the loopback server; it has the methods of the first version too."""
    return cohere.ClientV2(api_key="none", base_url=url, timeout=timeout_s)


def async_client(url: str, timeout_s: float) -> cohere.AsyncClientV2:
    """Return an asynchronous client of the loopback server."""
    return cohere.AsyncClientV2(api_key="none", base_url=url, timeout=timeout_s, httpx_client=_httpx(timeout_s))


def client_v1(url: str, timeout_s: float) -> cohere.Client:
    """Return a client of the first version."""
    return cohere.Client(api_key="none", base_url=url, timeout=timeout_s)


def async_client_v1(url: str, timeout_s: float) -> cohere.AsyncClient:
    """Return an asynchronous client of the first version."""
    return cohere.AsyncClient(api_key="none", base_url=url, timeout=timeout_s, httpx_client=_httpx(timeout_s))


def _httpx(timeout_s: float) -> httpx.AsyncClient:
    """Return cohere's usual transport, also where another library has installed `httpx-aiohttp`."""
    return httpx.AsyncClient(timeout=timeout_s, follow_redirects=True)


def _ways(request: dict[str, Any]) -> dict[str, Any]:
    def raw_stream(client: Any) -> Any:
        return client.with_raw_response.chat_stream(**request)

    return {
        "calls": {
            "plain": calls("chat", request),
            "raw": calls("with_raw_response.chat", request, answer=lambda found, seen: seen.saw(found).data),
        },
        "forms": {
            "stream": forms("chat_stream", request, leave_async="aclose"),
            "raw stream": managed(raw_stream, items=lambda answer: answer.data),
        },
    }


def _answer(message: dict[str, Any], reason: str) -> bytes:
    whole = {"role": "assistant", **message}
    return json.dumps({"id": "c1", "message": whole, "finish_reason": reason, "usage": USAGE}).encode()


def _event(kind: str, index: int | None = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, **({} if index is None else {"index": index}), **more}


def _part(kind: str, index: int, **message: Any) -> dict[str, Any]:
    return _event(kind, index, delta={"message": message})


_START: Final = _event("message-start", id="c1", delta={"message": {"role": "assistant", "content": []}})


def _end(reason: str) -> dict[str, Any]:
    return _event("message-end", delta={"finish_reason": reason, "usage": USAGE})


def _text_events() -> list[dict[str, Any]]:
    return [
        _START,
        _part("content-start", 0, content={"type": "text", "text": ""}),
        *(_part("content-delta", 0, content={"text": word}) for word in WORDS),
        _event("content-end", 0),
        _end("COMPLETE"),
    ]


def _calls() -> list[dict[str, Any]]:
    return [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
        for index, (name, arguments) in enumerate(openai_wire.TOOL_CALLS)
    ]


def _call_events() -> list[dict[str, Any]]:
    found = [_START]
    for index, call in enumerate(_calls()):
        written = call["function"]["arguments"]
        begun = {**call, "function": {**call["function"], "arguments": ""}}
        found.append(_part("tool-call-start", index, tool_calls=begun))
        pieces = ({"function": {"arguments": piece}} for piece in (written[:4], written[4:]))
        found += [_part("tool-call-delta", index, tool_calls=piece) for piece in pieces]
        found.append(_event("tool-call-end", index))
    return [*found, _end("TOOL_CALL")]


V2: Final = Adapter(
    title="cohere",
    integration="cohere",
    client=client,
    async_client=async_client,
    **_ways(CHAT),
    answer=Wire(
        whole=_answer({"content": [{"type": "text", "text": ANSWER}]}, "COMPLETE"),
        chunks=openai_wire.events(_text_events(), named=True),
    ),
    tools=Wire(
        whole=_answer({"tool_plan": "I ask.", "tool_calls": _calls()}, "TOOL_CALL"),
        chunks=openai_wire.events(_call_events(), named=True),
    ),
    refusal=json.dumps({"message": "No."}).encode(),
    expected=replace(openai_wire.expected("cohere"), response_model=None),
    needs={"raw": "with_raw_response"},
)


def _answer_v1(**more: Any) -> dict[str, Any]:
    return {"response_id": "r1", "generation_id": "g1", "finish_reason": "COMPLETE", "meta": USAGE, **more}


def _lines(*events: dict[str, Any], answer: dict[str, Any]) -> list[bytes]:
    end = {"is_finished": True, "event_type": "stream-end", "response": answer, "finish_reason": "COMPLETE"}
    start = {"is_finished": False, "event_type": "stream-start", "generation_id": "g1"}
    middle = ({"is_finished": False, **event} for event in events)
    return [json.dumps(event).encode() + b"\n" for event in (start, *middle, end)]


_TEXT_V1: Final = _answer_v1(text=ANSWER)
_CALLS_V1: Final = _answer_v1(
    text="", tool_calls=[{"name": name, "parameters": arguments} for name, arguments in openai_wire.TOOL_CALLS]
)

V1: Final = replace(
    V2,
    title="cohere v1",
    client=client_v1,
    async_client=async_client_v1,
    **_ways(CHAT_V1),
    answer=Wire(
        whole=json.dumps(_TEXT_V1).encode(),
        chunks=_lines(*({"event_type": "text-generation", "text": word} for word in WORDS), answer=_TEXT_V1),
        stream_type="application/stream+json",
    ),
    tools=Wire(
        whole=json.dumps(_CALLS_V1).encode(),
        chunks=_lines({"event_type": "tool-calls-generation", "tool_calls": _CALLS_V1["tool_calls"]}, answer=_CALLS_V1),
        stream_type="application/stream+json",
    ),
)

ADAPTERS: Final = (V2, V1)


class _Aws:
    """Opens a client of this name whose requests go to the loopback server."""

    def __init__(self, name: str) -> None:
        self._name = name

    @contextmanager
    def client(self, url: str, timeout_s: float) -> Iterator[Any]:
        """Yield the client. The library makes the service's address from the region."""

        def address(*, model: str, stream: bool, **_: Any) -> str:
            return f"{url}/model/{model}/invoke{'-with-response-stream' if stream else ''}"

        given = {"aws_region": "us-east-1", "aws_access_key": "a", "aws_secret_key": "b", "aws_session_token": "c"}
        with patch("cohere.aws_client.get_url", address):
            yield getattr(cohere, self._name)(timeout=timeout_s, **given)


def _with_host(request: Any) -> None:
    request.headers["host"] = urlsplit(request.url).netloc


class _Oci:
    """Opens a client of this name whose requests go to the loopback server, unsigned."""

    def __init__(self, name: str) -> None:
        self._name = name

    @contextmanager
    def client(self, url: str, timeout_s: float) -> Iterator[Any]:
        """Yield the client. OCI's own package, which only signs the requests, is not needed."""
        signer = SimpleNamespace(do_request_sign=_with_host)
        signers = SimpleNamespace(InstancePrincipalsSecurityTokenSigner=lambda: signer)
        oci = SimpleNamespace(auth=SimpleNamespace(signers=signers))
        module = "cohere.oci_client"
        with (
            patch(f"{module}.lazy_oci", lambda: oci),
            patch(f"{module}.get_oci_url", lambda region, endpoint: f"{url}/20231130/actions/{endpoint}"),
        ):
            yield getattr(cohere, self._name)(
                auth_type="instance_principal", oci_region="r", oci_compartment_id="c", timeout=timeout_s
            )


def _frames(*events: dict[str, Any], reason: str = "COMPLETE", **answer: Any) -> list[bytes]:
    """Return a stream of Bedrock; the token counts come with the last event."""
    end = {"event_type": "stream-end", "finish_reason": reason, "is_finished": True, **METRICS}
    whole = {"response_id": "r1", "generation_id": "g1", "finish_reason": reason, **answer}
    return [aws_events.chunk({"is_finished": False, **event}) for event in events] + [
        aws_events.chunk({**end, "response": whole})
    ]


_WARNS: Final = ("ignore:unclosed <socket:ResourceWarning",)
"""The clients for other clouds replace the response's stream, and leave its connection to the garbage collector."""


def _aws(title: str, name: str) -> Adapter:
    words = [{"event_type": "text-generation", "text": word} for word in WORDS]
    calls = {"event_type": "tool-calls-generation", "tool_calls": _CALLS_V1["tool_calls"]}
    return replace(
        V1,
        title=title,
        client=_Aws(name).client,
        async_client=None,
        answer=Wire(
            whole=json.dumps({**_TEXT_V1, "meta": None}).encode(),
            headers=COUNTED,
            chunks=_frames(*words, text=ANSWER),
            stream_type=aws_events.CONTENT_TYPE,
        ),
        tools=Wire(
            whole=json.dumps({**_CALLS_V1, "meta": None}).encode(),
            headers=COUNTED,
            chunks=_frames(calls, text="", tool_calls=_CALLS_V1["tool_calls"]),
            stream_type=aws_events.CONTENT_TYPE,
        ),
        warns=_WARNS,
    )


_OCI_USAGE: Final = {"inputTokens": 120, "completionTokens": 34}
_OCI_TEXTS: Final = [{"message": {"content": [{"type": "TEXT", "text": word}]}} for word in WORDS]


def _oci_answer(reason: str, **message: Any) -> bytes:
    answer = {"id": "c1", "message": {"role": "ASSISTANT", **message}, "finishReason": reason, "usage": _OCI_USAGE}
    return json.dumps({"chatResponse": answer}).encode()


_OCI_V2: Final = replace(
    V2,
    title="cohere on OCI",
    client=_Oci("OciClientV2").client,
    async_client=None,
    answer=Wire(
        whole=_oci_answer("COMPLETE", content=[{"type": "TEXT", "text": ANSWER}]),
        chunks=openai_wire.events([*_OCI_TEXTS, {"finishReason": "COMPLETE", "usage": _OCI_USAGE}], done=False),
    ),
    tools=Wire(whole=_oci_answer("TOOL_CALL", toolCalls=_calls()), chunks=()),
    without={f"{form}/tool calls": "the client leaves them out" for form in ("stream", "raw stream")},
    varies=r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    warns=_WARNS,
)
CLOUDS: Final = [
    *([_OCI_V2] if hasattr(cohere, "OciClientV2") else []),
    _aws("cohere on Bedrock", "BedrockClient"),
    _aws("cohere on SageMaker", "SagemakerClient"),
]
