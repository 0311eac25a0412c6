"""The metrics of server 0.5.0: of traces, by a judge or the similarity of texts, and of sessions, by arithmetic.

If there is nothing to judge, the score is 1.0 with that reason, in the real server's words: clients recognize such
scores by the reason.

Session metrics: arithmetic over four signals of each trace. The formulas are those of server 0.5.0.

A signal s in 0..1 is a risk of 1 - s. A missing signal counts as no risk, so a session without evidence scores 1.0.

    agent_reliability   the risk of a trace is its largest weighted risk; the session's is
                        0.9 x mean of the worst 15 % (at least one trace) + 0.1 x the worst
    agent_consistency   the uncertainty of a trace is its confidence risk, amplified by 1 + the sum of the other
                        weighted risks; the session's is the root mean square of its traces'
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from pandaprobe_otel.judge.judge import Judge, JudgeError, Question
from pandaprobe_otel.judge.prompts import QUESTIONS, ArgumentVerdicts, prompt_for, schema_for

THRESHOLD: Final = 0.5
"""Default threshold of every metric. The API has no way to change it."""

TRACE_METRICS: Final[Mapping[str, str]] = {
    "argument_correctness": "Evaluates whether tool call arguments were correctly specified for the task.",
    "coherence": "Evaluates whether the agent's output logically follows from its input.",
    "confidence": "Evaluates whether the agent acted decisively and appropriately.",
    "plan_adherence": "Evaluates how closely the agent followed its declared plan during execution.",
    "plan_quality": "Evaluates the intrinsic quality, completeness, and optimality of the agent's plan.",
    "step_efficiency": "Evaluates how efficiently the agent executed the task with minimal unnecessary steps.",
    "task_completion": "Evaluates whether the agent accomplished the user's stated objective.",
    "tool_correctness": "Evaluates whether the agent selected appropriate tools for the task.",
}
SESSION_METRICS: Final[Mapping[str, str]] = {
    "agent_consistency": (
        "Evaluates overall stability across a session. Penalizes any trace that deviates from smooth operation "
        "using weighted RMS."
    ),
    "agent_reliability": (
        "Evaluates worst-case failure risk across a session. Focuses on the most problematic traces using "
        "max-compose + top-k tail risk."
    ),
}
SIGNALS: Final[Sequence[str]] = ("confidence", "coherence", "loop_detection", "tool_correctness")
"""Inputs of session metrics for each trace of a session. `loop_detection` exists only as a signal."""


def metric_records(metrics: Mapping[str, str], category: str) -> list[dict[str, str]]:
    """Return the list of `GET /evaluations/trace-metrics` or `session-metrics`."""
    return [{"name": name, "description": text, "category": category} for name, text in metrics.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A score from 0 to 1 with its reason; `metadata` is stored with it."""

    score: float
    reason: str
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def value(self) -> str:
        """The score in its stored form: text, rounded to four digits."""
        return str(round(self.score, 4))


def verdict(score: float) -> dict[str, Any]:
    """Return metadata that states whether a score reaches its threshold."""
    return {"threshold": THRESHOLD, "success": score >= THRESHOLD}


# -- metrics of traces -------------------------------------------------------------------------------------------------

Trace = Mapping[str, Any]

LOOP_WINDOW: Final = 3
"""Maximum number of earlier traces of a session that an output is compared with."""

_BY_WORDS: Final = " (by common words: the judge has no embedding model)"


def evaluate_trace(
    metric: str, trace: Trace, judge: Judge, *, model: str | None, earlier: Sequence[Trace] = ()
) -> Result:
    """Return the result of a metric for a trace. Raises JudgeError.

    earlier: the traces before it in the session.
    """
    if (forced := judge.forced(metric, trace)) is not None:
        score, reason = forced
        return Result(score=score, reason=reason, metadata=verdict(score))
    if metric == "coherence":
        return _coherence(trace, judge)
    if metric == "loop_detection":
        return _loop_detection(trace, judge, earlier)
    return _opinion(metric, trace, judge, model)


def _opinion(metric: str, trace: Trace, judge: Judge, model: str | None) -> Result:
    answer_model, _ = QUESTIONS[metric]
    question = Question(metric=metric, prompt=prompt_for(metric, trace), schema=schema_for(metric), trace=trace)
    try:
        answer = answer_model.model_validate(judge.ask(question, model))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise JudgeError(f"The judge's answer does not have the required form: {place}: {first['msg']}") from None
    if isinstance(answer, ArgumentVerdicts):
        return _arguments(answer)
    fields = answer.model_dump()
    score, reason = fields.pop("score"), fields.pop("reason")
    if fields.get("plan") == []:
        return Result(score=1.0, reason="No plan found in trace", metadata={**fields, **verdict(1.0)})
    return Result(score=score, reason=reason, metadata={**fields, **verdict(score)})


