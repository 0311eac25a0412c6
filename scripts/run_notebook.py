"""Run a notebook from its first cell to its last, and store the printed outputs in it.

python scripts/run_notebook.py NOTEBOOK            write the outputs into it
python scripts/run_notebook.py NOTEBOOK --check    exit with 1 if its stored outputs differ

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


def run(notebook: dict[str, Any]) -> None:
    """Run every cell of code, and store its outputs and number in the notebook. Raises the exceptions of cells."""
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


def main() -> int:
    """Write or check the outputs, and return the exit code."""
    path = Path(sys.argv[1])
    before = path.read_text(encoding="utf-8")
    notebook = json.loads(before)
    run(notebook)
    after = json.dumps(notebook, indent=1, ensure_ascii=False) + "\n"
    if sys.argv[2:] != ["--check"]:
        path.write_text(after, encoding="utf-8")
    elif after != before:
        sys.stderr.write(f"{path} does not have the outputs of its cells: run scripts/run_notebook.py {path}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
