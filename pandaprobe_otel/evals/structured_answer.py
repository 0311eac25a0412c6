"""Structured answers of a model, through a judge of ours or the caller's client."""

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

    from pandaprobe_otel.judge.judge import JudgeError

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
    from pandaprobe_otel.judge.judge import Question, object_in, schema_of, with_schema

    schema = schema_of(structure)
    if not isinstance(model, LocalJudge):
        said = model(with_schema(prompt, schema))
        return object_in(await said if inspect.isawaitable(said) else said)
    question = Question(metric=purpose, prompt=prompt, schema=schema, trace={}, seed=seed)
    with closing(model.open()) as judge:
        return await asyncio.to_thread(judge.ask, question, None)
