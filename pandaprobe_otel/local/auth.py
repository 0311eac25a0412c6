"""Authentication, and the project of a request (measured on server 0.5.0).

Without `auth`, the server behaves like the real one's development mode: every request belongs to the only developer,
with or without a bearer token. Any API key is accepted until one has been created. From then on, unknown keys are
refused as on the real server, except `sk_pp_local`. With `auth`, keys are always checked, and only the server's own
bearer token is valid.
"""

from __future__ import annotations

import hmac
import re
import sqlite3
from dataclasses import dataclass
from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends
from starlette.exceptions import HTTPException
from starlette.requests import Request

from pandaprobe_otel.local.errors import InvalidFieldError, refused
from pandaprobe_otel.local.payloads import unstorable
from pandaprobe_otel.local.services import Services, services_of
from pandaprobe_otel.local.store.accounts import Organization, Project

LOCAL_API_KEY: Final = "sk_pp_local"
"""The key that is always valid on an open local server, for programs that insist on a key."""
NAME_RULE: Final = (
    "must start and end with a letter or digit and contain only letters, digits, spaces, hyphens, underscores, dots, "
    "or apostrophes."
)
_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 _.'-]*[A-Za-z0-9])?", re.ASCII)
_SCOPE_REQUIRED: Final = "Project scope required. Provide X-Project-ID (Bearer) or X-Project-Name (API key)."
_MISSING: Final = "Missing credentials. Provide Authorization: Bearer <token> (with X-Project-ID) or X-API-Key header."


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectScope:
    """The project of a request, and the services that its handler uses."""

    services: Services
    organization: Organization
    project: Project
    request: Request

    @property
    def project_id(self) -> str:
        """The project id of every row of this request."""
        return self.project.id

    def keep(self, connection: sqlite3.Connection) -> None:
        """Store the project inside the caller's transaction, if this is its first request."""
        self.services.accounts.keep(self.project, connection)

    def spend(self, method: str, route: str) -> None:
        """Count this request against the route's own limit. Raises RateLimitedError."""
        self.services.limits.spend(self.request, (method, route))


def valid_name(name: str) -> bool:
    """Return whether a project or organization may have this name."""
    return _NAME.fullmatch(name) is not None


async def project_scope(request: Request) -> ProjectScope:
    """Return the project of a request. Raises the server's 401 or 422."""
    services = services_of(request)
    key = request.headers.get("x-api-key")
    if key:
        organization = _organization_of_key(services, key)
        project = _project_by_name(services, organization, request)
    else:
        if not services.settings.auth and bearer_of(request) is None and request.headers.get("x-project-name"):
            # For a plain `curl -H "X-Project-Name: x"` to an open local server. The real server requires a key here.
            organization = services.accounts.home
            project = _project_by_name(services, organization, request)
        else:
            organization = _organization_of_bearer(services, request)
            project = _project_by_id(services, organization, request)
    queued = request.method == "POST" and request.url.path == "/traces"
    if (problem := unstorable(await request.body(), numbers=not queued)) is not None:
        raise InvalidFieldError(*problem)
    request.state.project = project
    return ProjectScope(services=services, organization=organization, project=project, request=request)


async def developer(request: Request) -> Services:
    """Authorize the developer. Raises the 401 of the management routes."""
    services = services_of(request)
    if services.settings.auth:
        token = bearer_of(request)
        if token is None:
            raise HTTPException(401, "Bearer token required. Provide Authorization: Bearer <token>.")
        _check_token(services, token)
    return services


Scope = Annotated[ProjectScope, Depends(project_scope)]
Developer = Annotated[Services, Depends(developer)]


def bearer_of(request: Request) -> str | None:
    """Return the bearer token of a request; None without one."""
    authorization = request.headers.get("authorization", "")
    return authorization[7:].strip() if authorization[:7].lower() == "bearer " else None


def check_sender(services: Services, key: str) -> None:
    """Raise the 401 of an invalid key."""
    _organization_of_key(services, key)


def _organization_of_key(services: Services, secret: str) -> Organization:
    accounts = services.accounts
    found = accounts.key(secret)
    if found is None:
        if not services.settings.auth and (secret == LOCAL_API_KEY or not accounts.has_keys):
            return accounts.home
        raise HTTPException(401, "Invalid or revoked API key.")
    if not found.is_active:
        raise HTTPException(401, "Invalid or revoked API key.")
    if found.expires_at is not None and found.expires_at <= services.now():
        raise HTTPException(401, "API key has expired. Please generate a new one.")
    organization = accounts.organization(found.org_id)
    assert organization is not None, "keys are deleted with their organization"
    return organization


def _organization_of_bearer(services: Services, request: Request) -> Organization:
    if services.settings.auth:
        token = bearer_of(request)
        if token is None:
            raise HTTPException(401, _MISSING)
        _check_token(services, token)
    wanted = request.headers.get("x-organization-id")
    if not wanted:
        return services.accounts.home
    org_id = _uuid(wanted, "X-Organization-ID")
    organization = services.accounts.organization(org_id)
    if organization is None:
        raise HTTPException(401, "You are not a member of the specified organization.")
    return organization


def _check_token(services: Services, token: str) -> None:
    expected = services.settings.token
    if expected is None or not hmac.compare_digest(token.encode("utf-8", "replace"), expected.encode()):
        raise HTTPException(401, "Invalid or expired token.")


def _project_by_name(services: Services, organization: Organization, request: Request) -> Project:
    name = request.headers.get("x-project-name", "").strip()
    if not name:
        raise refused(_SCOPE_REQUIRED)
    if len(name) > 255:
        raise refused("X-Project-Name must be at most 255 characters.")
    if not valid_name(name):
        raise refused(f"X-Project-Name {NAME_RULE}")
    return services.accounts.project_named(organization.id, name)


def _project_by_id(services: Services, organization: Organization, request: Request) -> Project:
    wanted = request.headers.get("x-project-id")
    if not wanted:
        raise refused(_SCOPE_REQUIRED)
    project = services.accounts.project(_uuid(wanted, "X-Project-ID"))
    if project is None or project.org_id != organization.id:
        raise refused("Project not found or does not belong to your organization.")
    return project


def _uuid(text: str, header: str) -> str:
    try:
        return str(UUID(text))
    except ValueError:
        raise refused(f"{header} must be a valid UUID.") from None
