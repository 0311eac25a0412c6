"""The mistralai client: chat and conversations."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from typing import Any, Final

from conformance import openai_wire
from conformance.adapter import Adapter, Wire, calls, forms
from openai_traffic import ANSWER, ANSWERED_BY, MODEL, QUESTION, WORDS

# The client is at the root of the package before 2.0, and one level below from 2.0 on.
try:
    MODULE: Final[Any] = importlib.import_module("mistralai.client")
    MODULE.Mistral  # noqa: B018 - 1.x has a module of this name too
except (ImportError, AttributeError):
    MODULE = importlib.import_module("mistralai")  # type: ignore[misc]

CHAT: Final[dict[str, Any]] = openai_wire.REQUEST


def client(url: str, timeout_s: float) -> Any:
    """Return a client of the loopback server."""
    return MODULE.Mistral(api_key="none", server_url=url, timeout_ms=int(timeout_s * 1000))


def _ways(call: str, stream: str, request: dict[str, Any]) -> dict[str, Any]:
    plain = calls(call, request, asynchronous=f"{call}_async")
    opened = forms(stream, request, asynchronous=f"{stream}_async", leave="__exit__", leave_async="__aexit__")
    return {"calls": {"plain": plain}, "forms": {"stream": opened}}


CHATS: Final = Adapter(
    title="mistralai",
    integration="mistralai",
    client=client,
    async_client=client,
    **_ways("chat.complete", "chat.stream", CHAT),
    answer=openai_wire.ANSWERED,
    tools=openai_wire.TOOLS_WHOLE,
    refusal=json.dumps({"message": "No.", "detail": []}).encode(),
    expected=openai_wire.expected("mistral_ai"),
)

CONVERSATION: Final[dict[str, Any]] = {"model": MODEL, "inputs": QUESTION}


USAGE: Final = {"prompt_tokens": 120, "completion_tokens": 34, "total_tokens": 154}


def _conversation(*outputs: dict[str, Any]) -> bytes:
    answer = {"object": "conversation.response", "conversation_id": "conv_1", "outputs": outputs, "usage": USAGE}
    return json.dumps(answer).encode()


def _events(*events: dict[str, Any]) -> list[bytes]:
    start = {"type": "conversation.response.started", "conversation_id": "conv_1"}
    payloads = [start, *events, {"type": "conversation.response.done", "usage": USAGE}]
    pairs = ({"event": one["type"], "data": json.dumps(one)} for one in payloads)
    return [f"event: {pair['event']}\ndata: {pair['data']}\n\n".encode() for pair in pairs]


def _delta(content: str) -> dict[str, Any]:
    return {"type": "message.output.delta", "id": "msg_1", "content": content, "model": ANSWERED_BY}


def _called(index: int, arguments: str, kind: str = "function.call") -> dict[str, Any]:
    name = openai_wire.TOOL_CALLS[index][0]
    place = {"id": f"fc_{index}", "tool_call_id": f"call_{index}", "model": ANSWERED_BY}
    return {"type": kind, "name": name, "arguments": arguments, **place}


_ARGUMENTS: Final = [json.dumps(arguments) for _, arguments in openai_wire.TOOL_CALLS]

CONVERSATIONS: Final = replace(
    CHATS,
    title="mistralai conversations",
    **_ways("beta.conversations.start", "beta.conversations.start_stream", CONVERSATION),
    answer=Wire(
        whole=_conversation({"type": "message.output", "role": "assistant", "content": ANSWER, "model": ANSWERED_BY}),
        chunks=_events(*(_delta(word) for word in WORDS)),
    ),
    tools=Wire(
        whole=_conversation(*(_called(index, arguments) for index, arguments in enumerate(_ARGUMENTS))),
        chunks=_events(
            *(
                _called(index, piece, "function.call.delta")
                for index, arguments in enumerate(_ARGUMENTS)
                for piece in (arguments[:4], arguments[4:])
            )
        ),
    ),
    needs={"": "beta.conversations"},
)

ADAPTERS: Final = (CHATS, CONVERSATIONS)


def _cloud(title: str, modules: tuple[str, ...], name: str, provider: str, **given: Any) -> Adapter | None:
    """Return the adapter of a cloud's client, in the first of these modules that exists; None if there is none."""
    for module in modules:
        try:
            kind: Any = getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue

        def client(url: str, timeout_s: float, kind: Any = kind) -> Any:
            made = kind(server_url=url, **given)
            made.sdk_configuration.timeout_ms = int(timeout_s * 1000)
            return made

        return replace(CHATS, title=title, client=client, async_client=client, expected=openai_wire.expected(provider))
    return None


_AZURE: Final = _cloud(
    "mistralai on Azure",
    ("mistralai.azure.client", "mistralai_azure"),
    "MistralAzure",
    "azure.ai.inference",
    api_key="none",
)
_GCP: Final = _cloud(
    "mistralai on Vertex",
    ("mistralai.gcp.client", "mistralai_gcp"),
    "MistralGCP",
    "gcp.vertex_ai",
    access_token="none",
    project_id="p",
)


_FILL: Final[dict[str, Any]] = {"model": MODEL, "prompt": QUESTION}
_GCP_FILL: Final = _GCP and replace(
    _GCP,
    title="mistralai fill-in on Vertex",
    **_ways("fim.complete", "fim.stream", _FILL),
    expected=replace(_GCP.expected, span_name=f"text_completion {MODEL}"),
)
CLOUDS: Final = [adapter for adapter in (_AZURE, _GCP, _GCP_FILL) if adapter is not None]
