"""Answers of models as apps see them, for the clients that fewer apps use."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import cohere
import groq
import ollama
import together

from conformance.libraries.litellm import client as litellm_client
from conformance.libraries.mistralai import MODULE as MISTRAL
from heard_answers import ASKED, Heard, Listener, calls_in, of_chat, of_chunks
from litellm_library import litellm


def _mistral(url: str) -> Any:
    return MISTRAL.Mistral(api_key="none", server_url=url)


def _mistral_plain(url: str) -> Heard:
    with _mistral(url) as client:
        return of_chat(client.chat.complete(**ASKED))


def _mistral_stream(url: str) -> Heard:
    with _mistral(url) as client, client.chat.stream(**ASKED) as stream:
        return of_chunks(stream)


def _like_openai(make: Callable[[str], Any]) -> Listener:
    def plain(url: str) -> Heard:
        with make(url) as client:
            return of_chat(client.chat.completions.create(**ASKED))

    def stream(url: str) -> Heard:
        with make(url) as client:
            return of_chunks(client.chat.completions.create(**ASKED, stream=True))

    return Listener(plain=plain, stream=stream)


def _ollama_of(answer: Any, text: str, thought: str, calls: list[Any]) -> Heard:
    return Heard(
        text=text,
        reasoning=thought,
        calls=tuple((call.function.name, dict(call.function.arguments)) for call in calls),
        finish=answer.done_reason,
        tokens=(answer.prompt_eval_count, answer.eval_count),
    )


def _ollama(url: str) -> Heard:
    client: Any = ollama.Client(host=url)
    answer = client.chat(**ASKED)
    client._client.close()
    message = answer.message
    return _ollama_of(answer, message.content, message.thinking or "", message.tool_calls or [])


def _ollama_stream(url: str) -> Heard:
    client: Any = ollama.Client(host=url)
    lines = list(client.chat(**ASKED, stream=True))
    client._client.close()
    text = "".join(line.message.content or "" for line in lines)
    thought = "".join(line.message.thinking or "" for line in lines)
    return _ollama_of(lines[-1], text, thought, [call for line in lines for call in line.message.tool_calls or ()])


def _cohere(url: str) -> Heard:
    with cohere.ClientV2(api_key="none", base_url=url) as client:
        answer: Any = client.chat(**ASKED)
    message = answer.message
    blocks = message.content or []
    return Heard(
        text="".join(block.text for block in blocks if block.type == "text") or message.tool_plan or "",
        reasoning="".join(block.thinking for block in blocks if block.type == "thinking"),
        calls=calls_in(message.tool_calls),
        finish=answer.finish_reason,
        tokens=(int(answer.usage.billed_units.input_tokens), int(answer.usage.billed_units.output_tokens)),
    )


def _cohere_stream(url: str) -> Heard:
    text, thought, finish, tokens = "", "", None, (0, 0)
    calls: list[list[str]] = []
    with cohere.ClientV2(api_key="none", base_url=url) as client:
        for event in client.chat_stream(**ASKED):
            found: Any = event
            if found.type == "tool-plan-delta":
                text += found.delta.message.tool_plan
            elif found.type == "content-delta":
                text += found.delta.message.content.text or ""
                thought += found.delta.message.content.thinking or ""
            elif found.type == "tool-call-start":
                calls.append([found.delta.message.tool_calls.function.name, ""])
            elif found.type == "tool-call-delta":
                calls[-1][1] += found.delta.message.tool_calls.function.arguments
            elif found.type == "message-end":
                billed = found.delta.usage.billed_units
                finish, tokens = found.delta.finish_reason, (int(billed.input_tokens), int(billed.output_tokens))
    asked = tuple((name, json.loads(written)) for name, written in calls)
    return Heard(text=text, reasoning=thought, calls=asked, finish=finish, tokens=tokens)


def _litellm(prefix: str, path: str) -> Listener:
    def request(url: str) -> dict[str, Any]:
        return {**ASKED, "model": f"{prefix}/m-1", "api_base": f"{url}{path}", "api_key": "none", "max_retries": 0}

    def plain(url: str) -> Heard:
        with litellm_client(url, 60):
            return of_chat(litellm.completion(**request(url)))

    def stream(url: str) -> Heard:
        options: Any = {"include_usage": True}
        with litellm_client(url, 60):
            chunks: Any = litellm.completion(**request(url), stream=True, stream_options=options)
            return of_chunks(_with_usage(chunks))

    return Listener(plain=plain, stream=stream)


def _with_usage(chunks: Any) -> Iterator[Any]:
    for chunk in chunks:
        if not hasattr(chunk, "usage"):
            chunk.usage = None
        yield chunk


OTHER_LISTENERS: Final[Mapping[str, Listener]] = {
    "mistralai": Listener(plain=_mistral_plain, stream=_mistral_stream),
    "groq": _like_openai(lambda url: groq.Groq(base_url=url, api_key="none", max_retries=0)),
    "together": _like_openai(lambda url: together.Together(base_url=url, api_key="none", max_retries=0)),
    "ollama": Listener(plain=_ollama, stream=_ollama_stream),
    "cohere": Listener(plain=_cohere, stream=_cohere_stream),
    "litellm to openai": _litellm("openai", "/v1"),
    "litellm to anthropic": _litellm("anthropic", ""),
}
