"""The extra that contains a missing module."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

_EXTRA_OF: Final = {
    "click": "cli",
    "rich": "cli",
    "fastapi": "local",
    "starlette": "local",
    "uvicorn": "local",
    "jinja2": "local",
    "openai": "openai",
    "jsonschema": "evals",
    "mcp": "mcp",
}


def missing_extra(error: ModuleNotFoundError) -> str:
    """Return one line that names the extra to install, or the missing module if no extra contains it."""
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF.get(module)
    return _advice(module, extra) if extra else str(error)


def require(extra: str, *modules: str) -> None:
    """Check that the modules of an extra are installed, before anything is started.

    Raises click.ClickException at the first missing module. The message names the extra.
    """
    for module in modules:
        if find_spec(module) is None:
            import click

            raise click.ClickException(_advice(module, extra))


def _advice(module: str, extra: str) -> str:
    return f'{module} is not installed. Install it with: pip install "pandaprobe-otel[{extra}]"'
