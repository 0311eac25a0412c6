"""Cache of judgements by the judged behaviour, so that unchanged behaviour is not paid for twice."""

from __future__ import annotations

import hashlib
import json
import threading
from pathlib import Path
from typing import Any, cast

from pandaprobe_otel.evals.cache_use import CacheUse
from pandaprobe_otel.evals.judging import Finding, Judgement


class JudgementCache:
    """A file with one JSON object a line; later lines win. Only scores on evidence are kept.

    The key is the trace's content (`behaviour_text`), the metric and the judge. A file that cannot be read is
    as good as none: the judgements are then asked for.
    """

    def __init__(self, path: Path, *, judge: str, refresh: bool = False) -> None:
        """`judge` names who judges where a question does not: the server's address, or the model.

        refresh: know nothing, and replace what the file knows.
        """
        self._refresh = refresh
        self._path = path
        self._judge = judge
        self._known: dict[str, Judgement] | None = None
        self._lock = threading.Lock()
        self._counts: dict[str, list[int]] = {}

    @property
    def uses(self) -> tuple[CacheUse, ...]:
        """The numbers of requested and known judgements, by judge and model."""
        return tuple(CacheUse(judge=judge, known=known, wanted=all) for judge, (known, all) in self._counts.items())

    def get(self, content: str, metric: str, model: str | None) -> Judgement | None:
        """Return a judgement of an earlier run."""
        with self._lock:
            if self._known is None:
                self._known = {} if self._refresh else _read(self._path)
            found = self._known.get(self._key(content, metric, model))
            counts = self._counts.setdefault(f"{self._judge} {model or ''}".strip(), [0, 0])
            counts[0] += found is not None
            counts[1] += 1
        return found

    def put(self, content: str, metric: str, model: str | None, judgement: Judgement) -> None:
        """Remember a score for later runs; this one does not see it, so that repetitions are judged one by one."""
        if judgement.finding is not Finding.SCORED:
            return
        line = {
            "key": self._key(content, metric, model),
            "metric": metric,
            "value": judgement.value,
            "reason": judgement.reason,
        }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # One write of one line in append mode: processes that share the file do not tear each other's lines.
        with open(self._path, "ab") as file:
            file.write(b"\n" + json.dumps(line).encode())  # first the newline: an earlier line may be torn

    def _key(self, content: str, metric: str, model: str | None) -> str:
        return hashlib.sha256("\n".join((content, metric, model or "", self._judge)).encode()).hexdigest()


class Caches:
    """The caches of one evaluation, in one file: one for each judge."""

    def __init__(self, path: Path | None, *, refresh: bool) -> None:
        self._path = path
        self._refresh = refresh
        self._made: list[JudgementCache] = []

    def of(self, judge: str) -> JudgementCache | None:
        """Return the cache of this judge; None without a file."""
        if self._path is None:
            return None
        self._made.append(JudgementCache(self._path, judge=judge, refresh=self._refresh))
        return self._made[-1]

    @property
    def uses(self) -> tuple[CacheUse, ...]:
        """The use of each of them."""
        return tuple(use for cache in self._made for use in cache.uses)


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
            continue  # torn by a killed process
        if isinstance(entry, dict) and {"key", "value", "reason"} <= cast("dict[str, Any]", entry).keys():
            value, reason = cast("Any", entry)["value"], str(cast("Any", entry)["reason"])
            known[str(cast("Any", entry)["key"])] = Judgement(
                finding=Finding.SCORED, value=float(value), reason=reason, cached=True
            )
    return known
