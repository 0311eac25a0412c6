"""Build the documentation into `site/`, without the network: the pages, a plain copy of each, and `llms.txt`.

python scripts/build_docs.py    exits with 1 for a warning, or for a page that loads a file from another host

Each `page.html` has a `page.md` beside it: its source, with the text of the API reference in place of its directives.
`llms.txt` lists the copies, and `llms-full.txt` has their full texts.
"""

from __future__ import annotations

import inspect
import pydoc
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT / "integrations")]

from write_docs import write_tree  # noqa: E402

TREE: Final = ROOT / "build" / "site-source"
DOCS: Final = TREE / "docs"
SITE: Final = ROOT / "site"
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
    copies = {path: plain(path) for section in config["nav"] for _, path in entries(section)}
    for path, text in copies.items():
        (SITE / path).parent.mkdir(parents=True, exist_ok=True)
        (SITE / path).write_text(text, encoding="utf-8")
    (SITE / "llms.txt").write_text(index(config), encoding="utf-8")
    whole = "\n\n".join(f"<!-- {path} -->\n\n{text}" for path, text in copies.items())
    (SITE / "llms-full.txt").write_text(whole, encoding="utf-8")
    found = [*loaded_from_elsewhere(), *(f"{path} has no place in the navigation" for path in without_place(copies))]
    sys.stderr.writelines(f"{each}\n" for each in found)
    return 1 if found else 0


def plain(path: str) -> str:
    """Return a page's source, with the API reference in place of the names of its objects."""
    text = (DOCS / path).read_text(encoding="utf-8")
    return _DIRECTIVE.sub(lambda found: described(found[1].rpartition(".")[2], pydoc.locate(found[1])), text)


def described(name: str, found: Any, level: int = 2) -> str:
    """Return signature and docstring of an object, and of the public members of a class, as Markdown."""
    if inspect.isclass(found):
        ours = [base for base in found.__mro__[::-1] if base.__module__.startswith("pandaprobe_otel")]
        names = dict.fromkeys(each for base in ours for each in vars(base) if not each.startswith("_"))
        members = [(each, getattr(found, each)) for each in names if hasattr(found, each)]
        parts = [described(each, one, level + 1) for each, one in members if hasattr(one, "__get__") and one.__doc__]
        return "\n\n".join([f"{'#' * level} {name}", inspect.getdoc(found) or "", *parts])
    found = getattr(found, "method", found)  # of an operation of a client
    signature = (
        f"```text\n{name}{inspect.signature(found)}\n```\n\n" if isinstance(found, FunctionType | MethodType) else ""
    )
    return f"{'#' * level} {name}\n\n{signature}{inspect.getdoc(found) or ''}"


def entries(section: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield title and path of the pages of a section and of those inside it."""
    for title, inside in section.items():
        if isinstance(inside, str):
            yield title, inside
        else:
            for each in inside:
                yield from entries(each)


def index(config: Mapping[str, Any]) -> str:
    """Return `llms.txt`: https://llmstxt.org."""
    lines = [f"# {config['site_name']}", "", f"> {config['site_description']}"]
    for section in config["nav"]:
        lines += ["", f"## {next(iter(section))}", ""]
        lines += [f"- [{title}]({path})" for title, path in entries(section)]
    return "\n".join(lines) + "\n"


def loaded_from_elsewhere() -> Iterator[str]:
    """Yield a line for each file that a page would load from another host."""
    for page in sorted(SITE.rglob("*.html")):
        for url in _LOADED.findall(page.read_text(encoding="utf-8")):
            yield f"{page.relative_to(SITE)} loads {url}"


def without_place(copies: Mapping[str, str]) -> list[str]:
    """Return the pages without an entry in the navigation, which no reader could find."""
    return sorted({path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")} - copies.keys())


if __name__ == "__main__":
    sys.exit(main())
