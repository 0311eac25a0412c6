"""Cost of a program before its first trace: CPU time of imports, set-up and the first span, in a fresh process.

    python benchmarks/delivery/bench_import.py [--repeats 9]

The reference is the cost of every program with OpenTelemetry: the import of its SDK, a provider, a first span.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

_EMIT = """
with provider.get_tracer("bench").start_as_current_span("first", attributes={"gen_ai.operation.name": "chat"}):
    pass
"""
_PROVIDER = "from opentelemetry.sdk.trace import TracerProvider\nprovider = TracerProvider(shutdown_on_exit=False)\n"
PROGRAMS = {
    "import opentelemetry.trace": "import opentelemetry.trace",
    "import pandaprobe_otel": "import pandaprobe_otel",
    "import opentelemetry.sdk.trace": "import opentelemetry.sdk.trace",
    "SDK, first span": _PROVIDER + _EMIT,
    "SDK and PandaProbeSpanProcessor, first span": _PROVIDER
    + "from pandaprobe_otel import PandaProbeSpanProcessor\n"
    + "provider.add_span_processor(PandaProbeSpanProcessor(api_key='k', endpoint='http://127.0.0.1:9'))\n"
    + _EMIT,
}


def cpu_ms(program: str) -> float:
    """Return the CPU time of a program from the start of the interpreter to its last statement."""
    code = (
        f"import time\nbegun = time.process_time()\n{program}\nprint((time.process_time() - begun) * 1000, flush=True)"
    )
    code += "\nimport os\nos._exit(0)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    repeats = parser.parse_args().repeats
    figures: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(repeats):
        for name, program in PROGRAMS.items():
            figures[name].append(cpu_ms(program))
    middle = {name: statistics.median(values) for name, values in figures.items()}
    print("| | CPU, ms | x import opentelemetry.trace | x SDK, first span |\n|---|---:|---:|---:|")
    for name, value in middle.items():
        least, floor = middle["import opentelemetry.trace"], middle["SDK, first span"]
        print(f"| {name} | {value:.1f} | {value / least:.2f} | {value / floor:.2f} |")


if __name__ == "__main__":
    main()
