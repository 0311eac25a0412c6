"""`python -m pandaprobe_otel.cli`: the command line for systems whose scripts are not on the path."""

from __future__ import annotations

from pandaprobe_otel.cli import main

main()
