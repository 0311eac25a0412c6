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
NOT_FOR_USERS: Final = ("dev", "docs", "lint", "outer")
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
    for extra, requirements in {"always": project["dependencies"], **project["optional-dependencies"]}.items():
        for requirement in requirements if extra not in NOT_FOR_USERS else ():
            name = Requirement(requirement).name
            if name != project["name"]:
                comment = re.search(rf'{re.escape(requirement)}",?[ \]]*# (.*)$', text, re.MULTILINE)
                reason = comment[1] if comment else f"the client library that `{extra}` instruments"
                yield Dependency(extra=extra, name=name, versions=requirement.removeprefix(name), reason=reason)


def licence(name: str) -> str | None:
    """Return the licence of an installed distribution in a few words; None if it is not installed."""
    try:
        described = metadata.metadata(name).json
    except metadata.PackageNotFoundError:
        return None
    classes = [each.rpartition(" :: ")[2] for each in described.get("classifier", ()) if "License ::" in each]
    named = described.get("license_expression") or ", ".join(each for each in classes if each != "OSI Approved")
    files = [each for each in metadata.files(name) or [] if each.name.upper().startswith("LICEN")]
    text = named or described.get("license") or (files[0].read_text() if files else "")
    return str(text).strip().split("\n")[0][:60] or "not stated"


def needed_by(*names: str) -> set[str]:
    """Return these packages and all their dependencies, by the installed metadata."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found and licence(name) is not None:
            found.add(name)
            waiting += [Requirement(each).name for each in metadata.requires(name) or [] if "extra ==" not in each]
    return found


def core() -> set[str]:
    """Return the packages that come with the library without any extra."""
    return needed_by("pandaprobe-otel") - {"pandaprobe-otel"}


def page(dependencies: Iterable[Dependency]) -> str:
    """Return the whole page as Markdown."""
    files = [
        Path(str(each.locate())) for name in core() for each in metadata.files(name) or [] if each.suffix != ".pyc"
    ]
    size = sum(path.stat().st_size for path in files if path.exists())
    return HEADER.format(packages=len(core()), megabytes=round(size / 1e6)) + "".join(
        f"| {each.extra} | `{each.name}` | `{each.versions}` | {found} | {each.reason} |\n"
        for each in dependencies
        if (found := licence(each.name))  # Frameworks have no licence here: each has its own environment.
    )


def main(target: str) -> int:
    """Write or check the page."""
    dependencies = list(declared((ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    if target != "--check":
        Path(target).write_text(page(dependencies), encoding="utf-8")
        return 0
    found = {name: licence(name) or "" for name in sorted(needed_by(*(each.name for each in dependencies)))}
    unknown = {name: text for name, text in found.items() if not COMPATIBLE.search(text)}
    print(f"{len(found)} packages, {len(unknown)} with a licence that needs a review", unknown)
    return 1 if unknown else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
