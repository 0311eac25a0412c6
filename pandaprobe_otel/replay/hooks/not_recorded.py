"""Hooks that record nothing: the starts of spans, which name the places of calls, and connections that are refused.

Connections to models that have no single answer cannot be recorded, so they raise instead of going live.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.hooks import Patch, patch
from pandaprobe_otel.replay.open_recordings import current, owner

_HOSTS: Final = (".openai.com", ".openai.azure.com", ".googleapis.com", ".x.ai", ".mistral.ai", ".amazonaws.com")
_PATHS: Final = ("/realtime", "BidiGenerateContent")


def install(module: Any) -> list[Patch]:
    """Hook the function or class through which a library connects."""
    match module.__name__:
        case "opentelemetry.sdk.trace":
            return [patch(module.Tracer, "start_span", _start_span)]
        case "websockets.asyncio.client":
            return [patch(module.connect, "__init__", _guarded("A websocket", 1))]
        case "websockets.sync.client":
            return [patch(module, "connect", _guarded("A websocket", 0))]
        case "claude_agent_sdk._internal.transport.subprocess_cli":
            return [patch(module.SubprocessCLITransport, "connect", _start)]
        case _:  # grpc, grpc.aio
            return [patch(module, "secure_channel", _guarded("gRPC", 0))]


def _start_span(original: Any, tracer: Any, name: str, *arguments: Any, **options: Any) -> Any:
    span = original(tracer, name, *arguments, **options)
    try:
        run = owner()
    except RecordingError:  # The span is not recorded itself. A request below it will raise the same error.
        return span
    if run is not None:
        run.places.started(span, name)
    return span


def _guarded(what: str, at: int) -> Callable[..., Any]:
    """Return a wrapper that refuses a connection to a model, whose address is the argument at this index."""

    def connect(original: Any, *arguments: Any, **options: Any) -> Any:
        address = str(arguments[at] if len(arguments) > at else options.get("uri") or options.get("target"))
        _check(what, address if "://" in address else f"grpc://{address.rpartition('/')[2]}")
        return original(*arguments, **options)

    return connect


async def _start(original: Any, transport: Any, *arguments: Any, **options: Any) -> Any:
    """Refuse Claude's command line, which calls its model and runs its tools in another process."""
    if (run := current()) is not None:
        raise RecordingError(
            f"Claude's command line cannot be recorded by {run.path}: it calls its model and runs its tools in "
            "another process, which would go live during playback. Do not open a recording around the Claude Agent SDK."
        )
    return await original(transport, *arguments, **options)


def _check(what: str, uri: str) -> None:
    """Refuse a connection to a model. Other connections, such as those to a browser or a Collector, are allowed."""
    url = urlsplit(uri)
    is_model = f".{url.hostname or ''}".endswith(_HOSTS) or any(path in url.path for path in _PATHS)
    if is_model and (run := current()) is not None:
        raise RecordingError(
            f"{what} ({url.hostname}) cannot be recorded by {run.path}: a recording supports only HTTP requests with "
            "a single answer. Use the client's HTTP interface, or do not open a recording around this."
        )
