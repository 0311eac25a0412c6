"""`pandaprobe-otel mcp --http`, in a process of its own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from command_line import COMMAND


@contextmanager
def serving(environment: Mapping[str, str], *options: str, folder: Path | None = None) -> Iterator[str]:
    """Run the command and yield its address."""
    process = subprocess.Popen(
        [COMMAND, "mcp", "--http", "--port", "0", *options],
        env=environment,
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        address = re.match(r"(http://\S+)", process.stderr.readline())
        assert address is not None
        yield address[1]
    finally:
        process.terminate()
        process.wait(60)
        process.stderr.close()
