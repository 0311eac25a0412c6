"""The file of a recording: YAML in the format of vcrpy, with additional data under the key `pandaprobe`.

A cassette may come from anybody's pull request. So it is read as plain data, its cost is bounded, and errors name the
file and line.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import yaml

from pandaprobe_otel.errors import RecordingError
from pandaprobe_otel.replay.cassette_entries import (
    ReadEntries,
    WrongEntryError,
    interaction_entry,
    tool_entry,
    tool_of,
)
from pandaprobe_otel.replay.cassette_text import Flow, yaml_of
from pandaprobe_otel.replay.interactions import Cassette
from pandaprobe_otel.replay.shared_parts import Sharing

FORMAT: Final = 1
MAX_FILE_BYTES: Final = 64 << 20
MAX_BLOB_BYTES: Final = 256 << 20
"""Maximum number of bytes of all blobs of a cassette."""
MAX_DEPTH: Final = 48
"""Maximum number of levels of YAML. A cassette has eight, and tool results add their own."""
BLOB_BYTES: Final = 256 << 10
"""Size above which an answer is saved in its own file."""
_BLOB_NAME: Final = re.compile(r"[0-9a-f]{16}\.[a-z]{2,6}")
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(path: Path) -> Cassette:
    """Read a cassette. Raises RecordingError with the line for an invalid file, and FileNotFoundError for a missing
    one.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror}.") from error
    if len(data) > MAX_FILE_BYTES:
        raise RecordingError(f"{path}: has more than {MAX_FILE_BYTES >> 20} MB. Record it in parts.")
    node = _node(path, data)
    try:
        return _cassette(path, node)
    except WrongEntryError as error:
        line = f"{path}:{error.line}" if error.line else str(path)
        raise RecordingError(f"{line}: {error}. Fix it, or record it again (--pandaprobe-record=all).") from error


def _node(path: Path, data: bytes) -> Any:
    """Return the tree of the document. References and deep nesting are refused."""
    try:
        depth = 0
        for event in yaml.parse(data, Loader=_LOADER):
            if isinstance(event, yaml.AliasEvent):
                raise WrongEntryError("has a YAML reference (*), which no cassette needs", _line(event))
            if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                depth += 1
                if depth > MAX_DEPTH:
                    raise WrongEntryError(f"has more than {MAX_DEPTH} levels", _line(event))
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                depth -= 1
        node = yaml.compose(data, Loader=_LOADER)
    except WrongEntryError as error:
        raise RecordingError(f"{path}:{error.line}: {error}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise RecordingError(f"{place}: invalid YAML: {problem}. Fix it, or record it again.") from error
    if not isinstance(node, yaml.MappingNode):
        raise RecordingError(f"{path}:1: not a cassette: it must be a mapping with `interactions`.")
    return node


def _plain(node: Any) -> Any:
    """Return the data of a part of the tree."""
    loader = _LOADER("")
    try:
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise WrongEntryError(f"cannot be read: {getattr(error, 'problem', None) or error}", _line(node)) from error
    finally:
        loader.dispose()


def _line(node: Any) -> int:
    return int(node.start_mark.line) + 1


def _cassette(path: Path, root: Any) -> Cassette:
    parts = {key.value: value for key, value in root.value if isinstance(key, yaml.ScalarNode)}
    head: Any = _plain(parts["pandaprobe"]) if "pandaprobe" in parts else {}
    if not isinstance(head, dict):
        raise WrongEntryError("`pandaprobe` must be a mapping", _line(parts["pandaprobe"]))
    said = cast("Mapping[str, Any]", head)
    if said.get("format", FORMAT) != FORMAT:
        raise WrongEntryError(
            f"has the format {said.get('format')!r}, but this version reads {FORMAT}: update pandaprobe-otel", 1
        )
    reader = ReadEntries(str(path), _Blobs(path))
    interactions = [
        reader.interaction(_plain(node), _line(node), _line_of_request(node)) for node in _items(parts, "interactions")
    ]
    tools = [tool_of(_plain(node), _line(node)) for node in _items(parts, "tools")]
    return Cassette(
        interactions=tuple(interactions),
        tools=tuple(tools),
        client=str(said.get("client") or ""),
        made_from=None if said.get("made_from") is None else str(said["made_from"]),
        scrubbed=tuple(map(str, said.get("scrubbed") or ())),
        started_at=None if said.get("started_at") is None else str(said["started_at"]),
    )


def _items(parts: Mapping[str, Any], name: str) -> list[Any]:
    node = parts.get(name)
    if node is None or (isinstance(node, yaml.ScalarNode) and node.value in ("", "null", "~")):
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise WrongEntryError(f"`{name}` must be a list", _line(node))
    return list(node.value)


def _line_of_request(node: Any) -> int:
    if isinstance(node, yaml.MappingNode):
        for key, _ in node.value:
            if key.value == "request":
                return _line(key)
    return _line(node)


class _Blobs:
    """Answers of a cassette that are saved in their own files, read one by one."""

    def __init__(self, path: Path) -> None:
        self._folder = _folder(path)
        self._size = 0

    def __call__(self, name: object) -> bytes:
        if not isinstance(name, str) or not _BLOB_NAME.fullmatch(name):
            raise WrongEntryError(f"{name!r} is not the name of a blob", 0)
        try:
            with (self._folder / name).open("rb") as file:
                data = file.read(MAX_BLOB_BYTES - self._size + 1)
        except OSError as error:
            raise WrongEntryError(f"the blob {self._folder / name} cannot be read: {error.strerror}", 0) from error
        self._size += len(data)
        if self._size > MAX_BLOB_BYTES:
            raise WrongEntryError(f"its blobs have more than {MAX_BLOB_BYTES >> 20} MB", 0)
        return data


def _folder(path: Path) -> Path:
    return path.with_name(f"{path.stem}.blobs")


def save(path: Path, cassette: Cassette) -> None:
    """Write a cassette atomically: the old file stays until the new one is complete. Raises RecordingError."""
    blobs: dict[str, bytes] = {}

    def keep(text: bytes, suffix: str) -> str:
        name = f"{hashlib.sha256(text).hexdigest()[:16]}.{suffix}"
        blobs[name] = text
        return name

    sharing = Sharing()
    document: dict[str, Any] = {
        "version": 1,
        "pandaprobe": Flow(_head(cassette)),
        "interactions": [
            interaction_entry(interaction, sharing, keep=keep, most=BLOB_BYTES) for interaction in cassette.interactions
        ],
    }
    if cassette.tools:
        document["tools"] = [tool_entry(call) for call in cassette.tools]
    text = yaml_of(document)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for name, data in blobs.items():
            _folder(path).mkdir(exist_ok=True)
            _write(_folder(path) / name, data)
        _write(path, text.encode())
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror}. The old file is unchanged.") from error
    _clean_up(_folder(path), blobs)


def _head(cassette: Cassette) -> dict[str, Any]:
    found = {
        "format": FORMAT,
        "client": cassette.client,
        "made_from": cassette.made_from,
        "started_at": cassette.started_at,
        "scrubbed": list(cassette.scrubbed),
    }
    return {key: value for key, value in found.items() if value}


def _write(path: Path, data: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".new")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        Path(name).chmod(mode)
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _umask() -> int:
    """Return the mask for new files. Reading it requires setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _clean_up(folder: Path, blobs: Mapping[str, bytes]) -> None:
    """Remove blobs that no entry names any more."""
    with suppress(OSError):
        for old in folder.iterdir():
            if _BLOB_NAME.fullmatch(old.name) and old.name not in blobs:
                old.unlink()
        folder.rmdir()  # removed only if it is empty
