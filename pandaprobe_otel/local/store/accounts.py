"""Organizations with their usage, projects and API keys. Only SHA-256 hashes of API keys are stored."""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Final, TypeVar
from uuid import uuid4

from pandaprobe_otel.local.store.database import AT_ONCE, Database
from pandaprobe_otel.local.times import DAY

PERIOD: Final = 30 * DAY
"""Length of a quota period."""

DEVELOPMENT: Final = "DEVELOPMENT"
HOBBY: Final = "HOBBY"


@dataclass(frozen=True, slots=True, kw_only=True)
class Organization:
    """An organization."""

    id: str
    name: str
    plan: str
    created_at: int


@dataclass(slots=True, kw_only=True)
class Project:
    """A project. `stored` is False until a request in it has succeeded, as on the server."""

    id: str
    org_id: str
    name: str
    description: str
    created_at: int
    stored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKey:
    """An API key without its secret."""

    id: str
    org_id: str
    name: str
    key_prefix: str
    is_active: bool
    created_at: int
    expires_at: int | None


_Kind = TypeVar("_Kind", Organization, Project, ApiKey)
_COLUMNS: Final[dict[type[Any], str]] = {
    Organization: "id, name, plan, created_at FROM organizations",
    Project: "id, org_id, name, description, created_at, TRUE AS stored FROM projects",
    ApiKey: "id, org_id, name, key_prefix, is_active, created_at, expires_at FROM api_keys",
}


class NameTakenError(Exception):
    """The organization has a project of this name already."""


