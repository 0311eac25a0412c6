"""Runs, scores and monitors of the local server, beyond the recorded answers of the real one."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import httpx
import pytest

from pandaprobe_otel.local import LocalServer
from pandaprobe_otel.local.injected_faults import Faults
from pandaprobe_otel.local.models.traces import TraceCreate
from pandaprobe_otel.local.services import Services, build_services
from pandaprobe_otel.local.settings import LocalSettings
from pandaprobe_otel.local.store.database import Database
from pandaprobe_otel.local.times import datetime_of

ONE = "00000000-0000-4000-8000-000000000001"
STARTED = "2026-01-02T03:04:05+00:00"
HOUR = 3_600_000_000

T = TypeVar("T")


@pytest.fixture
def server() -> Generator[LocalServer]:
    """Yield a server whose judge is scripted."""
    with LocalServer(scripted_judge=True, limit=None) as running:
        yield running


@pytest.fixture
def http(server: LocalServer) -> Generator[httpx.Client]:
    """Yield a client of project `p`."""
    headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
    with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def _post_trace(http: httpx.Client, number: int = 1, **fields: Any) -> str:
    trace_id = f"00000000-0000-4000-8000-{number:012d}"
    body = {"trace_id": trace_id, "name": "t", "started_at": STARTED, "input": "q", "output": "a", **fields}
    assert http.post("/traces", json=body).status_code == 202
    return trace_id


def _finished(http: httpx.Client, run: dict[str, Any]) -> dict[str, Any]:
    path = f"/evaluations/trace-runs/{run['id']}"
    return _until(lambda: http.get(path).json(), lambda state: state["status"] in ("COMPLETED", "FAILED"))


def _until(read: Callable[[], T], done: Callable[[T], bool]) -> T:
    deadline = time.monotonic() + 60
    while not done(value := read()):
        assert time.monotonic() < deadline, value
        time.sleep(0.01)
    return value


def _run(http: httpx.Client, *metrics: str, traces: tuple[str, ...] = (ONE,)) -> dict[str, dict[str, Any]]:
    body = {"trace_ids": list(traces), "metrics": list(metrics)}
    run = _finished(http, http.post("/evaluations/trace-runs/batch", json=body).json())
    scores = http.get(f"/evaluations/trace-runs/{run['id']}/scores").json()
    return {score["name"]: score for score in scores}


def test_the_scripted_judge_says_what_it_is_told(server: LocalServer, http: httpx.Client) -> None:
    """`set` determines a score with its reason; a low score fails the threshold."""
    _post_trace(http)
    server.judge.set("task_completion", 0.4, reason="forgot the refund")
    score = _run(http, "task_completion")["task_completion"]
    assert (score["value"], score["reason"], score["status"]) == ("0.4", "forgot the refund", "SUCCESS")
    assert score["metadata"]["success"] is False


def test_the_scripted_judge_takes_sequences_functions_and_failures(server: LocalServer, http: httpx.Client) -> None:
    """A sequence gives one score after the other, a function gets the trace, and `fail` makes a FAILED score."""
    _post_trace(http, output="refunded")
    server.judge.set("confidence", [0.1, 0.9])
    server.judge.set("coherence", lambda trace: 1.0 if "refund" in trace["output"] else 0.0)
    server.judge.fail("plan_quality", "no model today")
    first, second = _run(http, "confidence", "coherence", "plan_quality"), _run(http, "confidence")
    assert [first["confidence"]["value"], second["confidence"]["value"]] == ["0.1", "0.9"]
    assert first["coherence"]["value"] == "1.0"
    assert first["plan_quality"]["status"] == "FAILED"
    assert first["plan_quality"]["reason"] == "Metric execution failed: no model today"


def test_setting_an_unknown_metric_is_an_error(server: LocalServer) -> None:
    """A misspelt metric raises at once, so that no test passes by accident."""
    with pytest.raises(ValueError, match="task_completion"):
        server.judge.set("task_compeltion", 0.1)


def test_setting_a_score_makes_the_judge_active() -> None:
    """Without a configured judge, the first `set` makes the scripted judge the server's judge."""
    with LocalServer(limit=None) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
            _post_trace(http)
            before = _run(http, "confidence")["confidence"]["status"]
            server.judge.set("confidence", 0.7)
            after = _run(http, "confidence")["confidence"]["status"]
    assert (before, after) == ("FAILED", "SUCCESS")


