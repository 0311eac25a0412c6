"""List every dependency with its purpose, its oldest allowed version and its licence.

    python scripts/dependencies.py docs/dependencies.md    write the page, from pyproject.toml and installed packages
    python scripts/dependencies.py --check                 exit with 1 for a licence that is not known to be
                                                           compatible, including those of indirect dependencies

The licences are those of the installed versions: run `make install` first.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[1]
NOT_FOR_USERS: Final = frozenset({"dev", "docs", "lint", "outer"})
CORE: Final = "always"
# Licences that allow use, change and redistribution. The Mozilla licence covers only its own files.
COMPATIBLE: Final = re.compile(
    r"\b(Apache|MIT|0?BSD|ISC|PSF|Python Software Foundation|Unlicense|MPL|Mozilla Public|HPND|CNRI)\b", re.IGNORECASE
)
HEADER: Final = """\
# Dependencies

`scripts/dependencies.py` writes this page from `pyproject.toml`. The first column is the extra that installs the
package. Versions start at the oldest version that was tested. There is an upper bound only if the next major version is
known to have another interface.

Without any extra, the library installs {packages} packages of {megabytes} MB, not counting bytecode: those marked
`always`, and their own dependencies.

| with | package | versions | licence | for |
| --- | --- | --- | --- | --- |
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependency:
    """A requirement of pyproject.toml, with the comment beside it."""

    extra: str
    name: str
    versions: str
    reason: str


def declared(text: str) -> Iterator[Dependency]:
    """Yield the requirements of the library and of its extras for users, in the order of pyproject.toml (`text`)."""
    project: dict[str, Any] = tomllib.loads(text)["project"]
    parts: dict[str, list[str]] = {CORE: project["dependencies"], **project["optional-dependencies"]}
    for extra, requirements in parts.items():
        for requirement in requirements if extra not in NOT_FOR_USERS else ():
            name = Requirement(requirement).name
            if name == project["name"]:
                continue
            comment = re.search(rf'{re.escape(requirement)}",?[ \]]*# (.*)$', text, re.MULTILINE)
            reason = str(comment[1]) if comment else f"the client library that `{extra}` instruments"
            yield Dependency(extra=extra, name=name, versions=requirement.removeprefix(name), reason=reason)


def licence(name: str) -> str | None:
    """Return the licence of an installed distribution in a few words; None if it is not installed."""
    try:
        described = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return None
    if expression := described.get("license_expression"):
        return str(expression)
    classes = [each.rpartition(" :: ")[2] for each in described.get("classifier", ()) if "License ::" in each]
    if named := [each for each in classes if each != "OSI Approved"]:
        return ", ".join(named)
    return str(described.get("license") or licence_file(name)).strip().split("\n")[0][:60] or "not stated"


def licence_file(name: str) -> str:
    """Return the title of a distribution's first licence file; empty if it has none."""
    files = [each for each in metadata.files(name) or [] if each.name.upper().startswith("LICEN")]
    return files[0].read_text().strip() if files else ""


def needed_by(names: Iterable[str]) -> set[str]:
    """Return these packages and all their dependencies, by the installed metadata."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found or licence(name) is None:
            continue
        found.add(name)
        waiting += [Requirement(each).name for each in metadata.requires(name) or [] if "extra ==" not in each]
    return found


def core() -> set[str]:
    """Return the packages that come with the library without any extra."""
    return needed_by(["pandaprobe-otel"]) - {"pandaprobe-otel"}


def megabytes(names: Iterable[str]) -> float:
    """Return the size of the packages' installed files in MB, without bytecode."""
    files = (path.locate() for name in names for path in metadata.files(name) or [] if path.suffix != ".pyc")
    return sum(path.stat().st_size for each in files if (path := Path(str(each))).exists()) / 1e6


def page(dependencies: Iterable[Dependency]) -> str:
    """Return the whole page as Markdown."""
    header = HEADER.format(packages=len(core()), megabytes=round(megabytes(core())))
    return header + "".join(
        f"| {each.extra} | `{each.name}` | `{each.versions}` | {said} | {each.reason} |\n"
        for each in dependencies
        if (said := licence(each.name))  # Frameworks have no licence here: each has its own environment.
    )


def main() -> int:
    """Write or check the page."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    dependencies = list(declared((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    if sys.argv[1] != "--check":
        Path(sys.argv[1]).write_text(page(dependencies), encoding="utf-8")
        return 0
    everything = sorted(needed_by(each.name for each in dependencies))
    unknown = [(name, said) for name in everything if not COMPATIBLE.search(said := licence(name) or "")]
    print(f"{len(everything)} packages, {len(unknown)} with a licence that needs a review")
    for name, said in unknown:
        print(f"{name}: {said}", file=sys.stderr)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
