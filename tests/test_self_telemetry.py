"""Our own metrics, which agree with `status()`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Final

from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python, run_quietly

ROOT: Final = Path(__file__).resolve().parents[1]


def test_the_first_trace_after_the_end_of_the_meters_is_delivered_in_silence() -> None:
    """A trace made at exit, after the meter provider has shut down, is delivered without a warning."""
    code = """
    import atexit
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    atexit.register(one, "a")
    metrics.set_meter_provider(MeterProvider())
    """
    with StrictPandaProbe() as server:
        run_quietly(code, environment(server.url))
        assert len(server.posts()) == 1


KINDS = ("error.type", "pandaprobe.answer")
SUFFIXES = {"{span}": "", "{trace}": "", "{lease}": "", "{request}": "", "s": "_seconds", "1": "_ratio"}
"""Suffix that Prometheus appends for a metric's unit; counters also get `_total`."""


def test_metrics_show_the_numbers_of_status_and_are_those_of_the_dashboard() -> None:
    """Delivered, dropped and waiting spans are counted under the metric names of OpenTelemetry's SDK.

    The dashboard uses each metric by its Prometheus name, and groups only by labels that the metric has.
    """
    code = """
    import json
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    with tracer.start_as_current_span("GET", attributes={"http.request.method": "GET"}): pass
    one("a")
    assert handle.flush(60)
    print(reader.get_metrics_data().to_json())
    """
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url))
    metrics = json.loads(result.stdout)["resource_metrics"][0]["scope_metrics"][0]["metrics"]
    points = [(metric, point) for metric in metrics for point in metric["data"]["data_points"]]
    shown = {
        (metric["name"], *(value for key, value in point["attributes"].items() if key in KINDS)): point.get("value")
        for metric, point in points
    }
    assert (result.stderr, 0 < shown.pop(("pandaprobe_otel.budget.wait",)) < 60) == ("", True)
    assert shown == {
        ("otel.sdk.exporter.span.exported",): 2,
        ("otel.sdk.processor.span.processed",): 2,
        ("otel.sdk.processor.span.processed", "filtered"): 1,
        ("otel.sdk.processor.span.queue.size",): 0,
        ("pandaprobe_otel.answers", "delivered"): 1,
        ("pandaprobe_otel.budget.leases",): 1,
        ("pandaprobe_otel.queue.utilization",): 0.0,
        ("pandaprobe_otel.traces",): 1,
    }
    labels_of: dict[str, set[str]] = {}
    for metric, point in points:
        ending = "_total" if metric["data"].get("is_monotonic") else ""
        known = metric["name"].replace(".", "_") + SUFFIXES[metric["unit"]] + ending
        labels_of.setdefault(known, {"job"}).update(label.replace(".", "_") for label in point["attributes"])

    dashboard = json.loads((ROOT / "examples" / "fleet" / "dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    used: set[str] = set()
    for query in queries:
        names = set(re.findall(r"\b(?:otel|pandaprobe)_\w+(?=\{)", query))
        used |= names
        grouped = set(re.findall(r"by \((\w+)\)", query)) | set(re.findall(r"(\w+)(?:=~|!=)", query))
        assert names
        assert names <= labels_of.keys(), query
        assert all(grouped <= labels_of[name] for name in names), query
    assert used == labels_of.keys()