def test_all_eight_metrics_succeed(http: httpx.Client) -> None:
    """Every trace metric has a scripted answer."""
    _post_trace(http)
    names = [metric["name"] for metric in http.get("/evaluations/trace-metrics").json()]
    scores = _run(http, *names)
    assert sorted(scores) == names
    assert {score["status"] for score in scores.values()} == {"SUCCESS"}


def test_a_repeated_answer_in_a_session_is_a_loop(http: httpx.Client) -> None:
    """If two traces of a session have the same output, the second gets a low loop_detection score."""
    text = "please restart the payment service and check the logs"
    _post_trace(http, 1, session_id="s", output=text)
    second = _post_trace(http, 2, session_id="s", output=text, started_at="2026-01-02T03:05:05+00:00")
    run = http.post(
        "/evaluations/session-runs/batch", json={"session_ids": ["s"], "metrics": ["agent_reliability"]}
    ).json()
    assert _finished(http, run)["status"] == "COMPLETED"
    scores = {score["name"]: score for score in http.get(f"/evaluations/trace-scores/{second}").json()}
    assert scores["loop_detection"]["value"] == "0.0"
    session = http.get("/evaluations/session-scores/s").json()[0]
    assert session["value"] == "0.0"
    assert session["metadata"]["flagged_traces"] == [second]


def test_a_categorical_score_under_a_signal_name_fails_the_run(http: httpx.Client) -> None:
    """A session run that would use `PASS` as a number is FAILED with the error message of the real server."""
    _post_trace(http, session_id="s")
    score = {"trace_id": ONE, "name": "confidence", "value": "PASS", "data_type": "CATEGORICAL"}
    http.post("/evaluations/trace-scores", json=score)
    body = {"session_ids": ["s"], "metrics": ["agent_reliability"]}
    run = _finished(http, http.post("/evaluations/session-runs/batch", json=body).json())
    assert (run["status"], run["error_message"]) == ("FAILED", "could not convert string to float: 'PASS'")


def test_a_session_metric_that_raises_is_a_failed_score(server: LocalServer, http: httpx.Client) -> None:
    """A weight whose square overflows fails its metric, and not the run, because weights are not validated."""
    _post_trace(http, session_id="s")
    server.judge.set("confidence", 0.5)
    metrics = ["agent_consistency", "agent_reliability"]
    body = {"session_ids": ["s"], "metrics": metrics, "signal_weights": {"confidence": 1e200}}
    run = http.post("/evaluations/session-runs/batch", json=body).json()
    done = _finished(http, run)
    scores = {score["name"]: score for score in http.get(f"/evaluations/session-runs/{run['id']}/scores").json()}
    assert (done["status"], done["evaluated_count"], done["failed_count"]) == ("COMPLETED", 1, 1)
    failed = scores["agent_consistency"]
    assert (failed["status"], failed["value"]) == ("FAILED", None)
    assert failed["reason"] == "Session metric failed: (34, 'Numerical result out of range')"
    assert scores["agent_reliability"]["status"] == "SUCCESS"


def test_a_run_that_was_interrupted_begins_again(tmp_path: Path) -> None:
    """A run that was RUNNING when the process ended is evaluated by the next process, once for each metric."""
    db = tmp_path / "p.db"
    with LocalServer(db, scripted_judge=True, limit=None) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
            _post_trace(http)
            run = http.post(
                "/evaluations/trace-runs/batch", json={"trace_ids": [ONE], "metrics": ["confidence"]}
            ).json()
            _finished(http, run)
        with server.services.database.write() as connection:
            connection.execute("UPDATE eval_runs SET status = 'RUNNING', evaluated_count = 0")
    with LocalServer(db, scripted_judge=True, limit=None) as server:
        headers = {"X-API-Key": server.api_key, "X-Project-Name": "p"}
        with httpx.Client(base_url=server.url, headers=headers, trust_env=False, timeout=60) as http:
            again = _finished(http, run)
            scores = http.get(f"/evaluations/trace-runs/{run['id']}/scores").json()
    assert (again["status"], again["evaluated_count"], len(scores)) == ("COMPLETED", 1, 1)


def test_a_trace_deleted_during_its_run_leaves_the_run_standing(server: LocalServer, http: httpx.Client) -> None:
    """Deleting a trace while it is judged loses its scores; the run still completes."""
    _post_trace(http)

    def delete_first(trace: Any) -> float:
        assert http.delete(f"/traces/{trace['trace_id']}").status_code == 204
        return 0.5

    server.judge.set("confidence", delete_first)
    body = {"trace_ids": [ONE], "metrics": ["confidence"]}
    run = _finished(http, http.post("/evaluations/trace-runs/batch", json=body).json())
    assert (run["status"], run["evaluated_count"]) == ("COMPLETED", 1)


