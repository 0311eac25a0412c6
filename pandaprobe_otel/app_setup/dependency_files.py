"""Files in which a project declares its dependencies, and edits that add one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import tomlkit
from tomlkit.exceptions import TOMLKitError

from pandaprobe_otel.app_setup.edits import Edit

_NAME: Final = re.compile(r"pandaprobe[-_.]otel(?=$|[\s\[<>=!~;@])", re.IGNORECASE)
_REQUIREMENTS: Final = ("requirements.txt", "requirements/base.txt", "requirements.in")
INSTALLERS: Final = (
    ("uv.lock", "uv sync"),
    ("poetry.lock", "poetry lock && poetry install"),
    ("pdm.lock", "pdm install"),
    ("Pipfile", "pipenv install"),
)
"""Files of package managers, and the commands that install the declared dependencies."""


def declaration(root: Path, requirement: str) -> Edit | None:
    """Return the edit that adds a requirement; it changes nothing if the file has it already.

    None if no known file declares dependencies.
    """
    pyproject = root / "pyproject.toml"
    if pyproject.is_file() and (found := _in_pyproject(pyproject, requirement)) is not None:
        return found
    for name in _REQUIREMENTS:
        if (root / name).is_file():
            before = _text(root / name)
            return Edit.of_text(Path(name), before, _with_line(before, requirement))
    return None


def install_command(root: Path, requirement: str, *, is_declared: bool) -> str:
    """Return the command that installs the requirement, by the package manager that the project uses."""
    for name, command in INSTALLERS:
        if (root / name).exists():
            return command if is_declared else f'{command.partition(" && ")[0]} "{requirement}"'
    return f'python -m pip install "{requirement}"'


def scripts(root: Path) -> dict[str, str]:
    """Return the commands that `pyproject.toml` declares, as `module:function` by name."""
    try:
        project: dict[str, Any] = tomlkit.parse(_text(root / "pyproject.toml")).unwrap()
    except (OSError, ValueError, TOMLKitError):
        return {}
    tables: list[dict[str, Any]] = [project.get("project", {}), project.get("tool", {}).get("poetry", {})]
    declared = [item for table in tables for item in table.get("scripts", {}).items()]
    return {name: target for name, target in declared if isinstance(target, str)}


def _in_pyproject(path: Path, requirement: str) -> Edit | None:
    before = _text(path)
    try:
        document: Any = tomlkit.parse(before)
    except TOMLKitError:
        return None
    project, poetry = document.get("project"), document.get("tool", {}).get("poetry", {})
    if project is not None and "dependencies" not in project.get("dynamic", ()):
        known: Any = project.setdefault("dependencies", tomlkit.array())
        if any(_NAME.match(str(each)) for each in known):
            return Edit.of_text(Path(path.name), before, before)
        if len(known) > 1:
            known.multiline("\n" in known.as_string())
        known.append(requirement)
        return Edit.of_text(Path(path.name), before, tomlkit.dumps(document))
    if "dependencies" in poetry:
        return Edit.of_text(Path(path.name), before, _with_poetry(document, before, requirement))
    return None


def _with_poetry(document: Any, before: str, requirement: str) -> str:
    dependencies = document["tool"]["poetry"]["dependencies"]
    if any(_NAME.match(str(name)) for name in dependencies):
        return before
    extras = re.search(r"\[(.*)\]", requirement)
    table = tomlkit.inline_table()
    table["version"] = f">={requirement.partition('>=')[2]}"
    if extras:
        table["extras"] = extras[1].split(",")
    dependencies["pandaprobe-otel"] = table
    return tomlkit.dumps(document)


def _with_line(before: str, requirement: str) -> str:
    if any(_NAME.match(line.strip()) for line in before.splitlines()):
        return before
    end = "\r\n" if "\r\n" in before else "\n"
    return f"{before}{'' if not before or before.endswith(chr(10)) else end}{requirement}{end}"


def _text(path: Path) -> str:
    return path.read_bytes().decode("utf-8")