class Accounts:
    """Organizations, their projects and their keys. Lists have the oldest first."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now
        if not self.organizations():
            self.add_organization("local", DEVELOPMENT)

    def _find(self, kind: type[_Kind], condition: str = "TRUE", *values: Any) -> list[_Kind]:
        with self._database.read() as connection:
            statement = f"SELECT {_COLUMNS[kind]} WHERE {condition} ORDER BY created_at, rowid"
            return [kind(**dict[str, Any](row)) for row in connection.execute(statement, values)]

    def _change(self, statement: str, *values: Any) -> None:
        with self._database.write() as connection:
            connection.execute(statement, values)

    # -- organizations ------------------------------------------------------------------------------------------------

    @property
    def home(self) -> Organization:
        """The oldest organization, which owns keys without a named organization."""
        return self.organizations()[0]

    def organizations(self) -> list[Organization]:
        """Return every organization."""
        return self._find(Organization)

    def organization(self, org_id: str) -> Organization | None:
        """Return an organization by id."""
        return next(iter(self._find(Organization, "id = ?", org_id)), None)

    def add_organization(self, name: str, plan: str) -> Organization:
        """Create an organization. A new quota period begins now."""
        added = Organization(id=str(uuid4()), name=name, plan=plan, created_at=self._now())
        statement = "INSERT INTO organizations (id, name, plan, created_at, period_start) VALUES (?, ?, ?, ?, ?)"
        self._change(statement, added.id, name, plan, added.created_at, added.created_at)
        return added

    def rename_organization(self, org_id: str, name: str) -> None:
        """Rename an organization."""
        self._change("UPDATE organizations SET name = ? WHERE id = ?", name, org_id)

    def delete_organization(self, org_id: str) -> None:
        """Delete an organization with its projects, traces and keys."""
        for project in self.projects(org_id):
            self.delete_project(project)
        self._change("DELETE FROM organizations WHERE id = ?", org_id)

    def count(self, connection: sqlite3.Connection, org_id: str, kind: str, amount: int) -> None:
        """Add to the usage of an organization, inside the caller's transaction. `kind` is the name of a counter."""
        connection.execute(f"UPDATE organizations SET {kind} = {kind} + ? WHERE id = ?", (amount, org_id))

    def usage(self, org_id: str) -> sqlite3.Row:
        """Return the beginning of the present period, and the counters. If the last period is over, start a new one."""
        now = self._now()
        with self._database.write() as connection:
            connection.execute(
                "UPDATE organizations SET period_start = ?, traces = 0, trace_evals = 0, session_evals = 0"
                " WHERE id = ? AND period_start <= ?",
                (now, org_id, now - PERIOD),
            )
            counters = "SELECT period_start, traces, trace_evals, session_evals FROM organizations WHERE id = ?"
            row: sqlite3.Row = connection.execute(counters, (org_id,)).fetchone()
            return row

    # -- projects -----------------------------------------------------------------------------------------------------

    def all_projects(self) -> list[Project]:
        """Return the projects of all organizations, by organization."""
        return [project for organization in self.organizations() for project in self.projects(organization.id)]

    def projects(self, org_id: str) -> list[Project]:
        """Return the projects of an organization."""
        return self._find(Project, "org_id = ?", org_id)

    def project(self, project_id: str) -> Project | None:
        """Return a project by id."""
        return next(iter(self._find(Project, "id = ?", project_id)), None)

    def project_named(self, org_id: str, name: str) -> Project:
        """Return a project by name. For an unknown name, return a new project, which `keep` stores."""
        found = self._find(Project, "org_id = ? AND name = ?", org_id, name)
        return found[0] if found else self._new(org_id, name)

    def keep(self, project: Project, connection: sqlite3.Connection | None = None) -> None:
        """Store a project that is not stored yet, inside the caller's transaction if there is one.

        The caller's transaction may still be rolled back, so the project then counts as stored only when another call
        has found it.
        """
        if project.stored:
            return
        with self._database.write() if connection is None else nullcontext(connection) as inside:
            inside.execute(f"{_NEW_PROJECT} ON CONFLICT DO NOTHING", _row(project))
            of_name = "SELECT id FROM projects WHERE org_id = ? AND name = ?"  # Another request may have stored it.
            (project.id,) = inside.execute(of_name, (project.org_id, project.name)).fetchone()
        project.stored = connection is None

    def add_project(self, org_id: str, name: str, description: str) -> Project:
        """Create a project. Raises NameTakenError."""
        project = self._new(org_id, name, description)
        try:
            self._change(_NEW_PROJECT, *_row(project))
        except sqlite3.IntegrityError:
            raise NameTakenError(name) from None
        return project

    def change_project(self, project: Project, name: str | None, description: str | None) -> None:
        """Rename or describe a project. Raises NameTakenError."""
        new = (name or project.name, project.description if description is None else description)
        try:
            self._change("UPDATE projects SET name = ?, description = ? WHERE id = ?", *new, project.id)
        except sqlite3.IntegrityError:
            raise NameTakenError(name) from None
        project.name, project.description = new

    def delete_project(self, project: Project) -> None:
        """Delete a project with its traces, scores, runs and monitors. Its name is then free.

        Its traces disappear a few at a time, and requests get half of the time, since they wait for each transaction.
        """
        some = "DELETE FROM traces WHERE seq IN (SELECT seq FROM traces WHERE project_id = ? LIMIT ?)"
        left = True
        while left:
            begun = time.monotonic()
            with self._database.write() as connection:
                left = connection.execute(some, (project.id, AT_ONCE)).rowcount > 0
                if not left:
                    connection.execute("DELETE FROM projects WHERE id = ?", (project.id,))
            time.sleep(time.monotonic() - begun if left else 0)

    def _new(self, org_id: str, name: str, description: str = "") -> Project:
        now = self._now()
        return Project(id=str(uuid4()), org_id=org_id, name=name, description=description, created_at=now, stored=False)

    # -- API keys -----------------------------------------------------------------------------------------------------

    @property
    def has_keys(self) -> bool:
        """True if any key was created or passed in."""
        return bool(self._find(ApiKey))

    def key(self, secret: str) -> ApiKey | None:
        """Return the key with this secret, whether it is active or not."""
        return next(iter(self._find(ApiKey, "key_hash = ?", hash_of(secret))), None)

    def keys(self, org_id: str) -> list[ApiKey]:
        """Return the keys of an organization."""
        return self._find(ApiKey, "org_id = ?", org_id)

    def add_key(
        self, org_id: str, name: str, *, secret: str | None = None, expires_at: int | None = None
    ) -> tuple[ApiKey, str]:
        """Create a key and return it with its secret, which is not stored.

        For a known secret, return its existing key.
        """
        secret = secret or "sk_pp_" + secrets.token_hex(32)
        self._change(
            "INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO NOTHING",
            *(str(uuid4()), org_id, name, hash_of(secret), secret[:10], self._now(), expires_at),
        )
        key = self.key(secret)
        assert key is not None
        return key, secret

    def revoke_key(self, key_id: str) -> None:
        """Refuse a key from now on."""
        self._change("UPDATE api_keys SET is_active = 0 WHERE id = ?", key_id)

    def delete_key(self, key_id: str) -> None:
        """Delete a key."""
        self._change("DELETE FROM api_keys WHERE id = ?", key_id)


def hash_of(secret: str) -> str:
    """Return the stored form of an API key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


_NEW_PROJECT: Final = "INSERT INTO projects VALUES (?, ?, ?, ?, ?)"


def _row(project: Project) -> tuple[Any, ...]:
    return project.id, project.org_id, project.name, project.description, project.created_at
