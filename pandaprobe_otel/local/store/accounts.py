"""Organizations with their usage, projects and API keys, also in memory, since every request needs them.

The store belongs to one process, and memory is read anew after each committed change, so memory and tables stay equal.
Only SHA-256 hashes of API keys are stored.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
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


class NameTakenError(Exception):
    """The organization has a project of this name already."""


class Accounts:
    """Organizations, their projects and their keys."""

    def __init__(self, database: Database, now: Callable[[], int]) -> None:
        self._database = database
        self._now = now
        self._organizations: dict[str, Organization] = {}
        self._projects: dict[tuple[str, str], Project] = {}
        self._keys: dict[str, ApiKey] = {}
        self._load()
        if not self._organizations:
            self.add_organization("local", DEVELOPMENT)

    def _load(self) -> None:
        with self._database.read() as connection:
            organizations = connection.execute("SELECT id, name, plan, created_at FROM organizations ORDER BY rowid")
            self._organizations = {row["id"]: Organization(**dict(row)) for row in organizations}
            projects = connection.execute("SELECT * FROM projects ORDER BY created_at, rowid").fetchall()
            self._projects = {(row["org_id"], row["name"]): Project(**dict(row), stored=True) for row in projects}
            keys = [dict[str, Any](row) for row in connection.execute("SELECT * FROM api_keys ORDER BY rowid")]
            self._keys = {row.pop("key_hash"): ApiKey(**row) for row in keys}

    def _change(self, statement: str, *values: Any, connection: sqlite3.Connection | None = None) -> None:
        """Change a table of this store, inside the caller's transaction if there is one."""
        if connection is None:
            with self._database.write() as own:
                self._change(statement, *values, connection=own)
            return
        connection.execute(statement, values)
        self._database.after_commit(self._load)

    # -- organizations ------------------------------------------------------------------------------------------------

    @property
    def home(self) -> Organization:
        """The oldest organization, which owns keys without a named organization."""
        return next(iter(self._organizations.values()))

    def organizations(self) -> list[Organization]:
        """Return every organization, oldest first."""
        return list(self._organizations.values())

    def organization(self, org_id: str) -> Organization | None:
        """Return an organization by id."""
        return self._organizations.get(org_id)

    def add_organization(self, name: str, plan: str) -> Organization:
        """Create an organization. A new quota period begins now."""
        org_id, now = str(uuid4()), self._now()
        statement = "INSERT INTO organizations (id, name, plan, created_at, period_start) VALUES (?, ?, ?, ?, ?)"
        self._change(statement, org_id, name, plan, now, now)
        return self._organizations[org_id]

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
        return [project for org_id in list(self._organizations) for project in self.projects(org_id)]

    def projects(self, org_id: str) -> list[Project]:
        """Return the projects of an organization, oldest first."""
        return [project for project in self._projects.values() if project.org_id == org_id]

    def project(self, project_id: str) -> Project | None:
        """Return a project by id."""
        return next((project for project in self._projects.values() if project.id == project_id), None)

    def project_named(self, org_id: str, name: str) -> Project:
        """Return a project by name.

        For an unknown name, return a new project, which only the caller has until `keep` stores it.
        """
        found = self._projects.get((org_id, name))
        if found is not None:
            return found
        return Project(id=str(uuid4()), org_id=org_id, name=name, description="", created_at=self._now(), stored=False)

    def keep(self, project: Project, connection: sqlite3.Connection | None = None) -> None:
        """Store a project that is not stored yet, inside the caller's transaction if there is one."""
        if project.stored:
            return
        if connection is None:
            with self._database.write() as own:
                self.keep(project, own)
            return
        self._change(
            "INSERT INTO projects VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            *(project.id, project.org_id, project.name, project.description, project.created_at),
            connection=connection,
        )
        of_name = "SELECT id FROM projects WHERE org_id = ? AND name = ?"  # Another request may have stored it first.
        (project.id,) = connection.execute(of_name, (project.org_id, project.name)).fetchone()
        self._database.after_commit(lambda: setattr(project, "stored", True))

    def add_project(self, org_id: str, name: str, description: str) -> Project:
        """Create a project. Raises NameTakenError."""
        project = self.project_named(org_id, name)
        if project.stored:
            raise NameTakenError(name)
        project.description = description
        self.keep(project)
        return project

    def change_project(self, project: Project, name: str | None, description: str | None) -> Project:
        """Rename or describe a project, and return it. Raises NameTakenError."""
        new = (name or project.name, project.description if description is None else description)
        try:
            self._change("UPDATE projects SET name = ?, description = ? WHERE id = ?", *new, project.id)
        except sqlite3.IntegrityError:
            raise NameTakenError(name) from None
        return self._projects[project.org_id, new[0]]

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
                    self._change("DELETE FROM projects WHERE id = ?", project.id, connection=connection)
            time.sleep(time.monotonic() - begun if left else 0)

    # -- API keys -----------------------------------------------------------------------------------------------------

    @property
    def has_keys(self) -> bool:
        """True if any key was ever created or passed in."""
        return bool(self._keys)

    def key(self, secret: str) -> ApiKey | None:
        """Return the key with this secret, whether it is active or not."""
        return self._keys.get(hash_of(secret))

    def keys(self, org_id: str) -> list[ApiKey]:
        """Return the keys of an organization, oldest first."""
        return [key for key in self._keys.values() if key.org_id == org_id]

    def add_key(
        self, org_id: str, name: str, *, secret: str | None = None, expires_at: int | None = None
    ) -> tuple[ApiKey, str]:
        """Create a key and return it with its secret, which is not stored.

        For a known secret, return its existing key.
        """
        secret = secret or "sk_pp_" + secrets.token_hex(32)
        digest = hash_of(secret)
        self._change(
            "INSERT INTO api_keys VALUES (?, ?, ?, ?, ?, 1, ?, ?) ON CONFLICT DO NOTHING",
            *(str(uuid4()), org_id, name, digest, secret[:10], self._now(), expires_at),
        )
        return self._keys[digest], secret

    def revoke_key(self, key_id: str) -> None:
        """Refuse a key from now on."""
        self._change("UPDATE api_keys SET is_active = 0 WHERE id = ?", key_id)

    def delete_key(self, key_id: str) -> None:
        """Delete a key."""
        self._change("DELETE FROM api_keys WHERE id = ?", key_id)


def hash_of(secret: str) -> str:
    """Return the stored form of an API key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
