"""The google-genai client: the app sees the same as without us, and each call is one span with all of its content."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any, Final

import pytest
from google import genai
from google.genai import _api_client, models
from opentelemetry.trace import StatusCode

from conformance.adapter import forms
from gemini_traffic import (
    ANSWER,
    MODEL,
    QUESTION,
    answer,
    call,
    candidate,
    chunks,
)
from pandaprobe_otel.registry import instrument
from provider_server import ProviderServer, Reply, events_reply, json_reply
from span_recorder import SpanRecorder, answer_text
from streamed_forms import ENDINGS, Sighting, finished, look

# aiohttp warns of the client's use of it at the first asynchronous call of a process
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")

ENDINGS_OF_A_LOOP = ("read to the end", "break and close", "drop", "never iterate")
_VERIFY = {"verify": ssl.create_default_context()}
"""One TLS context for all clients, since each client would load the system's certificates again."""
NAME = f"generate_content {MODEL}"


@pytest.fixture(autouse=True)
def no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the client's one-time advice about tools."""
    monkeypatch.setattr(models.Models, "_logged_afc_warning", True, raising=False)
    monkeypatch.setattr(models.AsyncModels, "_logged_afc_warning", True, raising=False)


def _client(server: ProviderServer) -> genai.Client:
    options: Any = {"base_url": server.url, "client_args": _VERIFY, "async_client_args": _VERIFY}
    return genai.Client(api_key="none", vertexai=False, http_options=options)


def get_weather(place: str) -> str:
    """Weather at a place."""
    return f"21 degrees in {place}"


# Before 2.0, the client does not resolve annotations that are strings.
get_weather.__annotations__.update(place=str, **{"return": str})


FUNCTION: Any = {"tools": [get_weather]}


_STREAM: Final = forms(
    "models.generate_content_stream",
    {"model": MODEL, "contents": QUESTION, "config": FUNCTION},
    asynchronous="aio.models.generate_content_stream",
    leave_async="aclose",
)


def _check_answer(attributes: dict[str, Any]) -> None:
    assert attributes["gen_ai.response.id"] == "resp-1"
    assert attributes["gen_ai.usage.output_tokens"] == 34
    assert attributes["gen_ai.usage.reasoning.output_tokens"] == 12
    assert attributes["gen_ai.usage.cache_read.input_tokens"] == 64
    assert answer_text(attributes) == ANSWER


