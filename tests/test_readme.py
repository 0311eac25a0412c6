"""Commands in README.md."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_two_commands_stand_in_it() -> None:
    """README.md has the command that starts the demonstration and the one that runs the tests."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert 'python3 -m venv .venv && . .venv/bin/activate && pip install -e ".[demo]" && pandaprobe-otel demo\n' in text
    assert 'pip install -c constraints.txt -e ".[dev]" && pytest\n' in text
