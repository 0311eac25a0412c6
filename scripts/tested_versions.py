"""Write results of tests into docs/versions.md (newest frameworks) or docs/providers.md (oldest client libraries).

    nox -s frameworks 2>&1 | tee output; python scripts/tested_versions.py newest .nox <output
    python scripts/tested_versions.py oldest OUTPUT REQUIREMENT...

For the newest, pytest's output is read from standard input, and the versions from the environments in the folder. The
versions of client libraries are those in constraints.txt, which the default tests use. `WRITE_PAGES=1 nox -s
clients_oldest` calls the second form, with a file of pytest's output.
"""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from pages import section, with_section  # noqa: E402

CLIENTS: Final = (
    "anthropic", "boto3", "aiobotocore", "cohere", "google-genai", "groq", "litellm", "mistralai", "ollama", "openai",
    "together",
)  # fmt: skip
NEWEST: Final = """\
`nox -s frameworks` runs the tests of each framework with its newest version. `scripts/tested_versions.py` writes this
table from the results. The default tests run with these clients: {clients}.

| newest | Python | tests passed | failed | left out |
| --- | --- | --- | --- | --- |"""
OLDEST: Final = """\
Results of each library's tests with its oldest supported version. `WRITE_PAGES=1 nox -s clients_oldest` writes this
section. A test is left out if that version lacks the tested feature.

| oldest | Python | tests passed | failed | left out | because of it |
| --- | --- | --- | --- | --- | --- |"""
_LAST: Final = re.compile(r"^=*\s?(\d+ (?:passed|failed|skipped|error).*) in [\d.]+s", re.MULTILINE)


def counts(summary: str) -> tuple[int, int, int]:
    """Return the tests that passed, failed and were left out."""
    found = {kind: int(count) for count, kind in re.findall(r"(\d+) (passed|failed|error|skipped)", summary)}
    return found.get("passed", 0), found.get("failed", 0) + found.get("error", 0), found.get("skipped", 0)


def line(*cells: object) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(map(str, cells))} |"


def newest(printed: str, directory: Path) -> Iterator[str]:
    """Yield one line for each environment whose tests ran to their end."""
    parts = re.split(r"^nox > Running session frameworks\((\w+)\)$", printed, flags=re.MULTILINE)
    for name, text in zip(parts[1::2], parts[2::2], strict=True):
        if (last := _LAST.findall(text)) and (home := directory / f"frameworks-{name}").is_dir():
            (site,) = home.glob("lib/python*/site-packages")
            yield line(_frameworks(name, site), site.parent.name.removeprefix("python"), *counts(last[-1]))


def _frameworks(environment: str, site: Path) -> str:
    """Return the frameworks of an environment: the packages in its file, without instrumentations of other vendors."""
    file = ROOT / "tests" / "frameworks" / "environments" / f"{environment}.toml"
    requirements: list[str] = tomllib.loads(file.read_text(encoding="utf-8"))["requirements"]
    names = [re.split(r"[\[>=<]", each)[0] for each in requirements if "instrumentation" not in each]
    found = {each.name.lower(): each.version for each in metadata.distributions(path=[str(site)])}
    return ", ".join(f"{name} {found[name.lower()]}" for name in names)


def oldest(requirements: list[str], printed: str) -> str:
    """Return the library's line of the table."""
    missing = Counter[str]()
    for count, reason in re.findall(r"^SKIPPED \[(\d+)\] \S+: (.*)$", printed, re.MULTILINE):
        # The line of the table has the version at the reason's start.
        missing[re.sub(r"^\S+ [\d.]+ has no ", "no ", reason).replace("|", "/").strip()] += int(count)
    why = "; ".join(f"{reason} ({count})" for reason, count in missing.most_common())
    named = ", ".join(each.replace("==", " ") for each in requirements)
    return line(named, platform.python_version(), *counts(["", *_LAST.findall(printed)][-1]), why or "–")


def main(kind: str, source: str, *requirements: str) -> None:
    """Write the section."""
    if kind == "newest":
        page, heading = ROOT / "docs" / "versions.md", "Newest tested versions"
        pinned = re.findall(r"^([\w.-]+)==([\w.]+)", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
        clients = ", ".join(f"{name} {version}" for name, version in pinned if name in CLIENTS)
        lines = [NEWEST.format(clients=clients), *sorted(newest(sys.stdin.read(), Path(source)))]
    else:
        page, heading = ROOT / "docs" / "providers.md", "Oldest versions"
        added = oldest(list(requirements), Path(source).read_text(encoding="utf-8"))
        before = re.findall(r"^\| \w\S* [^|]*\d[^|]*\|.*\|$", section(page.read_text("utf-8"), heading), re.MULTILINE)
        lines = [OLDEST, *sorted({**{each.split()[1]: each for each in before}, added.split()[1]: added}.values())]
        print(added)
    page.write_text(with_section(page.read_text(encoding="utf-8"), heading, "\n".join(lines)), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
