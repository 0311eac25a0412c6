"""Count the texts and numbers of recorded spans, events and logs that are missing from their traces, one by one.

Reads a folder of captures, one JSON file for each: `spans` and `log_events` as written by an SDK's console exporter
(see `view_of` and `log_of`). A value counts as kept if its text or its number is anywhere in the trace. JSON in text is
parsed on both sides. Values that are omitted on purpose (docs/recorded.md) are counted by their reason.

    python benchmarks/mapping/conservation.py <folder> [--all]
"""

from __future__ import annotations

import base64
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pandaprobe_otel.mapping import EventView, LogView, SpanView, map_views
from pandaprobe_otel.mapping.unread_attributes import MACHINES, is_connection, left_out

FORM: Final = frozenset({"type", "role", "object", "kind", "event.name"})
PLACEHOLDERS: Final = frozenset({"<elided>", "<not specified>", "None", "{}", "[]"})
_SPACE: Final = re.compile(r"\s+")
_MEMBER: Final = re.compile(r"[A-Z]\w+\.([A-Z_]+)\Z")


def main() -> None:
    folder = Path(sys.argv[1])
    files, leaves, lost, reasons = 0, 0, list[str](), Counter[str]()
    for file in sorted(folder.glob("*.json")):
        recorded = json.loads(file.read_text(encoding="utf-8"))
        if "spans" not in recorded:
            continue
        files += 1
        for views, logs in traces_of(recorded):
            kept = Kept(json.loads(map_views(views, logs).encoded()))
            for place, value in said_by(views, logs):
                leaves += 1
                if value in kept:
                    continue
                reason = reason_for(place, value)
                if reason is None:
                    lost.append(f"{file.stem} {place}: {str(value)[:120]!r}")
                else:
                    reasons[reason] += 1
    for line in lost if "--all" in sys.argv else lost[:40]:
        print(line)
    print(f"{files} captures, {leaves} values; not in the trace: {len(lost)} ({len(lost) / leaves:.2%})")
    for reason, count in reasons.most_common():
        print(f"  left out, {reason}: {count}")


def reason_for(place: str, value: str | float) -> str | None:
    """Return the reason why a value is not in the trace; None if it is unexplained."""
    name, _, path = place.partition(" ")
    event, _, attribute = name.rpartition(":")
    key = (path or attribute).rpartition(" ")[2]
    if key in FORM or key.rpartition(".")[2] in FORM:
        return "names the form of a value, which has another form in the trace"
    if any(is_connection(step) for step in path.split(" ")):
        return MACHINES
    if value in PLACEHOLDERS:
        return "is a placeholder of an emitter without a value"
    if place.startswith(":"):
        return "an ordinary log record, not a span's"
    if event == "exception":
        return "is the beginning of a stack trace: only the last 4,096 characters are kept"
    return left_out(attribute)


def traces_of(recorded: Mapping[str, Any]) -> Iterator[tuple[list[SpanView], list[LogView]]]:
    """Yield the spans and log records of each trace of a capture."""
    logs = [log for record in recorded.get("log_events", ()) if (log := log_of(record)) is not None]
    by_trace: dict[int, list[SpanView]] = {}
    for span in recorded["spans"]:
        view = view_of(span)
        by_trace.setdefault(view.trace_id, []).append(view)
    for trace_id, views in by_trace.items():
        yield views, [log for log in logs if log.trace_id == trace_id]


def view_of(span: Mapping[str, Any]) -> SpanView:
    """Return the view of a recorded span."""
    parent = span["parent_span_id"]
    return SpanView(
        span["name"],
        int(span["trace_id"], 16),
        int(span["span_id"], 16),
        int(parent, 16) if parent else None,
        start_ns=span["start_time_unix_nano"],
        end_ns=span["end_time_unix_nano"],
        status_code=span["status"]["code"],
        status_description=span["status"]["description"],
        attributes=restored(span["attributes"]),
        events=tuple(
            EventView(event["name"], event.get("timestamp"), restored(event.get("attributes") or {}))
            for event in span["events"]
        ),
        scope_name=span["scope"]["name"] or "",
        resource=span["resource"],
    )


