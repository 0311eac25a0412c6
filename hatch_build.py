"""What hatchling cannot read in `pyproject.toml`: extras and entry points of the integrations, and the quickstart."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface


class PackageTheQuickstart(BuildHookInterface[Any]):
    """Puts `examples/quickstart.py` into standard wheels, where `pandaprobe-otel demo` runs it.

    A plain `force-include` would leave a stale copy in site-packages of editable installs, whose demo runs the file in
    `examples/` itself.
    """

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; `version` is `standard` or `editable`."""
        if self.target_name == "wheel" and version == "standard":
            build_data["force_include"]["examples/quickstart.py"] = "pandaprobe_otel/demo/quickstart.py"


class NameTheIntegrations(MetadataHookInterface):
    """Adds an extra and an entry point for each integration in `pandaprobe_otel/config/integrations.py`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Called by hatchling with the table `project` of `pyproject.toml`."""
        found = runpy.run_path(str(Path(self.root) / "scripts" / "requirements.py"))
        metadata["optional-dependencies"] = found["EXTRAS"]
        metadata["entry-points"] = found["ENTRY_POINTS"]
