"""Projects of an organization."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.local.auth import NAME_RULE, Developer, valid_name
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.models.management import CreateProject, UpdateProject
from pandaprobe_otel.local.routes.organizations import organization_of
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.store.accounts import NameTakenError, Project
from pandaprobe_otel.local.times import iso

router = APIRouter(route_class=ApiRoute, tags=["projects"], prefix="/organizations/{org_id}/projects")


@router.post("", status_code=201, response_model=answers.Project)
def create_project(services: Developer, org_id: UUID, body: CreateProject) -> Response:
    """Create a project."""
    organization = organization_of(services, org_id)
    _check_name(body.name)
    try:
        project = services.accounts.add_project(organization.id, body.name, body.description)
    except NameTakenError:
        raise _taken(body.name) from None
    return answer(_record(project), 201)


@router.get("", response_model=list[answers.Project])
def list_projects(services: Developer, org_id: UUID) -> Response:
    """List the projects."""
    organization = organization_of(services, org_id)
    return answer([_record(project) for project in services.accounts.projects(organization.id)])


@router.get("/{project_id}", response_model=answers.Project)
def get_project(services: Developer, org_id: UUID, project_id: UUID) -> Response:
    """Return a project."""
    return answer(_record(_project(services, org_id, project_id)))


@router.patch("/{project_id}", response_model=answers.Project)
def update_project(services: Developer, org_id: UUID, project_id: UUID, body: UpdateProject) -> Response:
    """Rename or describe a project."""
    project = _project(services, org_id, project_id)
    if body.name is not None:
        _check_name(body.name)
    try:
        services.accounts.change_project(project, body.name, body.description)
    except NameTakenError:
        raise _taken(body.name or project.name) from None
    return answer(_record(project))


@router.delete("/{project_id}", status_code=204, response_model=None)
def delete_project(services: Developer, org_id: UUID, project_id: UUID) -> None:
    """Delete a project with its traces, scores, runs and monitors."""
    services.accounts.delete_project(_project(services, org_id, project_id))


def _project(services: Services, org_id: UUID, project_id: UUID) -> Project:
    organization = organization_of(services, org_id)
    project = services.accounts.project(str(project_id))
    if project is None or project.org_id != organization.id:
        raise not_found(f"Project {project_id}")
    return project


def _check_name(name: str) -> None:
    if not valid_name(name):
        raise refused(f"Project name {NAME_RULE}")


def _taken(name: str) -> HTTPException:
    return HTTPException(409, f"A project named '{name}' already exists in this organization.")


def _record(project: Project) -> dict[str, Any]:
    return {
        "id": project.id,
        "org_id": project.org_id,
        "name": project.name,
        "description": project.description,
        "created_at": iso(project.created_at),
    }
