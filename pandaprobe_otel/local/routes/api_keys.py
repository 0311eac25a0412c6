"""API keys of an organization."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from fastapi import APIRouter
from starlette.responses import Response

from pandaprobe_otel.api import models as answers
from pandaprobe_otel.local.auth import Developer
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.models.management import CreateApiKey
from pandaprobe_otel.local.routes.organizations import organization_of
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.services import Services
from pandaprobe_otel.local.store.accounts import ApiKey
from pandaprobe_otel.local.times import DAY, iso, iso_or_none

router = APIRouter(route_class=ApiRoute, tags=["api-keys"], prefix="/organizations/{org_id}/api-keys")

_LIFETIME: Final = 90 * DAY
_NEVER_EXPIRES: Final = (
    "Only keys with an expiration can be rotated. Production keys (never expire) should be revoked and re-created "
    "instead."
)


@router.post("", status_code=201, response_model=answers.ApiKey)
def create_api_key(services: Developer, org_id: UUID, body: CreateApiKey) -> Response:
    """Create a key. Only this answer contains its secret."""
    organization = organization_of(services, org_id)
    expires_at = None if body.expiration == "never" else services.now() + _LIFETIME
    key, secret = services.accounts.add_key(organization.id, body.name, expires_at=expires_at)
    return answer(_record(services, key, secret), 201)


@router.get("", response_model=list[answers.ApiKey])
def list_org_api_keys(services: Developer, org_id: UUID) -> Response:
    """List the keys, including revoked ones."""
    organization = organization_of(services, org_id)
    return answer([_record(services, key) for key in services.accounts.keys(organization.id)])


@router.get("/{key_id}", response_model=answers.ApiKey)
def get_api_key(services: Developer, org_id: UUID, key_id: UUID) -> Response:
    """Return a key without its secret."""
    return answer(_record(services, _key(services, org_id, key_id)))


@router.delete("/{key_id}", status_code=204, response_model=None)
def delete_api_key(services: Developer, org_id: UUID, key_id: UUID, permanent: bool = False) -> None:
    """Revoke a key, or delete it permanently."""
    key = _key(services, org_id, key_id)
    if permanent:
        services.accounts.delete_key(key)
    else:
        services.accounts.revoke_key(key)


@router.post("/{key_id}/rotate", status_code=201, response_model=answers.ApiKey)
def rotate_api_key(services: Developer, org_id: UUID, key_id: UUID) -> Response:
    """Create the successor of an expiring key. The old key is valid until it expires."""
    old = _key(services, org_id, key_id)
    if not old.is_active:
        raise refused("Cannot rotate a revoked API key.")
    if old.expires_at is None:
        raise refused(_NEVER_EXPIRES)
    key, secret = services.accounts.add_key(old.org_id, old.name, expires_at=services.now() + _LIFETIME)
    return answer(_record(services, key, secret), 201)


def _key(services: Services, org_id: UUID, key_id: UUID) -> ApiKey:
    organization = organization_of(services, org_id)
    key = services.accounts.key_by_id(organization.id, str(key_id))
    if key is None:
        raise not_found(f"API key {key_id}")
    return key


def _record(services: Services, key: ApiKey, secret: str | None = None) -> dict[str, Any]:
    has_expired = key.expires_at is not None and key.expires_at <= services.now()
    return {
        "id": key.id,
        "org_id": key.org_id,
        "key_prefix": key.key_prefix,
        "name": key.name,
        "is_active": key.is_active and not has_expired,
        "created_at": iso(key.created_at),
        "expires_at": iso_or_none(key.expires_at),
        "raw_key": secret,
    }
