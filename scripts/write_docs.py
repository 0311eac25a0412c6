"""Write the generated files: pages of `docs/`, their places in `mkdocs.yml`, and `examples/README.md`.

python scripts/write_docs.py            write them
python scripts/write_docs.py --check    exit with 1, and name the files that are out of date
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "integrations")]

from docs_pages import command_line_page, examples_page, integration_pages, settings_page  # noqa: E402
from pandaprobe_otel.mapping import page as dialects_page  # noqa: E402
from pandaprobe_otel.registry import INTEGRATIONS  # noqa: E402

BEGIN: Final = "# written by scripts/write_docs.py"
END: Final = "# end of what is written"


def written() -> Mapping[str, str]:
    """Return the text of each generated file by its path in the repository."""
    return {
        "docs/command-line.md": command_line_page.page(),
        "docs/dialects.md": dialects_page.page(),
        "docs/examples.md": examples_page.page(),
        "docs/settings.md": settings_page.page(),
        "examples/README.md": examples_page.readme(),
        **{f"docs/{path}": text for path, text in integration_pages.pages().items()},
        "mkdocs.yml": with_places((ROOT / "mkdocs.yml").read_text(encoding="utf-8")),
    }


def with_places(config: str) -> str:
    """Return `mkdocs.yml` with a line for each integration. Raises ValueError without the two marks."""
    before, begin, rest = config.partition(f"      {BEGIN}\n")
    _, end, after = rest.partition(f"      {END}\n")
    if not begin or not end:
        raise ValueError(f"mkdocs.yml has no {BEGIN!r} followed by {END!r}")
    places = "".join(f"      - {name}: integrations/{name}.md\n" for name in sorted(INTEGRATIONS))
    return f"{before}{begin}{places}{end}{after}"


def stale() -> list[str]:
    """Return the files that are missing, differ, or belong to a removed integration."""
    wanted = written()
    differ = [path for path, text in wanted.items() if _text(ROOT / path) != text]
    there = {path.relative_to(ROOT).as_posix() for path in (ROOT / "docs" / "integrations").glob("*.md")}
    return [*differ, *sorted(there - wanted.keys())]


def main() -> int:
    """Write or check; return the exit code."""
    if sys.argv[1:] == ["--check"]:
        found = stale()
        for path in found:
            sys.stderr.write(f"{path} is not what the source says: run `make docs`.\n")
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
