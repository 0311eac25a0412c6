"""Build the documentation into `site/`, without the network: the pages, a plain copy of each, and `llms.txt`.

python scripts/build_docs.py    exits with 1 for a warning, or for a page that loads a file from another host

Each `page.html` has a `page.md` beside it, `llms.txt` lists these copies, and `llms-full.txt` has their full texts.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from pandaprobe_otel.registry import INTEGRATIONS
from write_docs import ROOT, examples, pages_of_site

TREE: Final = ROOT / "build/site-source"
SITE: Final = ROOT / "site"
FOLDERS: Final = {"Each example": "examples/", "Each command": "command-line/", "Each integration": "integrations/"}
"""The entries of the navigation for generated pages, and the folders with these."""
_LINK: Final = re.compile(r"\]\(([^):\s]+)\)")
_LOADED: Final = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(https?://[^\"' >]+)")


def faults() -> Iterator[str]:
    """Yield a line for each file that a page would load from another host, and for each page that no reader finds."""
    navigation = (TREE / "mkdocs.yml").read_text(encoding="utf-8")
    for page in sorted(SITE.rglob("*.html")):
        for url in _LOADED.findall(page.read_text(encoding="utf-8")):
            yield f"{page.relative_to(SITE)} loads {url}"
    for page in sorted((TREE / "docs").rglob("*.md")):
        if f": {(path := page.relative_to(TREE / 'docs').as_posix())}\n" not in navigation:
            yield f"{path} has no place in the navigation"


def write_tree(target: Path) -> None:
    """Write all pages of the site into `target/docs`, and `target/mkdocs.yml` with a place for each.

    Pages in version control link to files in version control. Where the site has a page about such a file, such as an
    example, the tree links to that page.
    """
    docs = target / "docs"
    shutil.rmtree(docs, ignore_errors=True)
    shutil.copytree(ROOT / "docs", docs, ignore=shutil.ignore_patterns("snippets"))
    pages = pages_of_site()
    for path, text in pages.items():
        (docs / path).parent.mkdir(parents=True, exist_ok=True)
        (docs / path).write_text(text, encoding="utf-8")
    on_site = {
        "examples/README.md": "docs/examples.md",
        "pandaprobe_otel/mapping/dialects": "docs/dialects.md",
        **{f"examples/{each.path}": f"docs/{each.page}" for each in examples()},
        **{f"docs/snippets/{name}.py": f"docs/integrations/{name}.md" for name in INTEGRATIONS},
        **{f"docs/integrations.md#{name}": f"docs/integrations/{name}.md" for name in INTEGRATIONS},
    }
    for page in docs.rglob("*.md"):
        home = page.relative_to(target).parent.as_posix()

        def link(found: re.Match[str], home: str = home) -> str:
            place = on_site.get(posixpath.normpath(posixpath.join(home, found[1])))
            return found[0] if place is None else f"]({posixpath.relpath(place, home)})"

        page.write_text(_LINK.sub(link, page.read_text(encoding="utf-8")), encoding="utf-8")
    (target / "mkdocs.yml").write_text(yaml.safe_dump(_config(pages), sort_keys=False), encoding="utf-8")


def _config(pages: Mapping[str, str]) -> Mapping[str, Any]:
    """Return `mkdocs.yml` with the generated pages in its navigation."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    for section in config["nav"]:
        for entry in (each for inside in section.values() if isinstance(inside, list) for each in inside):
            for title in entry.keys() & FOLDERS:
                found = [path for path in pages if path.startswith(FOLDERS[title])]
                entry[title] = [{path.removeprefix(FOLDERS[title]).removesuffix(".md"): path} for path in found]
    return config


if __name__ == "__main__":
    write_tree(TREE)
    subprocess.run([Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"], cwd=TREE, check=True)
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(TREE / "site", SITE)
    sys.exit("\n".join(faults()) or None)
