"""Bodies of the Gemini API as sent over HTTP, after its published reference: whole answers and streams."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from openai_traffic import ANSWER as ANSWER
from openai_traffic import QUESTION as QUESTION
from openai_traffic import WORDS as WORDS

MODEL: Final = "gemini-3.8-flash"
ANSWERED_BY: Final = "gemini-3.8-flash-001"
USAGE: Final = {
    "promptTokenCount": 120,
    "candidatesTokenCount": 22,
    "thoughtsTokenCount": 12,
    "cachedContentTokenCount": 64,
    "totalTokenCount": 154,
}


def candidate(*parts: Any, finish: str | None = "STOP", index: int = 0) -> dict[str, Any]:
    """Return a candidate with these parts; strings become text parts."""
    found: dict[str, Any] = {
        "content": {"role": "model", "parts": [{"text": part} if isinstance(part, str) else part for part in parts]},
        "index": index,
    }
    return found if finish is None else {**found, "finishReason": finish}


def answer(*candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return an answer with these candidates (default: ANSWER), or one chunk of a streamed one."""
    return {
        "candidates": list(candidates) or [candidate(ANSWER)],
        "usageMetadata": USAGE,
        "modelVersion": ANSWERED_BY,
        "responseId": "resp-1",
        **more,
    }


def chunks() -> list[dict[str, Any]]:
    """Return ANSWER with one word per chunk; token counts are cumulative, and final only in the last chunk."""
    early = {"promptTokenCount": 120, "totalTokenCount": 120}
    found = [answer(candidate(word, finish=None), usageMetadata=early) for word in WORDS[:-1]]
    return [*found, answer(candidate(WORDS[-1]))]


def call(name: str, **arguments: Any) -> dict[str, Any]:
    """Return a part in which the model calls a function."""
    return {"functionCall": {"name": name, "args": arguments}}


def error(code: int, status: str) -> dict[str, Any]:
    """Return the body of an error."""
    return {"error": {"code": code, "status": status, "message": "No."}}


def interaction(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return an interaction with these steps (default: ANSWER)."""
    return {
        "id": "v1_1",
        "object": "interaction",
        "status": "completed",
        "model": ANSWERED_BY,
        "steps": list(steps) or [{"type": "model_output", "content": [{"type": "text", "text": ANSWER}]}],
        "usage": {
            "total_input_tokens": 120,
            "total_output_tokens": 22,
            "total_thought_tokens": 12,
            "total_cached_tokens": 64,
            "total_tool_use_tokens": 0,
            "total_tokens": 154,
        },
        **more,
    }


Step = tuple[dict[str, Any], Sequence[dict[str, Any]]]
"""The start of a step, and its deltas."""
SPOKEN: Final[Step] = ({"type": "model_output"}, [{"type": "text", "text": word} for word in WORDS])


def called(name: str, **arguments: Any) -> Step:
    """Return a step in which the model calls a function."""
    begun = {"type": "function_call", "id": name, "name": name, "arguments": {}}
    return begun, [{"type": "arguments_delta", "arguments": json.dumps(arguments)}]


def interaction_events(*steps: Step, status: str = "completed") -> list[dict[str, Any]]:
    """Return a streamed interaction with these steps (default: ANSWER, word by word)."""
    started = {"id": "v1_1", "object": "interaction", "status": "in_progress", "model": ANSWERED_BY}
    events: list[dict[str, Any]] = [{"event_type": "interaction.created", "interaction": started}]
    for index, (step, deltas) in enumerate(steps or (SPOKEN,)):
        events.append({"event_type": "step.start", "index": index, "step": step})
        events += [{"event_type": "step.delta", "index": index, "delta": delta} for delta in deltas]
        events.append({"event_type": "step.stop", "index": index})
    told = {key: value for key, value in interaction(status=status).items() if key != "steps"}
    events.append({"event_type": "interaction.completed", "interaction": told})
    return [{**event, "type": event["event_type"]} for event in events]
