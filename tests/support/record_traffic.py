"""Record the cassettes in tests/integrations/cassettes: real clients of every library against the loopback provider.

Run it with `python tests/support/record_traffic.py`; it replaces the existing ones. No key and no network are needed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import vcr

from conformance import cases, suite_cassettes
from openai_traffic import (
    CHAT_USAGE,
    MODEL,
    QUESTION,
    TOOL,
    chat_chunks,
    chunk,
    completion,
    delta,
    embedding,
    error,
    message_item,
    response,
    response_events,
)
from provider_server import ProviderServer, Reply, events_reply, json_reply

CASSETTES = Path(__file__).parents[1] / "integrations" / "cassettes"
MESSAGES: Any = [{"role": "user", "content": QUESTION}]
CHAT: Any = {"model": MODEL, "messages": MESSAGES}

Call = Callable[[openai.OpenAI], Any]


def _calls(*names: str) -> list[dict[str, Any]]:
    return [
        {"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": '{"place": "Paris"}'}}
        for index, name in enumerate(names)
    ]


def _call_chunks() -> list[dict[str, Any]]:
    pieces = [{"index": index, **call} for index, call in enumerate(_calls("get_weather", "get_time"))]
    return [
        *(chunk(delta(tool_calls=[piece])) for piece in pieces),
        chunk(delta(finish_reason="tool_calls")),
        chunk(usage=CHAT_USAGE),
    ]


def _refused(client: openai.OpenAI) -> None:
    try:
        client.chat.completions.create(**CHAT)
    except openai.RateLimitError:
        return


OPENAI: dict[str, tuple[Reply, Call]] = {
    "chat": (json_reply(completion()), lambda client: client.chat.completions.create(**CHAT)),
    "chat_tools": (
        json_reply(completion({"tool_calls": _calls("get_weather")})),
        lambda client: client.chat.completions.create(**CHAT, tools=[TOOL]),
    ),
    "chat_stream": (
        events_reply(chat_chunks()),
        lambda client: list(client.chat.completions.create(**CHAT, stream=True)),
    ),
    "chat_stream_tools": (
        events_reply(_call_chunks()),
        lambda client: list(client.chat.completions.create(**CHAT, tools=[TOOL], stream=True)),
    ),
    "chat_refused": (json_reply(error(), status=429), _refused),
    "response": (
        json_reply(response(message_item())),
        lambda client: client.responses.create(model=MODEL, input=QUESTION),
    ),
    "response_stream": (
        events_reply(response_events(), named=True, done=False),
        lambda client: list(client.responses.create(model=MODEL, input=QUESTION, stream=True)),
    ),
    "embeddings": (
        json_reply(embedding()),
        lambda client: client.embeddings.create(model="text-embedding-3-small", input="x", encoding_format="float"),
    ),
}


def _without_headers(request: Any) -> Any:
    request.headers = {"content-type": "application/json"}
    return request


def _record_openai(server: ProviderServer) -> None:
    recorder = vcr.VCR(record_mode="all", before_record_request=_without_headers)
    for name, (reply, call) in OPENAI.items():
        path = CASSETTES / "openai" / f"{name}.yaml"
        path.unlink(missing_ok=True)
        server.replies(reply)
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0)
        with recorder.use_cassette(str(path)), client:
            call(client)


def _record_suite(server: ProviderServer) -> None:
    for recording in suite_cassettes.recordings():
        adapter = recording.adapter
        recording.path.unlink(missing_ok=True)
        server.replies(recording.case.reply(adapter, recording.streamed))
        player = suite_cassettes.player("all")
        with player.use_cassette(str(recording.path)), adapter.client(server.url, 20.0) as client:
            if recording.streamed:
                seen = cases.look_at_form(recording.case, adapter.forms[recording.call], client)
            else:
                seen = cases.look_at_call(adapter.calls[recording.call], client)
        assert (seen.raised is None) == (recording.case.outcome != "refused"), (recording.path, seen.raised)


def main() -> None:
    """Record all cassettes."""
    with ProviderServer() as server:
        _record_openai(server)
        _record_suite(server)


if __name__ == "__main__":
    main()
