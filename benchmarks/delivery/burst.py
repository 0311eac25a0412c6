"""Delivery of 300 one-span traces offered at once, against a fixed window of 60 s: arrival times and refusals.

    python benchmarks/delivery/burst.py [--delay 0.05]

The server is the strict one of the tests, with the real server's limiter (`limits`, fixed window) and no Retry-After.
Prints the number of 429s, the arrival times, and whether the three marks are met: 100 in the first minute, 200 by
61 s + 1 s, 300 by 121 s + 1 s. `--delay` is the longest round trip to the server in seconds; round trips are uniformly
random. The marks allow additional time for these delays (a hundred requests, four at a time). Takes two minutes.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from opentelemetry.sdk.trace import TracerProvider

from pandaprobe_otel import PandaProbeSpanProcessor
from strict_pandaprobe import StrictPandaProbe

TRACES = 300
MARKS_S = {100: 60.0, 200: 62.0, 300: 122.0}
"""Latest arrival of the trace with this number."""


def main() -> int:
    """Run the benchmark; exit code 0 if every mark is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0)
    delay = parser.parse_args().delay
    delays = random.Random(1)
    with StrictPandaProbe(delay=lambda: delays.uniform(0.0, delay / 2)) as server:
        processor = PandaProbeSpanProcessor(api_key="sk_pp_bench", project_name="bench", endpoint=server.url)
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(processor)
        tracer = provider.get_tracer("bench")
        begun = time.monotonic()
        for number in range(TRACES):
            tracer.start_span(f"trace {number}", attributes={"gen_ai.operation.name": "chat"}).end()
        offered_in = time.monotonic() - begun
        delivered = processor.force_flush(244_000)
        provider.shutdown()
        arrived = [at - begun for at in server.accepted_at]
        refused = sum(post.status == 429 for post in server.posts())
    print(f"offered: {TRACES} traces in {offered_in * 1000:.0f} ms; arrived: {len(arrived)}; 429s: {refused}")
    ok = delivered and refused == 0 and len(arrived) == TRACES
    for number, bound in MARKS_S.items():
        at = arrived[number - 1] if len(arrived) >= number else float("inf")
        ok = ok and at <= bound
        print(f"number {number} arrived at {at:.2f} s (bound {bound:.0f} s)")
    print("every mark holds" if ok else "a mark is not met")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
