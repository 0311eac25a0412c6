"""Evaluation with and without pytest: span assertions, judges, repetitions and reports.

Names are imported on first use, since the pytest plugin imports this package in every test run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.process.forks import lazy_names

if TYPE_CHECKING:
    from pandaprobe_otel.evals.checks import ExactMatch, MatchesSchema, ToolCall, ToolUse
    from pandaprobe_otel.evals.dataset import Case, load_cases
    from pandaprobe_otel.evals.experiment import evaluate
    from pandaprobe_otel.evals.judge_quality import Agreement, JudgeQuality, measure_judge
    from pandaprobe_otel.evals.local_judge import LocalJudge
    from pandaprobe_otel.evals.model_metrics import Criterion, Groundedness
    from pandaprobe_otel.evals.probe import Probe
    from pandaprobe_otel.evals.report import CaseResult, EvaluationStopped, Report
    from pandaprobe_otel.evals.report_comparison import Comparison
    from pandaprobe_otel.evals.simulation import (
        Conversation,
        End,
        Ended,
        ModelPersona,
        Persona,
        PersonaError,
        ScriptedPersona,
        Simulation,
        goal_reached,
    )
    from pandaprobe_otel.evals.span_set import SpanSet
    from pandaprobe_otel.evals.task_runs import Scorer, TaskRun
    from pandaprobe_otel.evals.verdicts import Judgement, MetricResult, Outcome

_HOMES = {
    "checks": "ExactMatch MatchesSchema ToolCall ToolUse",
    "dataset": "Case load_cases",
    "experiment": "evaluate",
    "judge_quality": "Agreement JudgeQuality measure_judge",
    "local_judge": "LocalJudge",
    "model_metrics": "Criterion Groundedness",
    "probe": "Probe",
    "report": "CaseResult EvaluationStopped Report",
    "report_comparison": "Comparison",
    "simulation": "Conversation End Ended ModelPersona Persona PersonaError ScriptedPersona Simulation goal_reached",
    "span_set": "SpanSet",
    "task_runs": "Scorer TaskRun",
    "verdicts": "Judgement MetricResult Outcome",
}

__all__ = [
    "Agreement",
    "Case",
    "CaseResult",
    "Comparison",
    "Conversation",
    "Criterion",
    "End",
    "Ended",
    "EvaluationStopped",
    "ExactMatch",
    "Groundedness",
    "JudgeQuality",
    "Judgement",
    "LocalJudge",
    "MatchesSchema",
    "MetricResult",
    "ModelPersona",
    "Outcome",
    "Persona",
    "PersonaError",
    "Probe",
    "Report",
    "Scorer",
    "ScriptedPersona",
    "Simulation",
    "SpanSet",
    "TaskRun",
    "ToolCall",
    "ToolUse",
    "evaluate",
    "goal_reached",
    "load_cases",
    "measure_judge",
]

if not TYPE_CHECKING:  # Hidden from type checkers, which would otherwise accept any misspelt name.
    __getattr__, __dir__ = lazy_names(__name__, {home: names.split() for home, names in _HOMES.items()})
