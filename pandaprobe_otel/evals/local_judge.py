"""Judge that is called from here, without a PandaProbe server: the same metrics with any model."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pandaprobe_otel.evals.judging import Group, Judgements, Question, count_answers
from pandaprobe_otel.evals.progress import Show, all_at_once
from pandaprobe_otel.evals.verdicts import Finding, Judgement
from pandaprobe_otel.judge.judge import (
    ANTHROPIC,
    GOOGLE_GENAI,
    OPENAI,
    PROVIDERS,
    JudgeError,
    object_in,
    schema_of,
    with_schema,
)
from pandaprobe_otel.judge.judge import Question as JudgeQuestion

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pandaprobe_otel.judge.http_judge import HttpJudge
    from pandaprobe_otel.judge.judge import Judge
    from pandaprobe_otel.judge.metrics import Result, Signals

    T = TypeVar("T", bound=BaseModel)

_CALLED: Final = {provider.key: provider for provider in PROVIDERS if provider.address}


@dataclass(frozen=True, slots=True)
class LocalJudge:
    """A model of OpenAI, Anthropic or Google through its own API, or any model behind an OpenAI-compatible endpoint.

    model: `openai/...`, `anthropic/...` or `google_genai/...`. With `url`: any name that the endpoint knows.
    url: base URL of a compatible endpoint, such as `http://localhost:11434/v1`. Default: OPENAI_BASE_URL,
    ANTHROPIC_BASE_URL or GOOGLE_GEMINI_BASE_URL, or else the provider's address.
    key: default: PANDAPROBE_JUDGE_KEY, or else the provider's own variable, such as OPENAI_API_KEY.
    embedding_model: for the metric coherence. Without this model, words are compared, and the reason states this.
    Anthropic has no such model.

    Raises ValueError if the model has no known endpoint, or if the provider's key is missing.
    """

    model: str
    _: KW_ONLY
    url: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    embedding_model: str | None = None

    def __post_init__(self) -> None:
        if self.url is not None:
            return
        if self._provider not in _CALLED:
            known = ", ".join(f"{name}/…" for name in _CALLED)
            raise ValueError(f"the judge {self.model} is none of {known}: pass one of these, or a URL")
        if not self._key:
            variable = _CALLED[self._provider].variable
            raise ValueError(f"the judge {self.model} needs a key: set {variable} or PANDAPROBE_JUDGE_KEY")

    @property
    def name(self) -> str:
        """Name in the cache and in reports, without secrets of the address."""
        from pandaprobe_otel.config.resolve import without_secrets

        beside = f" with {self.embedding_model}" if self.embedding_model else ""  # The metric coherence depends on it.
        return f"{without_secrets(self._address)} {self.model}{beside}"

    @property
    def _provider(self) -> str:
        return self.model.partition("/")[0]

    @property
    def _address(self) -> str:
        if self.url is not None:
            return self.url
        provider = _CALLED[self._provider]
        return os.environ.get(provider.address_variable) or provider.address

    @property
    def _key(self) -> str | None:
        own = None if self.url is not None else os.environ.get(_CALLED[self._provider].variable)
        return self.key or os.environ.get("PANDAPROBE_JUDGE_KEY") or own

    def open(self) -> HttpJudge:
        """Return the open judge. Close it after use."""
        from pandaprobe_otel.judge.http_judge import HttpJudge
        from pandaprobe_otel.protocols import anthropic, gemini
        from pandaprobe_otel.protocols.chat import CHAT
        from pandaprobe_otel.protocols.protocol import QuestionProtocol

        protocols: dict[str, QuestionProtocol] = {
            OPENAI.key: CHAT,
            ANTHROPIC.key: anthropic.ANTHROPIC,
            GOOGLE_GENAI.key: gemini.GEMINI,
        }
        return HttpJudge(
            self._address,
            key=self._key,
            model=self.model,
            embedding_model=self.embedding_model,
            protocol=CHAT if self.url is not None else protocols[self._provider],
            named_by=None if self.url is not None else _CALLED[self._provider],
        )


def local_metrics() -> dict[bool, set[str]]:
    """Return the metrics of traces, and (under True) those of sessions."""
    from pandaprobe_otel.judge.metrics import SESSION_METRICS, TRACE_METRICS

    return {False: set(TRACE_METRICS), True: set(SESSION_METRICS)}


def send_scores(found: Judgements) -> None:
    """Send the scores for sent traces. The API accepts no scores for sessions."""
    from pandaprobe_otel import bootstrap
    from pandaprobe_otel.capture import scores

    handle = bootstrap.current()
    if handle is None or not handle.enabled:
        return
    for (target, metric), judgement in found.items():
        if judgement.finding is Finding.SCORED and judgement.value is not None:
            scores.score(target, metric, judgement.value, reason=judgement.reason or None)


@dataclass(frozen=True, slots=True)
class ModelJudge:
    """Judge that asks a model about the traces of the questions. A session has all its traces, in order."""

    judge: Judge

    def missing(self, questions: Sequence[Question]) -> Mapping[str, str]:
        """Return the targets without a trace."""
        return {question.target: "it has no trace" for question in questions if not question.traces}

    def answers(self, group: Group, show: Show) -> Judgements:
        """Ask the model. Session metrics combine the same signals, and each signal is a question to the model."""
        together = [group.metrics] if group.session else [(metric,) for metric in group.metrics]
        jobs = [partial(self._answer, question, each, group.model) for question in group.questions for each in together]
        what = f"judged ({', '.join(group.metrics)})"
        found: Judgements = {}
        for answers in all_at_once(
            jobs,
            what,
            threads=self.judge.parallel,
            show=show,
            count=lambda tally, answers: count_answers(tally, answers.values()),
        ):
            found |= answers
        return found

    def _answer(self, question: Question, metrics: Sequence[str], model: str | None) -> Judgements:
        from pandaprobe_otel.judge.metrics import SIGNALS, evaluate_session, evaluate_trace

        traces = [{"input": None, "output": None, **trace.body} for trace in question.traces]
        ask = partial(evaluate_trace, judge=self.judge, model=model)
        try:
            if question.session:
                signals: Signals = {
                    str(trace["trace_id"]): {name: ask(name, trace, earlier=traces[:place]).score for name in SIGNALS}
                    for place, trace in enumerate(traces)
                }
                results = {metric: evaluate_session(metric, signals, None) for metric in metrics}
            else:
                results = {metric: ask(metric, traces[0]) for metric in metrics}
        except JudgeError as error:
            return {(question.target, metric): Judgement.error(str(error)) for metric in metrics}
        return {(question.target, metric): _judgement(one) for metric, one in results.items()}


def _judgement(result: Result) -> Judgement:
    from pandaprobe_otel.api.results import reason_of_vacuity

    nothing = reason_of_vacuity(result.score, result.reason, result.metadata)
    if nothing is not None:
        return Judgement(finding=Finding.VACUOUS, value=result.score, reason=nothing)
    return Judgement.scored(result.score, result.reason or "")


# -- structured answers, by a judge or the caller's client -------------------------------------------------------------

_ATTEMPTS: Final = 3

Ask = Callable[[str], str | Awaitable[str]]
"""A function of yours that calls a model through its own client: takes the prompt, returns the text of the answer."""
Model = LocalJudge | Ask
"""A model that is called from here."""


async def ask_for(model: Model, prompt: str, structure: type[T], *, purpose: str, seed: int | None = None) -> T:
    """Call a model and return its answer. An answer without the structure is requested again, up to three times in
    total.

    purpose: the name of the structure in the prompt.
    seed: passed to judges that accept one.

    Traces by the model's client are not recorded, since they are not part of the judged run. Raises JudgeError if no
    answer has the structure.
    """
    from opentelemetry.instrumentation.utils import suppress_instrumentation
    from pydantic import ValidationError

    problem = ""
    with suppress_instrumentation():
        for _ in range(_ATTEMPTS):
            try:
                return structure.model_validate(await _answer(model, prompt, structure, purpose, seed))
            except ValidationError as error:
                first = error.errors()[0]
                problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            except ValueError as error:
                problem = str(error)
    raise JudgeError(f"the answer did not fit the schema in three attempts: {problem}")


async def _answer(
    model: Model, prompt: str, structure: type[BaseModel], purpose: str, seed: int | None
) -> Mapping[str, Any]:
    schema = schema_of(structure)
    if not isinstance(model, LocalJudge):
        said = model(with_schema(prompt, schema))
        return object_in(await said if inspect.isawaitable(said) else said)
    question = JudgeQuestion(metric=purpose, prompt=prompt, schema=schema, trace={}, seed=seed)
    with closing(model.open()) as judge:
        return await asyncio.to_thread(judge.ask, question, None)
