"""The command line. `main` is its entry point. Without the extra `cli`, it names the extra to install."""

from __future__ import annotations

import sys


def main() -> None:
    """Run `pandaprobe-otel` with the process's arguments and exit with its code (see `exits`)."""
    try:
        from pandaprobe_otel.cli.app import run
    except ModuleNotFoundError as error:
        from pandaprobe_otel.cli.extras import missing_extra

        print(f"pandaprobe-otel: {missing_extra(error)}", file=sys.stderr)
        sys.exit(1)
    sys.exit(run())
