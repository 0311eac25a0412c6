"""OpenTelemetry's launcher, which traces an app without a change of its code."""

from __future__ import annotations

import subprocess
import sys

import pytest

from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python

CHAT = {"gen_ai.operation.name": "chat"}
APP = f"""
from opentelemetry import trace
with trace.get_tracer("app").start_as_current_span("hello", attributes={CHAT}):
    pass
"""


def launch(env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the app under OpenTelemetry's own configuration and instrumentor entry points, as the launcher does."""
    program = """
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator().configure(auto_instrumentation_version="x")
from opentelemetry.instrumentation.auto_instrumentation._load import _load_instrumentors
from opentelemetry.instrumentation.distro import DefaultDistro
_load_instrumentors(DefaultDistro())
"""
    return subprocess.run(
        [sys.executable, "-c", program + APP], env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("exporter", ["none", "pandaprobe"])
def test_the_launcher_needs_no_line_of_code_and_nothing_is_sent_twice(exporter: str) -> None:
    """The instrumentor entry point sends a trace once, also with OTEL_TRACES_EXPORTER=pandaprobe."""
    switches = {"OTEL_TRACES_EXPORTER": exporter, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    with StrictPandaProbe() as server:
        result = launch(environment(server.url, **switches))

        assert result.returncode == 0, result.stderr
        assert [post.body["name"] for post in server.posts()] == ["hello"]


@pytest.mark.parametrize("exporter", ["none", pytest.param("pandaprobe", marks=pytest.mark.outer)])
def test_the_launcher_survives_settings_that_cannot_work(exporter: str) -> None:
    """Unusable settings are logged, since an exception in a constructor would stop all of the app's telemetry."""
    switches = {"OTEL_TRACES_EXPORTER": exporter, "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    result = launch(environment(**switches))

    assert result.returncode == 0, result.stderr
    assert "PANDAPROBE_API_KEY" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_launcher_without_a_configurator_still_traces() -> None:
    """Without a configurator, OTEL_TRACES_EXPORTER=pandaprobe has no effect, so the instrumentor sends the trace."""
    program = """
from opentelemetry.instrumentation.auto_instrumentation._load import _load_instrumentors
from opentelemetry.instrumentation.distro import DefaultDistro
_load_instrumentors(DefaultDistro())
"""
    with StrictPandaProbe() as server:
        env = environment(server.url, OTEL_TRACES_EXPORTER="pandaprobe")
        result = run_python(program + APP, env, set_up=False)

        assert result.returncode == 0, result.stderr
        assert [post.body["name"] for post in server.posts()] == ["hello"]
