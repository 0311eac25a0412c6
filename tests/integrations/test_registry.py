"""The registry: names to instrumentations, and what is reported of each."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap

import pytest

from pandaprobe_otel import registry

IMPORT_ORDER = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
if sys.argv[1] == "library first":
    import openai
from pandaprobe_otel.registry import instrument_all, instrumented
provider, exporter = TracerProvider(), InMemorySpanExporter()
provider.add_span_processor(SimpleSpanProcessor(exporter))
before = set(sys.modules)
(result,) = instrument_all(("openai",), tracer_provider=provider)
assert result.state == "hooked", result
assert sys.argv[1] == "library first" or not any(name.split(".")[0] == "openai" for name in sys.modules)
assert not {"httpx", "httpx2", "pydantic"} & (set(sys.modules) - before)
from openai import OpenAI, APIConnectionError
assert [(one.state, one.reason) for one in instrumented()] == [("hooked", "")]
try:
    OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0).embeddings.create(model="m", input="x")
except APIConnectionError:
    pass
print(len(exporter.get_finished_spans()))
"""


@pytest.mark.parametrize("order", ["library first", "library last"])
def test_order_of_imports_does_not_matter(order: str) -> None:
    """A name that the app took from the library before or after is recorded; the library is not loaded for it."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(IMPORT_ORDER), order], capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_unknown_name_is_reported_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A name that does not exist fails alone, with one warning that lists what there is."""
    with caplog.at_level(logging.WARNING):
        unknown, known = registry.instrument_all(["nothing", "openai"])
    registry.uninstrument("openai")
    assert (unknown.state, known.state) == ("failed", "hooked")
    (record,) = caplog.records
    assert "openai" in record.getMessage()
    caplog.clear()


def test_excluded_and_off() -> None:
    """Exclusions are reported as skipped; False instruments nothing."""
    results = registry.instrument_all("auto", exclude=tuple(registry.INTEGRATIONS))
    assert {result.state for result in results} == {"skipped"}
    assert registry.instrument_all(False) == ()
    assert registry.instrumented() == ()


def test_library_that_is_too_old_is_left_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below the floor nothing is hooked, and the reason names both versions."""
    from pandaprobe_otel_integrations.openai import OpenAIInstrumentor

    monkeypatch.setattr(OpenAIInstrumentor, "requirements", ("openai >= 99",))
    result = registry.instrument("openai")
    assert result.state == "failed"
    assert "openai >= 99" in result.reason
    assert registry.instrumented() == ()
    caplog.clear()


def test_module_of_the_app_with_the_name_of_a_library_is_left_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app with a package `agents` of its own hears nothing of it; one that asked for the library does."""
    from pandaprobe_otel_integrations.openai import OpenAIInstrumentor

    monkeypatch.setattr(OpenAIInstrumentor, "requirements", ("no-such-distribution >= 1",))
    others = tuple(name for name in registry.INTEGRATIONS if name != "openai")
    with caplog.at_level(logging.WARNING):
        (found,) = (result for result in registry.instrument_all("auto", others) if result.name == "openai")
        assert (found.state, caplog.records) == ("skipped", [])
        assert "the app's own" in found.reason
        assert registry.instrument("openai").state == "failed"
        monkeypatch.setattr("sys.frozen", True, raising=False)  # as PyInstaller does: nothing is known of distributions
        (found,) = (result for result in registry.instrument_all("auto", others) if result.name == "openai")
        assert found.state == "failed"
    assert len(caplog.records) == 2
    caplog.clear()


def test_library_that_is_built_differently_is_left_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing hook point is a failure with a reason and one warning; what was hooked is undone at the end."""
    from openai import _base_client

    request = _base_client.SyncAPIClient.__dict__["request"]
    monkeypatch.delattr(_base_client.AsyncAPIClient, "request")
    with caplog.at_level(logging.WARNING):
        result = registry.instrument("openai")
    assert result.state == "failed"
    assert "AsyncAPIClient has no request" in result.reason
    assert len(caplog.records) == 1
    registry.uninstrument("openai")
    assert _base_client.SyncAPIClient.__dict__["request"] is request
    caplog.clear()


def test_wrapping_what_is_no_client_returns_it(caplog: pytest.LogCaptureFixture) -> None:
    """The app gets back what it passed in, whatever it is."""
    thing = object()
    assert registry.wrap_openai(thing) is thing
    registry.uninstrument("openai")
    assert len(caplog.records) == 1
    caplog.clear()