def _arguments(answer: ArgumentVerdicts) -> Result:
    verdicts = [{"verdict": one.verdict, "reason": one.reason} for one in answer.verdicts]
    evidence = {"user_input": answer.user_input, "verdicts": verdicts}
    if not verdicts:
        reason = "No tool calls in trace; nothing to evaluate."
        return Result(score=1.0, reason=reason, metadata={**evidence, **verdict(1.0)})
    score = sum(one.verdict == "yes" for one in answer.verdicts) / len(verdicts)
    return Result(score=score, reason=answer.reason, metadata={**evidence, **verdict(score)})


def _coherence(trace: Trace, judge: Judge) -> Result:
    given, answered = text_of(trace["input"]), text_of(trace["output"])
    if not given or not answered:
        metadata = {"coherence_gap": 0.0, "note": "empty_input_or_output"}
        return Result(score=1.0, reason="Input or output is empty; coherence assumed.", metadata=metadata)
    (likeness,), how = _likenesses(judge, given, [answered])
    gap = 1.0 - likeness
    score = _of_risk(gap)
    metadata = {"coherence_gap": round(gap, 4), **verdict(score)}
    return Result(score=score, reason=f"Coherence gap: {gap:.4f}{how}", metadata=metadata)


def _loop_detection(trace: Trace, judge: Judge, earlier: Sequence[Trace]) -> Result:
    current = text_of(trace["output"])
    before = [text for text in (text_of(other["output"]) for other in earlier[-LOOP_WINDOW:]) if text]
    if not earlier:
        return _not_assessed("No session context provided; looping cannot be assessed.", "no session context provided")
    if not current:
        return _not_assessed("Empty output; looping cannot be assessed.", "empty_output")
    if not before:
        return _not_assessed("No previous outputs to compare.", "no_previous_outputs")
    likenesses, how = _likenesses(judge, current, before)
    comparisons: list[dict[str, float]] = []
    for number, (text, likeness) in enumerate(zip(before, likenesses, strict=True), len(earlier) - len(before)):
        common = overlap(current, text)
        comparisons.append(
            {
                "trace_index": number,
                "cosine_similarity": round(likeness, 4),
                "jaccard_similarity": round(common, 4),
                "hybrid_score": round(likeness * common, 4),
            }
        )
    worst = max(comparison["hybrid_score"] for comparison in comparisons)
    score = _of_risk(worst)
    metadata = {"window_size": len(before), "max_hybrid": worst, "comparisons": comparisons, **verdict(score)}
    return Result(score=score, reason=f"Max hybrid repetition score: {worst:.4f}{how}", metadata=metadata)


def _likenesses(judge: Judge, text: str, others: Sequence[str]) -> tuple[list[float], str]:
    """Return the similarity of a text to others, and how it was found if the judge has no vectors."""
    if (vectors := judge.embed([text, *others])) is None:
        return [lexical(text, other) for other in others], _BY_WORDS
    return [cosine(vectors[0], vector) for vector in vectors[1:]], ""


def _not_assessed(reason: str, note: str) -> Result:
    return Result(score=1.0, reason=reason, metadata={"note": note})


