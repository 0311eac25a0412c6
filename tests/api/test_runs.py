"""Evaluation runs: waiting for them, reading their scores, and recognising scores without evidence."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from both_clients import Connect
from pandaprobe_otel.api import Pair, RunResult, vacuous_reason
from pandaprobe_otel.api.models import EvalRun, TraceScore
from pandaprobe_otel.errors import InsufficientEvidence, InvalidRequest, RunFailed
from scripted_api import ScriptedApi, served_run, served_score

RUN = served_run(metric_names=["coherence", "confidence"])
METRICS = [
    {"name": name, "description": "d", "category": "trace"} for name in ("coherence", "confidence", "plan_quality")
]
SESSION_METRICS = [{"name": "agent_reliability", "description": "d", "category": "session"}]


def run_in(status: str, **fields: Any) -> dict[str, Any]:
    """Return a run as the server describes it."""
    return {**RUN, "status": status, **fields}


def score(name: str, value: float | None, **fields: Any) -> TraceScore:
    """Return a score that a run gave, or a failed one."""
    state = {"value": None, "status": "FAILED"} if value is None else {"value": str(value)}
    return TraceScore.model_validate(served_score(name=name, source="AUTOMATED", **{**state, **fields}))


def result_of(*scores: TraceScore, **fields: Any) -> RunResult:
    """Return the result of a completed run."""
    return RunResult(run=EvalRun.model_validate(run_in("COMPLETED", **fields)), scores=scores)


def test_a_result_has_its_failed_missing_and_vacuous_pairs() -> None:
    """A result lists failed, missing and vacuous pairs, although the server calls the run COMPLETED."""
    there, gone = uuid4(), uuid4()
    scores = (
        score("coherence", 1.0, trace_id=there, metadata={"note": "empty_input_or_output"}, reason="assumed"),
        score("confidence", None, trace_id=there, reason="no provider"),
    )
    result = result_of(*scores, filters={"trace_ids": [str(there), str(gone)]}, total_targets=2)

    assert not result.ok
    assert [each.reason for each in result.failed] == ["no provider"]
    assert result.vacuous == {Pair(str(there), "coherence"): "empty_input_or_output: assumed"}
    assert result.missing == (Pair(str(gone), "coherence"), Pair(str(gone), "confidence"))
    assert (result.missing_count, result.values("coherence"), result.values("coherence", vacuous=True)) == (
        2,
        (),
        (1.0,),
    )
    assert [(row["metric"], row["status"], row["value"]) for row in result.rows()] == [
        ("coherence", "SUCCESS", 1.0),
        ("confidence", "FAILED", None),
        ("coherence", "MISSING", None),
        ("confidence", "MISSING", None),
    ]


def test_a_script_can_insist_on_a_good_result() -> None:
    """`raise_unless_ok` returns a good result, and raises its own error for failed, missing and vacuous scores."""
    trace = uuid4()
    scores = (score("coherence", 0.9, trace_id=trace), score("confidence", 0.4, trace_id=trace))
    good = result_of(*scores)
    assert good.ok
    assert good.raise_unless_ok() is good
    assert good.by_target == {str(trace): {"coherence": scores[0], "confidence": scores[1]}}

    with pytest.raises(RunFailed, match=r"gave 1 scores; 1 failed and 0 are missing: no provider\.$"):
        result_of(score("coherence", 0.9), score("confidence", None, reason="no provider")).raise_unless_ok()
    with pytest.raises(RunFailed, match="0 scores"):
        result_of(total_targets=0).raise_unless_ok()
    empty = {"note": "empty_input_or_output"}
    with pytest.raises(InsufficientEvidence, match=r"gave 1 scores .* coherence of .*: empty_input_or_output: none$"):
        result_of(score("coherence", 1.0, metadata=empty, reason="none"), score("confidence", 0.5)).raise_unless_ok()


def test_a_retry_is_not_missing_what_it_did_not_repeat() -> None:
    """A retry evaluates only the failed pairs, and the other pairs do not count as missing."""
    result = result_of(score("coherence", 0.5), filters={"retry_of": str(uuid4()), "trace_ids": [str(uuid4())]})

    assert (result.missing, result.missing_count, result.ok) == ((), 0, True)


SIGNALS = {"a": {"confidence_risk": 0.0, "loop_risk": 0.0}}


@pytest.mark.parametrize(
    ("name", "fields", "vacuous"),
    [
        ("coherence", {"reason": "Input or output is empty; coherence assumed."}, True),
        ("coherence", {"reason": "Coherence gap: 0.0000", "metadata": {"coherence_gap": 0.0}}, False),
        ("argument_correctness", {"reason": "No tool calls in trace; nothing to evaluate."}, True),
        ("argument_correctness", {"metadata": {"verdicts": []}, "reason": "fine"}, True),
        ("argument_correctness", {"metadata": {"verdicts": [{"verdict": "yes"}]}, "reason": "All right"}, False),
        ("plan_quality", {"reason": "No plan found in trace"}, True),
        ("plan_quality", {"reason": "No plan found in trace", "value": 0.5}, False),
        ("plan_quality", {"metadata": {"plan": ["look up", "refund"]}, "reason": "A good plan"}, False),
        ("loop_detection", {"reason": "No session context provided; looping cannot be assessed."}, True),
        ("loop_detection", {"reason": "No previous outputs to compare."}, True),
        ("agent_consistency", {"reason": "No evaluable traces."}, True),
        ("agent_consistency", {"metadata": {"traces_evaluated": 0}}, True),
        ("agent_reliability", {"metadata": {"traces_evaluated": 1, "per_trace_signals": SIGNALS}}, True),
        ("agent_reliability", {"metadata": {"per_trace_signals": {"a": {"confidence_risk": 0.05}}}}, False),
        ("task_completion", {}, False),
    ],
)
def test_full_scores_without_evidence(name: str, fields: dict[str, Any], vacuous: bool) -> None:
    """A full score without evidence is recognised by its reason and metadata, in server 0.5.0's words."""
    assert (vacuous_reason(score(name, **{"value": 1.0, **fields})) is not None) == vacuous


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"metrics": ["zzz"], "everything": True}, "zzz unknown; metrics of traces: coherence, confidence"),
        ({"metrics": [], "everything": True}, "must name at least one; trace_metrics()"),
        ({"metrics": ["coherence", "agent_reliability"], "session": "s"}, "of traces and of sessions"),
        ({"metrics": ["coherence"]}, "names nothing to evaluate"),
        ({"metrics": ["coherence"], "traces": [uuid4()], "session": "s"}, "cannot take traces and session together"),
        ({"metrics": ["coherence"], "has_error": True}, "has_error: is a filter for metrics of sessions"),
        (
            {"metrics": ["coherence"], "everything": True, "signal_weights": {"a": 1}},
            "are only for metrics of sessions",
        ),
        ({"metrics": ["coherence"], "everything": True, "sampling_rate": 0}, "must be over 0"),
        ({"metrics": ["agent_reliability"], "status": "ERROR"}, "status: is a filter for metrics of traces"),
    ],
)
async def test_runs_that_cannot_be_meant(connect: Connect, arguments: dict[str, Any], words: str) -> None:
    """Invalid runs raise before any evaluation, since each evaluation is billed."""
    with ScriptedApi() as api:
        api.serve("GET /evaluations/trace-metrics", METRICS)
        api.serve("GET /evaluations/session-metrics", SESSION_METRICS)
        with pytest.raises(InvalidRequest) as refused:
            await connect(api.url).evaluations.run(**arguments)

    assert words in str(refused.value)
    assert not [one for one in api.received if one.method == "POST"]


