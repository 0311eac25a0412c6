"""Requests to PandaProbe, and what their answers mean."""

from __future__ import annotations

from pandaprobe_otel.transport.headers import api_key_headers
from pandaprobe_otel.transport.http import HttpTransport
from pandaprobe_otel.transport.messages import Answer, NoAnswer, Outcome, Request, Transport
from pandaprobe_otel.transport.retry_after import parse_retry_after
from pandaprobe_otel.transport.verdict import Verdict, VerdictKind, judge, lacks_key

__all__ = [
    "Answer",
    "HttpTransport",
    "NoAnswer",
    "Outcome",
    "Request",
    "Transport",
    "Verdict",
    "VerdictKind",
    "api_key_headers",
    "judge",
    "lacks_key",
    "parse_retry_after",
]
