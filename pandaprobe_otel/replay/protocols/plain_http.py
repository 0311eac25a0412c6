"""Requests of unknown protocols: method, path, query and body."""

from __future__ import annotations

from email.parser import BytesParser
from email.policy import HTTP
from typing import Any, Final
from urllib.parse import parse_qsl

from pandaprobe_otel.replay.media import digest_of_bytes
from pandaprobe_otel.replay.protocols.parsed_request import Asked, model_of
from pandaprobe_otel.traces.json_shapes import object_in

_FORM: Final = "application/x-www-form-urlencoded"


def read(method: str, path: str, query: str, body: Any) -> Asked:
    """Return the request. `body` is parsed JSON, or None."""
    fields: dict[str, Any] = {"path": path}
    if query:
        fields["query"] = by_field(parse_qsl(query, keep_blank_values=True))
    if body is not None:
        fields["body"] = body
    model = model_of(object_in(body) or {})
    return Asked(protocol="http", operation=method.upper(), model=model, body=fields, data=True)


def body_of(content: bytes, content_type: str) -> Any:
    """Return a body that is not JSON: the fields of a form in any encoding, or else its text, or else its digest."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == _FORM:
        return by_field(parse_qsl(content.decode("utf-8", "replace"), keep_blank_values=True))
    if kind.startswith("multipart/") or (not kind and content.startswith(b"--")):
        return by_field(_parts(content))
    return _text_or_digest(content)


def by_field(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the values by name, with a list for a repeated name."""
    fields: dict[str, list[Any]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in fields.items()}


def _parts(content: bytes) -> list[tuple[str, Any]]:
    """Return the fields of a multipart form. Its separator is random, and is on the first line."""
    boundary = content.partition(b"\r\n")[0].removeprefix(b"--").decode("latin-1")
    head = f'Content-Type: multipart/form-data; boundary="{boundary}"\r\n\r\n'.encode("latin-1")
    message = BytesParser(policy=HTTP).parsebytes(head + content)
    found: list[tuple[str, Any]] = []
    for part in message.iter_parts() if message.is_multipart() else ():
        name = str(part.get_param("name", "", header="content-disposition"))
        data = part.get_payload(decode=True)
        value: Any = _text_or_digest(data) if isinstance(data, bytes) else ""
        filename = part.get_filename()
        found.append((name, value if filename is None else {"filename": filename, "content": value}))
    return found or [("", _text_or_digest(content))]


def _text_or_digest(content: bytes) -> Any:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return digest_of_bytes(content)
