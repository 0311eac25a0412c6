"""A replacement for `pip` in the documentation's commands: it downloads nothing, and refuses unknown extras."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_PROJECT = Path(__file__).parents[2] / "pyproject.toml"


def main(arguments: list[str]) -> str | None:
    """Return the error of a pip command line, or None if pip would install its packages."""
    if arguments[:1] != ["install"]:
        return f"pip {' '.join(arguments)}: only `pip install` is checked here"
    extras = tomllib.loads(_PROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for named in re.findall(r"(?:pandaprobe-otel|\.)\[([^\]]+)\]", " ".join(arguments)):
        for extra in named.split(","):
            if extra not in extras:
                return f"there is no extra {extra!r}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
