"""Marks planted in requests and answers appear in the trace, for every kind of call of every client.

A mark is at each place that can hold content. Each must be on a span, and in the trace made of the span; pictures are
recorded as digests, and credentials not at all.
"""

from __future__ import annotations

import inspect
import json
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan

import pandaprobe_otel_integrations
from pandaprobe_otel.mapping import MappingOptions, map_trace, map_views, read_span
from pandaprobe_otel.registry import instrument, uninstrument
from planted.bedrock_conversations import close_clients
from planted.plants import CALLS, SEALED, Plants
from provider_server import ProviderServer
from span_recorder import SpanRecorder

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:The generate_", "ignore:.*experimental"),
    # The client does not follow the newest version of `websockets` yet.
    pytest.mark.filterwarnings("ignore:connect\\(\\) must be used:DeprecationWarning"),
]


_made: dict[str, tuple[Plants, list[ReadableSpan]]] = {}


@pytest.fixture(scope="module", autouse=True)
def closed_clients() -> Iterator[None]:
    """Close Bedrock's clients after the last test."""
    yield
    close_clients()


@pytest.fixture
def told(request: pytest.FixtureRequest, server: ProviderServer, recorder: SpanRecorder) -> Any:
    """Return a call with its marks and its spans; each call is made once."""
    call = CALLS[request.param]
    if request.param not in _made:
        instrument(call.library, tracer_provider=recorder.provider)
        plants = Plants()
        try:
            call.make(server, plants)
        finally:
            uninstrument(call.library)
        _made[request.param] = plants, recorder.spans
    return call, *_made[request.param]


@pytest.mark.parametrize("told", CALLS, indirect=True, ids=str)
def test_all_is_on_the_span(told: Any) -> None:
    """Every mark is in an attribute of a span, and no credential is."""
    _, plants, spans = told
    told_of = [[span.name, dict(span.attributes or {}), span.status.description] for span in spans]
    assert plants.missing(told_of) == []
    assert SEALED not in str(told_of)


@pytest.mark.parametrize("told", CALLS, indirect=True, ids=str)
def test_all_is_in_the_trace(told: Any) -> None:
    """Every mark is in the trace that is made of the spans."""
    _, plants, spans = told
    assert plants.missing(map_trace(spans)) == []


def _endpoints() -> Iterator[type[Any]]:
    """Yield the classes that read the requests and answers of the planted clients."""
    packages = {"_openai_protocol", *(call.library for call in CALLS.values())}
    for found in pkgutil.walk_packages(pandaprobe_otel_integrations.__path__, "pandaprobe_otel_integrations."):
        if found.name.split(".")[1] in packages and not found.ispkg:
            for kind in vars(import_module(found.name)).values():
                if inspect.isclass(kind) and kind.__module__ == found.name and "answer" in vars(kind):
                    yield kind


def test_every_endpoint_is_planted(
    server: ProviderServer,
    recorder: SpanRecorder,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Every class that reads answers is reached by a planted call."""
    read: set[type] = set()

    def noted(answer: Callable[..., Any]) -> Callable[..., Any]:
        def noting(endpoint: object, *args: Any, **given: Any) -> Any:
            read.update(type(endpoint).__mro__)
            return answer(endpoint, *args, **given)

        return noting

    endpoints = [*_endpoints()]
    for kind in endpoints:
        monkeypatch.setattr(kind, "answer", noted(vars(kind)["answer"]))
    for library in sorted({call.library for call in CALLS.values()}):
        instrument(library, tracer_provider=recorder.provider)
        for call in (call for call in CALLS.values() if call.library == library):
            with suppress(pytest.skip.Exception):
                call.make(server, Plants())
        uninstrument(library)
    caplog.clear()  # google-genai warns of parts that are not text
    assert {kind.__name__ for kind in endpoints if kind not in read} == set()


@pytest.mark.parametrize(
    "name", ["openai chat", "anthropic message", "google_genai interaction", "bedrock conversation"]
)
def test_without_content_only_what_attributes_name_is_told(
    name: str, server: ProviderServer, recorder: SpanRecorder
) -> None:
    """With `capture_content=False`, values that accompany messages are left out, since they may have any content."""
    call = CALLS[name]
    instrument(call.library, tracer_provider=recorder.provider, capture_content=False)
    try:
        call.make(server, Plants())
    finally:
        uninstrument(call.library)
    (span,) = recorder.spans
    assert not [key for key in span.attributes or () if "messages" in key or key.startswith("pandaprobe.")]


@pytest.mark.parametrize("told", ["google_genai content"], indirect=True, ids=str)
def test_members_of_an_answer_are_content(told: Any) -> None:
    """With `capture="metadata"`, members beside an answer are left out."""
    views = [view for span in told[2] if (view := read_span(span)) is not None]
    trace = map_views(views, options=MappingOptions(capture="metadata"))
    assert "response" not in json.loads(trace.encoded())["spans"][0]["metadata"]
