"""Expected content of the recorded direct calls to a provider, by scenario, and the parts that each instrumentor keeps.

The expected content follows from the sources of the recordings: the scripts that made the calls, the stand-in for the
providers (which fixes every answer and count) and the attributes in the captures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

SUNNY = "It is sunny in Paris."
BOTH = ("get_weather", '{"location": "Paris"}'), ("get_weather", '{"location": "London"}')
PARIS = (("get_weather", '{"location": "Paris"}'),)


@dataclass(frozen=True, slots=True)
class Call:
    """One model call: its messages and its cost.

    `asked` has the first letters of the input messages' roles (system, user, assistant, tool), `said` the texts of the
    output messages, and `calls` the tools that the model requested.
    """

    model: str
    asked: str
    question: str
    said: tuple[str | None, ...]
    calls: tuple[tuple[str, str], ...] = ()
    prompt: int | None = 100
    completion: int | None = 30
    cache_read: int = 0
    cache_creation: int = 0
    reasoning: int = 0
    thought: str | None = None
    error: str | None = None
    kind: str = "LLM"


GPT, GPT5, CLAUDE = "gpt-4o-mini-2025-08-07", "gpt-5-2025-08-07", "claude-sonnet-4-5"
INSTRUCT, EMBED = "gpt-3.5-turbo-instruct", "text-embedding-3-small"
WEATHER, BOTH_CITIES = "What is the weather in Paris?", "Weather in Paris and London? BOTH"
THOUGHT = "User asks about the weather."

CHAT = Call(GPT, "su", WEATHER, (SUNNY,), cache_read=64, reasoning=12)
TOOLS = replace(CHAT, question=BOTH_CITIES, said=(None,), calls=BOTH)
RESPONSE = replace(CHAT, model=GPT5, prompt=110, completion=40, cache_read=48, reasoning=16, thought=THOUGHT)
MESSAGE = Call(CLAUDE, "su", WEATHER, (SUNNY,), prompt=120, cache_read=64, cache_creation=20)

SCENARIOS: dict[str, tuple[Call, ...]] = {
    "chat": (CHAT,),
    "chat_stream": (CHAT,),
    "chat_stream_no_usage": (replace(CHAT, prompt=None, completion=None, cache_read=0, reasoning=0),),
    "chat_error_429": (
        Call("gpt-4o-mini", "u", "TRIGGER_429", (), prompt=None, completion=None, error="Error code: 429"),
    ),
    "chat_image": (replace(CHAT, asked="u", question="What is in this picture?"),),
    "chat_n2_json": (replace(CHAT, asked="u", said=('{"city": "Paris", "answer": "sunny"}', "Alternative 1.")),),
    "chat_tools_stream": (TOOLS,),
    "chat_tools_two_turns": (TOOLS, replace(TOOLS, asked="suatt", said=(SUNNY,), calls=())),
    "completions_legacy": (Call(INSTRUCT, "u", "The weather is", (" sunny.",), prompt=5, completion=2),),
    "embeddings": (Call(EMBED, "", "", (), prompt=8, completion=None, kind="EMBEDDING"),),
    "responses": (RESPONSE,),
    "responses_stream": (replace(RESPONSE, asked="u", question="Weather in Paris?"),),
    "responses_tools": (
        replace(RESPONSE, asked="u", question="Weather in Paris?", said=(None,), calls=PARIS),
        replace(RESPONSE, asked="uat", question="Weather in Paris?"),
    ),
    "messages": (MESSAGE,),
    "messages_cache_blocks": (replace(MESSAGE, question="Question?"),),
    "messages_error_429": (
        Call(CLAUDE, "u", "TRIGGER_429", (), prompt=None, completion=None, error="Error code: 429"),
    ),
    "messages_stream": (replace(MESSAGE, asked="u"),),
    "messages_stream_helper": (replace(MESSAGE, asked="u"),),
    "messages_thinking": (replace(MESSAGE, asked="u", thought="The user wants the weather."),),
    "messages_tools_stream": (replace(MESSAGE, asked="u", said=("Let me check.",), calls=PARIS),),
    "messages_tools_two_turns": (
        replace(MESSAGE, asked="u", question="Weather in Paris?", said=("Let me check.",), calls=PARIS),
        replace(MESSAGE, asked="uat", question="Weather in Paris?"),
    ),
}
"""The calls of each scenario, each in a trace of its own."""

UNREAD: dict[str, Any] = {"asked": "", "question": "", "said": (), "calls": (), "thought": None}
NO_OUTPUT: dict[str, Any] = {"said": (), "calls": (), "thought": None}
NO_COUNTS: dict[str, Any] = {
    "prompt": None, "completion": None, "cache_read": 0, "cache_creation": 0, "reasoning": 0,
}  # fmt: skip

INSTRUMENTORS: dict[str, dict[str, Any]] = {
    "otel_genai_openai_content": {"thought": None},
    "otel_genai_openai_default": UNREAD,
    "otel_genai_openai_eventonly": {"thought": None},
    "otel_openai_v2_default": {**UNREAD, "cache_read": 0, "reasoning": 0},
    "otel_openai_v2_latest_content": {"cache_read": 0, "reasoning": 0},
    "otel_openai_v2_legacy_content": {"cache_read": 0, "reasoning": 0},
    "otel_genai_anthropic_content": {},
    "anthropic_native_content": {},
    "anthropic_native_default": UNREAD,
    "openinference_openai": {},
    "openinference_openai_genai": {"thought": None},
    "openinference_anthropic_0118": {},
    "openinference_anthropic_genai": {},
    "traceloop_openai": {},
    "traceloop_openai_0475": {},
    "traceloop_openai_events": {},
    "traceloop_anthropic": {},
    "traceloop_anthropic_0475": {},
    "logfire_openai": {"reasoning": 0, "thought": None},
    "logfire_anthropic": {},
}
"""Parts that an instrumentor leaves out in every scenario."""

EXCEPTIONS: dict[str, dict[str, Any] | tuple[dict[str, Any], ...]] = {
    # Anthropic's own telemetry records errors without a description, and loses the items of `create(stream=True)`.
    "anthropic_native_content__messages_error_429": {"error": "rate_limit_error"},
    "anthropic_native_content__messages_stream": NO_OUTPUT,
    "anthropic_native_content__messages_tools_stream": NO_OUTPUT,
    # When content is off, the old openai-v2 schema keeps the name and id of a tool call, but not its arguments.
    "otel_openai_v2_default__chat_tools_stream": {
        "said": (None,),
        "calls": (("get_weather", "{}"), ("get_weather", "{}")),
    },
    "otel_openai_v2_default__chat_tools_two_turns": (
        {"said": (None,), "calls": (("get_weather", "{}"), ("get_weather", "{}"))},
        {"asked": "a"},
    ),
    # The newest openai-v2 schema drops messages with pictures.
    "otel_openai_v2_latest_content__chat_image": {"asked": "", "question": ""},
    # A tool that the provider itself runs counts as output of the model.
    "openinference_openai_genai__responses_tools": (
        {"said": (None, None), "calls": (("web_search_call", "{}"), *PARIS)},
        {},
    ),
    **{f"otel_genai_openai_{mode}__responses_tools": ({"said": (None, None)}, {}) for mode in ("content", "eventonly")},
    # The old OpenInference for Anthropic records the system prompt only as a parameter.
    "openinference_anthropic_0118__messages": {"asked": "u"},
    # OpenInference records the legacy API's request as a whole.
    # For Anthropic's streams, the old OpenInference records only the provider's raw counts, without cached tokens.
    "openinference_anthropic_0118__messages_stream": {"prompt": 36, "cache_read": 0, "cache_creation": 0},
    "openinference_anthropic_0118__messages_tools_stream": {"prompt": 36, "cache_read": 0, "cache_creation": 0},
    # Traceloop loses streams' reasoning counts, old Anthropic streams' counts, and streamed answers in log events.
    "traceloop_openai_0475__chat_tools_stream": {"reasoning": 0},
    "traceloop_anthropic_0475__messages_stream": NO_COUNTS,
    "traceloop_anthropic__messages_stream": {"completion": 31},
    "traceloop_openai_events__chat_stream": {**NO_OUTPUT, "reasoning": 0},
    "traceloop_openai_events__chat_stream_no_usage": NO_OUTPUT,
    "traceloop_openai_events__chat_tools_stream": {**NO_OUTPUT, "reasoning": 0},
    "traceloop_openai_0475__embeddings": {"question": "alpha"},
    "traceloop_openai__embeddings": {"question": "alpha"},
    "traceloop_openai_events__embeddings": {"question": "alpha"},
    "logfire_openai__completions_legacy": {"asked": "", "question": ""},
}
"""Differences of single recordings from the tables above."""


NATIVE_INSIDE = ("openinference_anthropic", "otel_genai_anthropic_plus_native")
"""Instrumentors whose spans surround Anthropic's own span of the same call."""