def text_of(value: Any) -> str:
    """Return the text to compare: strings unchanged, other values as JSON, and an empty text for null."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


# -- metrics of sessions -----------------------------------------------------------------------------------------------

DEFAULT_WEIGHTS: Final[Mapping[str, float]] = {
    "confidence": 1.0,
    "loop_detection": 1.0,
    "tool_correctness": 0.8,
    "coherence": 1.0,
}
_WORST_SHARE: Final = 0.15
_WEIGHT_OF_WORST: Final = 0.1
_ELEVATED: Final = 0.5
_STEADY: Final = 0.8

Signals = Mapping[str, Mapping[str, float]]
"""Signal values by trace id, in the order of the session."""


def evaluate_session(metric: str, signals: Signals, weights: Mapping[str, float] | None) -> Result:
    """Return the result of a session metric. `weights` replaces individual default weights."""
    if not signals:
        return Result(score=1.0, reason="No evaluable traces.")
    used = {**DEFAULT_WEIGHTS, **(weights or {})}
    return (_reliability if metric == "agent_reliability" else _consistency)(signals, used)


def _reliability(signals: Signals, weights: Mapping[str, float]) -> Result:
    details: dict[str, dict[str, float]] = {}
    risks: dict[str, float] = {}
    for trace_id, values in signals.items():
        risk = _risks(values)
        risks[trace_id] = max(weights[name] * value for name, value in risk.items())
        details[trace_id] = {**_rounded(risk), "step_risk": round(risks[trace_id], 4)}
    ordered = sorted(risks.values(), reverse=True)
    worst = ordered[: max(1, math.ceil(len(ordered) * _WORST_SHARE))]
    mean_worst = sum(worst) / len(worst)
    total = (1 - _WEIGHT_OF_WORST) * mean_worst + _WEIGHT_OF_WORST * ordered[0]
    flagged = [trace_id for trace_id, risk in risks.items() if risk > _ELEVATED]
    found = f"Elevated risk in {len(flagged)} of" if flagged else "No elevated risk across"
    aggregation = {
        "method": "max_compose_top_k",
        "top_k_percentile": _WORST_SHARE,
        "ensemble_weight": _WEIGHT_OF_WORST,
        "mean_top_k_risk": round(mean_worst, 4),
        "max_risk": round(ordered[0], 4),
    }
    own = {"raw_risk": round(total, 4), "flagged_traces": flagged, "aggregation": aggregation}
    return _of_session(total, f"{found} {len(risks)} traces.", weights, details, own)


def _consistency(signals: Signals, weights: Mapping[str, float]) -> Result:
    details: dict[str, dict[str, float]] = {}
    uncertainties: list[float] = []
    for trace_id, values in signals.items():
        risk = _risks(values)
        penalty = sum(weights[name] * value for name, value in risk.items() if name != "confidence")
        uncertainty = (1.0 + penalty) * weights["confidence"] * risk["confidence"]
        uncertainties.append(uncertainty)
        details[trace_id] = {
            **_rounded(risk),
            "situational_penalty": round(penalty, 4),
            "weighted_uncertainty": round(uncertainty, 4),
        }
    instability = math.sqrt(sum(value**2 for value in uncertainties) / len(uncertainties))
    score, across = _of_risk(instability), f"across {len(uncertainties)} traces"
    reason = f"High instability {across}; multiple signals compound."
    if score >= _ELEVATED:
        reason = f"Consistent performance {across}." if score >= _STEADY else f"Moderate instability detected {across}."
    own = {
        "raw_instability": round(instability, 4),
        "aggregation": {"method": "weighted_rms", "rms_value": round(instability, 4)},
    }
    return _of_session(instability, reason, weights, details, own)


def _risks(values: Mapping[str, float]) -> dict[str, float]:
    return {name: 1.0 - values.get(name, 1.0) for name in DEFAULT_WEIGHTS}


_RISK_NAMES: Final[Mapping[str, str]] = {"loop_detection": "loop_risk", "tool_correctness": "tool_risk"}


def _rounded(risk: Mapping[str, float]) -> dict[str, float]:
    return {_RISK_NAMES.get(name, f"{name}_risk"): round(value, 4) for name, value in risk.items()}


def _of_session(
    risk: float,
    reason: str,
    weights: Mapping[str, float],
    details: Mapping[str, Mapping[str, float]],
    own: Mapping[str, Any],
) -> Result:
    metadata = {
        "total_traces_in_session": len(details),
        "traces_evaluated": len(details),
        "signal_weights": dict(weights),
        "per_trace_signals": details,
        **own,
    }
    return Result(score=_of_risk(risk), reason=reason, metadata=metadata)


def _of_risk(risk: float) -> float:
    return round(max(0.0, min(1.0, 1.0 - risk)), 4)


# -- similarity of texts -----------------------------------------------------------------------------------------------

_WORD: Final = re.compile(r"\w+")
# The most common English words. With them, almost any two texts would look similar.
_COMMON_TEXT: Final = """
    a an and are as at be but by can could did do does for from had has have he her his i if in into is it its may me my
    no nor not of on or our shall she should so some than that the their them then there these they this those to too
    was we were what when which who will with would you your
"""
_COMMON: Final = frozenset(_COMMON_TEXT.split())


def cosine(left: Sequence[float], right: Sequence[float]) -> float:
    """Return the cosine of the angle between two vectors; 0 if one of them is zero."""
    product = sum(a * b for a, b in zip(left, right, strict=True))
    lengths = math.sqrt(sum(a * a for a in left) * sum(b * b for b in right))
    return product / lengths if lengths else 0.0


def lexical(left: str, right: str) -> float:
    """Return the cosine of two texts' word counts."""
    a, b = Counter(_WORD.findall(left.lower())), Counter(_WORD.findall(right.lower()))
    words = sorted({*a, *b})
    return cosine([a[word] for word in words], [b[word] for word in words])


def overlap(left: str, right: str) -> float:
    """Return the share of distinct words that two texts have in common (Jaccard), without the most common words."""
    a, b = _content_words(left), _content_words(right)
    return len(a & b) / len(a | b) if a | b else 0.0


def _content_words(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if len(word) > 1 and word not in _COMMON}
