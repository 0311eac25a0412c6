"""Options of the server, which come only from the command line."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Permissions of the person who starts the server.

    Attributes:
        writes: True to offer the tools that judge, score and make tests.
        entry: The program's function as `module:function`; without it, no program can be run.
        tests: The folder that tests are written to.
        max_evaluations: Judgements that may be billed until the server ends.
        max_calls: Model calls that may be sent until the server ends; 0: all answers come from recordings.
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