def log_of(record: Mapping[str, Any]) -> LogView | None:
    """Return the view of a recorded log record, None if it belongs to no span."""
    if not record.get("trace_id") or not record.get("span_id"):
        return None
    name = record.get("event_name") or record["attributes"].get("event.name") or ""
    attributes, body = restored(record["attributes"] or {}), restored(record.get("body"))
    event = EventView(name, record.get("timestamp"), attributes, body)
    return LogView(int(record["trace_id"], 16), int(record["span_id"], 16), event)


def restored(value: Any) -> Any:
    """Return a recorded value with its bytes, which captures write as `{"__bytes__": "<hex>"}`."""
    if isinstance(value, list):
        return [restored(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"__bytes__"}:
        return bytes.fromhex(value["__bytes__"])
    return {key: restored(item) for key, item in value.items()}


def said_by(views: list[SpanView], logs: list[LogView]) -> Iterator[tuple[str, str | float]]:
    """Yield every text and number of attributes, events and log bodies with its path."""
    known = {view.span_id for view in views}
    events = [event for view in views for event in view.events]
    events += [log.event for log in logs if log.span_id in known]
    for view in views:
        if view.attributes.get("logfire.span_type") == "pending_span":
            continue
        for key, value in view.attributes.items():
            yield from leaves_of(value, key)
    for event in events:
        for key, value in event.attributes.items():
            yield from leaves_of(value, f"{event.name}:{key}")
        yield from leaves_of(event.body, f"{event.name}:body")


def leaves_of(value: Any, place: str, levels: int = 40) -> Iterator[tuple[str, str | float]]:
    """Yield the texts and numbers in a value, decoding JSON text."""
    value = parsed(value)
    if isinstance(value, bytes):
        yield place, base64.b64encode(value).decode()
    elif isinstance(value, dict) and levels:
        for key, item in value.items():
            yield from leaves_of(item, f"{place} {key}", levels - 1)
    elif isinstance(value, list | tuple) and levels:
        if len(value) > 8 and all(isinstance(item, int | float) for item in value):
            return  # a vector
        for index, item in enumerate(value):
            yield from leaves_of(item, f"{place} {index}", levels - 1)
    elif (isinstance(value, str) and value.strip()) or (isinstance(value, int | float) and not isinstance(value, bool)):
        yield place, value


def parsed(value: Any) -> Any:
    """Return the content of JSON text of an object, list or text; any other value unchanged."""
    for _ in range(3):
        if not (isinstance(value, str) and value.lstrip()[:1] in ("{", "[", '"')):
            break
        try:
            value = json.loads(value)
        except ValueError:
            break
    return value


class Kept:
    """The texts and numbers in a trace, in which values are looked up."""

    def __init__(self, trace: Any) -> None:
        self.numbers: set[float] = set()
        self.texts: set[str] = set()
        self._add(trace)
        self.all = "\0".join(self.texts)

    def __contains__(self, value: str | float) -> bool:
        if not isinstance(value, str):
            return value in self.numbers or str(value) in self.all
        member = _MEMBER.match(value)  # a member of an enumeration, which is recorded by its value
        plain = plain_text(value if member is None else member[1])
        return plain in self.texts or plain in self.all or all(part in self.texts for part in plain.split(", "))

    def _add(self, value: Any) -> None:
        value = parsed(value)
        if isinstance(value, dict):
            for key, item in value.items():
                self.texts.add(plain_text(str(key)))
                self._add(item)
        elif isinstance(value, list):
            for item in value:
                self._add(item)
        elif isinstance(value, str):
            self.texts.add(plain_text(value))
        elif isinstance(value, int | float):
            self.numbers.add(value)


def plain_text(text: str) -> str:
    """Return the text in the form for comparison: lower case, with single spaces."""
    return _SPACE.sub(" ", text).strip().lower()


if __name__ == "__main__":
    main()
