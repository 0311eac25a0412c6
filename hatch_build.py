"""Puts `examples/quickstart.py` into the wheel, where `pandaprobe-otel demo` runs it.

A plain `force-include` would leave a stale copy in site-packages of editable installs, whose demo runs the file in
`examples/` itself.
"""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PackageTheQuickstart(BuildHookInterface[Any]):
    """Adds the example to standard wheels only."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds; `version` is `standard` or `editable`."""
        if self.target_name == "wheel" and version == "standard":
            build_data["force_include"]["examples/quickstart.py"] = "pandaprobe_otel/demo/quickstart.py"
