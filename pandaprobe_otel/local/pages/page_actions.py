"""Actions on the pages: scores by hand, tags, deletion, evaluation, monitors.

Each action is a form that works without scripts, and calls the same API route as the command line. Only POST changes
anything, after the checks of the outer layer (Host, Origin, Sec-Fetch-Site).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Final, TypeAlias
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit
from uuid import UUID

from fastapi import APIRouter, Depends
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pandaprobe_otel.enums import ScoreDataType
from pandaprobe_otel.local.auth import ProjectScope
from pandaprobe_otel.local.errors import InvalidFieldError, not_found, refused
from pandaprobe_otel.local.limits import RateLimitedError
from pandaprobe_otel.local.models.evaluations import CreateMonitor, CreateTraceBatchRun, CreateTraceScore
from pandaprobe_otel.local.models.traces import BatchDelete, BatchTags
from pandaprobe_otel.local.pages import equivalents
from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.equivalents import Equivalent, Place
from pandaprobe_otel.local.pages.navigation import context_of
from pandaprobe_otel.local.pages.recent_actions import RecentActions
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.routes import ingest, monitors, runs, scores
from pandaprobe_otel.local.services import services_of

router = APIRouter(prefix="/ui/act", include_in_schema=False, dependencies=[Depends(signed_in)])

RATINGS: Final[Mapping[str, float]] = {"1": 0.0, "2": 0.25, "3": 0.5, "4": 0.75, "5": 1.0}
"""The score of each key, since PandaProbe's numbers are from 0 to 1."""
_MOST_FIELDS: Final = 2_000
_LARGEST_FORM: Final = 1 << 20
_HERE: Final = re.compile(r"/ui(?:[/?#][!-\[\]-~]*)?")
"""Addresses that a form may return to: pages of this server, so without a backslash."""

Form: TypeAlias = Mapping[str, Sequence[str]]
Act: TypeAlias = Callable[[ProjectScope, Place], Equivalent]


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

    def act(scope: ProjectScope, place: Place) -> Equivalent:
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
        scores.create_trace_score(scope, body)
        return equivalents.scored(place, str(body.trace_id), name, value, note or None)

    return _done(request, form, act)


@router.post("/tag")
def tag(request: Request, form: Sent) -> Response:
    """Add tags to traces and remove tags from them."""
    add, remove = _listed(form, "add"), _listed(form, "remove")

    def act(scope: ProjectScope, place: Place) -> Equivalent:
        if not add and not remove:
            raise refused("Name a tag to add or to remove.")
        ids = _ids(form)
        ingest.batch_tags(scope, BatchTags(trace_ids=ids, add_tags=add, remove_tags=remove))
        return equivalents.tagged(place, [*map(str, ids)], add, remove)

    return _done(request, form, act)


@router.post("/delete")
def delete(request: Request, form: Sent) -> Response:
    """Delete traces with their spans and scores."""

    def act(scope: ProjectScope, place: Place) -> Equivalent:
        ids = _ids(form)
        ingest.batch_delete(scope, BatchDelete(trace_ids=ids))
        return equivalents.deleted(place, [*map(str, ids)])

    return _done(request, form, act)


@router.post("/evaluate")
def evaluate(request: Request, form: Sent) -> Response:
    """Start an evaluation run over traces."""
    metrics = [*form.get("metric", ())]

    def act(scope: ProjectScope, place: Place) -> Equivalent:
        if not metrics:
            raise refused("Choose a metric.")
        ids = _ids(form)
        runs.create_batch_eval_run(scope, CreateTraceBatchRun(trace_ids=ids, metrics=metrics))
        return equivalents.evaluated(place, [*map(str, ids)], metrics)

    return _done(request, form, act)


@router.post("/monitor")
def make_monitor(request: Request, form: Sent) -> Response:
    """Create a monitor that evaluates new traces."""
    name, cadence = _one(form, "name"), _one(form, "cadence")
    metrics, tags = [*form.get("metric", ())], _listed(form, "tags")

    def act(scope: ProjectScope, place: Place) -> Equivalent:
        if not metrics:
            raise refused("Choose a metric.")
        filters: dict[str, Any] = {"tags": tags} if tags else {}
        body = CreateMonitor(name=name, target_type="TRACE", metrics=metrics, cadence=cadence, filters=filters)
        monitors.create_monitor(scope, body)
        return equivalents.monitored(place, name, metrics, cadence, tags)

    return _done(request, form, act)


@router.post("/monitors/{monitor_id}")
def change_monitor(request: Request, monitor_id: UUID, form: Sent) -> Response:
    """Pause, resume, run or delete a monitor."""
    verb = _one(form, "verb")
    actions: Mapping[str, Callable[[ProjectScope, UUID], object]] = {
        "pause": monitors.pause_monitor,
        "resume": monitors.resume_monitor,
        "trigger": monitors.trigger_monitor,
        "delete": monitors.delete_monitor,
    }

    def act(scope: ProjectScope, place: Place) -> Equivalent:
        row = scope.services.evaluation.monitors.get(scope.project_id, str(monitor_id))
        if verb not in actions or row is None:
            raise not_found(f"Eval monitor {monitor_id}")
        actions[verb](scope, monitor_id)
        return equivalents.monitor_changed(place, str(monitor_id), row["name"], verb)

    return _done(request, form, act)


def place_of(request: Request, project: str) -> Place:
    """Return the server's address as the browser sees it, and the name of a project."""
    return Place(endpoint=str(request.base_url).rstrip("/"), project=project)


def _done(request: Request, form: Form, act: Act) -> Response:
    """Perform an action and return to the form's page, which then shows the action; or show why it failed."""
    back = _back(form)
    try:
        scope = _scope(request, _one(form, "project"))
        action = act(scope, place_of(request, scope.project.name))
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
    done: RecentActions = request.app.state.recent_actions
    return RedirectResponse(_with_token(back, done.add(action)), status_code=303)


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


def _with_token(back: str, token: str) -> str:
    parts = urlsplit(back)
    query = [(name, value) for name, value in parse_qsl(parts.query) if name != "done"]
    return f"{parts.path}?{urlencode([*query, ('done', token)])}"


def _one(form: Form, name: str) -> str:
    return (form.get(name) or [""])[0].strip()


def _listed(form: Form, name: str) -> list[str]:
    """Return the values of a field that accepts several, separated by commas."""
    return [value.strip() for value in _one(form, name).split(",") if value.strip()]


def _ids(form: Form) -> list[UUID]:
    if not (found := form.get("trace", ())):
        raise refused("Choose a trace.")
    return [UUID(each) for each in dict.fromkeys(found)]
