"""Write the table of settings in README.md from `pandaprobe_otel.settings.SETTINGS`.

python scripts/readme_settings.py            write it
python scripts/readme_settings.py --check    exit with 1 if README.md does not have it as it should be
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path

import pandaprobe_otel
from pandaprobe_otel.settings import SETTINGS, Setting

README = Path(__file__).parents[1] / "README.md"
BEGIN = "<!-- settings: written by scripts/readme_settings.py -->"
END = "<!-- end of settings -->"


def table() -> str:
    """Return the table in Markdown, one row for each setting."""
    arguments = inspect.signature(pandaprobe_otel.init).parameters
    lines = ["| `init(...)` | variable | default | meaning |", "|---|---|---|---|"]
    for setting in SETTINGS:
        argument = f"`{setting.name}`" if setting.name in arguments else ""
        variable = f"`{setting.env}`" if setting.env else ""
        lines.append(f"| {argument} | {variable} | {_default(setting)} | {setting.doc} |")
    return "\n".join(lines)


def _default(setting: Setting) -> str:
    return "" if setting.default in (None, ()) else f"`{setting.default}`"


def with_table(text: str) -> str:
    """Return the text of a README with the table between its two marks. Raises ValueError without marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN!r} followed by {END!r}")
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def main() -> int:
    """Write or check; return the exit code."""
    text = README.read_text(encoding="utf-8")
    wanted = with_table(text)
    if sys.argv[1:] == ["--check"]:
        if text == wanted:
            return 0
        sys.stderr.write("README.md does not show the settings as they are: run `make docs`.\n")
        return 1
    README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
