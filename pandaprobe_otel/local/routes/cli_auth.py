"""Sign-in of a command line without typing a key: the browser receives a code, and the terminal a key (PKCE)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from typing import Any, Final

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from pandaprobe_otel.local.auth import Developer
from pandaprobe_otel.local.errors import not_found, refused
from pandaprobe_otel.local.models.management import ExchangeCode, IssueCode
from pandaprobe_otel.local.routes.organizations import organization_of
from pandaprobe_otel.local.routing import ApiRoute, answer
from pandaprobe_otel.local.services import services_of
from pandaprobe_otel.local.times import DAY, iso

router = APIRouter(route_class=ApiRoute, tags=["cli-auth"], prefix="/cli/auth")

_LIFETIME_S: Final = 300
_MAX_CODES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCode:
    """A code that was issued and not yet exchanged."""

    org_id: str
    project_name: str
    challenge: str
    label: str
    key_expires_at: int
    code_expires_at: int


class PendingCodes:
    """Codes of one server. Above a hundred, the oldest are dropped."""

    def __init__(self) -> None:
        self._codes: dict[str, PendingCode] = {}
        self._lock = threading.Lock()

    def add(self, code: PendingCode) -> str:
        """Store a code and return the secret that can be exchanged once."""
        secret = secrets.token_urlsafe(32)
        with self._lock:
            while len(self._codes) >= _MAX_CODES:
                del self._codes[next(iter(self._codes))]
            self._codes[secret] = code
        return secret

    def take(self, secret: str) -> PendingCode | None:
        """Return a code and drop it."""
        with self._lock:
            return self._codes.pop(secret, None)


@router.post("/codes", status_code=201, response_model=dict[str, Any])
def issue_cli_code(request: Request, services: Developer, body: IssueCode) -> Response:
    """Issue a code for a project, valid for five minutes."""
    organization = organization_of(services, body.org_id)
    project = services.accounts.project(str(body.project_id))
    if project is None or project.org_id != organization.id:
        raise not_found(f"Project {body.project_id}")
    if body.code_challenge_method != "S256":
        raise refused("Only the S256 code challenge method is supported.")
    now = services.now()
    secret = _codes(request).add(
        PendingCode(
            org_id=organization.id,
            project_name=project.name,
            challenge=body.code_challenge,
            label=body.label,
            key_expires_at=now + body.expires_days * DAY,
            code_expires_at=now + _LIFETIME_S * 1_000_000,
        )
    )
    return answer({"code": secret, "expires_in": _LIFETIME_S}, 201)


@router.post("/exchange", response_model=dict[str, Any])
def exchange_cli_code(request: Request, body: ExchangeCode) -> Response:
    """Exchange a code for an API key."""
    services = services_of(request)
    code = _codes(request).take(body.code)
    digest = hashlib.sha256(body.code_verifier.encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    if (
        code is None
        or code.code_expires_at <= services.now()
        or not hmac.compare_digest(challenge.encode(), code.challenge.rstrip("=").encode())
    ):
        raise HTTPException(401, "Authorization code is invalid, expired, or already used.")
    key, secret = services.accounts.add_key(code.org_id, code.label, expires_at=code.key_expires_at)
    return answer(
        {
            "api_key": secret,
            "project_name": code.project_name,
            "org_id": code.org_id,
            "key_id": key.id,
            "key_prefix": key.key_prefix,
            "expires_at": iso(code.key_expires_at),
        }
    )


def _codes(request: Request) -> PendingCodes:
    codes: PendingCodes = request.app.state.pending_codes
    return codes
