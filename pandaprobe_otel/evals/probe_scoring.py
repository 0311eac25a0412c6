"""Scorers in tests, which see the traces of a test as the run of a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from pandaprobe_otel.evals.dataset import Case
from pandaprobe_otel.evals.judging import Judgement
from pandaprobe_otel.evals.task_runs import Scorer, TaskRun, check_scorer, scored, scorer_name
from pandaprobe_otel.traces.records import TraceRecord


def check(
    scorer: Scorer, traces: Sequence[TraceRecord], *, expected: Any, metadata: Mapping[str, Any]
) -> tuple[str, Judgement]:
    """Return the name of a scorer and its judgement of these traces. Raises ValueError for an invalid scorer."""
    name = scorer_name(scorer)
    check_scorer(name, scorer)
    if not traces:
        return name, Judgement.vacuous("no trace was made")
    run = TaskRun(
        case=Case(id="test", input=traces[0].input, expected=expected, metadata=metadata),
        output=traces[-1].output,
        error=None,
        seconds=sum(trace.seconds for trace in traces),
        trace_id=traces[-1].trace_id,
        traces=tuple(traces),
    )
    # In a thread, since both the scorer and the test may be coroutine functions.
    with ThreadPoolExecutor(1, thread_name_prefix="pandaprobe-check") as pool:
        return name, pool.submit(copy_context().run, scored, scorer, run).result()
