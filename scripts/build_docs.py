"""Build the documentation into `site/`, without the network: the pages, a plain copy of each, and `llms.txt`.

python scripts/build_docs.py    exits with 1 for a warning, or for a page that loads a file from another host

Each `page.html` has a `page.md` beside it: its source, with the text of the API reference in place of its directives.
`llms.txt` lists the copies, and `llms-full.txt` has their full texts.
"""

from __future__ import annotations

import inspect
import posixpath
import pydoc
import re
import shutil
import subprocess
import sys
from collections.abc import Container, Iterator, Mapping
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Final

import yaml

from pandaprobe_otel.registry import INTEGRATIONS
from write_docs import ROOT, examples, pages_of_site

TREE: Final = ROOT / "build" / "site-source"
DOCS: Final = TREE / "docs"
SITE: Final = ROOT / "site"
FOLDERS: Final = {"Each example": "examples/", "Each command": "command-line/", "Each integration": "integrations/"}
"""The entries of the navigation for generated pages, and the folders with these."""
_LINK: Final = re.compile(r"\]\(([^):\s]+)\)")
_DIRECTIVE: Final = re.compile(r"^::: ([\w.]+)(?:\n {4}.*)*", re.MULTILINE)
_LOADED: Final = re.compile(r"<(?:script|link|img|iframe|source)\b[^>]*?(?:src|href)=[\"']?(https?://[^\"' >]+)")


def main() -> int:
    """Build and check the site, and return the exit code."""
    write_tree(TREE)
    done = subprocess.run([str(Path(sys.executable).with_name("zensical")), "build", "--strict", "--clean"], cwd=TREE)
    if done.returncode:
        return done.returncode
    shutil.rmtree(SITE, ignore_errors=True)
    shutil.move(TREE / "site", SITE)
    config = yaml.safe_load((TREE / "mkdocs.yml").read_text(encoding="utf-8"))
    copies = {path: plain(path) for _, path in entries(config["nav"])}
    whole = "\n\n".join(f"<!-- {path} -->\n\n{text}" for path, text in copies.items())
    for path, text in {**copies, "llms.txt": index(config), "llms-full.txt": whole}.items():
        (SITE / path).parent.mkdir(parents=True, exist_ok=True)
        (SITE / path).write_text(text, encoding="utf-8")
    found = list(faults(copies))
    sys.stderr.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


def faults(placed: Container[str]) -> Iterator[str]:
    """Yield a line for each file that a page would load from another host, and for each page that no reader finds."""
    for page in sorted(SITE.rglob("*.html")):
        for url in _LOADED.findall(page.read_text(encoding="utf-8")):
            yield f"{page.relative_to(SITE)} loads {url}"
    for page in sorted(DOCS.rglob("*.md")):
        if (path := page.relative_to(DOCS).as_posix()) not in placed:
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
    """Return `mkdocs.yml` with the generated pages in its navigation, and with absolute paths."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    for section in config["nav"]:
        for entry in (each for inside in section.values() if isinstance(inside, list) for each in inside):
            for title in entry.keys() & FOLDERS:
                found = [path for path in pages if path.startswith(FOLDERS[title])]
                entry[title] = [{path.removeprefix(FOLDERS[title]).removesuffix(".md"): path} for path in found]
    python = next(each for each in config["plugins"] if "mkdocstrings" in each)["mkdocstrings"]["handlers"]["python"]
    python["paths"] = [str(ROOT / path) for path in python["paths"]]
    return config


def plain(path: str) -> str:
    """Return a page's source, with the API reference in place of the names of its objects."""
    text = (DOCS / path).read_text(encoding="utf-8")
    return _DIRECTIVE.sub(lambda found: described(found[1].rpartition(".")[2], pydoc.locate(found[1])), text)


def described(name: str, found: Any, level: int = 2) -> str:
    """Return signature and docstring of an object, and of the public members of a class, as Markdown."""
    found = getattr(found, "method", found)  # of an operation of a client
    signed = isinstance(found, FunctionType | MethodType)
    parts = [f"{'#' * level} {name}", f"```text\n{name}{inspect.signature(found)}\n```" if signed else ""]
    parts.append(inspect.getdoc(found) or "")
    for member in inspect.classify_class_attrs(found) if inspect.isclass(found) else ():
        ours = member.defining_class.__module__.startswith("pandaprobe_otel") and not member.name.startswith("_")
        if ours and hasattr(member.object, "__get__") and member.object.__doc__:
            parts.append(described(member.name, getattr(found, member.name), level + 1))
    return "\n\n".join(filter(None, parts))


def entries(inside: Any) -> Iterator[tuple[str, str]]:
    """Yield title and path of the pages of the navigation, or of a part of it."""
    for entry in inside:
        for title, below in entry.items():
            yield from [(title, below)] if isinstance(below, str) else entries(below)


def index(config: Mapping[str, Any]) -> str:
    """Return `llms.txt`: https://llmstxt.org."""
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}"]
    for section in config["nav"]:
        lines += ["", f"## {next(iter(section))}", ""]
        lines += [f"- [{title}]({path})" for title, path in entries([section])]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
