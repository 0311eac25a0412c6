"""`pandaprobe-otel replay`: recorded runs as tests, and run again."""

from __future__ import annotations

import click

from pandaprobe_otel.cli.capture import capture
from pandaprobe_otel.cli.faults import faults
from pandaprobe_otel.cli.rerun import rerun

replay = click.Group(
    "replay", help="Turn recorded runs into tests, and run them again.", commands=[capture, rerun, faults]
)
