"""Cache of judgements, keyed by the judged behaviour, so that unchanged behaviour is billed only once."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self, cast

from pandaprobe_otel.evals.verdicts import Finding, Judgement


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUse:
    """Numbers of requested and cached judgements of a judge."""

    judge: str
    known: int
    wanted: int

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Self:
        """Read the result of `to_dict`."""
        return cls(**{name: plain[name] for name in ("judge", "known", "wanted")})

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "rate": self.known / self.wanted}

    def __str__(self) -> str:
        share = f"{self.known:,} of {self.wanted:,} ({self.known / self.wanted:.0%})"
        return f"cache of judgements: {share} known, of {self.judge}"


class JudgementCache:
    """A file with one JSON object per line. Later lines override earlier ones. Only scores with evidence are stored.

    The key is the trace's content (`behaviour_text`), the metric and the judge. An unreadable file counts as empty, so
    the judge is asked again.
    """

    def __init__(self, path: Path, *, judge: str, refresh: bool = False) -> None:
        """Open the file.

        judge: the default judge, for questions that name no judge: the server's address, or a model.
        refresh: ignore the existing entries and replace them.
        """
        self._refresh = refresh
        self._path = path
        self._judge = judge
        self._known: dict[str, Judgement] | None = None
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}

    @property
    def uses(self) -> tuple[CacheUse, ...]:
        """The number of requested and cached judgements, by judge and model."""
        return tuple(CacheUse(judge=judge, known=known, wanted=all) for judge, (known, all) in self._counts.items())

    def get(self, content: str, metric: str, model: str | None) -> Judgement | None:
        """Return a judgement of an earlier run, or None."""
        with self._lock:
            if self._known is None:
                self._known = {} if self._refresh else _read(self._path)
            found = self._known.get(self._key(content, metric, model))
            counts = self._counts.setdefault(f"{self._judge} {model or ''}".strip(), [0, 0])
            counts[0] += found is not None
            counts[1] += 1
        return found

    def put(self, content: str, metric: str, model: str | None, judgement: Judgement) -> None:
        """Store a score for later runs. This run does not read it, so that repetitions are judged separately."""
        if judgement.finding is not Finding.SCORED:
            return
        line = {
            "key": self._key(content, metric, model),
            "metric": metric,
            "value": judgement.value,
            "reason": judgement.reason,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # A single write in append mode: processes that share the file cannot mix up each other's lines.
        with open(self._path, "ab") as file:
            file.write(b"\n" + json.dumps(line).encode())  # the previous line may be incomplete

    def _key(self, content: str, metric: str, model: str | None) -> str:
        return hashlib.sha256("\n".join((content, metric, model or "", self._judge)).encode()).hexdigest()


class Caches:
    """The caches of one evaluation, one for each judge, in one file."""

    def __init__(self, path: Path | None, *, refresh: bool = False) -> None:
        self._path = path
        self._refresh = refresh
        self._made: dict[str, JudgementCache] = {}

    def of(self, judge: str) -> JudgementCache | None:
        """Return the cache of a judge; None if there is no file."""
        if self._path is None:
            return None
        if judge not in self._made:
            self._made[judge] = JudgementCache(self._path.expanduser(), judge=judge, refresh=self._refresh)
        return self._made[judge]

    @property
    def uses(self) -> tuple[CacheUse, ...]:
        """The use of each cache."""
        return tuple(use for cache in self._made.values() for use in cache.uses)


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
        if isinstance(entry, dict) and {"key", "value", "reason"} <= cast("dict[str, Any]", entry).keys():
            value, reason = cast("Any", entry)["value"], str(cast("Any", entry)["reason"])
            known[str(cast("Any", entry)["key"])] = Judgement(
                finding=Finding.SCORED, value=float(value), reason=reason, cached=True
            )
    return known
