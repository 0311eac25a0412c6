"""Eight real processes share a limit with a window of seconds; `benchmarks/fleet/shared_key.py` uses a real minute."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet_runs import PROCESSES, Budget, Plan, Way, run_fleet
from redis_server import require_redis

LIMIT, WINDOW_S = 16, 2


@pytest.mark.outer
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("way", "budget"),
    [(Way.PRELOADED, Budget.RESTARTED), (Way.PRELOADED, Budget.FILE), (Way.SPAWNED, Budget.REDIS)],
)
def test_eight_processes_share_a_limit(tmp_path: Path, way: Way, budget: Budget) -> None:
    """The server refuses no process and every trace arrives, even if Redis dies and loses its data."""
    if budget is not Budget.FILE:
        require_redis()
    plan = Plan(rounds=6, every_s=0.5, within_s=300, limit=LIMIT, window_s=WINDOW_S, away=(1.0, 1.5))
    result = run_fleet(way, budget, plan, tmp_path)

    assert result.refused == 0
    assert result.stored == result.offered == 6 * PROCESSES
    assert result.processes == PROCESSES
