"""Cost of the pytest plugin for a suite that does not use it: CPU and modules, with the plugin and without.

    python benchmarks/evals/bench_plugin.py [--repeats 15]

Both suites are the same file with one empty test, and the runs alternate. The cost of importing the plugin and of its
hooks is also measured inside one process, since it is smaller than the noise of two whole runs.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

_SUITE = """
import sys
def test_empty():
    with open("modules", "w") as file:
        file.write(str(len(sys.modules)))
"""
_PLUGIN = """
import time
import pytest
from _pytest.config import get_config
begun = time.process_time()
import pandaprobe_otel.pytest_plugin as plugin
imported = time.process_time() - begun
config = get_config()
begun = time.process_time()
config.pluginmanager.register(plugin, "pandaprobe")
plugin.pytest_configure(config)
print(1000 * (imported + time.process_time() - begun))
"""
_OFF = "-pno:pandaprobe"


def suite(folder: Path, *options: str) -> tuple[float, int]:
    """Return the CPU time of a run in milliseconds, and the number of loaded modules."""
    before = os.times()
    command = [sys.executable, "-m", "pytest", "-q", "-pno:cacheprovider", f"-c{os.devnull}", *options]
    subprocess.run(command, cwd=folder, env=_environment(), capture_output=True, check=True)
    after = os.times()
    spent = after.children_user - before.children_user + after.children_system - before.children_system
    return 1000 * spent, int((folder / "modules").read_text())


def plugin() -> float:
    """Return the CPU time of importing the plugin and of its hooks, in milliseconds, once pytest is loaded."""
    done = subprocess.run([sys.executable, "-c", _PLUGIN], env=_environment(), capture_output=True, check=True)
    return float(done.stdout)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("PANDAPROBE_", "PYTEST_"))}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "test_empty.py").write_text(_SUITE)
        suite(folder)
        pairs = [(suite(folder), suite(folder, _OFF)) for _ in range(repeats)]
    costs = [plugin() for _ in range(repeats)]
    ratio = statistics.median(with_it[0] / without[0] for with_it, without in pairs)
    (with_it, without) = pairs[0]
    print(f"modules: {with_it[1]} with the plugin, {without[1]} without")
    print(f"CPU of the run, with / without: median of {repeats} ratios {ratio:.3f}")
    print(f"CPU of the import and the hooks: median {statistics.median(costs):.2f} ms, least {min(costs):.2f} ms")


if __name__ == "__main__":
    main()
