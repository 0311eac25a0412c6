"""The developer, organizations with their usage, projects and API keys.

A local server has one user, who owns every organization.
"""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.api.fields import KeyExpiration, Title
from pandaprobe_otel.local.auth import NAME_RULE, Developer, valid_name
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.quota import PLANS
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.store.accounts import HOBBY, PERIOD, ApiKey, NameTakenError, Organization, Project
from pandaprobe_otel.local.times import DAY, iso, iso_or_none

router = APIRouter(route_class=ApiRoute)

_USER_ID: Final = str(uuid5(NAMESPACE_URL, "pandaprobe:local-developer"))
_MAX_OWNED: Final = 2
_LIFETIME: Final = 90 * DAY
_NEVER_EXPIRES: Final = (
    "Only keys with an expiration can be rotated. Production keys (never expire) should be revoked and re-created "
    "instead."
)
_ORGANIZATION: Final = "/organizations/{org_id}"
_PROJECTS: Final = f"{_ORGANIZATION}/projects"
_KEYS: Final = f"{_ORGANIZATION}/api-keys"


class Named(BaseModel):
    """Body that names a new organization, project or key."""

    name: Title


class NewProject(Named):
    """Body of a new project."""

    description: str = Field(default="", max_length=2000)


class NewKey(Named):
    """Body of a new API key."""

    expiration: KeyExpiration = "never"


class Changes(BaseModel):
    """Body of a change of an organization or project."""

    name: Title | None = None
    description: str | None = Field(default=None, max_length=2000)


def _organization(services: Developer, org_id: UUID) -> Organization:
    organization = services.accounts.organization(str(org_id))
    if organization is None:
        raise HTTPException(403, "You are not a member of this organization.")
    return organization


Owned = Annotated[Organization, Depends(_organization)]


def _project(services: Developer, organization: Owned, project_id: UUID) -> Project:
    project = services.accounts.project(str(project_id))
    if project is None or project.org_id != organization.id:
        raise not_found(f"Project {project_id}")
    return project


def _key(services: Developer, organization: Owned, key_id: UUID) -> ApiKey:
    keys = services.accounts.keys(organization.id)
    key = next((one for one in keys if one.id == str(key_id)), None)
    if key is None:
        raise not_found(f"API key {key_id}")
    return key


OwnedProject = Annotated[Project, Depends(_project)]
OwnedKey = Annotated[ApiKey, Depends(_key)]


@router.get("/me", tags=["me"], response_model=answers.UserProfile)
def get_me(services: Developer) -> Response:
    """Return the developer."""
    return answer(
        {
            "id": _USER_ID,
            "email": "dev@localhost",
            "display_name": "Local Developer",
            "created_at": iso(services.accounts.home.created_at),
            "last_sign_in_at": None,
        }
    )


# -- organizations ----------------------------------------------------------------------------------------------------


@router.get("/organizations", tags=["organizations"], response_model=list[answers.MyOrganization])
def list_my_organizations(services: Developer) -> Response:
    """List the developer's organizations."""
    return answer([_shown(answers.MyOrganization, one, role="OWNER") for one in services.accounts.organizations()])


@router.post("/organizations", tags=["organizations"], status_code=201, response_model=answers.Organization)
def create_organization(services: Developer, body: Named) -> Response:
    """Create an organization on the HOBBY plan, with a first project. The developer may own two."""
    _check_name("Organization", body.name)
    if len(services.accounts.organizations()) >= _MAX_OWNED:
        raise HTTPException(403, "Organization ownership limit reached.")
    organization = services.accounts.add_organization(body.name, HOBBY)
    services.accounts.add_project(organization.id, "onboarding", "Your onboarding project")
    return answer(_shown(answers.Organization, organization), 201)


@router.get(_ORGANIZATION, tags=["organizations"], response_model=answers.MyOrganization)
def get_organization(organization: Owned) -> Response:
    """Return an organization."""
    return answer(_shown(answers.MyOrganization, organization, role="OWNER"))


@router.patch(_ORGANIZATION, tags=["organizations"], response_model=answers.Organization)
def update_organization(services: Developer, organization: Owned, body: Changes) -> Response:
    """Rename an organization."""
    if body.name is not None:
        _check_name("Organization", body.name)
        services.accounts.rename_organization(organization.id, body.name)
    return answer(_shown(answers.Organization, organization) | body.model_dump(include={"name"}, exclude_none=True))


@router.delete(_ORGANIZATION, tags=["organizations"], status_code=204, response_model=None)
def delete_organization(services: Developer, organization: Owned) -> None:
    """Delete an organization with its content. The first one stays, since keys from the start belong to it."""
    if organization.id == services.accounts.home.id:
        raise HTTPException(403, "The first organization of a local server cannot be deleted.")
    services.accounts.delete_organization(organization.id)


