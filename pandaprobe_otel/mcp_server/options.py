"""Options of the server, which come only from the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Permissions of the person who starts the server.

    Attributes:
        writes: Whether tools that judge, score and make tests exist.
        entry: The program's function as `module:function`. None: nothing is run.
        tests: The folder for new tests.
        max_evaluations: Most billed judgements until the server ends.
        max_calls: Most calls of models until the server ends. 0: everything is played back.
        folder: The program's folder.
        command: The command of a rerun, before its arguments.
    """

    writes: bool = False
    entry: str | None = None
    tests: Path = Path("tests")
    max_evaluations: int = 50
    max_calls: int = 0
    folder: Path = field(default_factory=Path.cwd)
    command: tuple[str, ...] = ()
