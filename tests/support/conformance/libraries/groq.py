"""The groq client."""

from __future__ import annotations

from typing import Any, Final

import groq

from conformance import openai_wire, stainless
from conformance.adapter import Adapter


def client(url: str, timeout_s: float) -> groq.Groq:
    """A client of the loopback server."""
    return groq.Groq(base_url=url, api_key="none", max_retries=0, timeout=timeout_s)


def async_client(url: str, timeout_s: float) -> groq.AsyncGroq:
    """An asynchronous client of the loopback server."""
    return groq.AsyncGroq(base_url=url, api_key="none", max_retries=0, timeout=timeout_s)


def _chat(client: Any) -> Any:
    return client.chat.completions


ADAPTERS: Final = (
    Adapter(
        title="groq",
        integration="groq",
        client=client,
        async_client=async_client,
        calls=stainless.calls(_chat, openai_wire.REQUEST),
        async_calls=stainless.async_calls(_chat, openai_wire.REQUEST),
        forms=stainless.forms(_chat, openai_wire.REQUEST),
        async_forms=stainless.async_forms(_chat, openai_wire.REQUEST),
        answer=openai_wire.ANSWERED,
        tools=openai_wire.TOOLS,
        refusal=openai_wire.REFUSAL,
        expected=openai_wire.expected("groq"),
        needs={"with_streaming_response": "chat.completions.with_streaming_response"},
    ),
)
