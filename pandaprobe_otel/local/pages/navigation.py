"""Common context of all pages: the projects, the selected one, and links that keep the filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from starlette.requests import Request

from pandaprobe_otel.local.payloads import dumps, loads
from pandaprobe_otel.local.services import Services, services_of
from pandaprobe_otel.local.store.accounts import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """Services of a page, the available projects, and the selected one (None if there is no project)."""

    services: Services
    projects: list[Project]
    project: Project | None
    active: str
    state: str
    """State of the store before the page's data was read, so that a polling page misses no change."""

    @property
    def project_id(self) -> str:
        """Id of the selected project; empty if there is no project."""
        return "" if self.project is None else self.project.id

    def link(self, path: str, **query: Any) -> str:
        """Return a link within the project, without empty values."""
        values = {"project": self.project_id, **query}
        kept = [(key, value) for key, value in values.items() if value not in (None, "", False, ())]
        return f"{path}?{urlencode(kept, doseq=True)}" if kept else path


def context_of(request: Request, project: str | None, active: str) -> Context:
    """Return the context of a page. The default project is the one with the newest trace."""
    services = services_of(request)
    state = state_of(services)
    accounts = services.accounts
    projects = [found for organization in accounts.organizations() for found in accounts.projects(organization.id)]
    wanted = (project, services.queries.newest_project())
    chosen = next(
        (found for project_id in wanted for found in projects if found.id == project_id),
        projects[-1] if projects else None,
    )
    return Context(
        services=services,
        projects=projects,
        project=chosen,
        active=active,
        state=state,
    )


def state_of(services: Services) -> str:
    """Return a text that changes with the store and with the start and end of running traces."""
    return f"{services.database.state} {services.live.state}"


def plain(record: Mapping[str, Any] | list[dict[str, Any]]) -> Any:
    """Return an API record with its stored JSON parsed, as templates need it."""
    return loads(dumps(record).decode())
