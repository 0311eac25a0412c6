"""Code blocks of the documentation, and the programs and commands that a reader makes of them.

The title of a block decides its use:

- no title: Python is run, and continues where the block before it ended, until a block calls `init(` or a shell block
  comes between: then a new program begins. Shell commands are run, with the exports of earlier blocks of the page.
- a file name: the block is saved under this name, for later blocks.
- `terminal ...`: a command that runs until the page ends, such as a server.
- `not run: ...`: readers see the reason; Python must still compile.
- `examples/...`: the source of an example, which the examples' tests run.

A comment `<!-- given: ... -->` before a block contains Python that stands for the reader's own code.
"""

from __future__ import annotations

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from build_docs import write_tree

ROOT: Final = Path(__file__).parents[2]
TREE: Final = Path(tempfile.mkdtemp(prefix="pandaprobe-otel-docs."))
"""The tree of the site: the pages of the repository, and the generated ones."""
DOCS: Final = TREE / "docs"
RUN: Final = ("python", "sh")
SHOWN: Final = ("text", "toml", "yaml", "json", "dockerfile")
_FENCE: Final = re.compile(
    r"(?:<!-- given:\s(?P<given>.*?)-->\s*)?^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


def _remove_tree(owner: int = os.getpid()) -> None:
    if os.getpid() == owner:  # not a fork
        shutil.rmtree(TREE, ignore_errors=True)


write_tree(TREE)
atexit.register(_remove_tree)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One code block, with its position and content."""

    page: str
    """Path of the page in the repository, or in the tree of the site."""
    line: int
    language: str
    title: str
    text: str
    given: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> str | None:
        """The reason why the block is not run; None if it is run."""
        return self.title.removeprefix("not run: ") if self.title.startswith("not run: ") else None

    @property
    def is_file(self) -> bool:
        """Return whether the block is saved as a file named by its title."""
        return re.fullmatch(r"[\w-]+\.\w+", self.title) is not None

    @property
    def is_example(self) -> bool:
        """Return whether the block shows an example's source."""
        return self.title.startswith("examples/")

    @property
    def is_server(self) -> bool:
        """Return whether the block is a command that runs until the page ends."""
        return self.title.startswith("terminal ")

    @property
    def is_run(self) -> bool:
        """Return whether the block is run unchanged."""
        return self.language in RUN and not (self.is_file or self.is_example or self.not_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Python blocks that run in order in one process."""

    blocks: Sequence[Block]

    @property
    def chunks(self) -> list[tuple[int, str]]:
        """Return each block's code with the number of the preceding line, so that tracebacks show the page's lines."""
        return [each for block in self.blocks for each in ((0, block.given), (block.line, block.text)) if each[1]]


Step = Program | Block


def pages() -> list[Path]:
    """Return every page for users: the documentation and the README."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def name_of(page: Path) -> str:
    """Return a page's path in the repository, or in the tree of the site."""
    return page.relative_to(TREE if page.is_relative_to(TREE) else ROOT).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=name_of(page),
            line=text.count("\n", 0, found.start("text")),
            language=found["language"],
            title=found["title"] or "",
            text=found["text"],
            given=found["given"] or "",
        )
        for found in _FENCE.finditer(text)
    ]


def steps(page: Path) -> Iterator[Step]:
    """Yield the steps of a reader who follows the page."""
    program: list[Block] = []
    for block in blocks(page):
        goes_on = block.is_run and block.language == "python"
        if program and ((not goes_on and block.language in RUN) or re.search(r"\binit\(", block.text)):
            yield Program(blocks=program)
            program = []
        if goes_on:
            program.append(block)
        elif block.is_file or block.is_run:
            yield block
    if program:
        yield Program(blocks=program)
