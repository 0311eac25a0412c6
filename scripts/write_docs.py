"""Write the generated pages and arguments in version control, and, for build_docs.py, the tree of the site.

python scripts/write_docs.py            write those in version control, which people read in the repository
python scripts/write_docs.py --check    exit with 1, and name those that are out of date

Pages in version control link to files in version control. Where the site has a page about such a file, such as an
example, the tree links to that page.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml

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

_LINK: Final = re.compile(r"\]\(([^):\s]+)\)")


def written() -> Mapping[str, str]:
    """Return the text of each generated file in version control, by its path in the repository."""
    return {
        "docs/settings.md": settings_page.page(),
        "pandaprobe_otel/bootstrap.py": settings_page.source_of_init(),
        "pandaprobe_otel/sdk/span_receivers.py": settings_page.source_of_span_receivers(),
        "docs/integrations.md": integration_pages.overview(),
        "docs/command-line.md": command_line_page.overview(),
        "examples/README.md": examples_page.overview(),
    }


def stale() -> list[str]:
    """Return the generated files in version control that are missing or out of date."""
    return [path for path, text in written().items() if _text(ROOT / path) != text]


def write_tree(target: Path) -> None:
    """Write all pages of the site into `target/docs`, and `target/mkdocs.yml` with a place for each."""
    shutil.rmtree(target / "docs", ignore_errors=True)
    shutil.copytree(ROOT / "docs", target / "docs", ignore=shutil.ignore_patterns("snippets"))
    pages = {
        "examples.md": examples_page.overview(linked=True),
        "dialects.md": dialects_page.page(),
        "command-line.md": command_line_page.overview(linked=True),
        **examples_page.pages(),
        **integration_pages.pages(),
        **command_line_page.pages(),
    }
    for path, text in pages.items():
        (target / "docs" / path).parent.mkdir(parents=True, exist_ok=True)
        (target / "docs" / path).write_text(text, encoding="utf-8")
    on_site = _on_site()
    for page in (target / "docs").rglob("*.md"):
        home = page.relative_to(target).parent.as_posix()
        page.write_text(_with_links_of_site(page.read_text(encoding="utf-8"), home, on_site), encoding="utf-8")
    (target / "mkdocs.yml").write_text(yaml.safe_dump(_config(), sort_keys=False), encoding="utf-8")


def _on_site() -> Mapping[str, str]:
    """Return the page of the site for each file or heading of the repository that has one."""
    return {
        "examples/README.md": "docs/examples.md",
        "pandaprobe_otel/mapping/dialects": "docs/dialects.md",
        **{f"examples/{each.path}": f"docs/{each.page}" for each in examples_page.examples()},
        **{f"docs/snippets/{name}.py": f"docs/integrations/{name}.md" for name in INTEGRATIONS},
        **{f"docs/integrations.md#{name}": f"docs/integrations/{name}.md" for name in INTEGRATIONS},
    }


def _with_links_of_site(text: str, home: str, on_site: Mapping[str, str]) -> str:
    def replaced(found: re.Match[str]) -> str:
        page = on_site.get(posixpath.normpath(posixpath.join(home, found[1])))
        return found[0] if page is None else f"]({posixpath.relpath(page, home)})"

    return _LINK.sub(replaced, text)


def _config() -> Mapping[str, Any]:
    """Return `mkdocs.yml` with the generated pages in its navigation, and with absolute paths."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    places = {
        "Each example": [{each.path: each.page} for each in examples_page.examples()],
        "Each command": [{name: f"command-line/{name}.md"} for name in command_line_page.groups()],
        "Each integration": [{name: f"integrations/{name}.md"} for name in sorted(INTEGRATIONS)],
    }
    for section in config["nav"]:
        for entry in (each for inside in section.values() if isinstance(inside, list) for each in inside):
            entry.update({title: places.pop(title) for title in [*entry] if title in places})
    if places:
        raise ValueError(f"the navigation in mkdocs.yml has no entry {min(places)!r}")
    python = next(each for each in config["plugins"] if "mkdocstrings" in each)["mkdocstrings"]["handlers"]["python"]
    python["paths"] = [str(ROOT / path) for path in python["paths"]]
    return config


def main() -> int:
    """Write or check the files, and return the exit code."""
    if sys.argv[1:] == ["--check"]:
        found = stale()
        for path in found:
            sys.stderr.write(f"{path} is out of date: run `make docs`.\n")
        return 1 if found else 0
    for path, text in written().items():
        if _text(ROOT / path) != text:
            (ROOT / path).write_text(text, encoding="utf-8")
    return 0


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
