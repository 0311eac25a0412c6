"""One saturated process against the limit in real time: refused requests, and the used share of the limit.

    python benchmarks/delivery/real_time.py [--minutes 5] [--windows fixed moving calendar]

Each kind of window has a server with the real limiter (100 per minute and key, no Retry-After) and a processor that
always has more traces than it may send. All run concurrently. Each direction takes 5 to 500 ms, uniformly random.
Prints for each the accepted and refused requests, the accepted ones per minute after the first minute, and the most in
any 60 s. Exit code 0 if nothing was refused and at least 98.5 a minute were accepted. Ctrl-C ends it early.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

from opentelemetry.sdk.trace import TracerProvider

from pandaprobe_otel import PandaProbeSpanProcessor
from strict_pandaprobe import StrictPandaProbe

LIMIT = 100
WINDOW_S = 60.0
SHORTEST_WAY_S, LONGEST_WAY_S = 0.005, 0.5
REQUIRED_A_MINUTE = 98.5
WINDOWS = ("fixed", "moving", "calendar")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Observations of one server. Times are seconds since the first accepted request."""

    window: str
    accepted: Sequence[float]
    refused: int
    minutes: float

    @property
    def a_minute(self) -> float:
        """Accepted requests per minute, after the first minute."""
        later = sum(WINDOW_S <= at < self.minutes * 60 for at in self.accepted)
        return later / (self.minutes - 1)

    @property
    def most_in_a_window(self) -> int:
        """Maximum number of accepted requests in any 60 s, aligned or not."""
        most, first = 0, 0
        for index, at in enumerate(self.accepted):
            while self.accepted[first] <= at - WINDOW_S:
                first += 1
            most = max(most, index - first + 1)
        return most

    @property
    def passed(self) -> bool:
        """True if nothing was refused and the limit was used up."""
        return self.refused == 0 and self.a_minute >= REQUIRED_A_MINUTE

    def __str__(self) -> str:
        return (
            f"{self.window:>8} window: {len(self.accepted)} accepted, {self.refused} refused (429), "
            f"{self.a_minute:.2f} a minute after the first, at most {self.most_in_a_window} in any 60 s: "
            f"{'passed' if self.passed else 'NOT passed'}"
        )


class Saturated:
    """A server, and a processor that always has more traces than it may send."""

    def __init__(self, window: str, traces: int) -> None:
        ways = random.Random(window)
        self._window = window
        self._server = StrictPandaProbe(
            limit=LIMIT,
            window_s=int(WINDOW_S),
            moving=window == "moving",
            calendar=window == "calendar",
            delay=lambda: ways.uniform(SHORTEST_WAY_S, LONGEST_WAY_S),
        )
        self._traces = traces

    def __enter__(self) -> Saturated:
        self._server.__enter__()
        processor = PandaProbeSpanProcessor(
            api_key="sk_pp_bench", project_name="bench", endpoint=self._server.url, shutdown_timeout_s=1.0
        )
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        tracer = self._provider.get_tracer("bench")
        for number in range(self._traces):
            with tracer.start_as_current_span(f"trace {number}", attributes={"gen_ai.operation.name": "chat"}):
                pass
        return self

    def __exit__(self, *exception: object) -> None:
        self._provider.shutdown()
        self._server.__exit__(None, None, None)

    def figures(self, minutes: float) -> Figures:
        """Return the server's observations so far."""
        accepted = sorted(self._server.accepted_at)
        return Figures(
            window=self._window,
            accepted=[at - accepted[0] for at in accepted],
            refused=sum(post.status == 429 for post in self._server.posts()),
            minutes=minutes,
        )


def main() -> int:
    """Run the benchmark; exit code 0 if every mark is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="at least 2")
    parser.add_argument("--windows", nargs="+", choices=WINDOWS, default=list(WINDOWS))
    options = parser.parse_args()
    minutes = max(options.minutes, 2.0)
    print(f"{minutes:g} minutes, {LIMIT} a minute, every way {SHORTEST_WAY_S * 1000:g} to {LONGEST_WAY_S * 1000:g} ms")
    with ExitStack() as stack:
        traces = int((minutes + 2) * LIMIT)
        runs = [stack.enter_context(Saturated(window, traces)) for window in options.windows]
        _wait(minutes * 60)
        figures = [run.figures(minutes) for run in runs]
    for each in figures:
        print(each)
    return 0 if all(each.passed for each in figures) else 1


def _wait(seconds: float) -> None:
    end = time.monotonic() + seconds
    try:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))
    except KeyboardInterrupt:
        print("ended early")


if __name__ == "__main__":
    sys.exit(main())
