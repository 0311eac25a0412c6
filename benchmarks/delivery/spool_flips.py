"""Losses and errors after a random bit of a spool file is flipped, 1000 times.

    python benchmarks/delivery/spool_flips.py [--flips 1000] [--requests 500] [--seed 1]

Exit code 0 if nothing raised, every request that was read back equals a written one, and the directory was usable
afterwards. Takes about a minute.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from simulated_delivery import create
from spools import Run


def main() -> int:
    """Run the benchmark; exit code 0 if every mark is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    rng = random.Random(options.seed)
    requests = [
        create(number, size=rng.randrange(8_000), spans=rng.randrange(1, 4)) for number in range(options.requests)
    ]
    written = {request.trace_id: request for request in requests}
    lost: list[int] = []
    wrong = 0
    with tempfile.TemporaryDirectory() as scratch:
        sound, copy = Path(scratch) / "sound", Path(scratch) / "copy"
        run = Run(sound)
        run.put(*requests)
        run.die()
        size = next(sound.glob("*.sqlite")).stat().st_size
        for _ in range(options.flips):
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(sound, copy)
            with next(copy.glob("*.sqlite")).open("r+b") as file:
                at = rng.randrange(size)
                file.seek(at)
                flipped = bytes([file.read(1)[0] ^ (1 << rng.randrange(8))])
                file.seek(at)
                file.write(flipped)
            heir = Run(copy)
            found = heir.contents()
            wrong += sum(request != written.get(request.trace_id) for request in found)
            lost.append(len(requests) - len(found))
            heir.put(create(10**9))
            wrong += not heir.outbox.is_kept
            heir.outbox.leave()
    counts = Counter(
        "none" if number == 0 else "1" if number == 1 else "2 to 20" if number <= 20 else "more" for number in lost
    )
    print(f"{options.flips} flips in a file of {size} bytes with {len(requests)} requests; wrong or unusable: {wrong}")
    print(
        "requests lost by one flip:",
        ", ".join(f"{kind}: {counts[kind]} times" for kind in ("none", "1", "2 to 20", "more")),
    )
    print("every mark holds" if not wrong else "a mark is not met")
    return 0 if not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
