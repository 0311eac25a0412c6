"""A pipeline whose limit has a smaller window, so that seconds of a test stand for hours of an app."""

from __future__ import annotations

import time
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider

from pandaprobe_otel import PandaProbeSpanProcessor
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.delivery.budget import LeasedBucket, Tokens
from pandaprobe_otel.delivery.notices import Notices
from pandaprobe_otel.delivery.redis_tokens import RedisLeases, RedisTokens
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from pandaprobe_otel.pipeline.export_pipeline import ExportPipeline


def scaled_pipeline(
    *, window_s: float, limit: int = 100, request_timeout_s: float = 2.0
) -> tuple[ExportPipeline, TracerProvider]:
    """Return a pipeline with the settings of the environment and this limit, and a provider that sends with it."""
    config = Config.resolve()

    def tokens() -> Tokens:
        if config.redis_url is None:
            folder = Path(config.spool or "") / "leases"
            return FileTokens(folder, window_s=window_s, request_timeout_s=request_timeout_s)
        leases = RedisLeases(
            config.redis_url,
            "scaled",
            window_s=window_s,
            request_timeout_s=request_timeout_s,
            answer_within_s=10.0,  # enough for a busy machine
        )
        return RedisTokens(leases, Notices(time.monotonic))

    def bucket() -> LeasedBucket:
        return LeasedBucket(capacity=limit, window_s=window_s, tokens=tokens())

    pipeline = ExportPipeline(config, counts_starts=True, bucket=bucket)
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(PandaProbeSpanProcessor(pipeline=pipeline))
    return pipeline, provider
