"""Exporter, processor, `init()`, environment and configuration file together deliver each trace once."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from subprocesses import environment, run_python, run_quietly

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


FORKED = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork with threads, which may be those of a library
for name, (code, variables) in PROGRAMS.items():
    sys.stdout.flush()
    child = os.fork()
    if not child:
        os.environ.update(variables)
        exec(code, {})
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{name} failed")
"""
LOADED = """
from importlib.metadata import entry_points
for point in entry_points(group="opentelemetry_instrumentor"):
    try:
        point.load()
    except Exception:
        pass
"""
"""Code that loads the launcher's modules, so that each of the forked children need not."""


def run_forked(programs: Mapping[str, tuple[str, dict[str, str]]], before: str = "") -> None:
    """Run each program with its variables in a fork of one process."""
    run_quietly(before + START + f"PROGRAMS = {dict(programs)!r}" + FORKED, environment(), set_up=False)


BY_LAUNCHER = ["environment", "as by a file", pytest.param("file", marks=pytest.mark.outer)]


def launched(folder: Path, launcher: str, way: str = "", **settings: object) -> tuple[str, dict[str, str]]:
    """Return an app under OpenTelemetry's launcher, with the exporter named in a variable or a file."""
    variables = {"PANDAPROBE_LOCAL": str(folder / f"traces{way}.jsonl"), "SETTINGS": json.dumps(settings)}
    variables |= {f"OTEL_{signal}_EXPORTER": "none" for signal in ("METRICS", "LOGS")}
    if launcher == "environment":
        variables |= {"OTEL_TRACES_EXPORTER": "pandaprobe"}
    elif launcher == "file":
        path = folder / "otel.yaml"
        exporter = {"batch": {"exporter": {"pandaprobe": settings or None}}}
        path.write_text(json.dumps({"file_format": "1.0", "tracer_provider": {"processors": [exporter]}}))
        variables |= {"OTEL_CONFIG_FILE": str(path)}
    begin = AS_BY_FILE if launcher == "as by a file" else CONFIGURED
    return begin + LAUNCHER + START + WAYS.get(way, "") + END, variables


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_two_ways_of_the_app_deliver_once(tmp_path: Path) -> None:
    """Any two of exporter, processor and `init()`, in either order, or one of them twice, deliver each trace once."""
    programs = {
        f"{first}, {second}": (
            START + f"{WAYS[first]}\n{WAYS[second]}" + END,
            {"PANDAPROBE_LOCAL": str(tmp_path / f"{first}, {second}")},
        )
        for first, second in itertools.product(WAYS, repeat=2)
    }
    run_forked(programs)

    assert {name: delivered(tmp_path / name) for name in programs} == {name: ["one", "two"] for name in programs}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("launcher", BY_LAUNCHER)
def test_the_launcher_and_a_way_of_the_app_deliver_once(launcher: str, tmp_path: Path) -> None:
    """An exporter named in OTEL_TRACES_EXPORTER or a file delivers once, whatever the app adds."""
    ways = ["", *WAYS]
    run_forked({way or "none": launched(tmp_path, launcher, way) for way in ways}, LOADED)

    assert [delivered(tmp_path / f"traces{way}.jsonl") for way in ways] == [["one", "two"]] * len(ways)


@pytest.mark.parametrize("launcher", BY_LAUNCHER[1:])
def test_settings_of_a_configuration_file_are_obeyed_and_others_are_named(launcher: str, tmp_path: Path) -> None:
    """A file's `local` is the destination of traces, and names that are not an exporter's settings are logged."""
    there = tmp_path / "there.jsonl"
    code, variables = launched(tmp_path, launcher, local=str(there), lokal="x", instrument=False)
    result = run_python(code, environment(**variables), set_up=False)

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
    assert run_quietly(START + f"{line}\n{WAYS['init']}" + END, env, set_up=False) == ""
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
    printed = run_quietly(START + code, env, set_up=False)
    of_init, of_exporter, counts = printed.splitlines()
    line = "The provider already has a PandaProbeSpanProcessor, so these settings have no effect: sample_rate."
    assert of_init.endswith(line)
    assert of_exporter.endswith(
        "PandaProbeSpanProcessor delivers, and PandaProbeSpanExporter is ignored with its settings."
    )
    assert counts == "2 1.0"
