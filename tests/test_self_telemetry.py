"""The metrics say what `status()` says."""

from __future__ import annotations

from typing import Any

from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment, run_python


def test_metrics_show_the_numbers_of_status() -> None:
    """Delivered, dropped by reason and waiting, under the SDK's own names."""
    code = """
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider([reader]))
    one("a")
    with tracer.start_as_current_span("GET", attributes={"http.request.method": "GET"}): pass
    assert handle.flush(5)
    for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
        for point in metric.data.data_points:
            kind = point.attributes.get("error.type") or point.attributes.get("pandaprobe.answer") or ""
            print(metric.name, kind, point.value)
    """
    with StrictPandaProbe() as server:
        result = run_python(code, environment(server.url))

    lines: list[Any] = sorted(result.stdout.splitlines())
    assert lines == [
        "otel.sdk.exporter.span.exported  2",
        "otel.sdk.processor.span.processed  2",
        "otel.sdk.processor.span.processed filtered 1",
        "otel.sdk.processor.span.queue.size  0",
        "pandaprobe_otel.answers delivered 1",
    ]
    assert result.stderr == ""
