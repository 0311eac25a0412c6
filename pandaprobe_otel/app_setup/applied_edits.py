"""Application of edits to a project, and their exact reversal."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pandaprobe_otel.app_setup.edits import Edit

RECORD: Final = Path(".pandaprobe") / "setup.json"
"""Record of the changes: each file's hash after the edit, and its bytes before."""


class FilesChanged(Exception):
    """Files that are not as expected. Nothing was written."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self.paths = tuple(paths)
        super().__init__(", ".join(path.as_posix() for path in paths))


def apply(root: Path, edits: Sequence[Edit]) -> None:
    """Write a record that can revert all edits, then the edits, each file atomically.

    Raises FilesChanged if a file has changed since the edit was made, or if a record of an earlier set-up exists.
    """
    changed = [edit.path for edit in edits if _bytes(root / edit.path) != edit.before]
    if changed or (root / RECORD).exists():
        raise FilesChanged(changed or [RECORD])
    files = [
        {"path": each.path.as_posix(), "sha256": _digest(each.after), "before": base64.b64encode(each.before).decode()}
        for each in edits
    ]
    record = {"version": 1, "files": files}
    _write(root / RECORD, json.dumps(record, indent=1).encode(), private=True)
    for edit in edits:
        _write(root / edit.path, edit.after)


def undo(root: Path) -> tuple[Path, ...]:
    """Restore the bytes from before `apply` and remove its record. Return the restored files.

    Raises FilesChanged if a file was changed after `apply`, and FileNotFoundError without a record.
    """
    record: dict[str, Any] = json.loads((root / RECORD).read_bytes())
    files = [
        (_inside(root, each["path"]), each["sha256"], base64.b64decode(each["before"])) for each in record["files"]
    ]
    # The file is in its original state, since an earlier `undo` or `apply` was interrupted.
    open_files = [(path, digest, before) for path, digest, before in files if _bytes(root / path) != before]
    if changed := [path for path, digest, _ in open_files if _digest(_bytes(root / path)) != digest]:
        raise FilesChanged(changed)
    for path, _, before in open_files:
        _write(root / path, before)
    (root / RECORD).unlink()
    if not any((root / RECORD.parent).iterdir()):
        (root / RECORD.parent).rmdir()
    return tuple(path for path, _, _ in files)


def _inside(root: Path, name: str) -> Path:
    """Return the path if it is inside the project, because anybody may have written the record."""
    path = Path(name)
    if path.is_absolute() or not (root / path).resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{RECORD.as_posix()} names {name}, which is outside of the project")
    return path


def _digest(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()


def _bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _write(path: Path, data: bytes, *, private: bool = False) -> None:
    """Replace a file atomically, keeping its permissions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        if path.exists():
            shutil.copymode(path, name)
        elif not private:
            os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
