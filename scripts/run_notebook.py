"""Run a notebook from its first cell to its last, and store the printed outputs in it.

python scripts/run_notebook.py NOTEBOOK    exits with 1 if the stored outputs were others

Cells are plain Python, so no kernel is needed. Output that differs between runs, such as the path of the traces, is
printed but not stored.
"""

from __future__ import annotations

import io
import json
import re
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Final

_OF_THIS_RUN: Final = re.compile(r"\nTraces: .*\nLook at them: .*\n")


def main(path: Path) -> int:
    """Run every cell of code, store its outputs and number, and return the exit code.

    Raises the exceptions of cells.
    """
    before = path.read_text(encoding="utf-8")
    notebook = json.loads(before)
    names: dict[str, Any] = {"__name__": "__main__"}
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for number, cell in enumerate(cells, start=1):
        printed = io.StringIO()
        with redirect_stdout(printed):
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
        print(printed.getvalue(), end="")
        lines = _OF_THIS_RUN.sub("", printed.getvalue()).splitlines(keepends=True)
        cell["execution_count"] = number
        cell["outputs"] = [{"name": "stdout", "output_type": "stream", "text": lines}] if lines else []
    after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    path.write_text(after, encoding="utf-8")
    return int(after != before)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
