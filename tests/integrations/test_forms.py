"""The exact form of what is recorded, for the calls of a table; the app and the service get the same as without us."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

import pytest

from conformance.adapter import adapters
from library_members import skip_without
from openai_traffic import chunk, completion, delta, response
from pandaprobe_otel.registry import instrument
from planted.replies import refused
from planted.rows import Row, made, table
from provider_server import ProviderServer, Reply, events_reply, json_reply
from span_recorder import SpanRecorder

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning", "ignore:.*experimental"
)
ADAPTERS: Final = {adapter.title: adapter for adapter in adapters()}


def _deltas(found: list[dict[str, Any]]) -> Reply:
    return events_reply([chunk(delta(**one)) for one in found])


def _compressed(found: list[dict[str, Any]]) -> Reply:
    packed = gzip.compress(b"".join(_deltas(found).chunks))
    headers = {"Content-Encoding": "gzip"}
    return Reply(chunks=(packed[:40], packed[40:]), content_type="text/event-stream", headers=headers)


REPLIES: Final[dict[str, Callable[[Any], Reply]]] = {
    "document": json_reply,
    "text": lambda text: Reply(chunks=(text.encode(),), content_type="text/plain"),
    "message": lambda message: json_reply(completion(message)),
    "usage": lambda usage: json_reply(completion(usage=usage)),
    "response": lambda found: json_reply({**response(), **found}),
    "chunks": lambda found: events_reply([chunk(**one) for one in found]),
    "deltas": _deltas,
    "compressed": _compressed,
    "events": partial(events_reply, named=True, done=False),
    "plain events": partial(events_reply, done=False),
    "broken events": partial(events_reply, named=True, done=False, breaks_off=True),
}


def _cases() -> Iterator[Any]:
    for row in table("forms.yaml")["rows"]:
        if row["reply"] == "both":
            yield pytest.param({**row, "reply": "message"}, id=f"{row['call']} {row['name']}")
            row = {
                **row,
                "reply": "deltas",
                "answer": [row["answer"]],
                "request": {**row["request"], "stream": True},
                "name": f"{row['name']}, streamed",
            }
        yield pytest.param(row, id=f"{row['call']} {row['name']}")


def _differences(found: Any, expected: Any, path: str = "") -> list[str]:
    """Return the places in which what was found is not as expected; an object may have more members."""
    if isinstance(expected, dict) and isinstance(found, dict):
        return [one for key in expected for one in _differences(found.get(key), expected[key], f"{path}.{key}")]
    if isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        return [one for at, each in enumerate(expected) for one in _differences(found[at], each, f"{path}.{at}")]
    if expected == "*":
        return [] if found is not None else [f"{path} is missing"]
    return [] if (found, type(found)) == (expected, type(expected)) else [f"{path}: {found!r}, not {expected!r}"]


def _recorded(recorder: SpanRecorder) -> dict[str, Any]:
    span = recorder.one()
    about = {"name": span.name, "status": span.status.status_code.name, "description": span.status.description}
    attributes = {
        name: [*value] if isinstance(value, tuple) else value for name, value in recorder.attributes().items()
    }
    texts = {name: json.loads(str(value)) for name, value in attributes.items() if str(value)[:2] in ("[{", '{"')}
    return {**attributes, **texts, **about}


@pytest.mark.parametrize("case", [*_cases()])
def test_form(
    case: dict[str, Any], server: ProviderServer, recorder: SpanRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    """The span has what the table says, and the app and the service get the same as without us."""
    title = next(title for title in sorted(ADAPTERS, key=len, reverse=True) if case["call"].startswith(f"{title} "))
    adapter, method = ADAPTERS[title], case["call"].removeprefix(f"{title} ")
    usual = Reply(chunks=(adapter.answer.whole,), headers=dict(adapter.answer.headers))
    server.replies(usual if case["reply"] == "usual" else REPLIES[case["reply"]](case["answer"]))
    row = Row(client=title, method=method, request={}, answer=None, operation="", replies=refused)
    with adapter.client(server.url, 20.0) as client:
        skip_without(client, method)
        without = made(row, client, case["request"])
        instrument(adapter.integration, tracer_provider=recorder.provider)
        assert list(map(str, made(row, client, case["request"]))) == list(map(str, without))
    caplog.clear()  # google-genai warns of parts that are not text
    first, second = server.received
    assert "form" in str(first.headers) or first.json == second.json
    expected = {"status": "UNSET", "description": None, **case["recorded"]}
    if expected["status"] == "UNSET" and issubclass(without[0], Exception):
        pytest.skip(f"the installed client cannot read this answer: {without[1]}")
    assert _differences(_recorded(recorder), expected) == []
    assert [text for text in case.get("never", ()) if text in str(recorder.attributes())] == []
