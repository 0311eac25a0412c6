"""The registry of integrations: their names, and the report on each."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import version

import pytest

from pandaprobe_otel import registry

LIBRARY_LAST = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pandaprobe_otel.registry import instrument_all, instrumented
provider, exporter = TracerProvider(), InMemorySpanExporter()
provider.add_span_processor(SimpleSpanProcessor(exporter))
before = set(sys.modules)
(result,) = instrument_all(("openai",), tracer_provider=provider)
assert result.state == "hooked", result
assert not any(name.split(".")[0] == "openai" for name in sys.modules)
assert not {"httpx", "httpx2", "pydantic"} & (set(sys.modules) - before)
from openai import OpenAI, APIConnectionError
assert [(one.state, one.reason) for one in instrumented()] == [("hooked", "")]
try:
    OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0).embeddings.create(model="m", input="x")
except APIConnectionError:
    pass
print(len(exporter.get_finished_spans()))
"""


def test_library_that_is_imported_later() -> None:
    """A library that the app imports after instrumenting is recorded; instrumenting imports no library."""
    done = subprocess.run([sys.executable, "-c", LIBRARY_LAST], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("1", "")


def test_unknown_name_is_reported_and_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An unknown name fails alone, with one warning that lists the known names."""
    with caplog.at_level(logging.WARNING):
        unknown, known = registry.instrument_all(["nothing", "openai"])
    registry.uninstrument("openai")
    assert (unknown.state, known.state) == ("failed", "hooked")
    (record,) = caplog.records
    assert "openai" in record.getMessage()
    caplog.clear()


def test_excluded_and_off() -> None:
    """Excluded libraries are reported as skipped; with False, nothing is instrumented."""
    results = registry.instrument_all("auto", exclude=tuple(registry.INTEGRATIONS))
    assert {result.state for result in results} == {"skipped"}
    assert registry.instrument_all(False) == ()
    assert registry.instrumented() == ()


@pytest.fixture
def old_openai(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Set the oldest tested version above the installed openai. Yield openai's version; uninstrument afterwards."""
    import_module("openai")
    from pandaprobe_otel_integrations.openai import OpenAIInstrumentor

    monkeypatch.setattr(OpenAIInstrumentor, "requirements", ("openai >= 99",))
    yield version("openai")
    registry.uninstrument("openai")


def test_library_that_is_older_than_tested_is_instrumented_all_the_same(
    old_openai: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A library older than tested is recorded if it has the hook points; log line and reason name both versions."""
    with caplog.at_level(logging.INFO):
        result = registry.instrument("openai")
        registry.instrument("openai")
    (record,) = caplog.records
    assert (result.state, record.levelname) == ("hooked", "INFO")
    assert result.reason == f"openai {old_openai} is older than the oldest version tested (99)"
    assert registry.instrumented() == (result,)
    assert record.getMessage() == f"{result.reason}; openai is instrumented anyway"


def test_library_that_is_older_and_lacks_a_method_is_reported(
    old_openai: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an older library without a hook point, one warning names everything missing, the version and the remedy."""
    from openai import _base_client

    monkeypatch.delattr(_base_client.SyncAPIClient, "request")
    with caplog.at_level(logging.INFO):
        result = registry.instrument("openai")
    (record,) = (record for record in caplog.records if record.levelno > logging.INFO)
    assert (result.state, record.levelname) == ("failed", "WARNING")
    for text in (result.reason, record.getMessage()):
        assert f"openai {old_openai} is older than the oldest version tested (99)" in text
        assert "SyncAPIClient has no request" in text
        assert text.endswith("upgrade to openai >= 99")
    caplog.clear()


def test_library_that_is_older_and_lacks_every_module_is_reported(
    old_openai: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older library without any hooked module is reported at once, since no import would ever report it."""
    from pandaprobe_otel_integrations.openai import OpenAIInstrumentor

    monkeypatch.setattr(OpenAIInstrumentor, "hooked_modules", ("openai.not_yet", "openai.not.yet"))
    with caplog.at_level(logging.INFO):
        result = registry.instrument("openai")
    (record,) = caplog.records
    assert (result.state, record.levelname) == ("failed", "WARNING")
    assert record.getMessage() == f"openai is not instrumented: {result.reason}"
    assert result.reason == (
        f"openai {old_openai} is older than the oldest version tested (99) and has another structure "
        "(there is no openai.not_yet, openai.not.yet): upgrade to openai >= 99"
    )
    caplog.clear()


@pytest.mark.parametrize("found", ["2.0rc1", "2.1.dev3", "2.0", "10.0+local"])
def test_pre_releases_are_not_older(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pre-release of the oldest tested version, or of a newer one, is not reported."""
    from opentelemetry.instrumentation import dependencies

    from pandaprobe_otel_integrations._integration import older_than_tested

    monkeypatch.setattr(dependencies, "version", lambda _: found)
    assert older_than_tested(("library >= 2.0",)) is None
    assert older_than_tested(("library >= 11.0",)) is not None


def test_module_of_the_app_with_the_name_of_a_library_is_left_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An app's own package with a library's name makes no message, unless the app asks for that library."""
    from pandaprobe_otel_integrations.openai import OpenAIInstrumentor

    monkeypatch.setattr(OpenAIInstrumentor, "requirements", ("no-such-distribution >= 1",))
    others = tuple(name for name in registry.INTEGRATIONS if name != "openai")
    with caplog.at_level(logging.WARNING):
        (found,) = (result for result in registry.instrument_all("auto", others) if result.name == "openai")
        assert (found.state, caplog.records) == ("skipped", [])
        assert "belongs to the app" in found.reason
        named = registry.instrument("openai")
        assert named.state == "failed"
        assert named.reason.endswith('Run: pip install "pandaprobe-otel[openai]"')
        monkeypatch.setattr("sys.frozen", True, raising=False)  # as in a bundle of PyInstaller, without metadata
        (found,) = (result for result in registry.instrument_all("auto", others) if result.name == "openai")
        assert found.state == "failed"
    assert len(caplog.records) == 2
    caplog.clear()


def test_library_that_is_built_differently_is_left_alone(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing hook point is a failure with a reason and one warning, and the finished hooks are undone."""
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


def test_wrapping_another_object_returns_it(caplog: pytest.LogCaptureFixture) -> None:
    """Wrapping an object that is not a client returns the object, with a warning."""
    thing = object()
    assert registry.wrap(thing) is thing
    assert registry.wrap(registry) is registry
    assert registry.instrumented() == ()
    assert caplog.messages == [
        f"wrap() does not know clients of the class {name}: calls are not recorded" for name in ("object", "module")
    ]
    caplog.clear()
