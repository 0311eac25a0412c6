"""Monitors declared in a file: reading, planning and applying them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from both_clients import Connect
from pandaprobe_otel.api.models import Monitor
from pandaprobe_otel.api.monitors import plan_changes, read_declarations
from pandaprobe_otel.errors import ConfigError, InvalidRequest
from pandaprobe_otel.local import LocalServer
from scripted_api import served_monitor

FILE = """
[[monitor]]
name = "nightly"
target_type = "TRACE"
metrics = ["task_completion", "coherence"]
cadence = "daily"
sampling_rate = 0.2
filters = { tags = ["production"], date_from = 2026-01-01T00:00:00Z }

[[monitor]]
name = "sessions"
target_type = "SESSION"
metrics = ["agent_reliability"]
cadence = "cron:0 3 * * 1"
signal_weights = { confidence = 0.5 }
paused = true
"""


def monitor(name: str, **fields: Any) -> Monitor:
    """Return a monitor of the server."""
    return Monitor.model_validate(served_monitor(name=name, **fields))


def declared(**fields: Any) -> dict[str, Any]:
    """Return a declaration like `monitor("m")`."""
    return {"monitor": [{"name": "m", "target_type": "TRACE", "metrics": ["coherence"], "cadence": "daily", **fields}]}


async def test_a_file_is_applied(connect: Connect, server: LocalServer, tmp_path: Path) -> None:
    """A file creates, changes and resumes monitors, is a no-op the second time, and deletes only with `prune`."""
    file = tmp_path / "monitors.toml"
    file.write_text(FILE, encoding="utf-8")
    monitors = connect(server.url, project_name=f"p-{uuid4()}").monitors

    planned = await monitors.plan(file)
    made = await monitors.apply(str(file))
    again = await monitors.apply(file)
    there = {each.name: each for each in (await monitors.list()).items}
    file.write_text(FILE.replace('"daily"', '"weekly"').replace("paused = true", ""), encoding="utf-8")
    changed = await monitors.apply(file)
    later = {each.name: each for each in (await monitors.list()).items}
    file.write_text(FILE.partition('[[monitor]]\nname = "sessions"')[0], encoding="utf-8")
    pruned = await monitors.apply(file, prune=True)
    left = (await monitors.list()).items

    assert planned == made
    assert [str(change) for change in made.changes] == ["create nightly", "create sessions", "pause sessions"]
    assert (again.changes, again.unchanged) == ((), ("nightly", "sessions"))
    assert (there["nightly"].sampling_rate, there["sessions"].status) == (0.2, "PAUSED")
    assert there["sessions"].filters == {"signal_weights": {"confidence": 0.5}}
    assert [str(change) for change in changed.changes] == [
        "update nightly\n    cadence: 'daily' → 'weekly'",
        "resume sessions",
    ]
    assert (later["nightly"].cadence, later["sessions"].status) == ("weekly", "ACTIVE")
    assert [(change.action, change.name) for change in pruned.changes] == [
        ("update", "nightly"),
        ("delete", "sessions"),
    ]
    assert [each.name for each in left] == ["nightly"]


def test_only_what_differs_is_sent() -> None:
    """Only differing fields are sent, and an omitted field means the server's default."""
    filters = {"user_id": None, "tags": ["a"], "date_from": "2026-01-01T00:00:00+00:00"}
    mine = declared(filters={"tags": ["a"], "date_from": "2026-01-01T01:00:00+01:00"})  # the same moment
    there = monitor("m", sampling_rate=0.5, model="x/y", filters=filters)
    plan = plan_changes(read_declarations(mine), (there,), prune=False)

    (change,) = plan.changes
    assert (change.action, change.after) == ("update", {"sampling_rate": 1.0, "model": None})
    assert str(plan) == "update m\n    sampling_rate: 0.5 → 1.0\n    model: 'x/y' → None"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (declared(cadence="hourly"), "was not sent: monitor -> 0 -> cadence: must be one of every_6h, daily, weekly"),
        (declared(colour="blue"), "colour: there is no such argument"),
        (declared(filters={"tag": ["a"]}), "filters -> tag: there is no such argument"),
        (declared(paused="yes"), "paused: Input should be a valid boolean"),
        (declared(target_type="trace"), "target_type: Input should be 'TRACE' or 'SESSION'"),
        ({"monitors": []}, "monitors: there is no such argument"),
        ({"monitor": declared()["monitor"] * 2}, "'m' is declared twice"),
    ],
)
def test_declarations_that_cannot_be_right(content: dict[str, Any], words: str) -> None:
    """An invalid declaration raises an error with the monitor's number and the field, before any request."""
    with pytest.raises(InvalidRequest) as refused:
        read_declarations(content)

    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("existing", "words"),
    [
        ((monitor("m"), monitor("m")), "belongs to 2 monitors"),
        ((monitor("m", target_type="SESSION"),), "target_type: is SESSION and cannot be changed"),
    ],
)
def test_changes_that_cannot_be_made(existing: tuple[Monitor, ...], words: str) -> None:
    """An impossible change raises before any change is made."""
    with pytest.raises(InvalidRequest) as refused:
        plan_changes(read_declarations(declared()), existing, prune=False)

    assert words in str(refused.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing or not TOML raises an error with the file's name."""
    file = tmp_path / "monitors.toml"
    for text, words in ((None, "cannot be read"), ("[[monitor", "is not TOML")):
        if text is not None:
            file.write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError, match=f"{file}.*{words}"):
            read_declarations(file)
