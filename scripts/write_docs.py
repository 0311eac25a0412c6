"""Write the generated files: pages of `docs/`, their places in `mkdocs.yml`, and `examples/README.md`.

python scripts/write_docs.py            write them
python scripts/write_docs.py --check    exit with 1, and name the files that are out of date
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "integrations")]

from docs_pages import (  # noqa: E402
    command_line_page,
    dialects_page,
    examples_page,
    integration_pages,
    settings_page,
)
from pandaprobe_otel.registry import INTEGRATIONS  # noqa: E402

_PLACES: Final = re.compile(
    r"^( *)# written by scripts/write_docs\.py: (\w+)\n.*?^ *# end of what is written\n", re.DOTALL | re.MULTILINE
)


def written() -> Mapping[str, str]:
    """Return the text of each generated file by its path in the repository."""
    below_docs = {**integration_pages.pages(), **examples_page.pages(), **command_line_page.pages()}
    return {
        "docs/dialects.md": dialects_page.page(),
        "docs/settings.md": settings_page.page(),
        "examples/README.md": examples_page.readme(),
        **{f"docs/{path}": text for path, text in below_docs.items()},
        "mkdocs.yml": with_places((ROOT / "mkdocs.yml").read_text(encoding="utf-8")),
    }


def with_places(config: str) -> str:
    """Return `mkdocs.yml` with a line for each generated page. Raises ValueError if a kind of page has no comment."""
    kinds = {
        "integrations": [(name, f"integrations/{name}.md") for name in sorted(INTEGRATIONS)],
        "examples": [(each.path, each.page) for each in examples_page.examples()],
        "commands": [(name, f"command-line/{name}.md") for name in command_line_page.groups()],
    }
    if missing := kinds.keys() - {found[2] for found in _PLACES.finditer(config)}:
        kind = min(missing)
        raise ValueError(f"mkdocs.yml has no comment `written by scripts/write_docs.py: {kind}`")

    def lines(found: re.Match[str]) -> str:
        indent, kind = found[1], found[2]
        places = "".join(f"{indent}- {title}: {path}\n" for title, path in kinds[kind])
        begin = f"{indent}# written by scripts/write_docs.py: {kind}\n"
        return f"{begin}{places}{indent}# end of what is written\n"

    return _PLACES.sub(lines, config)


def stale() -> list[str]:
    """Return the generated files that are missing, out of date, or no longer generated."""
    wanted = written()
    differ = [path for path, text in wanted.items() if _text(ROOT / path) != text]
    folders = (ROOT / "docs" / name for name in ("integrations", "examples", "command-line"))
    there = {path.relative_to(ROOT).as_posix() for folder in folders for path in folder.rglob("*.md")}
    return [*differ, *sorted(there - wanted.keys())]


def main() -> int:
    """Write or check the files, and return the exit code."""
    if sys.argv[1:] == ["--check"]:
        found = stale()
        for path in found:
            sys.stderr.write(f"{path} is out of date: run `make docs`.\n")
        return 1 if found else 0
    for path, text in written().items():
        if _text(ROOT / path) != text:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / path).write_text(text, encoding="utf-8")
    return 0


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
