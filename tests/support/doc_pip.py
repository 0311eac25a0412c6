"""A replacement for `pip` in the documentation's commands: it downloads nothing, and refuses unknown extras."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path

_EXTRAS = runpy.run_path(str(Path(__file__).parents[2] / "scripts" / "requirements.py"))["EXTRAS"]


def main(arguments: list[str]) -> str | None:
    """Return the error of a pip command line, or None if pip would install its packages."""
    if arguments[:1] != ["install"]:
        return f"pip {' '.join(arguments)}: only `pip install` is checked here"
    for named in re.findall(r"(?:pandaprobe-otel|\.)\[([^\]]+)\]", " ".join(arguments)):
        for extra in named.split(","):
            if extra not in _EXTRAS:
                return f"there is no extra {extra!r}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
