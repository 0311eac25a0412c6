"""Write docs/dependencies.md: every dependency with its purpose, its oldest allowed version and its licence.

nox -s licences    runs this in an environment with all extras, after pip-licenses has checked their licences
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT: Final = Path(__file__).resolve().parents[1]
HEADER: Final = """\
# Dependencies

`scripts/dependencies.py` writes this page from `pyproject.toml`. The first column is the extra that installs the
package. Versions start at the oldest version that was tested. There is an upper bound only if the next major version is
known to have another interface.

Without any extra, the library installs those marked `always`, and their own dependencies.

| with | package | versions | licence | for |
| --- | --- | --- | --- | --- |
"""


class Dependency(NamedTuple):
    """A requirement of pyproject.toml, with the comment beside it."""

    extra: str
    name: str
    versions: str
    reason: str


def declared(text: str) -> Iterator[Dependency]:
    """Yield the requirements of the library and of its extras for users, in the order of pyproject.toml (`text`)."""
    project: dict[str, Any] = tomllib.loads(text)["project"]
    for extra, requirements in {"always": project["dependencies"], **project["optional-dependencies"]}.items():
        for requirement in requirements if extra not in ("dev", "docs", "lint", "outer") else ():
            name = Requirement(requirement).name
            if name != project["name"]:
                comment = re.search(rf'{re.escape(requirement)}",?[ \]]*# (.*)$', text, re.MULTILINE)
                reason = comment[1] if comment else f"the client library that `{extra}` instruments"
                yield Dependency(extra, name, requirement.removeprefix(name), reason)


def page(text: str) -> str:
    """Return the page, with the packages that are installed: each framework has an environment of its own."""
    listed = json.loads(subprocess.check_output(["pip-licenses", "--format=json"]))
    licences = {canonicalize_name(each["Name"]): each["License"].split("\n")[0] for each in listed}
    licences[canonicalize_name("mistralai")] = "Apache License"  # in its file alone
    return HEADER + "".join(
        f"| {each.extra} | `{each.name}` | `{each.versions}` | {found} | {each.reason} |\n"
        for each in declared(text)
        if (found := licences.get(canonicalize_name(each.name)))
    )


if __name__ == "__main__":
    written = page((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (ROOT / "docs/dependencies.md").write_text(written, encoding="utf-8")
