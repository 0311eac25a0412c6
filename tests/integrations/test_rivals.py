"""Beside another vendor's instrumentor of the same library: one call is never told by both, whoever came first."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from conformance.adapter import Adapter, adapters
from conformance.cases import CASES
from pandaprobe_otel.registry import INTEGRATIONS, instrument, instrumented, uninstrument
from provider_server import ProviderServer
from span_recorder import SpanRecorder
from streamed_forms import Sighting

READ = next(case for case in CASES if case.name == "read to the end")
FIRST = {adapter.integration: adapter for adapter in reversed(adapters())}
"""One adapter for each library."""


def _rivals() -> Iterator[Any]:
    """The first and the last one that a library knows: those between are looked up by the same lines."""
    for name, adapter in sorted(FIRST.items()):
        path, _, kind = INTEGRATIONS[name].partition(":")
        if rivals := getattr(importlib.import_module(path), kind).rivals:
            marks = [pytest.mark.filterwarnings(text) for text in adapter.warns]
            for first, rival in (("ours", rivals[0]), ("theirs", rivals[-1])):
                yield pytest.param(adapter, rival, first, id=f"{name} {rival.vendor} {first}", marks=marks)


class _Active:
    """An instrumentor that is on, as OpenTelemetry's base class keeps it."""

    _is_instrumented_by_opentelemetry = True
    _instance: Any = None


@contextmanager
def _active(rival: Any) -> Iterator[None]:
    """The rival's module with its instrumentor on."""
    module: Any = ModuleType(rival.module)
    _Active._instance = _Active()
    setattr(module, rival.class_name, _Active)
    before = sys.modules.get(rival.module)
    sys.modules[rival.module] = module
    try:
        yield
    finally:
        if before is None:
            del sys.modules[rival.module]
        else:
            sys.modules[rival.module] = before


@pytest.mark.parametrize(("adapter", "rival", "first"), [*_rivals()])
def test_one_of_both(adapter: Adapter, rival: Any, first: str, server: ProviderServer, recorder: SpanRecorder) -> None:
    """While the other one is on ours is silent and says so; when it has gone, calls are recorded again."""
    server.replies(READ.reply(adapter, False))
    with adapter.client(server.url, 20.0) as client:
        try:
            if first == "ours":
                instrument(adapter.integration, tracer_provider=recorder.provider)
            with _active(rival):
                if first == "theirs":
                    instrument(adapter.integration, tracer_provider=recorder.provider)
                adapter.calls["plain"](client, Sighting())
                assert recorder.spans == []
                assert [(one.state, rival.module in one.reason) for one in instrumented()] == [("skipped", True)]
            adapter.calls["plain"](client, Sighting())
            assert recorder.one().name == adapter.expected.span_name
            assert [one.state for one in instrumented()] == ["hooked"]
        finally:
            uninstrument(adapter.integration)
