"""Credentials of a client: an API key with a project name, or a bearer token with ids."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from pandaprobe_otel.api.endpoint import Scope
from pandaprobe_otel.config.resolve import Config
from pandaprobe_otel.errors import ConfigError, MissingKey
from pandaprobe_otel.transport.outcome import api_key_headers, bearer_headers

_WITHOUT: Final = re.compile(r"(; (no traces are sent|the default is used .*))?\.?$")
"""End of a problem's message about sending traces. It does not apply to a client, which refuses to work."""
_CONNECTION_SETTINGS: Final = ("api_key", "project_name", "endpoint")


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Resolved credentials of a client. An API key takes precedence over a token if both could be used."""

    endpoint: str
    api_key: str | None = field(repr=False)
    project_name: str
    token: str | None = field(default=None, repr=False)
    project_id: str | None = None
    organization_id: str | None = None

    @property
    def headers(self) -> Mapping[Scope, Mapping[str, str]]:
        """Headers of each scope. The headers of a bearer token are included even if it does not suffice (see
        `unavailable`).
        """
        if self.api_key is not None:
            # No Authorization beside the key: the server would use it to count the rate limit (measured on 0.5.0).
            project = api_key_headers(self.api_key, self.project_name)
        else:
            project = bearer_headers(self.token or "", project_id=self.project_id, organization_id=self.organization_id)
        management = bearer_headers(self.token or "", organization_id=self.organization_id)
        return {Scope.PROJECT: project, Scope.MANAGEMENT: management}

    @property
    def unavailable(self) -> Mapping[Scope, str]:
        """Scopes without credentials, with the reason, which completes a sentence that begins with the endpoint."""
        reasons: dict[Scope, str] = {}
        if self.api_key is None and self.project_id is None:
            reasons[Scope.PROJECT] = "needs an API key (api_key=..., PANDAPROBE_API_KEY), or project_id with the token."
        if self.token is None:
            reasons[Scope.MANAGEMENT] = "needs a bearer token (token=...): PandaProbe refuses API keys here."
        return reasons

    def counted_by(self, scope: Scope) -> str:
        """Return the secret by which the server counts the requests of a scope."""
        key = self.api_key if scope is Scope.PROJECT else None
        return f"key {key}" if key is not None else f"token {self.token}"


def resolve_credentials(
    *,
    api_key: str | None,
    project_name: str | None,
    endpoint: str | None,
    token: str | None,
    project_id: UUID | str | None,
    organization_id: UUID | str | None,
) -> Credentials:
    """Find the connection settings in the arguments, then the environment, then the configuration file.

    A token with a project id is used as given, without looking for a key in the environment.

    Raises:
        ConfigError: a setting is missing or unusable; for the key its subclass MissingKey.
    """
    config = Config.resolve({"api_key": api_key, "project_name": project_name, "endpoint": endpoint})
    by_token = api_key is None and token is not None and project_id is not None
    for problem in config.problems:
        if problem.setting in _CONNECTION_SETTINGS and not (problem.setting == "api_key" and token is not None):
            kind = MissingKey if problem.setting == "api_key" else ConfigError
            raise kind(f"{_WITHOUT.sub('', problem.message)}.")
    usable = not any(problem.setting == "api_key" for problem in config.problems)
    return Credentials(
        endpoint=config.endpoint,
        api_key=_key(config, token) if usable and not by_token else None,
        project_name=config.project_name,
        token=_token(token),
        project_id=_uuid("project_id", project_id),
        organization_id=_uuid("organization_id", organization_id),
    )


def _key(config: Config, token: str | None) -> str | None:
    """Return the key; empty for an open local server. A token without a project name is used instead of a key."""
    is_without = not config.fixed_key and token is not None and config.sources["project_name"] == "default"
    return None if is_without else config.fixed_key


def _token(token: str | None) -> str | None:
    if token is None:
        return None
    text = token.strip().removeprefix("Bearer ").strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise ConfigError("token is not a bearer token (empty, or with characters that a header cannot carry).")
    return text


def _uuid(name: str, value: UUID | str | None) -> str | None:
    if value is None:
        return None
    try:
        return str(UUID(str(value)))
    except ValueError:
        raise ConfigError(f"{name} must be a UUID, not {str(value)[:80]!r}.") from None
