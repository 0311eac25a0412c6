"""The pipelines to compare: the set-up of each, and its environment.

    python benchmarks/delivery/peers.py install      # virtual environments for the two peers that are not ours

The environments are below BENCH_VENVS (default: pandaprobe-otel-bench in the temporary directory). A peer without one
is skipped, with a printed line.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

VENVS: Final = Path(os.environ.get("BENCH_VENVS") or Path(tempfile.gettempdir()) / "pandaprobe-otel-bench")
OURS: Final = "pandaprobe-otel"
ALL: Final = ("floor", "batch-noop", "otlp", "sdk", OURS)


def packages(home: str) -> list[str]:
    """Return the packages to install for a peer; OpenTelemetry in the version of this interpreter."""
    sdk = version("opentelemetry-sdk")
    return {
        "otlp": [f"opentelemetry-sdk=={sdk}", f"opentelemetry-exporter-otlp-proto-http=={sdk}"],
        "sdk": ["pandaprobe==0.6.0"],
    }[home]


def python_of(peer: str) -> Path | None:
    """Return the interpreter that has this peer; None if it is not installed."""
    if peer not in ("otlp", "sdk"):
        return Path(sys.executable)
    python = VENVS / peer / "bin" / "python"
    return python if python.exists() else None


def installed(peers: tuple[str, ...]) -> list[str]:
    """Return the installed peers; print the others."""
    for peer in peers:
        if python_of(peer) is None:
            print(f"{peer}: skipped, not installed (python benchmarks/delivery/peers.py install)")
    return [peer for peer in peers if python_of(peer) is not None]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A pipeline in the process that measures it."""

    emit: Callable[[Any], None]
    flush: Callable[[], object]


def load(peer: str, url: str, *, limited: bool = False) -> Pipeline:
    """Import and set up a peer. `limited`: apply our rate limit, as in production."""
    return _sdk(url) if peer == "sdk" else _otel(peer, url, limited)


def _sdk(url: str) -> Pipeline:
    import pandaprobe  # type: ignore[import-not-found, unused-ignore]
    from workloads import emit_sdk

    pandaprobe.init(api_key="sk_bench", project_name="bench", endpoint=url)
    return Pipeline(lambda story: emit_sdk(pandaprobe, story), lambda: pandaprobe.flush(60))


def _otel(peer: str, url: str, limited: bool) -> Pipeline:
    from opentelemetry.sdk.trace import TracerProvider
    from workloads import emit_otel

    provider = TracerProvider()
    if peer != "floor":
        provider.add_span_processor(_PROCESSORS[peer](url, limited))
    tracer = provider.get_tracer("bench", "1.0")
    return Pipeline(lambda story: emit_otel(tracer, story), lambda: provider.force_flush(60_000))


def _batch_noop(url: str, limited: bool) -> Any:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class NoExport(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    return BatchSpanProcessor(NoExport())


def _otlp(url: str, limited: bool) -> Any:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # type: ignore[import-not-found, unused-ignore]
        OTLPSpanExporter,
    )
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{url}/v1/traces"))


def _ours(url: str, limited: bool) -> Any:
    from pandaprobe_otel import PandaProbeSpanProcessor
    from pandaprobe_otel.config.resolve import Config
    from pandaprobe_otel.delivery.budget import LeasedBucket
    from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline

    settings: dict[str, Any] = {"api_key": "sk_pp_bench", "project_name": "bench", "endpoint": url}
    if spool := os.environ.get("BENCH_SPOOL"):
        settings["spool"] = spool
    if limited:
        return PandaProbeSpanProcessor(**settings)
    config = Config.resolve(settings)
    pipeline = ExportPipeline(config, counts_starts=True, bucket=lambda: LeasedBucket(capacity=1 << 30))
    return PandaProbeSpanProcessor(pipeline=pipeline)


_PROCESSORS: Final = {"batch-noop": _batch_noop, "otlp": _otlp, OURS: _ours}


def install() -> None:
    """Make the virtual environments."""
    for home in ("otlp", "sdk"):
        place = VENVS / home
        if not place.exists():
            venv.create(place, with_pip=True)
        subprocess.run([place / "bin" / "python", "-m", "pip", "install", "-q", *packages(home)], check=True)
        print(f"{home}: {place}")


if __name__ == "__main__":
    if sys.argv[1:] != ["install"]:
        sys.exit(__doc__)
    install()
