"""Cases labelled by a person: input and output, or a whole trace, with a label."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, cast

from pandaprobe_otel.evals.dataset import Case, Dataset, load_cases, read_items
from pandaprobe_otel.evals.task_runs import TaskRun
from pandaprobe_otel.traces.records import TraceRecord

_WORDS: Final = {
    **dict.fromkeys(("true", "yes", "pass", "passed", "good", "1"), True),
    **dict.fromkeys(("false", "no", "fail", "failed", "bad", "0"), False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A case with its run and a person's label, either for all metrics or by metric."""

    run: TaskRun
    label: Any

    def is_good(self, metric: str, threshold: float) -> bool | None:
        """Return whether the label is a yes; None if there is no label for this metric. A number from the threshold up
        is a yes.

        Raises ValueError for an invalid label.
        """
        label: Any = self.label
        if isinstance(label, Mapping):
            label = cast("Mapping[str, Any]", label).get(metric)
        if label is None or label == "":
            return None
        if isinstance(label, bool):
            return label
        if isinstance(label, str) and label.strip().lower() in _WORDS:
            return _WORDS[label.strip().lower()]
        said = f"the label {label!r} of case {self.run.case.id} is "
        try:
            number = float(label)
        except (TypeError, ValueError):
            raise ValueError(f"{said}neither a number nor one of {', '.join(_WORDS)}") from None
        if not 0.0 <= number <= 1.0:
            raise ValueError(f"{said}not between 0 and 1")
        return number >= threshold


def load_labelled(dataset: Dataset) -> tuple[Labelled, ...]:
    """Return the labelled cases of a dataset; see `load_cases` for its forms.

    Each case has a `label`: true or false, yes or no, pass or fail, a number from 0 to 1, or a mapping of these by
    metric. It also has either `input` and `output`, or `trace`: the body of a trace with its spans. Raises ValueError
    for other cases.
    """
    items = read_items(dataset)
    for number, item in enumerate(items, 1):
        if not isinstance(item, Mapping) or "label" not in item or not ("trace" in item or "output" in item):
            raise ValueError(f"case {number} needs 'label' and either 'input' with 'output', or 'trace'")
    shown = [{"input": None, **cast("Mapping[str, Any]", item)} for item in items]
    return tuple(_labelled(number, case) for number, case in enumerate(load_cases(shown), 1))


def _labelled(number: int, case: Case) -> Labelled:
    try:
        return _read_case(case)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"case {number} cannot be read: {type(error).__name__}: {error}") from None


def _read_case(case: Case) -> Labelled:
    fields = dict(case.metadata)
    label, output, trace = fields.pop("label"), fields.pop("output", None), fields.pop("trace", None)
    record = TraceRecord(_read(trace) if trace is not None else _body(case.input, output))
    case = Case(
        id=case.id,
        input=case.input if case.input is not None else record.input,
        expected=case.expected,
        metadata=fields,
    )
    return Labelled(
        run=TaskRun(
            case=case,
            output=output if output is not None else record.output,
            error=None,
            seconds=record.seconds,
            trace_id=record.trace_id,
            traces=(record,),
        ),
        label=json.loads(label) if isinstance(label, str) and label.startswith("{") else label,
    )


def _read(trace: Any) -> Mapping[str, Any]:
    body: Any = json.loads(trace) if isinstance(trace, str) else trace
    spans: Sequence[Mapping[str, Any]] = body.get("spans") or ()
    started = min((str(span["started_at"]) for span in spans), default=_now())
    return {"trace_id": str(uuid.uuid4()), "name": "labelled", "started_at": started, **body, "spans": list(spans)}


def _body(given: Any, answered: Any) -> Mapping[str, Any]:
    now = _now()
    said = {"name": "labelled", "input": given, "output": answered, "started_at": now, "ended_at": now}
    span = {"span_id": "0" * 15 + "1", "parent_span_id": None, "kind": "AGENT", "status": "OK", **said}
    return {"trace_id": str(uuid.uuid4()), **said, "spans": [span]}


def _now() -> str:
    return datetime.now(UTC).isoformat()
