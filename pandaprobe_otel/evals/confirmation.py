"""Repeated questions to a judge, only after a "no" and only until the majority is clear."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from pandaprobe_otel.evals.judging import Bench, Finding, Judgement, Judgements, Question


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A "no" of the judge, to be decided by `answers` judgements in total."""

    question: Question
    metric: str
    threshold: float
    answers: int
    first: Judgement


def confirmed(
    bench: Bench, questions: Iterable[Question], found: Judgements, thresholds: Mapping[str, float], *, answers: int
) -> Judgements:
    """Return the judgements, each "no" replaced by the majority of `answers` judgements."""
    doubts = [
        Doubt(question=question, metric=metric, threshold=thresholds[metric], answers=answers, first=first)
        for question in questions
        for metric in question.metrics
        if answers > 1 and (first := found[question.target, metric]).is_no(thresholds[metric])
    ]
    return found | confirm(bench, doubts)


def confirm(bench: Bench, doubts: Sequence[Doubt]) -> Judgements:
    """Ask again about each doubt and return the majority's judgement.

    The "no" stands if there is no clear majority, because the judge failed or the limit of evaluations is reached.
    """
    answers = {number: [doubt.first] for number, doubt in enumerate(doubts)}
    asking = {number for number, doubt in enumerate(doubts) if doubt.answers > 1}
    while asking:
        questions = [replace(doubts[number].question, metrics=(doubts[number].metric,)) for number in sorted(asking)]
        found = bench.again(questions)
        for number in sorted(asking):
            doubt = doubts[number]
            judgement = found.get((doubt.question.target, doubt.metric))
            if judgement is None or judgement.finding is not Finding.SCORED:
                asking.discard(number)
                continue
            answers[number].append(judgement)
            if _is_clear(doubt, answers[number]):
                asking.discard(number)
    return {
        (doubt.question.target, doubt.metric): _majority(doubt, answers[number]) for number, doubt in enumerate(doubts)
    }


def _is_clear(doubt: Doubt, answers: Sequence[Judgement]) -> bool:
    majority, yes = doubt.answers // 2 + 1, _yes(doubt, answers)
    return yes >= majority or len(answers) - yes >= majority or len(answers) >= doubt.answers


def _majority(doubt: Doubt, answers: Sequence[Judgement]) -> Judgement:
    yes = _yes(doubt, answers)
    values = ", ".join(f"{answer.value:.2f}" for answer in answers if answer.value is not None)
    if 2 * yes <= doubt.answers:
        return doubt.first if len(answers) == 1 else _with_note(doubt.first, f"confirmed: {values}")
    best = next(answer for answer in reversed(answers) if not answer.is_no(doubt.threshold))
    return _with_note(best, f"{yes} of {len(answers)} answers are yes: {values}")


def _yes(doubt: Doubt, answers: Sequence[Judgement]) -> int:
    return sum(not answer.is_no(doubt.threshold) for answer in answers)


def _with_note(judgement: Judgement, note: str) -> Judgement:
    return replace(judgement, reason=f"{judgement.reason} ({note})".strip())
