"""Eight real processes share a limit with a window of seconds; PANDAPROBE_FLEET=1 runs every way in real minutes."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path
from typing import Final

import pytest

from fleet_runs import PROCESSES, Budget, Plan, Way, run_fleet
from redis_server import require_redis

IN_MINUTES: Final = bool(os.environ.get("PANDAPROBE_FLEET"))
PLAN: Final = (
    Plan(rounds=45, every_s=4.0, within_s=600, away=(60.0, 90.0))
    if IN_MINUTES
    else Plan(rounds=6, every_s=0.5, within_s=300, limit=16, window_s=2, away=(1.0, 1.5))
)
SAMPLE: Final = ((Way.PRELOADED, Budget.RESTARTED), (Way.PRELOADED, Budget.FILE), (Way.SPAWNED, Budget.REDIS))


@pytest.mark.outer
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("way", "budget"), product(Way, Budget) if IN_MINUTES else SAMPLE)
def test_eight_processes_share_a_limit(tmp_path: Path, way: Way, budget: Budget) -> None:
    """The server refuses no process and every trace arrives, even if Redis dies and loses its data."""
    if budget is not Budget.FILE:
        require_redis()
    result = run_fleet(way, budget, PLAN, tmp_path)

    assert result.refused == 0
    assert result.stored == result.offered == PLAN.rounds * PROCESSES
    assert result.processes == PROCESSES
    if IN_MINUTES and budget is not Budget.RESTARTED:
        assert sum(at < 180 for at in result.accepted_at) >= 3 * 97