@dataclass
class Clock:
    """A clock that tests set."""

    now: int = field(default_factory=lambda: time.time_ns() // 1000)

    def __call__(self) -> int:
        """Return the time."""
        return self.now


@pytest.fixture
def clocked() -> Generator[tuple[Services, Clock, str]]:
    """Yield services with a clock that tests set, and the id of a project; no thread is started."""
    clock, database = Clock(), Database()
    services = build_services(LocalSettings(scripted_judge=True, now_micros=clock), database, Faults())
    project = services.accounts.add_project(services.accounts.home.id, "p", "")
    yield services, clock, project.id
    services.close(5)
    database.close()


def _store_trace(services: Services, project_id: str, number: int, started_at: int) -> None:
    trace = TraceCreate(trace_id=UUID(int=number), name="t", started_at=datetime_of(started_at))
    with services.database.write() as connection:
        services.traces.save(connection, project_id, trace, now=services.now())


def _store_monitor(services: Services, project_id: str, **columns: Any) -> str:
    now = services.now()
    row = {
        "project_id": project_id,
        "name": "m",
        "target_type": "TRACE",
        "metric_names": '["confidence"]',
        "filters": "{}",
        "sampling_rate": 1.0,
        "model": None,
        "cadence": "every_6h",
        "only_if_changed": True,
        "status": "ACTIVE",
        "next_run_at": now + 6 * HOUR,
        "created_at": now,
        "updated_at": now,
        **columns,
    }
    with services.database.write() as connection:
        return services.evaluation.monitors.add(connection, row)


def _runs(services: Services, project_id: str) -> int:
    return services.evaluation.runs.find(project_id, limit=10, offset=0)[1]


def test_monitors_run_when_due_and_only_if_something_changed(
    clocked: tuple[Services, Clock, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A due monitor makes one run; it makes another only if a new trace has arrived."""
    services, clock, project_id = clocked
    # The thread of a run would look for due monitors, too, and might do so before the new trace is stored.
    monkeypatch.setattr(services.evaluation.worker, "submit", lambda run_id: None)
    _store_trace(services, project_id, 1, clock.now)
    _store_monitor(services, project_id)
    counts: list[int] = []
    waits: list[float | None] = []
    for new_trace in (None, None, 2):
        clock.now += 6 * HOUR
        if new_trace is not None:
            _store_trace(services, project_id, new_trace, clock.now - 1)
        waits.append(services.evaluation.start_due_monitors())
        counts.append(_runs(services, project_id))
    assert counts == [1, 1, 2]
    assert waits == [6 * 3600.0] * 3


def test_a_monitor_that_is_not_due_or_paused_does_not_run(clocked: tuple[Services, Clock, str]) -> None:
    """A monitor does not run by itself before it is due or while it is paused."""
    services, clock, project_id = clocked
    _store_trace(services, project_id, 1, clock.now)
    _store_monitor(services, project_id)
    _store_monitor(services, project_id, status="PAUSED", next_run_at=clock.now)
    assert services.evaluation.start_due_monitors() == 6 * 3600.0
    assert _runs(services, project_id) == 0


def test_a_monitor_that_matches_nothing_waits_for_its_next_turn(clocked: tuple[Services, Clock, str]) -> None:
    """A due monitor without any trace starts no run and keeps its schedule."""
    services, clock, project_id = clocked
    monitor_id = _store_monitor(services, project_id, cadence="cron:0 3 * * *", next_run_at=clock.now)
    services.evaluation.start_due_monitors()
    row = services.evaluation.monitors.get(project_id, monitor_id)
    assert row is not None
    assert _runs(services, project_id) == 0
    assert row["last_run_at"] is None
    assert datetime_of(row["next_run_at"]).strftime("%H:%M:%S") == "03:00:00"


def test_a_due_monitor_is_found_by_the_thread(clocked: tuple[Services, Clock, str]) -> None:
    """The background thread finds a due monitor and evaluates its run."""
    services, clock, project_id = clocked
    _store_trace(services, project_id, 1, clock.now)
    _store_monitor(services, project_id, next_run_at=clock.now)
    services.evaluation.resume()
    _until(
        lambda: services.evaluation.runs.find(project_id, limit=10, offset=0)[0],
        lambda rows: bool(rows) and rows[0]["status"] == "COMPLETED",
    )
    assert [row["name"] for row in services.evaluation.trace_scores.of_target(project_id, str(UUID(int=1)))] == [
        "confidence"
    ]
