"""Losses after 200 random kill -9 of four workers that share a spool directory, with faults.

    python benchmarks/delivery/spool_kills.py [--kills 200] [--workers 4] [--seed 1]

The server is the strict one of the tests, with its window scaled to 2 s. Of the requests, 5 % get 503, and 3 % are
executed before the connection is reset. A worker is killed every 0.2 to 1 s. Exit code 0 if every acknowledged span is
stored, no request was refused for the rate, the traces billed twice are no more than the killed workers, and the
directory is empty. Takes about two and a half minutes.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from kill_loop import LIMIT, WINDOW_S, Faults, KillLoop
from strict_pandaprobe import StrictPandaProbe


def main() -> int:
    """Run the loop; exit code 0 if every mark is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, StrictPandaProbe(limit=LIMIT, window_s=WINDOW_S) as server:
        server.answer = Faults(seed=options.seed)
        loop = KillLoop(Path(folder) / "spool", workers=options.workers, seed=options.seed)
        report = loop.run(server, kills=options.kills, every_s=(0.2, 1.0))
        traces = len(server.traces)
    print(f"kills {report.kills}, spans acknowledged {report.acknowledged}, missing {report.missing}")
    print(f"traces {traces}, spans {report.stored}, 429s {report.refused}, billed twice {report.extra_posts}")
    print(f"last process: {report.drain}; files left: {list(report.files_left)}; errors: {report.errors or 'none'}")
    ok = report.missing == 0 and report.refused == 0 and report.extra_posts <= report.kills
    ok = ok and not report.files_left and not report.errors
    print("every mark holds" if ok else "a mark is not met")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
