"""Commands and lines of Python that are equivalent to an action on a page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The server and the project of an action."""

    endpoint: str
    project: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalent:
    """An action in words, as a shell command, and as Python with a `client`."""

    words: str
    command: str
    opening: str
    python: str


def scored(place: Place, trace_id: str, name: str, value: float, reason: str | None) -> Equivalent:
    """Return the equivalent of a score by hand."""
    options = {"--source": "ANNOTATION", **({"--reason": reason} if reason else {})}
    arguments = {"source": "ANNOTATION", **({"reason": reason} if reason else {})}
    return _equivalent(
        place,
        f"{name} = {value:g}",
        ("scores", "submit"),
        options,
        (trace_id, name, f"{value:g}"),
        _call("scores.create", trace_id, name, value, **arguments),
    )


def tagged(place: Place, trace_ids: Sequence[str], add: Sequence[str], remove: Sequence[str]) -> Equivalent:
    """Return the equivalent of a change of tags."""
    changes: dict[str, Any] = {name: [*tags] for name, tags in (("add", add), ("remove", remove)) if tags}
    return _equivalent(
        place,
        f"tags of {_counted(trace_ids)}: {', '.join([*(f'+{tag}' for tag in add), *(f'-{tag}' for tag in remove)])}",
        ("traces", "tag"),
        {f"--{name}": tags for name, tags in changes.items()},
        trace_ids,
        _call("traces.tag", [*trace_ids], **changes),
    )


def deleted(place: Place, trace_ids: Sequence[str]) -> Equivalent:
    """Return the equivalent of a deletion of traces."""
    one = len(trace_ids) == 1
    python = _call("traces.delete", trace_ids[0]) if one else _call("traces.delete_many", [*trace_ids])
    return _equivalent(place, f"{_counted(trace_ids)} deleted", ("traces", "delete"), {}, trace_ids, python)


def exported(place: Place, trace_ids: Sequence[str], form: str) -> Equivalent:
    """Return the equivalent of an export of traces as html, md or json."""
    flags = {"--as": form, "--output": f"traces.{form}"}
    python = f"[client.traces.get(trace_id) for trace_id in {[*trace_ids]!r}]"
    return _equivalent(place, f"{_counted(trace_ids)} as {form}", ("traces", "export"), flags, trace_ids, python)


def evaluated(place: Place, trace_ids: Sequence[str], metrics: Sequence[str]) -> Equivalent:
    """Return the equivalent of an evaluation run over traces."""
    return _equivalent(
        place,
        f"{', '.join(metrics)} of {_counted(trace_ids)} started",
        ("evals", "run"),
        {"--metric": [*metrics], "--trace": [*trace_ids]},
        (),
        _call("evaluations.run", [*metrics], traces=[*trace_ids]),
    )


def monitored(place: Place, name: str, metrics: Sequence[str], cadence: str, tags: Sequence[str]) -> Equivalent:
    """Return the equivalent of a new monitor of traces."""
    filters = {"filters": {"tags": [*tags]}} if tags else {}
    option = {"--filters": json.dumps(filters["filters"])} if tags else {}
    return _equivalent(
        place,
        f"monitor {name} made",
        ("monitors", "create"),
        {"--name": name, "--target-type": "TRACE", "--metric": [*metrics], "--cadence": cadence, **option},
        (),
        _call("monitors.create", name=name, target_type="TRACE", metrics=[*metrics], cadence=cadence, **filters),
    )


VERBS: Final[Mapping[str, str]] = {"pause": "paused", "resume": "resumed", "trigger": "started", "delete": "deleted"}
"""Actions on a monitor, with the words that confirm them."""


def monitor_changed(place: Place, monitor_id: str, name: str, verb: str) -> Equivalent:
    """Return the equivalent of one of `VERBS`."""
    python = _call(f"monitors.{verb}", monitor_id)
    return _equivalent(place, f"monitor {name} {VERBS[verb]}", ("monitors", verb), {}, (monitor_id,), python)


def _equivalent(
    place: Place,
    words: str,
    command: Sequence[str],
    options: Mapping[str, Any],
    arguments: Sequence[str],
    python: str,
) -> Equivalent:
    given: list[str] = []
    for name, value in {**options, "--project": place.project, "--endpoint": place.endpoint}.items():
        given += [f"{name}={one}" for one in ([value] if isinstance(value, str) else value)]
    last = ["--", *arguments] if any(one.startswith("-") for one in arguments) else [*arguments]
    return Equivalent(
        words=words,
        command=shlex.join(["pandaprobe-otel", *command, *given, *last]),
        opening=f"client = Client(project_name={place.project!r}, endpoint={place.endpoint!r})",
        python=python,
    )


def _call(method: str, *arguments: Any, **named: Any) -> str:
    given = [*map(repr, arguments), *(f"{name}={value!r}" for name, value in named.items())]
    return f"client.{method}({', '.join(given)})"


def _counted(trace_ids: Sequence[str]) -> str:
    return "1 trace" if len(trace_ids) == 1 else f"{len(trace_ids)} traces"
