"""Answers of models as apps see them, read through each client library from a whole answer or a stream."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import anthropic
import boto3
import openai
from botocore.config import Config
from google import genai


@dataclass(frozen=True, kw_only=True)
class Heard:
    """An answer as the app sees it; `calls` has names and decoded arguments."""

    text: str
    reasoning: str
    calls: tuple[tuple[str, Any], ...]
    finish: str | None
    tokens: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Listener:
    """Functions in which an app asks one client for a whole answer, or for a stream."""

    plain: Callable[[str], Heard]
    stream: Callable[[str], Heard]


ASKED: Final[dict[str, Any]] = {"model": "m-1", "messages": [{"role": "user", "content": "Where is it?"}]}


def calls_in(found: Any) -> tuple[tuple[str, Any], ...]:
    """Return the names and decoded arguments of a chat completion's tool calls."""
    return tuple((call.function.name, json.loads(call.function.arguments)) for call in found or ())


def of_chat(answer: Any) -> Heard:
    """Return the content of a whole chat completion."""
    (choice,) = answer.choices
    message = choice.message
    thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or ""
    tokens = (answer.usage.prompt_tokens, answer.usage.completion_tokens)
    return Heard(
        text=message.content or "",
        reasoning=thought,
        calls=calls_in(message.tool_calls),
        finish=choice.finish_reason,
        tokens=tokens,
    )


def of_chunks(stream: Any) -> Heard:
    """Return the content of a streamed chat completion."""
    text, thought, finish, tokens = "", "", None, (0, 0)
    calls: dict[int, list[str]] = {}
    for chunk in stream:
        chunk = getattr(chunk, "data", chunk)
        if chunk.usage:
            tokens = (chunk.usage.prompt_tokens, chunk.usage.completion_tokens)
        for choice in chunk.choices:
            finish = choice.finish_reason or finish
            text += choice.delta.content or ""
            thought += getattr(choice.delta, "reasoning_content", None) or ""
            for call in choice.delta.tool_calls or ():
                begun = calls.setdefault(call.index, ["", ""])
                begun[0] += call.function.name or ""
                begun[1] += call.function.arguments or ""
    found = tuple((name, json.loads(written)) for name, written in calls.values())
    return Heard(text=text, reasoning=thought, calls=found, finish=finish, tokens=tokens)


def _openai(url: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def _chat(url: str) -> Heard:
    with _openai(url) as client:
        return of_chat(client.chat.completions.create(**ASKED))


def _chat_stream(url: str) -> Heard:
    with _openai(url) as client, client.chat.completions.create(**ASKED, stream=True) as stream:
        return of_chunks(stream)


def _chat_helper(url: str) -> Heard:
    with _openai(url) as client, client.chat.completions.stream(**ASKED) as stream:
        return of_chat(stream.get_final_completion())


def _of_response(response: Any) -> Heard:
    thoughts = [part.text for item in response.output if item.type == "reasoning" for part in item.summary]
    calls = [item for item in response.output if item.type == "function_call"]
    return Heard(
        text=response.output_text,
        reasoning="".join(thoughts),
        calls=tuple((call.name, json.loads(call.arguments)) for call in calls),
        finish=response.status,
        tokens=(response.usage.input_tokens, response.usage.output_tokens),
    )


def _response(url: str) -> Heard:
    with _openai(url) as client:
        return _of_response(client.responses.create(model="m-1", input="Where is it?"))


def _response_stream(url: str) -> Heard:
    with _openai(url) as client, client.responses.stream(model="m-1", input="Where is it?") as stream:
        text, written, thought = "", dict[str, str](), ""
        for event in stream:
            if event.type == "response.output_text.delta":
                text += event.delta
            elif event.type == "response.function_call_arguments.delta":
                written[event.item_id] = written.get(event.item_id, "") + event.delta
            elif event.type == "response.reasoning_summary_text.delta":
                thought += event.delta
        heard = _of_response(stream.get_final_response())
    assert (text, thought) == (heard.text, heard.reasoning)
    assert [json.loads(one) for one in written.values()] == [arguments for _, arguments in heard.calls]
    return heard


def _anthropic(url: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


def _of_message(message: Any) -> Heard:
    blocks = message.content
    return Heard(
        text="".join(block.text for block in blocks if block.type == "text"),
        reasoning="".join(block.thinking for block in blocks if block.type == "thinking"),
        calls=tuple((block.name, block.input) for block in blocks if block.type == "tool_use"),
        finish=message.stop_reason,
        tokens=(
            message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0),
            message.usage.output_tokens,
        ),
    )


def _message(url: str) -> Heard:
    with _anthropic(url) as client:
        return _of_message(client.messages.create(**ASKED, max_tokens=9))


def _message_stream(url: str) -> Heard:
    with _anthropic(url) as client, client.messages.stream(**ASKED, max_tokens=9) as stream:
        return _of_message(stream.get_final_message())


@contextmanager
def _gemini(url: str) -> Iterator[genai.Client]:
    client = genai.Client(api_key="none", vertexai=False, http_options={"base_url": url})
    yield client
    client.close()


def _of_contents(answers: list[Any]) -> Heard:
    parts = [part for answer in answers for part in answer.candidates[0].content.parts or ()]
    usage = answers[-1].usage_metadata
    return Heard(
        text="".join(part.text for part in parts if part.text and not part.thought),
        reasoning="".join(part.text for part in parts if part.text and part.thought),
        calls=tuple((part.function_call.name, part.function_call.args) for part in parts if part.function_call),
        finish=answers[-1].candidates[0].finish_reason.name,
        tokens=(
            usage.prompt_token_count,
            usage.candidates_token_count + (usage.thoughts_token_count or 0),
        ),
    )


def _content(url: str) -> Heard:
    with _gemini(url) as client:
        return _of_contents([client.models.generate_content(model="m-1", contents="Where is it?")])


def _content_stream(url: str) -> Heard:
    with _gemini(url) as client:
        return _of_contents(list(client.models.generate_content_stream(model="m-1", contents="Where is it?")))


@contextmanager
def _bedrock(url: str) -> Iterator[Any]:
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=Config(retries={"total_max_attempts": 1}),
    )
    yield client
    client.close()


