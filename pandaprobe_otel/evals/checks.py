"""Ready-made checks that need no model: exact match, JSON Schema, and tool calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from pandaprobe_otel.evals.span_set import matches
from pandaprobe_otel.evals.verdicts import Judgement
from pandaprobe_otel.traces.text import call_text, value_text

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

    from pandaprobe_otel.evals.task_runs import TaskRun
    from pandaprobe_otel.traces.records import SpanRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactMatch:
    """Score 1 if the output equals the expected one, otherwise 0. A case without an expected output gives no evidence.

    ignore_case, ignore_space: ignore differences of case, or of white space and line ends, between texts.
    """

    ignore_case: bool = False
    ignore_space: bool = False
    name: str = "exact_match"

    def __call__(self, run: TaskRun) -> Judgement:
        """Compare the output of a run."""
        if run.case.expected is None:
            return Judgement.vacuous("the case has no expected output")
        if self._plain(run.output) == self._plain(run.case.expected):
            return Judgement.scored(1.0)
        return Judgement.scored(0.0, f"{value_text(run.output)} is not {value_text(run.case.expected)}")

    def _plain(self, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        value = value.casefold() if self.ignore_case else value
        return " ".join(value.split()) if self.ignore_space else value


@dataclass(frozen=True, slots=True)
class MatchesSchema:
    """Score 1 if the output fits a JSON Schema, otherwise 0. A text is parsed as JSON. Needs the extra `evals`.

    schema: a schema of any draft. Without `$schema`, the newest draft applies. For a pydantic model, pass
    `Model.model_json_schema()`.

    Raises ValueError for an invalid schema.
    """

    schema: Mapping[str, Any]
    name: str = field(default="matches_schema", kw_only=True)

    def __post_init__(self) -> None:
        try:
            from jsonschema.exceptions import SchemaError
        except ModuleNotFoundError:
            advice = 'jsonschema is not installed. Install it with: pip install "pandaprobe-otel[evals]"'
            raise ModuleNotFoundError(advice, name="jsonschema") from None
        try:
            self._validator.check_schema(dict(self.schema))
        except SchemaError as error:
            raise ValueError(f"{self.name}: invalid JSON Schema: {error.json_path}: {error.message}") from None

    @property
    def _validator(self) -> Validator:
        from jsonschema import Draft202012Validator
        from jsonschema.validators import validator_for

        return cast("Any", validator_for)(self.schema, default=Draft202012Validator)(self.schema)

    def __call__(self, run: TaskRun) -> Judgement:
        """Validate the output, and list the first three errors with their paths."""
        value = run.output
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except ValueError as error:
                return Judgement.scored(0.0, f"the output is not JSON: {error}")
        faults = sorted(self._validator.iter_errors(value), key=lambda fault: str(fault.json_path))
        told = "; ".join(f"{fault.json_path}: {fault.message}" for fault in faults[:3])
        return Judgement.scored(0.0 if faults else 1.0, told)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """An expected call: the name of the tool, and some of its arguments.

    arguments: values are compared with `==`. A compiled pattern must be found in the argument's text, and a function
    must return True for it.
    """

    name: str
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __str__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value_text(value)}' for name, value in self.arguments.items())})"

    def fits(self, span: SpanRecord) -> bool:
        """Return whether a span is this call."""
        return span.name == self.name and matches(span, self.arguments)


@dataclass(frozen=True, slots=True)
class ToolUse:
    """Score the share of the expected tools that were called. Each expected tool needs its own call.

    tools: names, `ToolCall`s, or mappings with `name` and `arguments`. Default: the field `tools` of the case in its
    dataset. A case without this field gives no evidence.
    ordered: calls count only in this order; other calls may come between them.
    only: an unexpected call lowers the score as much as a missing one.
    """

    tools: str | Sequence[str | ToolCall | Mapping[str, Any]] | None = None
    ordered: bool = field(default=False, kw_only=True)
    only: bool = field(default=False, kw_only=True)
    name: str = field(default="tool_use", kw_only=True)

    def __call__(self, run: TaskRun) -> Judgement:
        """Count the calls, and list the missing and unexpected ones."""
        tools = self.tools if self.tools is not None else run.case.metadata.get("tools")
        if tools is None:
            return Judgement.vacuous("the case has no field 'tools'")
        wanted = [_call(tool) for tool in _listed(tools)]
        calls = list(run.spans.tool())
        pairs = _in_order(wanted, calls) if self.ordered else _in_any_order(wanted, calls)
        surplus = len(calls) - len(pairs) if self.only else 0
        if not wanted and not self.only:
            return Judgement.vacuous("no tool is expected")
        total = len(wanted) + surplus
        return Judgement.scored(len(pairs) / total if total else 1.0, self._reason(wanted, calls, pairs))

    def _reason(self, wanted: Sequence[ToolCall], calls: Sequence[SpanRecord], pairs: Mapping[int, int]) -> str:
        missing = [str(tool) for place, tool in enumerate(wanted) if place not in pairs]
        surplus = [call_text(call) for place, call in enumerate(calls) if place not in pairs.values()]
        said = [f"missing{' in this order' if self.ordered else ''}: {', '.join(missing)}"] if missing else []
        if missing or (self.only and surplus):
            said.append(f"other calls: {', '.join(surplus) or 'none'}")
        return "; ".join(said)


def _listed(tools: Any) -> Sequence[Any]:
    """Return tools as a list. In a CSV file, tools are a text: one name, or JSON."""
    if not isinstance(tools, str):
        return cast("Sequence[Any]", tools)
    return cast("Sequence[Any]", json.loads(tools)) if tools.startswith("[") else [tools] if tools else []


def _call(tool: str | ToolCall | Mapping[str, Any]) -> ToolCall:
    if isinstance(tool, ToolCall):
        return tool
    return ToolCall(tool) if isinstance(tool, str) else ToolCall(tool["name"], tool.get("arguments") or {})


def _in_any_order(wanted: Sequence[ToolCall], calls: Sequence[SpanRecord]) -> dict[int, int]:
    """Return for each expected call the index of the matching call, with as many matches as possible.

    This is a bipartite matching by augmenting paths.
    """
    taken: dict[int, int] = {}

    def find(place: int, seen: set[int]) -> bool:
        for number, call in enumerate(calls):
            if number not in seen and wanted[place].fits(call):
                seen.add(number)
                if number not in taken or find(taken[number], seen):
                    taken[number] = place
                    return True
        return False

    for place in range(len(wanted)):
        find(place, set())
    return {place: number for number, place in taken.items()}


def _in_order(wanted: Sequence[ToolCall], calls: Sequence[SpanRecord]) -> dict[int, int]:
    """Return the indexes of the longest common subsequence."""
    best: list[list[dict[int, int]]] = [[{} for _ in range(len(calls) + 1)] for _ in range(len(wanted) + 1)]
    for place in reversed(range(len(wanted))):
        for number in reversed(range(len(calls))):
            choices = [best[place + 1][number], best[place][number + 1]]
            if wanted[place].fits(calls[number]):
                choices.append({place: number} | best[place + 1][number + 1])
            best[place][number] = max(choices, key=len)
    return best[0][0]
