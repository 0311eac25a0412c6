"""Results of other vendors' instrumentations in the same cases, which the page shows beside our own.

They were run in November 2026 with the newest version of each, on openai 3.57.0: otel-genai 1.3b0, OpenInference
0.1.66, OpenLLMetry 0.62.4, Langfuse 5.0.4, Logfire 5.4, the official PandaProbe SDK 0.6.0.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .results import Row

PEERS: Final = ("otel-genai", "OpenInference", "OpenLLMetry", "Langfuse", "Logfire", "PandaProbe SDK")


class Compared(NamedTuple):
    """One row: the action, our results to show, and the peers' results in the order of PEERS."""

    what: str
    ours: tuple[tuple[Row, str], ...]
    peers: tuple[str, ...]


def _of(
    shape: str, *cases: str, modes: tuple[str, ...] = ("sync",), library: str = "openai"
) -> tuple[tuple[Row, str], ...]:
    return tuple((Row(library, mode, shape), case) for mode in modes for case in cases)


_BOTH: Final = ("sync", "async")
_READ: Final = "read to the end"
OPENAI: Final = (
    Compared(
        "chat, sync / async", _of("plain", _READ, modes=_BOTH), ("TO/TO", "TO/TO", "TO/TO", "TO/TO", "TO/TO", "TO/to")
    ),
    Compared(
        "stream, sync / async",
        _of("stream", _READ, modes=_BOTH),
        ("TO/TO", "TO/TO", "TO/TO", "TO/TO", "TO/TO", "TO/raises"),
    ),
    Compared("break and `close()`", _of("stream", "break and close"), ("tO", "tO", "tO", "tO", "tO", "raises")),
    Compared("`with` and break", _of("stream", "with and break"), ("tO", "tO", "tO", "tO", "tO", "tO")),
    Compared(
        "break, dropped",
        _of("stream", "dropped"),
        ("tO, as error", "tO", "tO", "tO", "tO", "no span, nor of later calls"),
    ),
    Compared(
        "never iterated", _of("stream", "never iterated"), ("to, as error", "to", "tO", "no span", "to", "no span")
    ),
    Compared(
        "`async with` and break / cancelled",
        _of("stream", "with and break", "cancelled", modes=("async",)),
        ("tO/tO, as error", "tO/tO", "tO/tO", "to/to", "tO/tO", "raises/raises"),
    ),
    Compared(
        "`.stream()`, sync / async",
        _of("helper stream", _READ, modes=_BOTH),
        ("TO/TO", "TO/TO", "TO/TO, warns", "TO/TO", "TO/TO", "raises/raises"),
    ),
    Compared(
        "raw / raw stream",
        _of("raw", _READ) + _of("raw stream", _READ),
        ("TO/TO, other type", "TO/TO", "TO/to", "TO/no span", "TO/TO", "TO/raises"),
    ),
    Compared(
        "`with_streaming_response`: parse / lines",
        _of("with_streaming_response stream", _READ) + _of("with_streaming_response lines", _READ),
        ("TO/to", "TO/to", "TO/to", "no span/no span", "to/to", "TO/raises"),
    ),
    Compared(
        "`chat.parse` / `responses.parse`",
        _of("helper parse", _READ) + _of("helper parse", _READ, library="openai responses"),
        ("TO/TO", "TO/TO", "TO/TO", "TO/TO", "TO/TO", "no span/no span"),
    ),
    Compared(
        "parallel tool calls in a stream",
        _of("stream", "tool calls"),
        ("calls kept", "calls kept", "calls kept", "calls kept", "calls kept", "T, calls lost"),
    ),
    Compared(
        "`responses.stream()`",
        _of("helper stream", _READ, library="openai responses"),
        ("TO, other type", "TO", "TO", "TO", "TO", "raises"),
    ),
    Compared(
        "`client.with_options()`",
        _of("plain with_options", _READ),
        ("recorded", "recorded", "recorded", "recorded", "recorded", "no span"),
    ),
)
TYPES: Final = ("ChatStreamWrapper", "_Stream", "ChatStream", "Stream", "a subclass", "none that is a Stream")
OTHERS: Final = {
    "anthropic": (
        "Every peer makes a second span beside the client's own. OpenLLMetry loses each stream that is closed early, "
        "dropped or cancelled; OpenInference's spans of raw streams and of `with_streaming_response` are empty. In the "
        "official SDK `create(stream=True)` and `messages.stream()` of the asynchronous client raise and its `create` "
        "has no tokens, the synchronous `messages.stream()` raises for `current_message_snapshot` and `request_id`, "
        "and `beta` has no span."
    ),
    "google_genai": (
        "otel-genai refuses version 3 and records nothing. OpenInference changes the type of a stream; OpenLLMetry and "
        "the official SDK lose dropped ones, and with the latter `close()` raises. Embeddings are a bare span with "
        "OpenInference and none with the others."
    ),
    "mistralai": (
        "OpenInference turns the asynchronous stream into a generator; OpenLLMetry cannot be imported with version 3; "
        "none of them records embeddings."
    ),
    "bedrock": (
        "otel-genai and OpenInference change the type of event streams, OpenInference and OpenLLMetry that of bodies; "
        "OpenLLMetry loses dropped streams; `converse_stream` and `invoke_model_with_response_stream` raise with the "
        "official SDK."
    ),
}
"""Further findings, by library."""
