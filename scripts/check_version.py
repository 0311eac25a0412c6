"""Check that a tag may be released: it equals the version in pyproject.toml, and CHANGELOG.md has a section for it.

python scripts/check_version.py v0.1.0
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


def faults(tag: str, version: str, changelog: str) -> list[str]:
    """Return the reasons for which the tag must not be released."""
    found: list[str] = []
    if tag != f"v{version}":
        found.append(f"the tag is {tag}, but pyproject.toml says {version}")
    section = re.search(rf"^## {re.escape(version)} - \d{{4}}-\d\d-\d\d\n(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    if section is None:
        found.append(f"CHANGELOG.md has no section `## {version} - YYYY-MM-DD`")
    elif "- " not in section[1]:
        found.append(f"the section of {version} in CHANGELOG.md is empty")
    return found


def main() -> int:
    """Check the given tag."""
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = faults(sys.argv[1], project["version"], (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    for fault in found:
        print(fault, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
