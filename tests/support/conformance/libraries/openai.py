"""The openai client: chat completions and responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import openai
from openai import _base_client

from conformance import openai_wire, stainless
from conformance.adapter import Adapter, Wire, calls
from openai_traffic import MODEL, QUESTION, message_item, response, response_events

HTTP: Final[Any] = getattr(_base_client, "httpx2", None) or _base_client.httpx  # type: ignore[attr-defined]
"""The HTTP library that this version of the client uses."""
CHAT: Final[dict[str, Any]] = {"model": MODEL, "messages": openai_wire.REQUEST["messages"]}
RESPONSE: Final[dict[str, Any]] = {"model": MODEL, "input": QUESTION}


def client(url: str, timeout_s: float) -> openai.OpenAI:
    """Return a client of the loopback server."""
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=timeout_s)


def async_client(url: str, timeout_s: float) -> openai.AsyncOpenAI:
    """Return an asynchronous client of the loopback server."""
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=timeout_s)


def _chat(client: Any) -> Any:
    return client.chat.completions


def _responses(client: Any) -> Any:
    return client.responses


def _with_options(client: Any) -> Any:
    return client.with_options(max_retries=0).chat.completions


CHATS: Final = Adapter(
    title="openai",
    integration="openai",
    client=client,
    async_client=async_client,
    calls={
        **stainless.calls(_chat, CHAT),
        "plain with_options": stainless.calls(_with_options, CHAT)["plain"],
        "helper parse": calls("chat.completions.parse", CHAT),
    },
    forms={**stainless.forms(_chat, CHAT), "helper stream": stainless.managed(lambda it: _chat(it).stream(**CHAT))},
    answer=openai_wire.ANSWERED,
    tools=openai_wire.TOOLS,
    refusal=openai_wire.REFUSAL,
    expected=openai_wire.expected("openai"),
    needs={
        "helper parse": "chat.completions.parse",
        "helper stream": "chat.completions.stream",
        "with_streaming_response": "chat.completions.with_streaming_response",
    },
)


def _function_call(index: int, arguments: str, status: str) -> dict[str, Any]:
    name = openai_wire.TOOL_CALLS[index][0]
    return {
        "id": f"fc_{index}",
        "type": "function_call",
        "call_id": f"call_{index}",
        "name": name,
        "arguments": arguments,
        "status": status,
    }


def _call_events() -> list[dict[str, Any]]:
    written = [json.dumps(arguments) for _, arguments in openai_wire.TOOL_CALLS]
    started = response(status="in_progress", usage=None, output=[])
    events: list[dict[str, Any]] = [{"type": "response.created", "response": started}]
    for index, arguments in enumerate(written):
        place = {"output_index": index, "item_id": f"fc_{index}"}
        kind = "response.function_call_arguments"
        added, done = _function_call(index, "", "in_progress"), _function_call(index, arguments, "completed")
        events.append({"type": "response.output_item.added", "output_index": index, "item": added})
        events += [{"type": f"{kind}.delta", **place, "delta": part} for part in (arguments[:4], arguments[4:])]
        events.append({"type": f"{kind}.done", **place, "arguments": arguments, "name": done["name"]})
        events.append({"type": "response.output_item.done", "output_index": index, "item": done})
    items = [_function_call(index, arguments, "completed") for index, arguments in enumerate(written)]
    events.append({"type": "response.completed", "response": response(*items)})
    return [{**event, "sequence_number": number} for number, event in enumerate(events)]


RESPONSES: Final = replace(
    CHATS,
    title="openai responses",
    calls={**stainless.calls(_responses, RESPONSE), "helper parse": calls("responses.parse", RESPONSE)},
    forms={
        **stainless.forms(_responses, RESPONSE, 6),
        "helper stream": stainless.managed(lambda it: _responses(it).stream(**RESPONSE), 6),
    },
    answer=Wire(
        whole=json.dumps(response(message_item())).encode(),
        chunks=openai_wire.events(response_events(), done=False, named=True),
        opening=7,
    ),
    tools=Wire(
        whole=json.dumps(_call_events()[-1]["response"]).encode(),
        chunks=openai_wire.events(_call_events(), done=False, named=True),
    ),
    needs={"": "responses"},
)

ADAPTERS: Final = (CHATS, RESPONSES)


def _cloud(adapter: Adapter, title: str, provider: str, make: Callable[..., Any]) -> Adapter:
    """Return the adapter of the clients that `make` returns, for a class's name, a URL, and common options."""

    def made(prefix: str) -> Callable[[str, float], Any]:
        return lambda url, timeout_s: make(prefix, url, max_retries=0, timeout=timeout_s)

    return replace(
        adapter,
        title=f"{adapter.title} on {title}",
        client=made(""),
        async_client=made("Async"),
        calls={"plain": adapter.calls["plain"]},
        forms={form: adapter.forms[form] for form in ("stream", "helper stream")},
        expected=replace(adapter.expected, provider=provider),
    )


def _azure(prefix: str, url: str, **given: Any) -> Any:
    made = getattr(openai, f"{prefix}AzureOpenAI")
    return made(azure_endpoint=url, api_key="none", api_version="2026-01-01", **given)


def _azure_deployment(prefix: str, url: str, **given: Any) -> Any:
    made = getattr(openai, f"{prefix}AzureOpenAI")
    return made(azure_endpoint=url, azure_deployment="mine", api_key="none", api_version="2026-01-01", **given)


def _bedrock(prefix: str, url: str, **given: Any) -> Any:
    made = getattr(openai, f"{prefix}BedrockOpenAI")
    return made(base_url=f"{url}/openai/v1", api_key="none", aws_region="us-east-1", **given)


def _vertex(prefix: str, url: str, **given: Any) -> Any:
    from openai.providers.vertex import vertex

    provider = vertex(base_url=f"{url}/v1", token_provider=lambda: "none")
    return getattr(openai, f"{prefix}OpenAI")(provider=provider, **given)


CLOUDS: Final = [
    _cloud(CHATS, "Azure", "azure.ai.openai", _azure),
    _cloud(CHATS, "an Azure deployment", "azure.ai.openai", _azure_deployment),
    _cloud(RESPONSES, "Azure", "azure.ai.openai", _azure),
    *(
        (
            _cloud(CHATS, "Bedrock", "aws.bedrock", _bedrock),
            _cloud(RESPONSES, "Bedrock", "aws.bedrock", _bedrock),
            _cloud(RESPONSES, "Vertex", "gcp.vertex_ai", _vertex),
        )
        if hasattr(openai, "BedrockOpenAI")
        else ()
    ),
]
