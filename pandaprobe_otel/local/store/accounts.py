"""Organizations, projects and API keys, also in memory, since every request needs them.

The store belongs to one process, and memory changes only when a transaction is committed, so memory and tables stay
equal. Only SHA-256 hashes of API keys are stored.
"""

from __future__ import annotations

import hashlib
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from uuid import uuid4

from pandaprobe_otel.local.store.database import AT_ONCE, Database
from pandaprobe_otel.local.times import DAY

PERIOD: Final = 30 * DAY
"""Length of a quota period."""

DEVELOPMENT: Final = "DEVELOPMENT"
HOBBY: Final = "HOBBY"
_DELETE: Final = "UPDATE projects SET name = id, deleted = 1"


@dataclass(slots=True, kw_only=True)
class Organization:
    """An organization with its usage in the current period."""

    id: str
    name: str
    plan: str
    created_at: int
    period_start: int
    period_end: int
    traces: int = 0
    trace_evals: int = 0
    session_evals: int = 0


@dataclass(slots=True, kw_only=True)
class Project:
    """A project. `stored` is False until a request in it has succeeded, as on the server."""

    id: str
    org_id: str
    name: str
    description: str
    created_at: int
    stored: bool


@dataclass(slots=True, kw_only=True)
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
        self._lock = threading.RLock()
        self._organizations: dict[str, Organization] = {}
        self._projects: dict[tuple[str, str], Project] = {}
        self._keys: dict[str, ApiKey] = {}
        self._sweeper: threading.Thread | None = None
        self._stopping = threading.Event()
        self._load()
        if not self._organizations:
            self.add_organization("local", DEVELOPMENT)

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
        now = self._now()
        new = Organization(
            id=str(uuid4()),
            name=name,
            plan=plan,
            created_at=now,
            period_start=now,
            period_end=now + PERIOD,
        )
        with self._lock, self._database.write() as connection:
            connection.execute(
                "INSERT INTO organizations (id, name, plan, created_at, period_start, period_end)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (new.id, name, plan, now, now, new.period_end),
            )
            self._database.after_commit(partial(self._organizations.__setitem__, new.id, new))
        return new

    def rename_organization(self, org_id: str, name: str) -> None:
        """Rename an organization."""
        with self._lock, self._database.write() as connection:
            connection.execute("UPDATE organizations SET name = ? WHERE id = ?", (name, org_id))
            self._database.after_commit(partial(setattr, self._organizations[org_id], "name", name))

    def delete_organization(self, org_id: str) -> None:
        """Delete an organization with its projects, traces and keys."""
        with self._lock, self._database.write() as connection:
            connection.execute(f"{_DELETE}, org_id = ? WHERE org_id = ?", (self.home.id, org_id))
            connection.execute("DELETE FROM organizations WHERE id = ?", (org_id,))
            self._database.after_commit(partial(self._forget_organization, org_id))
            self._database.after_commit(self.sweep)

    def _forget_organization(self, org_id: str) -> None:
        self._organizations.pop(org_id, None)
        self._projects = {at: project for at, project in self._projects.items() if project.org_id != org_id}
        self._keys = {at: key for at, key in self._keys.items() if key.org_id != org_id}

    def count(self, connection: sqlite3.Connection, org_id: str, kind: str, amount: int) -> None:
        """Add to the usage of an organization, inside the caller's transaction. `kind` is the name of a counter."""
        org = self._organizations[org_id]
        connection.execute(f"UPDATE organizations SET {kind} = {kind} + ? WHERE id = ?", (amount, org_id))
        self._database.after_commit(lambda: setattr(org, kind, getattr(org, kind) + amount))

    def use_up(self, org_id: str, traces: int) -> None:
        """Set the number of traces used in this period."""
        with self._lock, self._database.write() as connection:
            self.count(connection, org_id, "traces", traces - self._organizations[org_id].traces)

    def roll_period(self, org: Organization) -> None:
        """Start a new quota period if the last one is over."""
        now = self._now()
        if now < org.period_end:
            return
        with self._lock, self._database.write() as connection:
            connection.execute(
                "UPDATE organizations SET period_start = ?, period_end = ?, traces = 0, trace_evals = 0,"
                " session_evals = 0 WHERE id = ?",
                (now, now + PERIOD, org.id),
            )
            self._database.after_commit(lambda: _begin_period(org, now))

    # -- projects -----------------------------------------------------------------------------------------------------

    def projects(self, org_id: str) -> list[Project]:
        """Return the projects of an organization, oldest first."""
        return [project for project in list(self._projects.values()) if project.org_id == org_id]

    def project(self, project_id: str) -> Project | None:
        """Return a project by id."""
        return next((project for project in list(self._projects.values()) if project.id == project_id), None)

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
            with self._lock, self._database.write() as own:
                self.keep(project, own)
            return
        known = self._projects.get((project.org_id, project.name))
        if known is not None:  # Another request stored it first.
            project.id, project.stored = known.id, True
            return
        connection.execute(
            "INSERT INTO projects (id, org_id, name, description, created_at) VALUES (?, ?, ?, ?, ?)",
            (project.id, project.org_id, project.name, project.description, project.created_at),
        )
        self._database.after_commit(partial(self._note_project, project))

    def _note_project(self, project: Project) -> None:
        project.stored = True
        self._projects[(project.org_id, project.name)] = project

    def add_project(self, org_id: str, name: str, description: str) -> Project:
        """Create a project. Raises NameTakenError."""
        with self._lock:
            project = self.project_named(org_id, name)
            if project.stored:
                raise NameTakenError(name)
            project.description = description
            self.keep(project)
            return project

    def change_project(self, project: Project, name: str | None, description: str | None) -> None:
        """Rename or describe a project. Raises NameTakenError."""
        with self._lock:
            new_name = name or project.name
            new_description = project.description if description is None else description
            if self._projects.get((project.org_id, new_name), project) is not project:
                raise NameTakenError(name)
            with self._database.write() as connection:
                connection.execute(
                    "UPDATE projects SET name = ?, description = ? WHERE id = ?",
                    (new_name, new_description, project.id),
                )
                self._database.after_commit(partial(self._rename_project, project, new_name, new_description))

    def _rename_project(self, project: Project, name: str, description: str) -> None:
        del self._projects[(project.org_id, project.name)]
        project.name, project.description = name, description
        self._projects[(project.org_id, name)] = project

    def delete_project(self, project: Project) -> None:
        """Delete a project with its traces, scores, runs and monitors. Its name is then free.

        Its rows disappear in the background, a few at a time, since other requests wait for each transaction.
        """
        with self._lock, self._database.write() as connection:
            connection.execute(f"{_DELETE} WHERE id = ?", (project.id,))
            self._database.after_commit(partial(self._forget_project, project))
            self._database.after_commit(self.sweep)

    def sweep(self) -> None:
        """Delete the rows of deleted projects in the background, also of those that an earlier process left."""
        with self._database.write() as connection:  # so that a thread that ends has seen all deletions
            left = connection.execute("SELECT 1 FROM projects WHERE deleted LIMIT 1").fetchone()
            if left is not None and self._sweeper is None and not self._stopping.is_set():
                self._sweeper = threading.Thread(target=self._sweep, name="pandaprobe-local-deletion", daemon=True)
                self._sweeper.start()

    def stop(self, timeout_s: float) -> None:
        """End the deletion after its current transaction. The next process continues."""
        self._stopping.set()
        if (sweeper := self._sweeper) is not None:
            sweeper.join(timeout_s)

    def _sweep(self) -> None:
        took_s = 0.0
        while not self._stopping.wait(took_s):  # so that requests get half of the time
            begun = time.monotonic()
            with self._database.write() as connection:
                row = connection.execute("SELECT id FROM projects WHERE deleted LIMIT 1").fetchone()
                if row is None:
                    self._sweeper = None
                    return
                some = "DELETE FROM traces WHERE seq IN (SELECT seq FROM traces WHERE project_id = ? LIMIT ?)"
                if not connection.execute(some, (row["id"], AT_ONCE)).rowcount:
                    connection.execute("DELETE FROM projects WHERE id = ?", (row["id"],))
            took_s = time.monotonic() - begun

    def _forget_project(self, project: Project) -> None:
        self._projects.pop((project.org_id, project.name), None)
        # Requests that hold the object must not store rows under a deleted id.
        project.stored = False

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

    def key_by_id(self, org_id: str, key_id: str) -> ApiKey | None:
        """Return a key of an organization by id."""
        return next((key for key in self.keys(org_id) if key.id == key_id), None)

    def add_key(
        self, org_id: str, name: str, *, secret: str | None = None, expires_at: int | None = None
    ) -> tuple[ApiKey, str]:
        """Create a key and return it with its secret, which is not stored.

        For a known secret, return its existing key.
        """
        secret = secret or "sk_pp_" + secrets.token_hex(32)
        digest = hash_of(secret)
        with self._lock:
            if (known := self._keys.get(digest)) is not None:
                return known, secret
            new = ApiKey(
                id=str(uuid4()),
                org_id=org_id,
                name=name,
                key_prefix=secret[:10],
                is_active=True,
                created_at=self._now(),
                expires_at=expires_at,
            )
            with self._database.write() as connection:
                connection.execute(
                    "INSERT INTO api_keys (id, org_id, name, key_hash, key_prefix, is_active, created_at, expires_at)"
                    " VALUES (?, ?, ?, ?, ?, 1, ?, ?)",
                    (new.id, org_id, name, digest, new.key_prefix, new.created_at, expires_at),
                )
                self._database.after_commit(partial(self._keys.__setitem__, digest, new))
        return new, secret

    def revoke_key(self, key: ApiKey) -> None:
        """Refuse a key from now on."""
        with self._lock, self._database.write() as connection:
            connection.execute("UPDATE api_keys SET is_active = 0 WHERE id = ?", (key.id,))
            self._database.after_commit(partial(setattr, key, "is_active", False))

    def delete_key(self, key: ApiKey) -> None:
        """Delete a key."""
        with self._lock, self._database.write() as connection:
            connection.execute("DELETE FROM api_keys WHERE id = ?", (key.id,))
            self._database.after_commit(partial(self._forget_key, key))

    def _forget_key(self, key: ApiKey) -> None:
        self._keys = {digest: other for digest, other in self._keys.items() if other is not key}

    def _load(self) -> None:
        with self._database.read() as connection:
            for row in connection.execute("SELECT * FROM organizations ORDER BY created_at, rowid"):
                self._organizations[row["id"]] = Organization(**dict(row))
            for row in connection.execute("SELECT * FROM projects WHERE NOT deleted ORDER BY created_at, rowid"):
                known: dict[str, Any] = dict(row)
                del known["deleted"]
                self._projects[(row["org_id"], row["name"])] = Project(**known, stored=True)
            for row in connection.execute("SELECT * FROM api_keys ORDER BY created_at, rowid"):
                fields: dict[str, Any] = dict(row)
                digest = fields.pop("key_hash")
                fields["is_active"] = bool(fields["is_active"])
                self._keys[digest] = ApiKey(**fields)


def _begin_period(org: Organization, now: int) -> None:
    org.period_start, org.period_end = now, now + PERIOD
    org.traces = org.trace_evals = org.session_evals = 0


def hash_of(secret: str) -> str:
    """Return the stored form of an API key."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
