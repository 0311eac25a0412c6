"""Write the newest tested versions of the frameworks, and the results of their tests, into docs/versions.md.

    nox -s frameworks 2>&1 | tee output; python scripts/newest_page.py .nox <output

The output of the tests is read from standard input, and the versions from the environments in the folder. The versions
of client libraries are those in constraints.txt, which the default tests use.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PAGE: Final = REPOSITORY / "docs" / "versions.md"
ENVIRONMENTS: Final = REPOSITORY / "tests" / "frameworks" / "environments"
HEADING: Final = "Newest tested versions"
CLIENTS: Final = (
    "anthropic",
    "boto3",
    "aiobotocore",
    "cohere",
    "google-genai",
    "groq",
    "litellm",
    "mistralai",
    "ollama",
    "openai",
    "together",
)
INTRODUCTION: Final = """\
`nox -s frameworks` runs the tests of each framework with its newest version. `scripts/newest_page.py` writes this table
from the results. The default tests run with these clients: {clients}.

| newest | Python | tests passed | failed | left out |
| --- | --- | --- | --- | --- |"""
_BEGIN: Final = re.compile(r"^nox > Running session frameworks\((\w+)\)$", re.MULTILINE)
_COUNT: Final = re.compile(r"(\d+) (passed|failed|error|skipped)")
_LAST: Final = re.compile(r"^=*\s?\d+ (?:passed|failed|skipped|error).* in [\d.]+s", re.MULTILINE)


def rows(said: str, directory: Path) -> Iterator[str]:
    """Yield one line for each environment whose tests ran to their end."""
    parts = _BEGIN.split(said)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        last = _LAST.findall(text)
        if last and (home := directory / f"frameworks-{name}").is_dir():
            counts = {kind: int(count) for count, kind in _COUNT.findall(last[-1])}
            failed = counts.get("failed", 0) + counts.get("error", 0)
            (site,) = home.glob("lib/python*/site-packages")
            cells = (_newest(name, site), site.parent.name.removeprefix("python"), counts.get("passed", 0), failed)
            yield f"| {' | '.join(map(str, cells))} | {counts.get('skipped', 0)} |"


def _newest(environment: str, site: Path) -> str:
    """Return the frameworks of an environment: the packages in its file, without instrumentations of other vendors."""
    asked = tomllib.loads((ENVIRONMENTS / f"{environment}.toml").read_text(encoding="utf-8"))["requirements"]
    names = [re.split(r"[\[>=<]", each)[0] for each in asked if "instrumentation" not in each]
    found = {each.name.lower(): each.version for each in metadata.distributions(path=[str(site)])}
    return ", ".join(f"{name} {found[name.lower()]}" for name in names)


def _clients() -> str:
    named = dict(re.findall(r"^([\w.-]+)==([\w.]+)", (REPOSITORY / "constraints.txt").read_text("utf-8"), re.MULTILINE))
    return ", ".join(f"{name} {named[name]}" for name in CLIENTS)


def main(directory: str) -> None:
    """Write the section of the newest versions."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
    from pages import with_section

    text = "\n".join([INTRODUCTION.format(clients=_clients()), *sorted(rows(sys.stdin.read(), Path(directory)))])
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), HEADING, text), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
