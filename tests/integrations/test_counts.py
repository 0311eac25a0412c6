"""Token counts of OpenAI-compatible services, each in its own form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.registry import instrument, uninstrument
from provider_server import ProviderServer, json_reply
from span_recorder import SpanRecorder

USAGE = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
ANSWER = {"role": "assistant", "content": "Hi."}
MESSAGES: Any = [{"role": "user", "content": "Hi?"}]


@pytest.fixture(autouse=True)
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """Instrument the library for each test."""
    instrument("openai", tracer_provider=recorder.provider)
    yield
    uninstrument("openai")


def _usage(server: ProviderServer, recorder: SpanRecorder, usage: Any) -> Any:
    """Return the token usage in the trace for this usage in the answer."""
    choice = {"index": 0, "message": ANSWER, "finish_reason": "stop"}
    server.replies(
        json_reply(
            {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        )
    )
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        client.chat.completions.create(model="m", messages=MESSAGES)
    (span,) = map_trace(recorder.spans)["spans"]
    return span["token_usage"]


@pytest.mark.parametrize(
    ("usage", "completion", "reasoning"),
    [
        # xAI counts thoughts beside the completion, under a name
        (
            {
                "prompt_tokens": 37,
                "completion_tokens": 530,
                "total_tokens": 800,
                "completion_tokens_details": {"reasoning_tokens": 233},
            },
            763,
            233,
        ),
        # Gemini's endpoint counts thoughts beside the completion, without a name
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}, 30, 25),
        # OpenAI counts thoughts inside the completion
        (
            {
                "prompt_tokens": 37,
                "completion_tokens": 530,
                "total_tokens": 567,
                "completion_tokens_details": {"reasoning_tokens": 233},
            },
            530,
            233,
        ),
        # cached tokens counted beside the prompt are not thoughts
        (
            {
                "prompt_tokens": 10,
                "completion_tokens": 5,
                "total_tokens": 35,
                "prompt_tokens_details": {"cached_tokens": 20},
            },
            5,
            None,
        ),
        # the total is too small or missing
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1}, 5, None),
        ({"prompt_tokens": 10, "completion_tokens": 5}, 5, None),
    ],
    ids=["xAI", "Gemini", "OpenAI", "cache", "small total", "no total"],
)
def test_thoughts_are_a_part_of_the_output(
    usage: Any, completion: int, reasoning: int | None, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Thoughts count as output tokens, even if a service leaves them out of the completion, as its total shows."""
    tokens = _usage(server, recorder, usage)
    assert (tokens["completion_tokens"], tokens.get("reasoning_tokens")) == (
        completion,
        reasoning,
    )


def test_costs_of_openrouter(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A cost in US dollars, which OpenRouter returns, is recorded."""
    _usage(server, recorder, {**USAGE, "cost": 0.0123})
    (span,) = map_trace(recorder.spans)["spans"]
    assert span["cost"] == {"total": 0.0123}


def test_counts_of_pictures_and_texts_are_recorded(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Token counts of texts and pictures are recorded beside the totals."""
    details = {"text_tokens": 60, "image_tokens": 40, "audio_tokens": 0, "cached_tokens": 0}
    _usage(server, recorder, {**USAGE, "prompt_tokens_details": details})
    attributes = recorder.attributes()
    assert attributes["gen_ai.usage.text.input_tokens"] == 60
    assert attributes["gen_ai.usage.image.input_tokens"] == 40
    assert "gen_ai.usage.audio.input_tokens" not in attributes
