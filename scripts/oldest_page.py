"""Write the test result of one library with its oldest version into docs/providers.md.

    python scripts/oldest_page.py OUTPUT REQUIREMENT...

OUTPUT is a file with pytest's output. `WRITE_PAGES=1 nox -s clients_oldest` calls it.
"""

from __future__ import annotations

import platform
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[1]
PAGE: Final = REPOSITORY / "docs" / "providers.md"
HEADING: Final = "Oldest versions"
INTRODUCTION: Final = """\
Results of each library's tests with its oldest supported version. `WRITE_PAGES=1 nox -s clients_oldest` writes this
section. A test is left out if that version lacks the tested feature.

| oldest | Python | tests passed | failed | left out | because of it |
| --- | --- | --- | --- | --- | --- |"""
_COUNT: Final = re.compile(r"(\d+) (passed|failed|skipped|error)")
_LAST: Final = re.compile(r"=*\s?\d+ (?:passed|failed|skipped|error).* in [\d.]+s")
_SKIPPED: Final = re.compile(r"^SKIPPED \[(\d+)\] \S+: (.*)$", re.MULTILINE)
_ROW: Final = re.compile(r"^\| (\S+ [^|]*)\|.*\|$", re.MULTILINE)


def row(requirements: list[str], said: str) -> str:
    """Return the library's line of the table."""
    last = next((line for line in reversed(said.splitlines()) if _LAST.match(line)), "")
    counts = {kind: int(count) for count, kind in _COUNT.findall(last)}
    missing = Counter[str]()
    for count, reason in _SKIPPED.findall(said):
        missing[_short(reason)] += int(count)
    failed = counts.get("failed", 0) + counts.get("error", 0)
    why = "; ".join(f"{reason} ({count})" for reason, count in missing.most_common())
    numbers = (counts.get("passed", 0), failed, counts.get("skipped", 0))
    cells = (_named(requirements), platform.python_version(), *numbers, why or "–")
    return f"| {' | '.join(map(str, cells))} |"


def section_of(rows: dict[str, str]) -> str:
    """Return the section with these lines, sorted by library."""
    return "\n".join([INTRODUCTION, *(rows[name] for name in sorted(rows))])


def rows_of(section: str) -> dict[str, str]:
    """Return the lines of the existing table, by library."""
    found = {match[1].split()[0]: match[0] for match in _ROW.finditer(section)}
    return {name: line for name, line in found.items() if name not in ("oldest", "---")}


def _named(requirements: list[str]) -> str:
    return ", ".join(one.replace("==", " ") for one in requirements)


def _short(reason: str) -> str:
    """Return a reason without the version at its start, which the line of the table has."""
    return re.sub(r"^\S+ [\d.]+ has no ", "no ", reason).replace("|", "/").strip()


def main(output: str, *requirements: str) -> None:
    """Write the line of this library."""
    sys.path.insert(0, str(REPOSITORY / "tests" / "support"))
    from pages import section, with_section

    page = PAGE.read_text(encoding="utf-8")
    line = row(list(requirements), Path(output).read_text(encoding="utf-8"))
    rows = {**rows_of(section(page, HEADING)), line.split()[1]: line}
    PAGE.write_text(with_section(page, HEADING, section_of(rows)), encoding="utf-8")
    print(line)


if __name__ == "__main__":
    main(*sys.argv[1:])
