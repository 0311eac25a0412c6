"""Spans that a gateway with a spool acknowledged survive kill -9."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
from opentelemetry.sdk.trace import ReadableSpan

from otlp_senders import agent_trace, body_of, post
from pandaprobe_otel.mapping.ids import span_uuid, trace_uuid
from strict_pandaprobe import StrictPandaProbe
from subprocesses import environment
from waiting import wait_until


def start(env: dict[str, str]) -> tuple[subprocess.Popen[str], str]:
    """Start a gateway by its command, and return the process and its URL."""
    command = [sys.executable, "-m", "pandaprobe_otel.cli", "gateway", "--http-port", "0", "--no-grpc"]
    process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert "PandaProbe gateway" in process.stdout.readline()
    return process, process.stdout.readline().split()[-1].removesuffix("/v1/traces")


def end(process: subprocess.Popen[str]) -> int:
    """Terminate the gateway, and return its exit code."""
    process.terminate()
    process.communicate(timeout=60)
    return process.returncode


def test_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    """Spans acknowledged by a killed gateway, some without their root, are all delivered by the next one."""
    with StrictPandaProbe(limit=1000) as server:
        env = environment(server.url, PANDAPROBE_SPOOL_DIR=str(tmp_path / "spool"))
        server.stop()  # stopped until the first gateway is dead, so that no request has an unknown outcome
        first, url = start(env)
        expected: set[tuple[str, str]] = set()
        for number in range(20):
            spans = agent_trace(5)
            sent = spans if number % 2 else spans[:-1]  # the root ends last
            assert post(url, body_of(sent)).status_code == 200
            expected |= set(map(_ids, sent))
        os.kill(first.pid, signal.SIGKILL)
        first.communicate(timeout=60)
        server.start()
        second, url = start(env)
        assert httpx.get(f"{url}/health", timeout=60).json()["status"] == "ok"
        wait_until(lambda: expected <= _stored(server))
        assert end(second) == 0


def _ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.context is not None
    return trace_uuid(span.context.trace_id), span_uuid(span.context.trace_id, span.context.span_id)


def _stored(server: StrictPandaProbe) -> set[tuple[str, str]]:
    return {(trace_id, span_id) for trace_id, trace in list(server.traces.items()) for span_id in list(trace.spans)}
