"""Settings: the table of them, where each value comes from, and one frozen object of all."""

from __future__ import annotations

from pandaprobe_otel.config.resolve import Config, ExportSettings, Problem, settings_of_a_piece
from pandaprobe_otel.config.settings import SETTINGS

__all__ = ["SETTINGS", "Config", "ExportSettings", "Problem", "settings_of_a_piece"]
