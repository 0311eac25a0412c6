"""Trace metrics: a judge's score, or the similarity of texts.

If there is nothing to judge, the score is 1.0 with that reason, in the real server's words: clients recognize such
scores by the reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from pandaprobe_otel.local.evaluation.judge import Judge, JudgeError, Question
from pandaprobe_otel.local.evaluation.metric_results import Result, verdict
from pandaprobe_otel.local.evaluation.prompts import QUESTIONS, ArgumentVerdicts, prompt_for, schema_for
from pandaprobe_otel.local.evaluation.similarity import cosine, lexical, overlap

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
        return Result(score=forced.score, reason=forced.reason, metadata=verdict(forced.score))
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
        return Result(
            score=1.0,
            reason="Input or output is empty; coherence assumed.",
            metadata={"coherence_gap": 0.0, "note": "empty_input_or_output"},
        )
    vectors = judge.embed([given, answered])
    likeness = lexical(given, answered) if vectors is None else cosine(vectors[0], vectors[1])
    gap = 1.0 - likeness
    score = round(max(0.0, min(1.0, 1.0 - gap)), 4)
    return Result(
        score=score,
        reason=f"Coherence gap: {gap:.4f}" + (_BY_WORDS if vectors is None else ""),
        metadata={"coherence_gap": round(gap, 4), **verdict(score)},
    )


def _loop_detection(trace: Trace, judge: Judge, earlier: Sequence[Trace]) -> Result:
    if not earlier:
        return _not_assessed("No session context provided; looping cannot be assessed.", "no session context provided")
    current = text_of(trace["output"])
    if not current:
        return _not_assessed("Empty output; looping cannot be assessed.", "empty_output")
    before = [text for text in (text_of(other["output"]) for other in earlier[-LOOP_WINDOW:]) if text]
    if not before:
        return _not_assessed("No previous outputs to compare.", "no_previous_outputs")
    vectors = judge.embed([current, *before])
    comparisons: list[dict[str, float]] = []
    for number, text in enumerate(before):
        likeness = lexical(current, text) if vectors is None else cosine(vectors[0], vectors[number + 1])
        common = overlap(current, text)
        comparisons.append(
            {
                "trace_index": len(earlier) - len(before) + number,
                "cosine_similarity": round(likeness, 4),
                "jaccard_similarity": round(common, 4),
                "hybrid_score": round(likeness * common, 4),
            }
        )
    worst = max(comparison["hybrid_score"] for comparison in comparisons)
    score = round(max(0.0, min(1.0, 1.0 - worst)), 4)
    return Result(
        score=score,
        reason=f"Max hybrid repetition score: {worst:.4f}" + (_BY_WORDS if vectors is None else ""),
        metadata={
            "window_size": len(before),
            "max_hybrid": worst,
            "comparisons": comparisons,
            **verdict(score),
        },
    )


def _not_assessed(reason: str, note: str) -> Result:
    return Result(score=1.0, reason=reason, metadata={"note": note})


def text_of(value: Any) -> str:
    """Return the text to compare: strings unchanged, other values as JSON, and an empty text for null."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
