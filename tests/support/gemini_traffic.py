"""What the Gemini API puts on the wire, by its published reference: answers in one piece and as streams."""

from __future__ import annotations

from typing import Any, Final

QUESTION: Final = "What is the weather in Paris?"
WORDS: Final = ("Sunny", " and", " mild", ",", " 21", " degrees", ".")
ANSWER: Final = "".join(WORDS)
MODEL: Final = "gemini-3.8-flash"
ANSWERED_BY: Final = "gemini-3.8-flash-001"
USAGE: Final = {
    "promptTokenCount": 120,
    "candidatesTokenCount": 22,
    "thoughtsTokenCount": 12,
    "cachedContentTokenCount": 64,
    "totalTokenCount": 154,
}


def said(*parts: Any, finish: str | None = "STOP", index: int = 0) -> dict[str, Any]:
    """A candidate; a part that is a text is a text part."""
    found: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": part} if isinstance(part, str) else part for part in parts]},
        "index": index,
    }
    return found if finish is None else {**found, "finishReason": finish}


def answer(*candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An answer with these candidates (default: ANSWER), or one chunk of a streamed one."""
    return {
        "candidates": list(candidates) or [said(ANSWER)],
        "usageMetadata": USAGE,
        "modelVersion": ANSWERED_BY,
        "responseId": "resp-1",
        **more,
    }


def chunks() -> list[dict[str, Any]]:
    """ANSWER, a word per chunk. Counts are cumulative, so those of the chunks before the last are smaller."""
    early = {"promptTokenCount": 120, "totalTokenCount": 120}
    found = [answer(said(word, finish=None), usageMetadata=early) for word in WORDS[:-1]]
    return [*found, answer(said(WORDS[-1]))]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """A part in which the model calls a function."""
    return {"functionCall": {"name": name, "args": arguments}}


def error(code: int, status: str, message: str = "No.") -> dict[str, Any]:
    """The body of an error."""
    return {"error": {"code": code, "status": status, "message": message}}
