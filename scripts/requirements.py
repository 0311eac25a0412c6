"""The extras and the entry points of the distribution: those in `pyproject.toml`, and those of each integration."""

from __future__ import annotations

import runpy
import tomllib
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
TEXT: Final = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
_DECLARED: Final[dict[str, Any]] = tomllib.loads(TEXT)
PROJECT: Final[dict[str, Any]] = _DECLARED["project"]
_OURS: Final[dict[str, Any]] = _DECLARED["tool"]["hatch"]["metadata"]["hooks"]["custom"]
# By its path: the build imports nothing of the library, whose dependencies it lacks.
TABLE: Final[dict[str, Any]] = runpy.run_path(str(ROOT / "pandaprobe_otel" / "config" / "integrations.py"))["TABLE"]
CLIENTS: Final = tuple(name for name, row in TABLE.items() if row.has_clients)
"""The client libraries: integrations that one process can have together, which frameworks cannot."""
EXTRAS: Final[dict[str, list[str]]] = {
    **{name: [row.requirement, *row.also] for name, row in TABLE.items()},
    **_OURS["extras"],
    "all": sorted([*_OURS["extras"]["all"], *(f"pandaprobe-otel[{name}]" for name in CLIENTS)]),
}
ENTRY_POINTS: Final[dict[str, dict[str, str]]] = {
    **_OURS["entry-points"],
    "opentelemetry_instrumentor": {
        **_OURS["entry-points"]["opentelemetry_instrumentor"],
        **{f"pandaprobe_{name}": f"pandaprobe_otel_integrations.{name}:{row[0]}" for name, row in TABLE.items()},
    },
}
