"""A check that kills a process at any line or write of the spool's code, and then examines the spool.

Run as a program: `python failpoints.py FOLDER POINTS SEED`. It forks one child for each point. The child does
everything that a process does with a spool (adopt, insert, start, remove, divide, fork, end), and dies after a number
of executed lines, or when one of its files would exceed a number of bytes.
The program prints a JSON object: how many points it tried, how many lines a complete child has, and all violations.
"""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

from pandaprobe_otel.delivery.parcel import Step
from pandaprobe_otel.delivery.spool.inspection import refusals
from pandaprobe_otel.delivery.spool.lease_file import FileTokens
from spools import DESTINATION, Run, create

_WATCHED = "pandaprobe_otel/delivery/spool/"
LEFT_BEHIND = (100, 101, 102), (103, 104)
"""Requests of two earlier processes, which were also ended by kill -9."""
INSERTED = 8
STAYS = {f"refused-{DESTINATION.digest}.jsonl", "leases"}
"""Files that remain after all requests have been delivered."""
_LARGEST = 200_000
"""Bytes of a child's largest file."""


class Killer:
    """Trace function that counts lines of the spool's code and kills the process at one of them."""

    def __init__(self, at: int | None) -> None:
        self.lines = 0
        self._at = at

    def __call__(self, frame: FrameType, event: str, argument: Any) -> Any:
        if _WATCHED not in frame.f_code.co_filename:
            return None
        if event == "line":
            self.lines += 1
            if self.lines == self._at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


def live(folder: Path, report: Any) -> None:
    """Use the spool in every way; `report` gets (kind, number) once a request is surely on disk, or surely gone."""
    run = Run(folder)
    run.look_around()
    parcels = {}
    for number in range(INSERTED):
        (parcels[number],) = run.put(create(number, size=2_000, spans=2))
        report("kept", number)
    for number in (0, 3):
        run.start(parcels[number])
        report("leaving", number)
        run.done(parcels[number])
        report("gone", number)
    tokens = FileTokens(folder / "leases")
    tokens.take(100, 0.0)
    run.start(parcels[1])
    run.outbox.keep_refused(parcels[1], "no", 0.0)
    run.outbox.retry(parcels[1], 0.0)
    run.outbox.save()
    run.start(parcels[4])
    whole = parcels[4]
    rest = replace(whole, step=Step.APPEND, spans=whole.spans[1:])
    run.outbox.replace(parcels[4], (replace(whole, spans=whole.spans[:1]), rest), 0.0)
    run.outbox.save()
    run.store.before_fork()
    run.look_around()
    for parcel in list(run.outbox):
        number = int(parcel.trace_id[-12:])
        if number >= 100:
            report("leaving", number)
            run.done(parcel)
            report("gone", number)
    run.outbox.leave()


def examine(folder: Path, events: list[list[Any]]) -> list[str]:
    """Return the violations in the spool of a dead process that reported these events."""
    kept = {number for kind, number in events if kind == "kept"} | {
        number for numbers in LEFT_BEHIND for number in numbers
    }
    leaving = {number for kind, number in events if kind == "leaving"}
    gone = {number for kind, number in events if kind == "gone"}
    heir = Run(folder)
    heir.contents()
    creates = [(int(each.trace_id[-12:]), each.in_doubt) for each in heir.outbox if each.step is Step.CREATE]
    found = [number for number, _ in creates]
    problems = [f"lost: {number}" for number in kept - leaving - set(found)]
    problems += [f"came back: {number}" for number in gone & set(found)]
    problems += [f"twice: {number}" for number in set(found) if creates.count((number, False)) > 1]
    problems += [f"thrice: {number}" for number in set(found) if found.count(number) > 2]
    problems += [f"{reason}: {count}" for reason, count in heir.gone.items() if count]
    heir.done(*heir.outbox)
    heir.outbox.leave()
    words = [refusal.server for refusal in refusals(folder)]
    problems += [f"refused: {words}"] if words not in ([], ["no"]) else []
    problems += [f"left: {path.name}" for path in folder.iterdir() if path.name not in STAYS]
    return problems


def leave_a_spool(folder: Path) -> None:
    """Let child processes store requests, and kill them."""
    for numbers in LEFT_BEHIND:
        child = os.fork()
        if child == 0:
            before = Run(folder)
            before.put(*(create(number, size=500) for number in numbers))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)


def life(folder: Path, at: int | None, largest: int | None = None) -> tuple[int, list[list[Any]]]:
    """Run `live` in a forked child that is killed at a line, or when a file would exceed `largest` bytes.

    Return the number of executed lines (0 if the child was killed) and the events that it reported.
    """
    shutil.rmtree(folder, ignore_errors=True)
    leave_a_spool(folder)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        if largest is not None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
        killer = Killer(at)
        sys.settrace(killer)
        live(folder, lambda kind, number: os.write(writing, json.dumps([kind, number]).encode() + b"\n"))
        sys.settrace(None)
        os.write(writing, json.dumps(["lines", killer.lines]).encode() + b"\n")
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        events = [json.loads(line) for line in pipe]
    os.waitpid(child, 0)
    return next((number for kind, number in events if kind == "lines"), 0), events


def main() -> int:
    """Try this many points, spread over all lines of `live`."""
    logging.disable(logging.WARNING)
    folder, points, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    lines, events = life(folder, None)
    violations = {"end": problems} if (problems := examine(folder, events)) else {}
    tried = random.Random(seed).sample(range(1, lines), min(points, lines - 1))
    for at in tried:
        _, events = life(folder, at)
        if problems := examine(folder, events):
            violations[str(at)] = problems
    for largest in random.Random(seed).sample(range(1, _LARGEST), min(points, 3000) // 3):
        _, events = life(folder, None, largest)
        if problems := examine(folder, events):
            violations[f"{largest} bytes"] = problems
    sys.stdout.write(json.dumps({"tried": len(tried), "lines": lines, "violations": violations}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
