"""Evaluation with and without pytest: span assertions, judges, repetitions and reports.

Names are imported on first use, since the pytest plugin imports this package in every test run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pandaprobe_otel.process.forks import lazy_names

if TYPE_CHECKING:
    from pandaprobe_otel.evals.checks import ExactMatch as ExactMatch
    from pandaprobe_otel.evals.checks import MatchesSchema as MatchesSchema
    from pandaprobe_otel.evals.checks import ToolCall as ToolCall
    from pandaprobe_otel.evals.checks import ToolUse as ToolUse
    from pandaprobe_otel.evals.dataset import Case as Case
    from pandaprobe_otel.evals.dataset import load_cases as load_cases
    from pandaprobe_otel.evals.experiment import evaluate as evaluate
    from pandaprobe_otel.evals.judge_quality import Agreement as Agreement
    from pandaprobe_otel.evals.judge_quality import JudgeQuality as JudgeQuality
    from pandaprobe_otel.evals.judge_quality import measure_judge as measure_judge
    from pandaprobe_otel.evals.local_judge import LocalJudge as LocalJudge
    from pandaprobe_otel.evals.model_metrics import Criterion as Criterion
    from pandaprobe_otel.evals.model_metrics import Groundedness as Groundedness
    from pandaprobe_otel.evals.probe import Probe as Probe
    from pandaprobe_otel.evals.report import CaseResult as CaseResult
    from pandaprobe_otel.evals.report import EvaluationStopped as EvaluationStopped
    from pandaprobe_otel.evals.report import MetricResult as MetricResult
    from pandaprobe_otel.evals.report import Report as Report
    from pandaprobe_otel.evals.report_comparison import Comparison as Comparison
    from pandaprobe_otel.evals.simulation import Conversation as Conversation
    from pandaprobe_otel.evals.simulation import End as End
    from pandaprobe_otel.evals.simulation import Ended as Ended
    from pandaprobe_otel.evals.simulation import ModelPersona as ModelPersona
    from pandaprobe_otel.evals.simulation import Persona as Persona
    from pandaprobe_otel.evals.simulation import PersonaError as PersonaError
    from pandaprobe_otel.evals.simulation import ScriptedPersona as ScriptedPersona
    from pandaprobe_otel.evals.simulation import Simulation as Simulation
    from pandaprobe_otel.evals.simulation import goal_reached as goal_reached
    from pandaprobe_otel.evals.span_set import SpanSet as SpanSet
    from pandaprobe_otel.evals.task_runs import Scorer as Scorer
    from pandaprobe_otel.evals.task_runs import TaskRun as TaskRun
    from pandaprobe_otel.evals.verdicts import Judgement as Judgement
    from pandaprobe_otel.evals.verdicts import Outcome as Outcome

_HOMES = {
    "checks": "ExactMatch MatchesSchema ToolCall ToolUse",
    "dataset": "Case load_cases",
    "experiment": "evaluate",
    "judge_quality": "Agreement JudgeQuality measure_judge",
    "local_judge": "LocalJudge",
    "model_metrics": "Criterion Groundedness",
    "probe": "Probe",
    "report": "CaseResult EvaluationStopped MetricResult Report",
    "report_comparison": "Comparison",
    "simulation": "Conversation End Ended ModelPersona Persona PersonaError ScriptedPersona Simulation goal_reached",
    "span_set": "SpanSet",
    "task_runs": "Scorer TaskRun",
    "verdicts": "Judgement Outcome",
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
