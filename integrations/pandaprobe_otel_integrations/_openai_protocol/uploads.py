"""Files that are sent with a request: the span names them and does not contain them."""

from __future__ import annotations

import os
from typing import Any, Final

from pandaprobe_otel_integrations._endpoint import Body
from pandaprobe_otel_integrations._parts import Part
from pandaprobe_otel_integrations._shape import items

FILES: Final = "\0files"
"""Member of a request's body under which its files are passed on. No service has a member of this name."""


def with_files(body: Body, files: Any) -> Body:
    """Return the body of a multipart request, with its files by their fields."""
    return {**body, FILES: list(files.items()) if isinstance(files, dict) else items(files)}  # pyright: ignore[reportUnknownArgumentType]


def file_parts(body: Body, modality: str) -> list[Part]:
    """Return a blob's part for each file: its name, and its size if it is known without reading the file."""
    return [_part(entry[1], modality) for entry in items(body.get(FILES)) if isinstance(entry, tuple)]


def _part(file: Any, modality: str) -> Part:
    name, content, mime_type = None, file, None
    if isinstance(file, tuple):
        name, content, mime_type, *_ = (*file, None, None)  # pyright: ignore[reportUnknownVariableType]
    path = content if isinstance(content, os.PathLike) else getattr(content, "name", None)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if name is None and isinstance(path, (str, os.PathLike)):
        name = os.path.basename(os.fspath(path))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    part: Part = {"type": "blob", "modality": modality, "mime_type": mime_type, "name": name}
    if isinstance(content, (bytes, bytearray)):
        part["bytes"] = len(content)
    return part