@router.get(f"{_ORGANIZATION}/subscriptions/usage", tags=["subscriptions"], response_model=dict[str, Any])
def get_usage(services: Developer, organization: Owned) -> Response:
    """Return the usage in the current period, and the plan's limits."""
    used = dict(services.accounts.usage(organization.id))
    start, included = used.pop("period_start"), PLANS[organization.plan]
    return answer(
        {
            **used,
            "plan": organization.plan,
            "status": "ACTIVE",
            "period_start": iso(start),
            "period_end": iso(start + PERIOD),
            "limits": {
                "base_traces": included.get("traces"),
                "base_trace_evals": included.get("trace_evals"),
                "base_session_evals": included.get("session_evals"),
                "monitoring_allowed": not included,
                "max_members": 1,
                "pay_as_you_go": False,
            },
        }
    )


# -- projects ---------------------------------------------------------------------------------------------------------


@router.post(_PROJECTS, tags=["projects"], status_code=201, response_model=answers.Project)
def create_project(services: Developer, organization: Owned, body: NewProject) -> Response:
    """Create a project."""
    _check_name("Project", body.name)
    try:
        project = services.accounts.add_project(organization.id, body.name, body.description)
    except NameTakenError:
        raise _taken(body.name) from None
    return answer(_shown(answers.Project, project), 201)


@router.get(_PROJECTS, tags=["projects"], response_model=list[answers.Project])
def list_projects(services: Developer, organization: Owned) -> Response:
    """List the projects."""
    projects = services.accounts.projects(organization.id)
    return answer([_shown(answers.Project, project) for project in projects])


@router.get(f"{_PROJECTS}/{{project_id}}", tags=["projects"], response_model=answers.Project)
def get_project(project: OwnedProject) -> Response:
    """Return a project."""
    return answer(_shown(answers.Project, project))


@router.patch(f"{_PROJECTS}/{{project_id}}", tags=["projects"], response_model=answers.Project)
def update_project(services: Developer, project: OwnedProject, body: Changes) -> Response:
    """Rename or describe a project."""
    if body.name is not None:
        _check_name("Project", body.name)
    try:
        services.accounts.change_project(project, body.name, body.description)
    except NameTakenError:
        raise _taken(body.name or project.name) from None
    return answer(_shown(answers.Project, project))


@router.delete(f"{_PROJECTS}/{{project_id}}", tags=["projects"], status_code=204, response_model=None)
def delete_project(services: Developer, project: OwnedProject) -> None:
    """Delete a project with its traces, scores, runs and monitors."""
    services.accounts.delete_project(project)


# -- API keys ---------------------------------------------------------------------------------------------------------


@router.post(_KEYS, tags=["api-keys"], status_code=201, response_model=answers.ApiKey)
def create_api_key(services: Developer, organization: Owned, body: NewKey) -> Response:
    """Create a key. Only this answer contains its secret."""
    expires_at = None if body.expiration == "never" else services.now() + _LIFETIME
    key, secret = services.accounts.add_key(organization.id, body.name, expires_at=expires_at)
    return answer(_key_record(services, key, secret), 201)


@router.get(_KEYS, tags=["api-keys"], response_model=list[answers.ApiKey])
def list_org_api_keys(services: Developer, organization: Owned) -> Response:
    """List the keys, including revoked ones."""
    return answer([_key_record(services, key) for key in services.accounts.keys(organization.id)])


@router.get(f"{_KEYS}/{{key_id}}", tags=["api-keys"], response_model=answers.ApiKey)
def get_api_key(services: Developer, key: OwnedKey) -> Response:
    """Return a key without its secret."""
    return answer(_key_record(services, key))


@router.delete(f"{_KEYS}/{{key_id}}", tags=["api-keys"], status_code=204, response_model=None)
def delete_api_key(services: Developer, key: OwnedKey, permanent: bool = False) -> None:
    """Revoke a key, or delete it permanently."""
    (services.accounts.delete_key if permanent else services.accounts.revoke_key)(key.id)


@router.post(f"{_KEYS}/{{key_id}}/rotate", tags=["api-keys"], status_code=201, response_model=answers.ApiKey)
def rotate_api_key(services: Developer, key: OwnedKey) -> Response:
    """Create the successor of an expiring key. The old key is valid until it expires."""
    if not key.is_active:
        raise refused("Cannot rotate a revoked API key.")
    if key.expires_at is None:
        raise refused(_NEVER_EXPIRES)
    successor, secret = services.accounts.add_key(key.org_id, key.name, expires_at=services.now() + _LIFETIME)
    return answer(_key_record(services, successor, secret), 201)


def _check_name(kind: str, name: str) -> None:
    if not valid_name(name):
        raise refused(f"{kind} name {NAME_RULE}")


def _taken(name: str) -> HTTPException:
    return HTTPException(409, f"A project named '{name}' already exists in this organization.")


def _key_record(services: Services, key: ApiKey, secret: str | None = None) -> dict[str, Any]:
    has_expired = key.expires_at is not None and key.expires_at <= services.now()
    return _shown(answers.ApiKey, key, raw_key=secret, is_active=bool(key.is_active) and not has_expired)


def _shown(model: type[BaseModel], item: object, **others: Any) -> dict[str, Any]:
    """Return the fields of an object that the API shows, and others."""
    found = {name: getattr(item, name) for name in model.model_fields if hasattr(item, name)}
    return {name: iso_or_none(value) if name.endswith("_at") else value for name, value in found.items()} | others
