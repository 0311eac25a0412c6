"""Actions on the pages: scores by hand, tags, deletion, evaluation.

Each action is a form that works without scripts, and calls the same API route as the command line. Only POST changes
anything, after the checks of the outer layer (Host, Origin, Sec-Fetch-Site).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeAlias
from urllib.parse import parse_qs
from uuid import UUID

from fastapi import Depends
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pandaprobe_otel.enums import ScoreDataType
from pandaprobe_otel.local.auth import ProjectScope
from pandaprobe_otel.local.errors import InvalidFieldError, not_found, refused
from pandaprobe_otel.local.limits import RateLimitedError
from pandaprobe_otel.local.models.evaluations import CreateTraceBatchRun, CreateTraceScore
from pandaprobe_otel.local.models.traces import BatchDelete, BatchTags
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.pages.site import context_of, pages_router
from pandaprobe_otel.local.routes import runs, scores, traces
from pandaprobe_otel.local.services import services_of

router = pages_router("/ui/act")

RATINGS: Final[Mapping[str, float]] = {"1": 0.0, "2": 0.25, "3": 0.5, "4": 0.75, "5": 1.0}
"""The score of each key, since PandaProbe's numbers are from 0 to 1."""
_MOST_FIELDS: Final = 2_000
_LARGEST_FORM: Final = 1 << 20
_HERE: Final = re.compile(r"/ui(?:[/?#][!-\[\]-~]*)?")
"""Addresses that a form may return to: pages of this server, so without a backslash."""

Form: TypeAlias = Mapping[str, Sequence[str]]
Act: TypeAlias = Callable[[ProjectScope], object]


async def form_of(request: Request) -> Form:
    """Return the fields of a form."""
    body = await request.body()
    if len(body) > _LARGEST_FORM:
        raise HTTPException(413, "The form is too large.")
    try:
        return parse_qs(body.decode("utf-8", "replace"), max_num_fields=_MOST_FIELDS)
    except ValueError:
        raise refused("The form has too many fields.") from None


Sent = Annotated[Form, Depends(form_of)]


@router.post("/score")
def score(request: Request, form: Sent) -> Response:
    """Add a score from 1 to 5 to a trace, with a note."""
    name, note = _one(form, "name"), _one(form, "note")

    def act(scope: ProjectScope) -> object:
        if (value := RATINGS.get(_one(form, "rating"))) is None:
            raise refused("Choose a rating from 1 to 5.")
        if not name:
            raise refused("Give the score a name.")
        body = CreateTraceScore(
            trace_id=UUID(_one(form, "trace")),
            name=name,
            value=str(value),
            data_type=ScoreDataType.NUMERIC,
            source="ANNOTATION",
            reason=note or None,
        )
        return scores.create_trace_score(scope, body)

    return _done(request, form, act)


@router.post("/tag")
def tag(request: Request, form: Sent) -> Response:
    """Add tags to traces and remove tags from them."""
    add, remove = _listed(form, "add"), _listed(form, "remove")

    def act(scope: ProjectScope) -> object:
        if not add and not remove:
            raise refused("Name a tag to add or to remove.")
        return traces.batch_tags(scope, BatchTags(trace_ids=_ids(form), add_tags=add, remove_tags=remove))

    return _done(request, form, act)


@router.post("/delete")
def delete(request: Request, form: Sent) -> Response:
    """Delete traces with their spans and scores."""
    return _done(request, form, lambda scope: traces.batch_delete(scope, BatchDelete(trace_ids=_ids(form))))


@router.post("/evaluate")
def evaluate(request: Request, form: Sent) -> Response:
    """Start an evaluation run over traces."""
    metrics = [*form.get("metric", ())]

    def act(scope: ProjectScope) -> object:
        if not metrics:
            raise refused("Choose a metric.")
        return runs.create_batch_eval_run(scope, CreateTraceBatchRun(trace_ids=_ids(form), metrics=metrics))

    return _done(request, form, act)


def _done(request: Request, form: Form, act: Act) -> Response:
    """Perform an action and return to the form's page, or show why it failed."""
    back = _back(form)
    try:
        act(_scope(request, _one(form, "project")))
    except HTTPException as error:
        return _refused(request, str(error.detail), error.status_code, back)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return _refused(request, f"{first['loc'][-1] if first['loc'] else 'form'}: {first['msg']}", 422, back)
    except InvalidFieldError as error:
        return _refused(request, f"{error.field}: {error}", 422, back)
    except ValueError as error:  # an invalid id
        return _refused(request, str(error), 422, back)
    except RateLimitedError as error:
        return _refused(request, str(error), 429, back)
    return RedirectResponse(back, status_code=303)


def _scope(request: Request, project_id: str) -> ProjectScope:
    services = services_of(request)
    project = services.accounts.project(project_id)
    organization = None if project is None else services.accounts.organization(project.org_id)
    if project is None or organization is None:
        raise not_found("Project")
    return ProjectScope(services=services, organization=organization, project=project, request=request)


def _refused(request: Request, reason: str, status: int, back: str) -> Response:
    return page("refused.html", status=status, context=context_of(request, None, ""), reason=reason, back=back)


def _back(form: Form) -> str:
    wanted = _one(form, "next")
    return wanted if _HERE.fullmatch(wanted) else "/ui"


def _one(form: Form, name: str) -> str:
    return (form.get(name) or [""])[0].strip()


def _listed(form: Form, name: str) -> list[str]:
    """Return the values of a field that accepts several, separated by commas."""
    return [value.strip() for value in _one(form, name).split(",") if value.strip()]


def _ids(form: Form) -> list[UUID]:
    if not (found := form.get("trace", ())):
        raise refused("Choose a trace.")
    return [UUID(each) for each in dict.fromkeys(found)]
