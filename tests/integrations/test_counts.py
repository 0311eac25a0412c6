"""Token counts of OpenAI-compatible services, each in its own form."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest

from pandaprobe_otel.mapping import map_trace
from pandaprobe_otel.registry import instrument, uninstrument
from provider_server import ProviderServer, events_reply, json_reply
from span_recorder import SpanRecorder

USAGE = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
ANSWER = {"role": "assistant", "content": "Hi."}
ASKED: Any = [{"role": "user", "content": "Hi?"}]


@pytest.fixture(autouse=True)
def instrumented(recorder: SpanRecorder) -> Iterator[None]:
    """Turn the instrumentation on."""
    instrument("openai", tracer_provider=recorder.provider)
    yield
    uninstrument("openai")


def _usage(server: ProviderServer, recorder: SpanRecorder, usage: Any) -> Any:
    """Return the trace's form of a usage."""
    choice = {"index": 0, "message": ANSWER, "finish_reason": "stop"}
    server.replies(
        json_reply(
            {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        )
    )
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        client.chat.completions.create(model="m", messages=ASKED)
    (span,) = map_trace(recorder.spans)["spans"]
    return span["token_usage"]


@pytest.mark.parametrize(
    ("usage", "completion", "reasoning"),
    [
        # xAI: beside the completion, and named
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
        # Gemini's endpoint in this protocol: beside the completion, and not named
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}, 30, 25),
        # OpenAI: inside the completion
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
        # a cache that is counted beside the prompt is no thought
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
        # a total that is too small, or none
        ({"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 1}, 5, None),
        ({"prompt_tokens": 10, "completion_tokens": 5}, 5, None),
    ],
    ids=["xAI", "Gemini", "OpenAI", "cache", "small total", "no total"],
)
def test_thoughts_are_a_part_of_the_output(
    usage: Any, completion: int, reasoning: int | None, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """Thoughts count as output, even from services that count them beside it: the total shows it."""
    told = _usage(server, recorder, usage)
    assert (told["completion_tokens"], told.get("reasoning_tokens")) == (completion, reasoning)


def test_groq_through_the_client_of_openai(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A stream has its counts in a member of Groq's own, even unasked."""
    kept = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "llama"}
    first = {"index": 0, "delta": ANSWER, "finish_reason": None}
    last = {"index": 0, "delta": {}, "finish_reason": "stop"}
    server.replies(
        events_reply(
            [
                {**kept, "choices": [first], "x_groq": {"id": "r"}},
                {**kept, "choices": [last], "x_groq": {"id": "r", "usage": USAGE}},
            ]
        )
    )
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        list(client.chat.completions.create(model="m", messages=ASKED, stream=True))
    (span,) = map_trace(recorder.spans)["spans"]
    assert span["token_usage"] == USAGE


def test_costs_of_openrouter(server: ProviderServer, recorder: SpanRecorder) -> None:
    """The service gives the cost of a call in US dollars."""
    _usage(server, recorder, {**USAGE, "cost": 0.0123})
    (span,) = map_trace(recorder.spans)["spans"]
    assert span["cost"] == {"total": 0.0123}


def test_what_pictures_and_texts_took(server: ProviderServer, recorder: SpanRecorder) -> None:
    """Details by the kind of content are recorded beside the sums."""
    details = {"text_tokens": 60, "image_tokens": 40, "audio_tokens": 0, "cached_tokens": 0}
    _usage(server, recorder, {**USAGE, "prompt_tokens_details": details})
    attributes = recorder.attributes()
    assert attributes["gen_ai.usage.text.input_tokens"] == 60
    assert attributes["gen_ai.usage.image.input_tokens"] == 40
    assert "gen_ai.usage.audio.input_tokens" not in attributes
