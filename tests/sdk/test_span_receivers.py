"""Exporter, processor, `init()`, environment and configuration file together deliver each trace once."""

from __future__ import annotations

import itertools
import json
import subprocess
from pathlib import Path

import pytest

from subprocesses import environment, run_python

START = """
import logging, sys
logging.basicConfig(level="WARNING", stream=sys.stdout, format="%(message)s")
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
import pandaprobe_otel
def provider():
    if not hasattr(trace.get_tracer_provider(), "add_span_processor"):
        trace.set_tracer_provider(TracerProvider())
    return trace.get_tracer_provider()
"""
CONFIGURED = """
from opentelemetry.sdk._configuration import _OTelSDKConfigurator
_OTelSDKConfigurator().configure()
"""
AS_BY_FILE = """
import json, os
from importlib.metadata import entry_points
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
(point,) = entry_points(group="opentelemetry_traces_exporter", name="pandaprobe")
trace.set_tracer_provider(TracerProvider())
exporter = point.load()(**json.loads(os.environ["SETTINGS"]))
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(exporter))
"""
"""The calls that `opentelemetry-configuration` makes for a file. The package needs a newer SDK: its tests are outer."""
LAUNCHER = """
from opentelemetry.instrumentation.auto_instrumentation._load import _load_instrumentors
from opentelemetry.instrumentation.distro import DefaultDistro
_load_instrumentors(DefaultDistro())
"""
WAYS = {
    "exporter": "provider().add_span_processor(BatchSpanProcessor(pandaprobe_otel.PandaProbeSpanExporter()))",
    "processor": "provider().add_span_processor(pandaprobe_otel.PandaProbeSpanProcessor())",
    "init": "pandaprobe_otel.init(instrument=False)",
}
END = """
for name in ("one", "two"):
    with trace.get_tracer("app").start_as_current_span(name, attributes={"gen_ai.operation.name": "chat"}):
        pass
trace.get_tracer_provider().shutdown()
"""


def delivered(path: Path) -> list[str]:
    """Return the names of the delivered traces, sorted."""
    return sorted(json.loads(line)["name"] for line in path.read_text().splitlines())


BY_LAUNCHER = ["environment", "as by a file", pytest.param("file", marks=pytest.mark.outer)]


def launched(folder: Path, launcher: str, way: str = "", **settings: object) -> subprocess.CompletedProcess[str]:
    """Run an app under OpenTelemetry's launcher, with the exporter named in a variable or a file."""
    variables = {"PANDAPROBE_LOCAL": str(folder / "traces.jsonl"), "SETTINGS": json.dumps(settings)}
    variables |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("METRICS", "LOGS")}
    if launcher == "environment":
        variables |= {"OTEL_TRACES_EXPORTER": "pandaprobe"}
    elif launcher == "file":
        path = folder / "otel.yaml"
        exporter = {"batch": {"exporter": {"pandaprobe": settings or None}}}
        path.write_text(json.dumps({"file_format": "1.0", "tracer_provider": {"processors": [exporter]}}))
        variables |= {"OTEL_CONFIG_FILE": str(path)}
    begin = AS_BY_FILE if launcher == "as by a file" else CONFIGURED
    code = begin + LAUNCHER + START + WAYS.get(way, "") + END
    return run_python(code, environment(**variables), set_up=False)


@pytest.mark.parametrize(("first", "second"), [*itertools.permutations(WAYS, 2), *((way, way) for way in WAYS)])
def test_two_ways_of_the_app_deliver_once(first: str, second: str, tmp_path: Path) -> None:
    """Any two of exporter, processor and `init()`, in either order, or one of them twice, deliver each trace once."""
    env = environment(PANDAPROBE_LOCAL=str(tmp_path / "traces.jsonl"))
    result = run_python(START + f"{WAYS[first]}\n{WAYS[second]}" + END, env, set_up=False)

    assert (result.returncode, result.stderr) == (0, "")
    assert delivered(tmp_path / "traces.jsonl") == ["one", "two"]


@pytest.mark.parametrize("way", ["none", "exporter", "init", pytest.param("processor", marks=pytest.mark.outer)])
@pytest.mark.parametrize("launcher", BY_LAUNCHER)
def test_the_launcher_and_a_way_of_the_app_deliver_once(launcher: str, way: str, tmp_path: Path) -> None:
    """An exporter named in OTEL_TRACES_EXPORTER or a file delivers once, whatever the app adds."""
    result = launched(tmp_path, launcher, way)

    assert (result.returncode, result.stderr) == (0, "")
    assert delivered(tmp_path / "traces.jsonl") == ["one", "two"]


@pytest.mark.parametrize("launcher", BY_LAUNCHER[1:])
def test_settings_of_a_configuration_file_are_obeyed_and_others_are_named(launcher: str, tmp_path: Path) -> None:
    """A file's `local` is the destination of traces, and names that are not an exporter's settings are logged."""
    there = tmp_path / "there.jsonl"
    result = launched(tmp_path, launcher, local=str(there), lokal="x", instrument=False)

    assert result.returncode == 0, result.stderr
    assert delivered(there) == ["one", "two"]
    assert not (tmp_path / "traces.jsonl").exists()
    for name in ("lokal", "instrument"):
        assert result.stderr.count(f"{name} is not a setting of a span processor or exporter; it is ignored.") == 1


def test_two_places_get_each_trace_once(tmp_path: Path) -> None:
    """Two different destinations each get every trace once."""
    env = environment(PANDAPROBE_LOCAL=str(tmp_path / "traces.jsonl"))
    there = tmp_path / "there.jsonl"
    line = f"provider().add_span_processor(pandaprobe_otel.PandaProbeSpanProcessor(local={str(there)!r}))"
    result = run_python(START + f"{line}\n{WAYS['init']}" + END, env, set_up=False)

    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert delivered(tmp_path / "traces.jsonl") == delivered(there) == ["one", "two"]


def test_ignored_exporters_and_arguments_are_logged_once(tmp_path: Path) -> None:
    """An ignored exporter and ignored arguments of `init()` are each logged once; the processor delivers."""
    env = environment(PANDAPROBE_LOCAL=str(tmp_path / "traces.jsonl"))
    code = f"""
{WAYS["processor"]}
handle = pandaprobe_otel.init(instrument=False, sample_rate=0.0)
{WAYS["exporter"]}
{END}
print(handle.status().spans_delivered, handle.config.sample_rate)
"""
    result = run_python(START + code, env, set_up=False)

    assert (result.returncode, result.stderr) == (0, "")
    of_init, of_exporter, counts = result.stdout.splitlines()
    said = "The provider already has a PandaProbeSpanProcessor, so these settings have no effect: sample_rate."
    assert of_init.endswith(said)
    assert of_exporter.endswith(
        "PandaProbeSpanProcessor delivers, and PandaProbeSpanExporter is ignored with its settings."
    )
    assert counts == "2 1.0"
