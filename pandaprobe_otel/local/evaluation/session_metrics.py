"""Session metrics: arithmetic over four signals of each trace. The formulas are those of server 0.5.0.

A signal s in 0..1 is a risk of 1 - s. A missing signal counts as no risk, so a session without evidence scores 1.0.

    agent_reliability   the risk of a trace is its largest weighted risk; the session's is
                        0.9 x mean of the worst 15 % (at least one trace) + 0.1 x the worst
    agent_consistency   the uncertainty of a trace is its confidence risk, amplified by 1 + the sum of the other
                        weighted risks; the session's is the root mean square of its traces'
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pandaprobe_otel.local.evaluation.metric_results import Result

DEFAULT_WEIGHTS: Final[Mapping[str, float]] = {
    "confidence": 1.0,
    "loop_detection": 1.0,
    "tool_correctness": 0.8,
    "coherence": 1.0,
}
_WORST_SHARE: Final = 0.15
_WEIGHT_OF_WORST: Final = 0.1
_ELEVATED: Final = 0.5

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
    reason = (
        f"Elevated risk in {len(flagged)} of {len(risks)} traces."
        if flagged
        else f"No elevated risk across {len(risks)} traces."
    )
    return Result(
        score=_score(total),
        reason=reason,
        metadata={
            **_common(signals, weights, details),
            "raw_risk": round(total, 4),
            "flagged_traces": flagged,
            "aggregation": {
                "method": "max_compose_top_k",
                "top_k_percentile": _WORST_SHARE,
                "ensemble_weight": _WEIGHT_OF_WORST,
                "mean_top_k_risk": round(mean_worst, 4),
                "max_risk": round(ordered[0], 4),
            },
        },
    )


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
    score = _score(instability)
    return Result(
        score=score,
        reason=_consistency_reason(score, len(uncertainties)),
        metadata={
            **_common(signals, weights, details),
            "raw_instability": round(instability, 4),
            "aggregation": {"method": "weighted_rms", "rms_value": round(instability, 4)},
        },
    )


def _consistency_reason(score: float, traces: int) -> str:
    if score >= 0.8:
        return f"Consistent performance across {traces} traces."
    if score >= 0.5:
        return f"Moderate instability detected across {traces} traces."
    return f"High instability across {traces} traces; multiple signals compound."


def _risks(values: Mapping[str, float]) -> dict[str, float]:
    return {name: 1.0 - values.get(name, 1.0) for name in DEFAULT_WEIGHTS}


_RISK_NAMES: Final[Mapping[str, str]] = {
    "confidence": "confidence_risk",
    "loop_detection": "loop_risk",
    "tool_correctness": "tool_risk",
    "coherence": "coherence_risk",
}


def _rounded(risk: Mapping[str, float]) -> dict[str, float]:
    return {_RISK_NAMES[name]: round(value, 4) for name, value in risk.items()}


def _common(
    signals: Signals, weights: Mapping[str, float], details: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    traces: Sequence[str] = list(signals)
    return {
        "total_traces_in_session": len(traces),
        "traces_evaluated": len(traces),
        "signal_weights": dict(weights),
        "per_trace_signals": details,
    }


def _score(risk: float) -> float:
    return round(max(0.0, min(1.0, 1.0 - risk)), 4)
