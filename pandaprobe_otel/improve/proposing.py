"""Proposals: a command or a function gets the evidence and answers with changed files."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from pydantic import TypeAdapter, ValidationError

from pandaprobe_otel.improve.candidate import MAX_BYTES, changed_files, copy_project

TIMEOUT_S: Final = 600.0
_OURS: Final = ("PANDAPROBE_",)
"""Prefixes of variables that the command does not get, since it does not need our key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Request for a candidate."""

    evidence: Mapping[str, Any]
    """Counts, shown cases, judges' reasons, files that may change, earlier rejections."""
    workdir: Path
    """Copy of the project, for changes."""
    allowed: tuple[str, ...]
    attempt: int
    earlier: tuple[Mapping[str, Any], ...]

    def as_json(self, evidence: Path) -> str:
        """Return the request in the form that a command reads from standard input."""
        fields = {
            "v": 1,
            "evidence": str(evidence),
            "workdir": str(self.workdir),
            "allowed": list(self.allowed),
            "kinds": ["rule", "prompt", "diff"],
            "attempt": self.attempt,
            "earlier": list(self.earlier),
        }
        return json.dumps(fields, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """Answer of a proposer: new content of files by path, or the reason why it declines."""

    files: Mapping[str, str] = field(default_factory=dict[str, str])
    rationale: str = ""
    declines: str | None = None


Proposer: TypeAlias = Callable[[Request], Response]


class ProposalFailed(Exception):
    """The proposer gave no usable answer."""


def by_command(command: str, request: Request, evidence: Path, *, timeout_s: float = TIMEOUT_S) -> Response:
    """Run a command with the request on standard input, and read its answer.

    It either answers with JSON (`files`, `rationale`, `declines`) on standard output, or changes the files in
    `workdir`. Raises ProposalFailed.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    with tempfile.TemporaryFile("w+b") as out:
        try:
            done = subprocess.run(
                shlex.split(command),
                input=request.as_json(evidence).encode(),
                stdout=out,
                cwd=request.workdir,
                env=environment,
                timeout=timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ProposalFailed(f"{command}: {error}") from error
        if done.returncode:
            raise ProposalFailed(f"{command} ended with exit code {done.returncode}")
        out.seek(0)
        text = out.read(4 * MAX_BYTES).decode("utf-8", "replace")
    return _read(text)


def _read(text: str) -> Response:
    if not text.lstrip().startswith("{"):
        return Response(files={}, rationale=text.strip()[:2_000])  # It changed the files in the copy.
    try:
        return TypeAdapter(Response).validate_json(text)
    except ValidationError as error:
        raise ProposalFailed(f"the answer cannot be read: {error.errors()[0]['msg']}") from error


def proposed(proposer: Proposer, request: Request, root: Path) -> Response:
    """Return the answer of a proposer, with its changes in the copy."""
    copy_project(root, request.workdir)
    response = proposer(request)
    if response.declines:
        return response
    try:
        changed = changed_files(root, request.workdir)
    except (ValueError, UnicodeDecodeError) as error:
        raise ProposalFailed(f"the copy cannot be used: {error}") from error
    return Response(files={**changed, **response.files}, rationale=response.rationale)
