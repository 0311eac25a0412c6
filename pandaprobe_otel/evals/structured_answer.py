"""Asking a model for an answer of a given structure: a judge of ours, or the client that the caller has."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pandaprobe_otel.evals.local_judge import LocalJudge

if TYPE_CHECKING:
    from pydantic import BaseModel

    T = TypeVar("T", bound=BaseModel)

_ATTEMPTS: Final = 3

Ask = Callable[[str], str | Awaitable[str]]
"""A function of yours that asks a model through its own client: takes the prompt, returns the text of the answer."""
Model = LocalJudge | Ask
"""A model that is asked from here."""


async def ask_for(model: Model, prompt: str, structure: type[T], *, purpose: str, seed: int | None = None) -> T:
    """Ask a model, and return its answer; up to three times, if it is none of this structure.

    purpose: what the answer is called where the model is told of its structure. seed: told to judges that know one.

    What the model's client would record of it is not recorded: it is no part of what is judged. Raises JudgeError when
    there is no such answer.
    """
    from opentelemetry.instrumentation.utils import suppress_instrumentation
    from pydantic import ValidationError

    from pandaprobe_otel.local.evaluation.judge import JudgeError

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
    raise JudgeError(f"the answer did not fit the schema, even at the third try: {problem}")


async def _answer(
    model: Model, prompt: str, structure: type[BaseModel], purpose: str, seed: int | None
) -> Mapping[str, Any]:
    from pandaprobe_otel.local.evaluation.judge import Question
    from pandaprobe_otel.local.evaluation.judge_answers import object_in, schema_of, with_schema

    schema = schema_of(structure)
    if not isinstance(model, LocalJudge):
        said = model(with_schema(prompt, schema))
        return object_in(await said if inspect.isawaitable(said) else said)
    question = Question(metric=purpose, prompt=prompt, schema=schema, trace={}, seed=seed)
    with closing(model.open()) as judge:
        return await asyncio.to_thread(judge.ask, question, None)
