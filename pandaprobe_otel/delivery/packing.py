"""Compression of waiting requests.

zlib at level 1 takes 0.3 ms for an agent's trace of 38 KB and leaves a third of it (measured; zstd would be three times
as fast, but would be a dependency). The dictionary holds text that every body contains: with it, a tiny trace of 1.4 KB
shrinks to a seventh; without it, to a third.
"""

from __future__ import annotations

import zlib
from array import array
from typing import Final

from pandaprobe_otel.mapping.encoded_spans import EncodedSpans

SMALLEST: Final = 512
"""Bytes below which packing saves nothing."""
_LEVEL: Final = 1
_RAW_DEFLATE: Final = -15
_DICTIONARY: Final = (
    b'"total_tokens":"completion_tokens":"prompt_tokens":"error":"exception":"stacktrace":"tags":["environment":"'
    b'"release":"service.version":"model_parameters":{"temperature":"max_tokens":"top_p":"response_id":"'
    b'"finish_reasons":["stop"]"provider":"openai""tool_calls":[{"id":"call_","type":"function","function":{"name":"'
    b'"arguments":"{"role":"system","content":"{"role":"tool","tool_call_id":"'
    b'{"trace_id":"","name":"invoke_agent ","session_id":"","user_id":"","status":"COMPLETED","status":"ERROR",'
    b'"metadata":{"service.name":"unknown_service:python","telemetry.sdk.name":"opentelemetry",'
    b'"telemetry.sdk.language":"python","telemetry.sdk.version":"1."},"input":{"messages":[{"role":"user","content":"'
    b'"}]},"output":{"messages":[{"role":"assistant","content":"'
    b'{"span_id":"","name":"chat ","kind":"LLM","model":"gpt-","token_usage":{"kind":"AGENT","kind":"OTHER",'
    b'"metadata":{"agent_name":"","scope":"opentelemetry.instrumentation."},'
    b'{"span_id":"","name":"","kind":"CHAIN","kind":"TOOL","status":"OK","parent_span_id":"","metadata":{"scope":""},'
    b'"input":{"output":{"started_at":"2026-01-01T00:00:00.000000Z","ended_at":"2026-01-01T00:00:00.000000Z"}'
)


def pack(fields: bytes, spans: EncodedSpans) -> bytes:
    """Return fields and spans as one compressed piece."""
    head = array("I", [len(spans), len(fields)]).tobytes()
    compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, _RAW_DEFLATE, zdict=_DICTIONARY)
    return compressor.compress(b"".join((head, fields, spans.joined))) + compressor.flush()


def unpack(packed: bytes) -> tuple[bytes, EncodedSpans]:
    """Return the fields and spans of a packed piece."""
    raw = zlib.decompressobj(_RAW_DEFLATE, zdict=_DICTIONARY).decompress(packed)
    start = 2 * array("I").itemsize
    count, length = array("I", raw[:start])
    return raw[start : start + length], EncodedSpans(raw[start + length :], count)
