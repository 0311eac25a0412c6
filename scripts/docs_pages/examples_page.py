"""`examples/README.md`, and the site's pages of the examples, from the descriptions in the files."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from docs_pages.markdown import WRITTEN, code, table

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
_COLUMNS: Final = ("file", "what it shows", "needs", "keys, to run it for real")
_INTRODUCTION: Final = """\
Each example is one file. Without keys, it runs offline in seconds: a scripted model answers, and the traces go to a
PandaProbe that the example starts itself. The last lines show the received traces, and the command that displays them.
With the keys in the environment, the same file calls the real model and sends to your PandaProbe. `nox -s
examples` runs each example outside the repository, in an environment with only the packages that its first lines
install."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """The description of a file in `examples/`, from its first text."""

    path: str
    """Path below `examples/`."""
    shows: str
    needs: str
    keys: tuple[str, ...]
    source: str

    @property
    def page(self) -> str:
        """Path of its page below `docs/`."""
        return f"examples/{Path(self.path).with_suffix('.md').as_posix()}"


def examples() -> list[Example]:
    """Return all examples, the quickstart first. Raises ValueError for a file without description or requirements."""
    found = [path for ending in ("py", "ipynb", "yaml", "json") for path in EXAMPLES.rglob(f"*.{ending}")]
    return sorted((_read(path) for path in found), key=lambda each: (each.path != "quickstart.py", each.path))


def overview(*, linked: bool = False) -> str:
    """Return `examples/README.md`; with links to the site's pages if they are wanted, the site's table."""
    rows = [
        (
            f"[{each.path}]({each.page if linked else each.path})",
            each.shows,
            f"`{each.needs}`" if each.needs else "",
            ", ".join(f"`{key}`" for key in each.keys),
        )
        for each in examples()
    ]
    return f"{WRITTEN}\n\n# Examples\n\n{_INTRODUCTION}\n\n{table(_COLUMNS, rows)}\n"


def pages() -> Mapping[str, str]:
    """Return the text of each path below the site's `docs/`: a page with the source of each example."""
    return {each.page: _page(each) for each in examples()}


def _page(example: Example) -> str:
    back = f"{'../' * example.page.count('/')}examples.md"
    about = f"{example.shows.rstrip('.')}. [All examples]({back})"
    return f"{WRITTEN}\n\n# {example.path}\n\n{about}\n\n{_source(example)}\n"


def _source(example: Example) -> str:
    if not example.source:
        return f"The file is long: see `examples/{example.path}`."
    language = "yaml" if example.path.endswith("yaml") else "python"
    return code(language, example.source, title=f"examples/{example.path}")


def _read(path: Path) -> Example:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        said, source = ast.get_docstring(ast.parse(text)) or "", text
    elif path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        said = "".join(cells[0]["source"])
        source = "\n\n".join("".join(each["source"]) for each in cells if each["cell_type"] == "code")
    elif path.suffix == ".json":
        said, source = json.loads(text)["description"], ""
    else:
        said = "\n".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
        source = text
    shows = " ".join(said.partition("\n\n")[0].removeprefix("# ").split()).rstrip(":")
    if not shows:
        raise ValueError(f"{path} has no description in its docstring or first comment")
    needs = re.search(r"pip install ([^`\n]+)", said)
    keys = tuple(dict.fromkeys(re.findall(r"\b[A-Z]+(?:_[A-Z]+)*_KEY(?:_ID)?\b", said)))
    return Example(
        path=path.relative_to(EXAMPLES).as_posix(),
        shows=shows,
        needs=needs[1].strip() if needs else "",
        keys=keys,
        source=source,
    )