_CONVERSE: Final = {"modelId": "m-1", "messages": [{"role": "user", "content": [{"text": "Where is it?"}]}]}


def _conversed(url: str) -> Heard:
    with _bedrock(url) as client:
        answer = client.converse(**_CONVERSE)
    return _of_blocks(answer["output"]["message"]["content"], answer["stopReason"], answer["usage"])


def _of_blocks(blocks: list[Any], reason: str, usage: Mapping[str, int]) -> Heard:
    thoughts = [block["reasoningContent"]["reasoningText"]["text"] for block in blocks if "reasoningContent" in block]
    uses = [block["toolUse"] for block in blocks if "toolUse" in block]
    return Heard(
        text="".join(block["text"] for block in blocks if "text" in block),
        reasoning="".join(thoughts),
        calls=tuple((use["name"], use["input"]) for use in uses),
        finish=reason,
        tokens=(usage["inputTokens"] + usage.get("cacheReadInputTokens", 0), usage["outputTokens"]),
    )


def _conversed_stream(url: str) -> Heard:
    blocks: dict[int, dict[str, Any]] = {}
    reason, usage = "", dict[str, int]()
    with _bedrock(url) as client:
        for event in client.converse_stream(**_CONVERSE)["stream"]:
            if start := event.get("contentBlockStart"):
                use = start["start"]["toolUse"]
                blocks[start["contentBlockIndex"]] = {"toolUse": {**use, "input": ""}}
            elif found := event.get("contentBlockDelta"):
                _grow(blocks.setdefault(found["contentBlockIndex"], {}), found["delta"])
            elif stop := event.get("messageStop"):
                reason = stop["stopReason"]
            elif told := event.get("metadata"):
                usage = told["usage"]
    for block in blocks.values():
        if "toolUse" in block:
            block["toolUse"]["input"] = json.loads(block["toolUse"]["input"])
    return _of_blocks(list(blocks.values()), reason, usage)


def _grow(block: dict[str, Any], delta: Mapping[str, Any]) -> None:
    if "text" in delta:
        block["text"] = block.get("text", "") + delta["text"]
    elif "toolUse" in delta:
        block["toolUse"]["input"] += delta["toolUse"]["input"]
    elif text := delta["reasoningContent"].get("text"):
        thought = block.setdefault("reasoningContent", {}).setdefault("reasoningText", {"text": ""})
        thought["text"] += text


LISTENERS: Final[Mapping[str, Listener]] = {
    "openai chat": Listener(plain=_chat, stream=_chat_stream),
    "openai chat helper": Listener(plain=_chat, stream=_chat_helper),
    "openai responses": Listener(plain=_response, stream=_response_stream),
    "anthropic": Listener(plain=_message, stream=_message_stream),
    "google-genai": Listener(plain=_content, stream=_content_stream),
    "bedrock": Listener(plain=_conversed, stream=_conversed_stream),
}