@pytest.mark.parametrize(
    ("how", "ending"),
    [
        *(("sync", ending) for ending in ENDINGS_OF_A_LOOP),
        *((how, ending) for how in ("aiohttp", "httpx") for ending in (*ENDINGS_OF_A_LOOP, "cancelled")),
    ],
)
def test_stream_with_a_function(
    how: str, ending: str, server: ProviderServer, recorder: SpanRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stream of a client that would call a function is a model call in an agent's span, whatever its end."""
    monkeypatch.setattr(_api_client, "has_aiohttp", how == "aiohttp")
    cancelled = ending == "cancelled"
    server.replies(events_reply(chunks()[:4] if cancelled else chunks(), done=False, hangs_s=60.0 * cancelled))
    client = _client(server)
    seen: list[Sighting] = []
    with asyncio.Runner() as runner:
        run = finished if how == "sync" else runner.run
        for on in (False, True):
            if on:
                instrument("google_genai", tracer_provider=recorder.provider)
            seen.append(run(look(ENDINGS[ending], _STREAM, client)))
        runner.run(client.aio.aclose())
    client.close()
    assert seen[0] == seen[1]
    if ending == "never iterate":  # the client's streams are generators, which send nothing before they are iterated
        assert recorder.spans == []
        return
    assert sorted(recorder.names) == [NAME, f"invoke_agent {MODEL}"]
    assert recorder.one(NAME).status.status_code is StatusCode.UNSET
    if ending == "read to the end":
        _check_answer(recorder.attributes(NAME))
    else:
        assert "gen_ai.usage.output_tokens" not in recorder.attributes(NAME)
        assert ANSWER.startswith(answer_text(recorder.attributes(NAME)))


LOOPS: dict[str, Callable[[Any, Any], Any]] = {
    "models": lambda client, config: client.models.generate_content(model=MODEL, contents=QUESTION, config=config),
    "chat": lambda client, config: client.chats.create(model=MODEL, config=config).send_message(QUESTION),
    "models stream": lambda client, config: client.models.generate_content_stream(
        model=MODEL, contents=QUESTION, config=config
    ),
    "chat stream": lambda client, config: client.chats.create(model=MODEL, config=config).send_message_stream(QUESTION),
}


async def _loop(form: str, client: genai.Client, function: Any, *, asynchronous: bool) -> None:
    answered: Any = LOOPS[form](client.aio if asynchronous else client, {"tools": [function]})
    answered = await answered if asynchronous else answered
    if form.endswith("stream"):
        [one async for one in answered] if asynchronous else list(answered)


def _loop_replies(form: str = "") -> list[Reply]:
    asks = answer(candidate(call("get_weather", place="Paris")))
    if form.endswith("stream"):
        return [events_reply([asks], done=False), events_reply(chunks(), done=False)]
    return [json_reply(asks), json_reply(answer())]


def _check_loop(recorder: SpanRecorder) -> None:
    loop, first, tool, last = sorted(recorder.spans, key=lambda span: span.start_time or 0)
    assert [span.name for span in (loop, first, tool, last)] == [
        f"invoke_agent {MODEL}",
        NAME,
        "execute_tool get_weather",
        NAME,
    ]
    assert {recorder.parent_of(span) for span in (first, tool, last)} == {f"invoke_agent {MODEL}"}
    assert (tool.attributes or {})["gen_ai.tool.call.arguments"] == '{"place":"Paris"}'
    assert (tool.attributes or {})["gen_ai.tool.call.result"] == "21 degrees in Paris"
    around: Any = dict(loop.attributes or {})
    assert QUESTION in around["gen_ai.input.messages"]
    assert "tool_call_response" not in around["gen_ai.input.messages"]
    assert answer_text(around) == ANSWER
    assert not any(name.startswith("gen_ai.usage") for name in around)
    _check_answer(dict(last.attributes or {}))


async def _later(place: str) -> str:
    """Weather at a place."""
    return get_weather(place)


_later.__name__ = "get_weather"
_later.__annotations__.update(get_weather.__annotations__)


@pytest.mark.parametrize(
    ("form", "asynchronous", "function"),
    [*((form, mode, get_weather) for form in LOOPS for mode in (False, True)), ("models", True, _later)],
)
async def test_automatic_function_calling(
    form: str, asynchronous: bool, function: Any, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """A call with automatic function calling is one agent span, with every model call and function call below it."""
    instrument("google_genai", tracer_provider=recorder.provider)
    server.replies(*_loop_replies(form))
    client = _client(server)
    await _loop(form, client, function, asynchronous=asynchronous)
    await client.aio.aclose()
    client.close()
    _check_loop(recorder)


async def test_function_that_fails(server: ProviderServer, recorder: SpanRecorder) -> None:
    """A failed function's span has status ERROR; the client tells the model and continues."""

    def get_weather(place: str) -> str:
        """Weather at a place."""
        raise LookupError(f"no {place}")

    get_weather.__annotations__.update(place=str, **{"return": str})
    instrument("google_genai", tracer_provider=recorder.provider)
    server.replies(*_loop_replies())
    client = _client(server)
    await _loop("models", client, get_weather, asynchronous=False)
    client.close()
    assert recorder.one("execute_tool get_weather").status.status_code is StatusCode.ERROR
    assert "no Paris" in str(recorder.one("execute_tool get_weather").status.description)
    assert recorder.one(f"invoke_agent {MODEL}").status.status_code is StatusCode.UNSET


async def test_content_can_be_left_out(server: ProviderServer, recorder: SpanRecorder) -> None:
    """With `capture_content=False`, no span has a question, answer, argument or result."""
    instrument("google_genai", tracer_provider=recorder.provider, capture_content=False)
    server.replies(*_loop_replies())
    client = _client(server)
    await _loop("models", client, get_weather, asynchronous=False)
    client.close()
    assert len(recorder.spans) == 4
    everything = "".join(str(dict(span.attributes or {})) for span in recorder.spans)
    assert not any(word in everything for word in (QUESTION, ANSWER, "Paris", "21 degrees"))
