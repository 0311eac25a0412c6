"""Cache of judgements, keyed by the judged behaviour, so that unchanged behaviour is billed only once."""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pandaprobe_otel.evals.verdicts import Finding, Judgement
from pandaprobe_otel.traces.json_shapes import members


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """Numbers of requested and cached judgements of a judge."""

    judge: str
    known: int
    wanted: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "rate": self.known / self.wanted}

    def __str__(self) -> str:
        share = f"{self.known:,} of {self.wanted:,} ({self.known / self.wanted:.0%})"
        return f"cache of judgements: {share} known, of {self.judge}"


class JudgementCache:
    """A file with one JSON object per line. Later lines override earlier ones. Only scores with evidence are stored.

    The key is the judge (a server's address, or a model), the trace's content (`behaviour_text`) and the metric. An
    unreadable file counts as empty, so the judge is asked again. Without a file, nothing is known and stored.
    """

    def __init__(self, path: Path | None = None, *, refresh: bool = False) -> None:
        """Open the file. refresh: ignore the existing entries and replace them."""
        self.path = None if path is None else path.expanduser()
        self._refresh = refresh
        self._known: dict[str, Judgement] | None = None
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}

    @property
    def uses(self) -> tuple[CacheUse, ...]:
        """The number of requested and cached judgements, by judge and model."""
        return tuple(CacheUse(judge=judge, known=known, wanted=all) for judge, (known, all) in self._counts.items())

    def get(self, judge: str, content: str, metric: str) -> Judgement | None:
        """Return a judgement of an earlier run, or None."""
        if self.path is None:
            return None
        with self._lock:
            if self._known is None:
                self._known = {} if self._refresh else _read(self.path)
            found = self._known.get(_key(judge, content, metric))
            counts = self._counts.setdefault(judge, [0, 0])
            counts[0] += found is not None
            counts[1] += 1
        return found

    def put(self, judge: str, content: str, metric: str, judgement: Judgement) -> None:
        """Store a score for later runs. This run does not read it, so that repetitions are judged separately."""
        if self.path is None or judgement.finding is not Finding.SCORED:
            return
        kept = {"metric": metric, "value": judgement.value, "reason": judgement.reason}
        line = {"key": _key(judge, content, metric), **kept}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A single write in append mode: processes that share the file cannot mix up each other's lines.
        with open(self.path, "ab") as file:
            file.write(b"\n" + json.dumps(line).encode())  # the previous line may be incomplete


def _key(*parts: str) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(path: Path) -> dict[str, Judgement]:
    known: dict[str, Judgement] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return known
    for line in lines:
        try:
            entry: Any = json.loads(line)
        except ValueError:
            continue  # cut off when a process was killed
        fields = members(entry)
        if {"key", "value", "reason"} <= fields.keys():
            found = Judgement.scored(fields["value"], str(fields["reason"]))
            known[str(fields["key"])] = replace(found, cached=True)
    return known