BESIDE = "openinference_anthropic__messages_stream_helper"
"""A recording whose native span has a trace of its own."""

TWO_TRACES = (
    "logfire_openai__chat_tools_stream",
    *(f"logfire_anthropic__messages_{kind}" for kind in ("stream", "stream_helper", "tools_stream")),
)
"""Recordings in which Logfire ends a stream's span at once, and records its result in another trace."""

CONTEXT: dict[str, tuple[str | None, str | None]] = {
    **{
        f"{name}__{scenario}": ("sess-1", "user-42")
        for name in ("openinference_openai", "openinference_openai_genai")
        for scenario in SCENARIOS
    },
    "otel_genai_openai_content__responses": ("conv_fake1", None),
    "traceloop_openai__chat": (None, "user-42"),
    "traceloop_openai_0475__chat": (None, "user-42"),
    "traceloop_openai_events__chat": (None, "user-42"),
}
"""Session and user of the recordings whose app sets them."""


def expected_calls(name: str) -> tuple[Call, ...] | None:
    """Return the calls in the traces of this capture; None if it does not record direct calls."""
    instrumentor, _, scenario = name.rpartition("__")
    if scenario not in SCENARIOS or instrumentor not in {*INSTRUMENTORS, *NATIVE_INSIDE}:
        return None
    calls = [replace(call, **INSTRUMENTORS.get(instrumentor, {})) for call in SCENARIOS[scenario]]
    different = EXCEPTIONS.get(name, {})
    changes = different if isinstance(different, tuple) else (different,) * len(calls)
    calls = [replace(call, **change) for call, change in zip(calls, changes, strict=True)]
    if name == BESIDE:
        (call,) = calls
        calls = [call, replace(call, **UNREAD)]
    if name in TWO_TRACES:
        (call,) = calls
        model = call.model.removesuffix("-2025-08-07")
        calls = [replace(call, model=model, **NO_OUTPUT, **NO_COUNTS), call]
    return tuple(calls)
