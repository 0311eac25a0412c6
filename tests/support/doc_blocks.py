"""The code blocks of the documentation, and the programs and commands that a reader makes of them.

A block's title says what it is:

- none: Python is run, and goes on where the block before it ended, until one calls `init(` or a shell block comes
  between: that begins a new program. Shell commands are run, with what earlier blocks of the page exported.
- a file name: it is saved under this name, for later blocks.
- `terminal ...`: a command that runs until the page ends, such as a server.
- `not run: ...`: the reason is there for the reader to see; Python must still compile.
- `examples/...`: the source of an example, which the tests of the examples run.

A comment `<!-- given: ... -->` before a block is Python that stands for the reader's own code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"
RUN: Final = ("python", "sh")
SHOWN: Final = ("text", "toml", "yaml", "json")
_FENCE: Final = re.compile(
    r"(?:<!-- given:\s(?P<given>.*?)-->\s*)?^```(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?\n(?P<text>.*?)^```",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One code block: where it stands, and what is in it."""

    page: str
    """Path of the page in the repository."""
    line: int
    language: str
    title: str
    text: str
    given: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def not_run(self) -> str | None:
        """The reason why it is not run; None where it is."""
        return self.title.removeprefix("not run: ") if self.title.startswith("not run: ") else None

    @property
    def is_file(self) -> bool:
        """Whether it is saved under its title."""
        return re.fullmatch(r"[\w-]+\.\w+", self.title) is not None

    @property
    def is_example(self) -> bool:
        """Whether it shows an example's source."""
        return self.title.startswith("examples/")

    @property
    def is_server(self) -> bool:
        """Whether it is a command that ends with the page."""
        return self.title.startswith("terminal ")

    @property
    def is_run(self) -> bool:
        """Whether it is run as it stands."""
        return self.language in RUN and not (self.is_file or self.is_example or self.not_run)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """Python blocks that one process runs, in order."""

    blocks: Sequence[Block]

    @property
    def chunks(self) -> list[tuple[int, str]]:
        """What is run, with the number of lines before it on the page, so that a traceback leads there."""
        return [each for block in self.blocks for each in ((0, block.given), (block.line, block.text)) if each[1]]


Step = Program | Block


def pages() -> list[Path]:
    """Every page that a user follows: the documentation and the README."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The code blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page.relative_to(ROOT).as_posix(),
            line=text.count("\n", 0, found.start("text")),
            language=found["language"],
            title=found["title"] or "",
            text=found["text"],
            given=found["given"] or "",
        )
        for found in _FENCE.finditer(text)
    ]


def steps(page: Path) -> Iterator[Step]:
    """What a reader does, who follows the page."""
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


def not_run() -> dict[str, int]:
    """How many blocks are not run, by page."""
    skipped = [block for page in pages() for block in blocks(page) if block.not_run is not None]
    return {page: len(list(found)) for page, found in groupby(skipped, lambda block: block.page)}
