"""Pages of failures: the list of groups, a single group, and actions on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from pandaprobe_otel.failures.finding import FailureKind
from pandaprobe_otel.failures.next_steps import next_steps
from pandaprobe_otel.failures.states import DAY, Handling, State
from pandaprobe_otel.local.pages.access import signed_in
from pandaprobe_otel.local.pages.navigation import Context, context_of
from pandaprobe_otel.local.pages.page_actions import Sent
from pandaprobe_otel.local.pages.rendering import page
from pandaprobe_otel.local.routes.failures import Shown, example_record, failure_filter, states_of
from pandaprobe_otel.local.search.searchable_fields import SearchError
from pandaprobe_otel.local.store.failure_groups import Found, failure_record

router = APIRouter(prefix="/ui", include_in_schema=False, dependencies=[Depends(signed_in)])

PAGE_SIZE: Final = 50
EXAMPLES: Final = 50
_MOST_READ: Final = 10
_MAX_NAME: Final = 200
_MOST_OTHERS: Final = 200
_SINCE: Final = {"": "", "day": "24h", "week": "7d", "month": "30d"}
_MUTED_FOR: Final[Mapping[str, Mapping[str, int]]] = {
    "ever": {},
    "day": {"until": DAY},
    "week": {"until": 7 * DAY},
    "10": {"until_count": 10},
    "100": {"until_count": 100},
}
Action = Literal["name", "mute", "resolve", "open", "merge", "separate"]


class FailuresQuery(BaseModel, frozen=True):
    """Query of `/ui/failures`: the traces that count, and the states that are shown."""

    q: str = ""
    within: Literal["", "day", "week", "month"] = ""
    state: Shown = "open"
    project: str | None = None
    offset: int = Field(default=0, ge=0, le=2**62)

    @property
    def chosen(self) -> dict[str, str]:
        """The active filters, as values of a link."""
        state = "" if self.state == "open" else self.state
        return {name: value for name, value in (("q", self.q), ("within", self.within), ("state", state)) if value}


@router.get("/failures")
def show_failures(request: Request, asked: Annotated[FailuresQuery, Query()]) -> Response:
    """Show the failure groups of a project, those with most traces first."""
    context = context_of(request, asked.project, "failures")
    services, now = context.services, context.services.now()
    unread, found, wrong = services.failure_reader.unread(context.project_id, most=_MOST_READ), None, None
    try:
        wanted = failure_filter(asked.q, _SINCE[asked.within], now)
        found = services.failure_groups.find(
            context.project_id, wanted, states_of(asked.state), now=now, limit=PAGE_SIZE, offset=asked.offset
        )
    except SearchError as error:
        wrong = error
    return page(
        "failures.html",
        context=context,
        asked=asked,
        found=found,
        failures=[] if found is None else _records(context, found),
        unread=unread,
        wrong=wrong,
        page_size=PAGE_SIZE,
    )


@router.get("/failures/{fingerprint}")
def show_failure(
    request: Request,
    fingerprint: str,
    project: str | None = None,
    offset: Annotated[int, Query(ge=0, le=2**62)] = 0,
) -> Response:
    """Show a group: its cause, its traces from newest to oldest, and the possible actions."""
    context = context_of(request, project, "failures")
    services, now = context.services, context.services.now()
    services.failure_reader.unread(context.project_id, most=_MOST_READ)
    groups = services.failure_groups
    group = groups.get(context.project_id, fingerprint, now=now)
    if group is None:
        return page("missing.html", status=404, context=context, what=f"failure {fingerprint}")
    rows = groups.examples(context.project_id, group, limit=EXAMPLES, offset=offset)
    found = Found(groups=[group], total=1, hidden=0, start=group.first_at, end=max(now, group.first_at + 1))
    (record,) = _records(context, found)
    steps = None
    if rows:
        steps = next_steps(
            FailureKind(record["kind"]),
            record["parts"],
            name=group.name,
            trace_id=rows[0]["trace_id"],
            options=_options(context, request),
        )
    return page(
        "failure.html",
        context=context,
        failure=record,
        examples=[example_record(row) for row in rows],
        steps=steps,
        others=groups.others(context.project_id, group, limit=_MOST_OTHERS),
        max_name=_MAX_NAME,
        offset=offset,
        page_size=EXAMPLES,
    )


@router.post("/failures/{fingerprint}/{action}")
def change_failure(
    request: Request, fingerprint: str, action: Action, form: Sent, project: str | None = None
) -> Response:
    """Name, mute, resolve, open, merge or separate a group, and show it again."""
    given = {name: values[0].strip() for name, values in form.items()}
    context = context_of(request, project, "failures")
    services, project_id, now = context.services, context.project_id, context.services.now()
    groups, shown, done = services.failure_groups, fingerprint, False
    match action:
        case "name":
            done = groups.rename(project_id, fingerprint, given.get("name", "")[:_MAX_NAME] or None)
        case "mute":
            terms = _MUTED_FOR.get(given.get("for", ""), {})
            until = now + terms["until"] if "until" in terms else None
            handling = Handling(action=State.MUTED, at=now, until=until, until_count=terms.get("until_count"))
            done = groups.handle(project_id, fingerprint, handling)
        case "resolve":
            release = given.get("release", "")[:_MAX_NAME] or None
            done = groups.handle(project_id, fingerprint, Handling(action=State.RESOLVED, at=now, release=release))
        case "open":
            done = groups.handle(project_id, fingerprint, None)
        case "merge":
            shown = given.get("into", "")
            done = groups.merge(project_id, fingerprint, shown)
        case "separate":
            done = groups.separate(project_id, fingerprint)
    if not done:
        return page("missing.html", status=404, context=context, what=f"failure {fingerprint}")
    address = context.link(f"/ui/failures/{shown}")
    return RedirectResponse(address, status_code=303)


def _options(context: Context, request: Request) -> tuple[str, ...]:
    """Return the options that point a command to this server and project."""
    name = "" if context.project is None else context.project.name
    return (f"--project={name}", f"--endpoint={str(request.base_url).rstrip('/')}")


def _records(context: Context, found: Found) -> list[dict[str, Any]]:
    groups = context.services.failure_groups
    trends = groups.trends(context.project_id, found.groups, found.start, found.end)
    releases = groups.releases(context.project_id, found.groups)
    return [
        {
            **failure_record(one, trend=trends[one.fingerprint], releases=releases[one.fingerprint]),
            "bars": _bars(trends[one.fingerprint]),
        }
        for one in found.groups
    ]


def _bars(trend: Sequence[int]) -> list[tuple[int, float]]:
    """Return position and height, in per cent, of each nonempty bar."""
    top = max(trend, default=0)
    return [(at, round(100 * count / top, 1)) for at, count in enumerate(trend) if count]
