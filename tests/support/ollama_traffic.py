"""Bodies of Ollama's API as sent over HTTP, after its published reference: whole answers, and lines of JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from openai_traffic import ANSWER as ANSWER
from openai_traffic import QUESTION as QUESTION
from openai_traffic import WORDS as WORDS
from provider_server import Reply

MODEL: Final = "llama3.2"
CHAT: Final[Any] = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}]}
PROMPT: Final[Any] = {"model": MODEL, "prompt": QUESTION}
_DONE: Final = {
    "done": True,
    "done_reason": "stop",
    "total_duration": 5,
    "load_duration": 1,
    "prompt_eval_count": 120,
    "prompt_eval_duration": 2,
    "eval_count": 34,
    "eval_duration": 2,
}
_ABOUT: Final = {"model": MODEL, "created_at": "2026-08-07T00:00:00Z"}


def chatted(content: str = ANSWER, **more: Any) -> dict[str, Any]:
    """Return a whole answer of a chat."""
    return {**_ABOUT, "message": {"role": "assistant", "content": content, **more}, **_DONE}


def chat_lines(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a streamed chat: these messages (default: a word each), then the counts."""
    given = messages or tuple({"content": word} for word in WORDS)
    found = [{**_ABOUT, "message": {"role": "assistant", "content": "", **one}, "done": False} for one in given]
    return [*found, chatted("")]


def generated(text: str = ANSWER) -> dict[str, Any]:
    """Return a whole answer of generate."""
    return {**_ABOUT, "response": text, **_DONE, "context": [1, 2]}


def generate_lines() -> list[dict[str, Any]]:
    """Return a streamed answer of generate."""
    return [*({**_ABOUT, "response": word, "done": False} for word in WORDS), generated("")]


def lines_reply(payloads: Sequence[Any]) -> Reply:
    """Return a stream of lines, one per chunk."""
    chunks = [json.dumps(payload).encode() + b"\n" for payload in payloads]
    return Reply(chunks=chunks, content_type="application/x-ndjson")
