"""HTTP, database, messaging and RPC spans: a short list of attributes, without content and without secrets."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

from pandaprobe_otel.mapping.dialect_table import Dialect, Row, named
from pandaprobe_otel.mapping.text import cut_text
from pandaprobe_otel.mapping.values import text, type_of

MAX_QUERY: Final = 2048


def _query(value: Any) -> str | None:
    found = text(value)
    return cut_text(found, MAX_QUERY) if found is not None and len(found) > MAX_QUERY else found


def _path(value: Any) -> str | None:
    found = text(value)
    return found.partition("?")[0].partition("#")[0] if found is not None else None


def bare_url(value: Any) -> str | None:
    """Return a URL without user, password, query and fragment."""
    found = text(value)
    if found is None:
        return None
    try:
        parts = urlsplit(found)
        host = parts.netloc.rpartition("@")[2]
    except ValueError:
        return None
    return f"{parts.scheme}://{host}{parts.path}" if host else parts.path


def _address(value: Any) -> str | None:
    found = text(value)
    return bare_url(found) if found is not None and "://" in found else found  # some emitters put a URL here


def _status_code(value: Any) -> int | None:
    return value if type_of(value) is int else None


DIALECT: Final = Dialect(
    name="plain",
    title="OpenTelemetry HTTP, database, messaging and RPC conventions",
    rows=(
        Row("metadata.url.path", ("url.path", "http.target"), _path, "without query"),
        Row("metadata.url.full", ("url.full", "http.url"), bare_url, "without user, password, query and fragment"),
        Row("metadata.db.query.text", ("db.query.text", "db.statement"), _query, "at most 2 kB"),
        Row("metadata.http.response.status_code", ("http.response.status_code", "http.status_code"), _status_code),
        Row("metadata.server.address", ("server.address", "net.peer.name"), _address),
        *named(
            text,
            {
                "metadata.http.request.method": ("http.request.method", "http.method"),
                "metadata.db.system.name": ("db.system.name", "db.system"),
                "metadata.db.collection.name": "db.collection.name",
                "metadata.messaging.system": "messaging.system",
                "metadata.messaging.destination.name": ("messaging.destination.name", "messaging.destination"),
                "metadata.rpc.method": "rpc.method",
            },
        ),
    ),
)