@pytest.mark.parametrize(
    ("arguments", "route", "body"),
    [
        (
            {"metrics": "coherence", "session": "s", "name": "n"},
            "trace-runs",
            {"metrics": ["coherence"], "name": "n", "filters": {"session_id": "s"}},
        ),
        (
            {"metrics": "coherence", "tags": ["a"], "trace_name": "t", "sampling_rate": 0.5, "model": "m"},
            "trace-runs",
            {"metrics": ["coherence"], "filters": {"tags": ["a"], "name": "t"}, "sampling_rate": 0.5, "model": "m"},
        ),
        ({"metrics": "coherence", "everything": True}, "trace-runs", {"metrics": ["coherence"]}),
        (
            {"metrics": "agent_reliability", "session": ["a", "b", "a"], "signal_weights": {"confidence": 0.5}},
            "session-runs/batch",
            {
                "metrics": ["agent_reliability"],
                "session_ids": ["a", "b"],
                "signal_weights": {"confidence": 0.5},
            },
        ),
        (
            {"metrics": "agent_reliability", "has_error": False, "min_trace_count": 2},
            "session-runs",
            {"metrics": ["agent_reliability"], "filters": {"has_error": False, "min_trace_count": 2}},
        ),
    ],
)
async def test_each_choice_of_targets_has_its_own_request(
    connect: Connect, arguments: dict[str, Any], route: str, body: dict[str, Any]
) -> None:
    """Each way to choose targets is sent with its own route and body."""
    with ScriptedApi() as api:
        api.serve("GET /evaluations/trace-metrics", METRICS)
        api.serve("GET /evaluations/session-metrics", SESSION_METRICS)
        api.serve(f"POST /evaluations/{route}", run_in("PENDING"))
        await connect(api.url).evaluations.run(**arguments)
        (posted,) = api.requests(f"POST /evaluations/{route}")

    assert posted.json == body


async def test_metrics_are_requested_once_and_runs_of_newer_servers_are_read(connect: Connect) -> None:
    """The metrics are requested once; both names of the number of targets, unknown fields and statuses are kept."""
    newer = {**run_in("QUEUED"), "total_traces": 7, "colour": "blue"}
    del newer["total_targets"]
    with ScriptedApi() as api:
        api.serve("GET /evaluations/trace-metrics", METRICS)
        api.serve("POST /evaluations/trace-runs/batch", run_in("PENDING"))
        api.serve(f"GET /evaluations/trace-runs/{RUN['id']}", newer, run_in("RUNNING"))
        evaluations, trace = connect(api.url).evaluations, uuid4()
        for _ in range(3):
            await evaluations.run("coherence", traces=[trace, trace])
        unknown, known = [await evaluations.trace_runs.get(RUN["id"]) for _ in range(2)]
        posts = api.requests("POST /evaluations/trace-runs/batch")

    assert len(api.requests("GET /evaluations/trace-metrics")) == 1
    assert [post.json["trace_ids"] for post in posts] == [[str(trace)]] * 3
    assert (unknown.total_targets, unknown.model_extra) == (7, {"colour": "blue"})
    assert (unknown.status, type(unknown.status)) == ("QUEUED", str)
    assert known.status == "RUNNING"
