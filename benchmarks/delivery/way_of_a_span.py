"""Number of files and functions that one decorated call passes, from the call to the server's answer.

    python benchmarks/delivery/way_of_a_span.py [--spool] [--list]

All threads are profiled. The counts are the files and functions of this package that run for an agent call with a model
call inside, after others have loaded everything. `--list` prints them by file.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import pandaprobe_otel  # noqa: E402
from strict_pandaprobe import StrictPandaProbe  # noqa: E402

PACKAGE = str(Path(pandaprobe_otel.__file__).parent) + os.sep


class Passed:
    """A profile function that records which functions of the package run while it is on."""

    def __init__(self) -> None:
        self.is_on = False
        self.functions: defaultdict[str, set[str]] = defaultdict(set)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event == "call" and self.is_on and code.co_filename.startswith(PACKAGE):
            self.functions[code.co_filename.removeprefix(PACKAGE)].add(f"{code.co_qualname}:{code.co_firstlineno}")


def main() -> int:
    """Print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--spool", action="store_true", help="with a spool")
    parser.add_argument("--list", action="store_true", help="print every function")
    options = parser.parse_args()
    passed = Passed()
    threading.setprofile(passed)
    sys.setprofile(passed)
    with StrictPandaProbe() as server, tempfile.TemporaryDirectory() as folder:
        handle = pandaprobe_otel.init(
            api_key="sk_pp_1",
            project_name="way",
            endpoint=server.url,
            instrument=False,
            spool=folder if options.spool else None,
        )

        @pandaprobe_otel.llm
        def model(question: str) -> str:
            return f"about {question}"

        @pandaprobe_otel.agent
        def answer(question: str) -> str:
            return model(question)

        answer("first")
        while not server.requests("GET", "/health"):  # a server on this machine is asked once for a live view
            time.sleep(0.001)
        for _ in range(2):
            assert handle.flush(60)
            answer("again")
        assert handle.flush(60)
        passed.is_on = True
        answer("last")
        while len(server.posts()) < 4:
            time.sleep(0.001)
        time.sleep(0.1)  # until the consequences of the answer are processed
        passed.is_on = False
        sys.setprofile(None)
        handle.shutdown()
    functions = sum(len(names) for names in passed.functions.values())
    print(f"{len(passed.functions)} files, {functions} functions")
    if options.list:
        for file, names in sorted(passed.functions.items()):
            print(f"{file}: {', '.join(sorted(name.partition(':')[0] for name in names))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
